"""A small network trained on digits, for every test of unlearning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgetting import Trained
from onnx_models import model, node

import mcutrain
from mcutrain import data
from mcutrain.build import Build

#: Every Program that a method of this folder runs.
PROGRAMS = "ssd,sparse-finetune,distill,gradient,gradient+projection,gradient+mask"


@pytest.fixture(scope="session")
def trained(dense_model: Path) -> Trained:
    build = mcutrain.compile(dense_model, loss="cross-entropy", momentum=True, unlearn=PROGRAMS)
    digits, shape = data.load("digits"), data.ModelShape.of(build.manifest)
    train: Any = tuple(np.asarray(part) for part in digits.part("train", shape))
    test: Any = tuple(np.asarray(part) for part in digits.part("test", shape))
    with build.session() as device:
        device.train(*train, epochs=8, lr=0.05, momentum=0.9, batch=8)
        return Trained(build, device.weights(), train, test)


@pytest.fixture(scope="session")
def plain_build(dense_model: Path) -> Build:
    """The same network without any Program for unlearning."""
    return mcutrain.compile(dense_model, loss="cross-entropy")


@pytest.fixture(scope="session")
def regression() -> Build:
    """Three values in, two out, 8 hidden; for mean squared error."""
    rng = np.random.default_rng(3)
    weights = {
        name: (rng.normal(size=shape) / 2).astype(np.float32)
        for name, shape in (("w1", (8, 3)), ("b1", (8,)), ("w2", (2, 8)), ("b2", (2,)))
    }
    nodes = [
        node("Gemm", "x w1 b1", "a", transB=1),
        node("Tanh", "a", "b"),
        node("Gemm", "b w2 b2", "y", transB=1),
    ]
    return mcutrain.compile(model([1, 3], nodes, weights), loss="mse", unlearn=PROGRAMS)
