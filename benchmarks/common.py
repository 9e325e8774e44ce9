"""What the benchmarks share: the MLPerf Tiny models, their data, and a table printer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

#: Beside the project, not in it; see the README for where the files come from.
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "mlperf_tiny"

MODELS = {"resnet8": "resnet8_ic.onnx", "dscnn": "dscnn_kws.onnx", "autoencoder": "autoencoder_ad.onnx"}
LOSSES = {"resnet8": "cross-entropy", "dscnn": "cross-entropy", "autoencoder": "mse"}


def model(name: str) -> Path:
    return DATA / MODELS[name]


def samples(name: str) -> dict[str, npt.NDArray[np.generic]]:
    """x_train, y_train, x_test, y_test of a model's data set, inputs as float32."""
    if name == "autoencoder":
        # No data set is at hand: smooth random spectra, each its own target.
        rng = np.random.default_rng(7)
        x = np.cumsum(rng.normal(0, 0.3, (64, 640)), axis=1).astype(np.float32)
        x = (x - x.mean(1, keepdims=True)) / 8 - 2
        return {"x_train": x[:48], "y_train": x[:48], "x_test": x[48:], "y_test": x[48:]}
    with np.load(DATA / ("kws01.npz" if name == "dscnn" else "cifar10_subset.npz"), allow_pickle=False) as z:
        data = {key: z[key] for key in z.files}
    scale, zero = float(data.get("scale", 1.0)), float(data.get("zero_point", 0.0))
    out: dict[str, npt.NDArray[np.generic]] = {}
    for part in ("train", "test"):
        out[f"x_{part}"] = ((data[f"x_{part}"].astype(np.float32) - zero) * scale).astype(np.float32)
        out[f"y_{part}"] = data[f"y_{part}"].astype(np.int64)
    return out


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |", flush=True)
