"""A keyword spotter forgets a word, and is compared with a network that never heard it.

All of it happens on the device. With the MLPerf Tiny files (dscnn_kws.onnx and kws01.npz) the DS-CNN
learns 12 words from fresh weights, which takes some minutes. Without them a small CNN learns
scikit-learn's digits, and forgets first one digit, then a block of consecutive samples:

    python examples/keyword_unlearning.py --data ../shared/data/mlperf_tiny --forget-class 5
    python examples/keyword_unlearning.py

Each method is shown with its honesty class. Whether knowledge is left where no answer shows it, `mcutrain
evaluate` measures.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from digits_cnn import fresh_model

import mcutrain
from mcutrain import data as datasets
from mcutrain.build import Build
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.unlearning import Task, parse_method
from mcutrain.unlearning.layers import fresh_weights

FOLDER = Path("build") / "unlearning"
UNLEARN = "ssd,gradient,distill,sparse-finetune"
METHODS: tuple[tuple[str, dict[str, object]], ...] = (
    ("ssd", {}),
    ("gradient:inverted-hinge", {}),
    ("distill:blindspot", {"epochs": 2}),
    ("sparse-finetune:eu-k", {"epochs": 2}),
)


@dataclass(frozen=True)
class Subject:
    """A network, its data and how it is trained: passes and their rates."""

    build: Build
    train: tuple[Array, Array]
    test: tuple[Array, Array]
    phases: tuple[tuple[int, float], ...]
    batch: int


def keywords(folder: Path) -> Subject:
    """The MLPerf Tiny DS-CNN and 500 of its keyword samples."""
    phases = ((24, 0.003), (6, 0.0006))
    return subject(folder / "dscnn_kws.onnx", str(folder / "kws01.npz"), phases, 5)


def digits() -> Subject:
    """A CNN of three convolutions and scikit-learn's digits."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    fresh_model(FOLDER / "digits.onnx")
    return subject(FOLDER / "digits.onnx", "digits", ((3, 0.01), (1, 0.002)), 8)


def subject(model: Path, source: str, phases: tuple[tuple[int, float], ...], batch: int) -> Subject:
    build = mcutrain.compile(model, loss="cross-entropy", momentum=True, unlearn=UNLEARN)
    shape, loaded = datasets.ModelShape.of(build.manifest), datasets.load(source)
    (x, y), (x_test, y_test) = loaded.part("train", shape), loaded.part("test", shape)
    parts = (np.asarray(x), np.asarray(y)), (np.asarray(x_test), np.asarray(y_test))
    return Subject(build, *parts, phases, batch)


def trained(s: Subject, kept: Array) -> dict[str, Array]:
    """Weights after training on the samples ``kept``, from the same fresh weights each time."""
    x, y = s.train
    with s.build.session() as device:
        rng = np.random.default_rng(0)
        device.executor.write(fresh_weights(s.build.manifest, s.build.manifest.trained(), rng))
        for epochs, lr in s.phases:
            device.train(x[kept], y[kept], epochs=epochs, lr=lr, momentum=0.9, batch=s.batch)
        return device.weights()


def forget(s: Subject, original: dict[str, Array], rows: Array, title: str) -> None:
    """Forget ``rows`` of the training data by each method, and print what became of the network."""
    x, y = s.train
    kept = np.ones(len(y), bool)
    kept[rows] = False
    # a class that is gone is no part of what the network should still do
    known = np.isin(s.test[1], y[kept])
    test = s.test[0][known], s.test[1][known]
    print(f"\nForget {title}: {len(rows)} of {len(y)} training samples")
    print(f"{'':26}{'forgotten':>10}{'retained':>10}{'test':>8}{'samples':>10}{'time':>9}  honesty")

    def show(device: Learner, name: str, samples: int | str, seconds: float, word: str) -> None:
        sets = ((x[rows], y[rows]), (x[kept], y[kept]), test)
        scores = [device.evaluate(*pair).accuracy or 0.0 for pair in sets]
        print(
            f"{name:26}{scores[0]:>10.1%}{scores[1]:>10.1%}{scores[2]:>8.1%}{samples:>10}{seconds:>8.1f}s"
            f"  {word}",
            flush=True,
        )

    passes = sum(epochs for epochs, _ in s.phases)
    with s.build.session() as device:
        device.load(original)
        show(device, "original", "", 0.0, "")
        for name, options in METHODS:
            method, variant = parse_method(name)
            device.load(original)
            task = Task(
                device,
                (x[rows], y[rows]),
                (x[kept], y[kept]),
                validation=test,
                variant=variant,
                options=options,
            )
            started = time.monotonic()
            outcome = method.run(task)
            word = outcome.honesty if outcome.changed else "goal missed, put back"
            show(device, name, outcome.streamed.total, time.monotonic() - started, word)
        started = time.monotonic()
        retrained = trained(s, np.flatnonzero(kept))
        device.load(retrained)
        show(device, "retrained without them", passes * int(kept.sum()), time.monotonic() - started, "exact")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with dscnn_kws.onnx and kws01.npz")
    parser.add_argument("--forget-class", type=int, default=3)
    options = parser.parse_args()
    s = keywords(options.data) if options.data else digits()
    labels = s.train[1]
    print(f"Training on {len(labels)} samples, on the device (native firmware):", flush=True)
    original = trained(s, np.arange(len(labels)))
    forget(s, original, np.flatnonzero(labels == options.forget_class), f"class {options.forget_class}")
    if not options.data:
        group = np.arange(len(labels)) // 60
        forget(s, original, np.flatnonzero(group == 4), "a block of consecutive samples")


if __name__ == "__main__":
    main()
