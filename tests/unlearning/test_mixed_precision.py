"""Methods on FP16 tensors with loss scaling and convolutions: the same bits on device and reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from networks import residual

import mcutrain
from mcutrain.build import Build
from mcutrain.executor import same_bits
from mcutrain.unlearning import Task, parse_method


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    path: Path = tmp_path_factory.mktemp("mixed") / "residual.onnx"
    onnx.save(residual(), path)
    unlearn = "ssd,sparse-finetune,distill,gradient,gradient+projection,gradient+mask"
    return mcutrain.compile(
        path, precision="mixed", loss="cross-entropy", unlearn=unlearn, out=path.parent / "build"
    )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ssd", {"alpha": 0.5, "damping": 0.3, "target": 0.99, "guard_points": 100}),
        ("sparse-finetune:l1", {"epochs": 1, "lr": 0.001}),
        ("sparse-finetune:cf-k", {"epochs": 1, "lr": 0.001, "k": 2}),
        ("distill:scrub", {"epochs": 1, "lr": 0.001}),
        ("gradient:npo", {"epochs": 1, "lr": 0.001, "projection": True, "mask": "wagle", "target": 0.0}),
    ],
)
def test_device_and_reference_agree(build: Build, name: str, options: dict[str, object]) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(20, 3, 13, 11)).astype(np.float32)
    y = (np.arange(20) % 3).astype(np.int32)
    method, variant = parse_method(name)
    states, outcomes = [], []
    for learner in (build.session(), build.reference()):
        with learner:
            learner.train(x, y, epochs=1, lr=0.001, batch=4)
            forget, retain = y == 1, y != 1
            task = Task(
                learner, (x[forget], y[forget]), (x[retain], y[retain]), variant=variant, options=options
            )
            outcomes.append(method.run(task))
            states.append(learner.snapshot())
    assert outcomes[0] == outcomes[1]
    assert all(same_bits(states[0][tensor], states[1][tensor]) for tensor in states[0])
