"""Accuracy of training on real data, mixed against fp32, on the native target.

python benchmarks/accuracy.py [dscnn-finetune] [resnet8-finetune] [dscnn-fresh]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from common import model, samples, table

import mcutrain


@dataclass(frozen=True)
class Recipe:
    """A training run and its hyper-parameters."""

    model: str
    epochs: int
    lr: float
    batch: int
    momentum: float = 0.0
    weight_decay: float = 0.0
    train: tuple[str, ...] = ()
    fresh: bool = False
    #: fraction of the rate in each third of the run
    schedule: tuple[float, ...] = field(default=(1.0,))


RECIPES = {
    "dscnn-finetune": Recipe("dscnn", epochs=6, lr=0.0005, batch=10, schedule=(1.0, 0.3)),
    "resnet8-finetune": Recipe(
        "resnet8",
        epochs=6,
        lr=0.001,
        batch=16,
        train=("conv7", "conv8", "conv9", "dense*"),
        schedule=(1.0, 0.3),
    ),
    "dscnn-fresh": Recipe(
        "dscnn", epochs=60, lr=0.002, batch=5, momentum=0.9, fresh=True, schedule=(1.0, 1.0, 0.2)
    ),
}


def with_fresh_weights(path: Path, out: Path, seed: int = 0) -> Path:
    """The model with He-normal weights and zero biases."""
    rng = np.random.default_rng(seed)
    loaded = mcutrain.compile(path, target="native", precision="fp32")
    weights = {}
    for name, value in loaded.reference().weights().items():
        if value.ndim == 1:
            weights[name] = np.zeros_like(value)
        else:
            fan_in = int(np.prod(value.shape[1:])) if value.ndim == 4 else value.shape[0]
            weights[name] = rng.normal(0, (2.0 / fan_in) ** 0.5, value.shape).astype(np.float32)
    loaded.save_onnx(out, weights)
    return out


def run(recipe: Recipe, precision: str, scratch: Path) -> tuple[float, float, float, list[float]]:
    data = samples(recipe.model)
    path = model(recipe.model)
    if recipe.fresh:
        path = with_fresh_weights(path, scratch / "fresh.onnx")
    build = mcutrain.compile(
        path,
        target="native",
        precision=precision,
        loss="cross-entropy",
        momentum=recipe.momentum > 0,
        train=recipe.train,
    )
    losses: list[float] = []
    with build.session() as session:
        before = session.evaluate(data["x_test"], data["y_test"]).accuracy
        per_phase = recipe.epochs // len(recipe.schedule)
        for phase, fraction in enumerate(recipe.schedule):
            training = session.train(
                data["x_train"],
                data["y_train"],
                epochs=per_phase,
                lr=recipe.lr * fraction,
                batch=recipe.batch,
                momentum=recipe.momentum,
                weight_decay=recipe.weight_decay,
                seed=phase,
            )
            losses += [event.loss for event in training.epochs]
        after = session.evaluate(data["x_test"], data["y_test"]).accuracy
        fitted = session.evaluate(data["x_train"], data["y_train"]).accuracy
        scored = scratch / "trained.onnx"
        build.save_onnx(scored, session.weights())
    assert before is not None
    assert after is not None
    assert fitted is not None
    return before, after, fitted, [*losses, onnx_accuracy(scored, data["x_test"], data["y_test"])]


def onnx_accuracy(path: Path, x: np.ndarray, y: np.ndarray) -> float:  # type: ignore[type-arg]
    """Accuracy of the saved model by ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    shape = [d if isinstance(d, int) else len(x) for d in session.get_inputs()[0].shape]
    outputs = session.run(None, {name: x.reshape(len(x), *shape[1:]).astype(np.float32)})[0]
    return float((outputs.argmax(1) == y).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", default=list(RECIPES))
    parser.add_argument("--precisions", nargs="+", default=["fp32", "mixed"])
    args = parser.parse_args()
    rows = []
    for name in args.recipes:
        recipe = RECIPES[name]
        for precision in args.precisions:
            with tempfile.TemporaryDirectory() as scratch:
                before, after, fitted, curve = run(recipe, precision, Path(scratch))
            *losses, by_onnx = curve
            print(f"# {name} {precision}: loss per epoch", " ".join(f"{v:.3f}" for v in losses), flush=True)
            rows.append([name, precision, f"{before:.1%}", f"{after:.1%}", f"{by_onnx:.1%}", f"{fitted:.1%}"])
    table(["run", "precision", "before", "after (device)", "after (ONNX Runtime)", "training samples"], rows)


if __name__ == "__main__":
    main()
