"""A small network trained on digits, for every test of unlearning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forgetting import Trained

import mcutrain
from mcutrain import data


@pytest.fixture(scope="session")
def trained(dense_model: Path) -> Trained:
    build = mcutrain.compile(dense_model, loss="cross-entropy", momentum=True)
    digits, shape = data.load("digits"), data.ModelShape.of(build.manifest)
    train: Any = tuple(np.asarray(part) for part in digits.part("train", shape))
    test: Any = tuple(np.asarray(part) for part in digits.part("test", shape))
    with build.session() as device:
        device.train(*train, epochs=8, lr=0.05, momentum=0.9, batch=8)
        return Trained(build, device.weights(), train, test)
