"""Gradients of whole PyTorch models against PyTorch's own, in fp32 and mixed.

Skipped where PyTorch is not installed; it is no dependency of the project.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest

import mcutrain

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
nn = torch.nn


class _Residual(nn.Module):  # type: ignore[misc, name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.b = nn.Conv2d(12, 12, 3, padding=1)
        self.short = nn.Conv2d(8, 12, 1, stride=2)
        self.fc = nn.Linear(12, 5)

    def forward(self, x):  # type: ignore[no-untyped-def]
        h = torch.relu(self.stem(x))
        h = torch.relu(self.b(torch.relu(self.a(h))) + self.short(h))
        return self.fc(nn.functional.adaptive_avg_pool2d(h, 1).flatten(1))


def _models() -> dict[str, tuple[object, tuple[int, ...], int]]:
    return {
        "mlp": (nn.Sequential(nn.Linear(13, 17), nn.ReLU(), nn.Linear(17, 5)), (13,), 5),
        "smooth-mlp": (
            nn.Sequential(nn.Linear(9, 11), nn.Tanh(), nn.Linear(11, 7), nn.Sigmoid(), nn.Linear(7, 4)),
            (9,),
            4,
        ),
        "cnn": (
            nn.Sequential(
                nn.Conv2d(3, 6, 3, padding=1),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 9, 5, stride=2, padding=(1, 3)),
                nn.ReLU6(),
                nn.Flatten(),
                nn.Linear(9 * 3 * 5, 5),
            ),
            (3, 14, 14),
            5,
        ),
        "groups": (
            nn.Sequential(
                nn.Conv2d(4, 8, 3, groups=2, padding=1, stride=2),
                nn.LeakyReLU(0.1),
                nn.Conv2d(8, 8, 3, groups=8, padding=2, dilation=2),
                nn.ReLU(),
                nn.Conv2d(8, 10, 1),
                nn.AvgPool2d(3, stride=2, padding=1),
                nn.Flatten(),
                nn.Linear(10 * 3 * 3, 6),
            ),
            (4, 10, 9),
            6,
        ),
        "residual": (_Residual(), (3, 13, 11), 5),
    }


def _export(model: object, shape: tuple[int, ...], path: Path) -> Path:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, torch.zeros(1, *shape), buffer, opset_version=17, dynamo=False)
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("name", list(_models()))
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 2e-5), ("mixed", 5e-2)])
def test_gradients_equal_pytorch(name: str, precision: str, tolerance: float, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model, shape, classes = _models()[name]
    rng = np.random.default_rng(5)
    x = rng.normal(size=(3, *shape)).astype(np.float32)
    y = rng.integers(0, classes, 3)
    path = _export(model, shape, tmp_path / "model.onnx")

    loss = nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))  # type: ignore[operator]
    loss.backward()
    expected = {n: p.grad.numpy() for n, p in model.named_parameters()}  # type: ignore[attr-defined]

    build = mcutrain.compile(path, target="native", precision=precision, loss="cross-entropy")
    with build.reference() as learner:
        got = learner.gradients(x, y)
        evaluation = learner.evaluate(x, y)
    assert evaluation.loss == pytest.approx(loss.item(), rel=10 * tolerance)
    assert set(got) == set(expected)
    for key, gradient in expected.items():
        limit = tolerance * max(float(np.abs(gradient).max()), 1e-6)
        worst = float(np.abs(got[key] - gradient).max())
        assert worst <= limit, f"{key}: off by {worst:.3g}, limit {limit:.3g}"
        assert np.isfinite(got[key]).all()
