"""Train a small CNN on scikit-learn's handwritten digits, on a simulated microcontroller.

Makes an ONNX model with fresh weights, compiles it to firmware for QEMU (or for
this computer where QEMU is missing), trains it over the firmware's serial line,
and writes trained.onnx:

    python examples/digits_cnn.py [--target native] [--epochs 3]
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import mcutrain
from mcutrain import data
from mcutrain.events import Event, StepEvent

#: The model: convolutions (output channels, stride), each 3×3 with Relu, then a dense layer.
CONVOLUTIONS = ((8, 1), (16, 2), (32, 2))
CLASSES = 10
FOLDER = Path("build") / "demo"


def fresh_model(path: Path, seed: int = 1) -> None:
    """Write the untrained CNN, input [1, 1, 8, 8], as ONNX; weights after He et al. 2015."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def parameter(name: str, shape: tuple[int, ...], inputs: int) -> str:
        values = rng.normal(0, math.sqrt(2 / inputs), shape) if inputs else np.zeros(shape)
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    channels, side, last = 1, 8, "image"
    for number, (filters, stride) in enumerate(CONVOLUTIONS, start=1):
        name = f"conv{number}"
        weight = parameter(f"{name}.weight", (filters, channels, 3, 3), channels * 9)
        bias = parameter(f"{name}.bias", (filters,), 0)
        nodes.append(
            helper.make_node(
                "Conv", [last, weight, bias], [name], name, pads=[1, 1, 1, 1], strides=[stride, stride]
            )
        )
        nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"], f"relu{number}"))
        channels, side, last = filters, side // stride, f"{name}.relu"
    nodes.append(helper.make_node("Flatten", [last], ["features"], "flatten"))
    features = channels * side * side
    weight = parameter("fc.weight", (CLASSES, features), features)
    bias = parameter("fc.bias", (CLASSES,), 0)
    nodes.append(helper.make_node("Gemm", ["features", weight, bias], ["scores"], "fc", transB=1))
    graph = helper.make_graph(
        nodes,
        "digits_cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def show(event: Event) -> None:
    """A counter within the epoch."""
    if isinstance(event, StepEvent) and sys.stdout.isatty():
        print(f"  step {event.step} of {event.steps}", end="\r", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    qemu = shutil.which("qemu-system-riscv32")
    parser.add_argument("--target", default="qemu" if qemu else "native")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=Path("trained.onnx"))
    options = parser.parse_args()
    if not qemu and options.target == "native":
        print(
            "QEMU is not here, so the firmware runs on this computer (sudo apt-get install qemu-system-misc)."
        )

    started = time.monotonic()
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = FOLDER / "digits_cnn.onnx"
    fresh_model(model)
    build = mcutrain.compile(
        model,
        target=options.target,
        precision="mixed",
        loss="cross-entropy",
        momentum=True,
        out=FOLDER / options.target,
    )
    print(f"Compiled {model} to {build.firmware_path} in {time.monotonic() - started:.1f} s.")

    shape = data.ModelShape.of(build.manifest)
    digits = data.load("digits")
    x, y = digits.part("train", shape)
    x_test, y_test = digits.part("test", shape)
    with build.session() as device:
        before = device.evaluate(x_test, y_test)
        print(f"Training on {len(x)} digits, on the device ({options.target}):")
        for epoch in range(options.epochs):
            # The last epoch takes small steps, which settles what the others found.
            rate = options.lr / 5 if epoch == options.epochs - 1 else options.lr
            run = device.train(x, y, lr=rate, momentum=0.9, batch=8, seed=epoch, on_event=show)
            print(f"  epoch {epoch + 1} of {options.epochs}: mean loss {run.epochs[0].loss:.4f}", flush=True)
        after = device.evaluate(x_test, y_test)
        build.save_onnx(options.out, device.weights())

    print(f"Accuracy on {after.samples} test digits before training: {before.accuracy or 0:.1%}")
    print(f"Accuracy on {after.samples} test digits after training:  {after.accuracy or 0:.1%}")
    print(f"Wrote {options.out}. All of it took {time.monotonic() - started:.0f} s.")


if __name__ == "__main__":
    main()
