"""A regression forgets a group: how far diabetes progressed, without the oldest patients.

A small network learns scikit-learn's diabetes data (442 patients, ten values each) on the device, forgets
everybody from a certain age on, and is compared with a network that never saw them. Deep regression
unlearning (Tarun et al. 2023) offers two ways: a teacher that knows little of anything and nothing of them
(blindspot), or targets drawn at random from those of everybody (gaussian):

    python examples/regression_unlearning.py [--share 0.15]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_diabetes

import mcutrain
from mcutrain.build import Build
from mcutrain.executor import Array
from mcutrain.unlearning import Task, parse_method
from mcutrain.unlearning.layers import fresh_weights

FOLDER = Path("build") / "unlearning"
HIDDEN = 24
METHODS: tuple[tuple[str, dict[str, object]], ...] = (
    ("distill:blindspot", {"epochs": 6, "proxy_epochs": 2, "lr": 0.02, "proxy_lr": 0.02}),
    ("distill:gaussian", {"epochs": 6, "lr": 0.02}),
    ("gradient:ascent", {"retain_steps": 2}),
    ("sparse-finetune:eu-k", {"epochs": 6, "lr": 0.02}),
)


def network(path: Path) -> None:
    """Ten values, one hidden layer, one value; the weights are set on the device."""
    shapes = {"w1": (HIDDEN, 10), "b1": (HIDDEN,), "w2": (1, HIDDEN), "b2": (1,)}
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], "hidden", transB=1),
        helper.make_node("Tanh", ["h"], ["t"], "tanh"),
        helper.make_node("Gemm", ["t", "w2", "b2"], ["y"], "out", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "diabetes",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 10])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in shapes.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def samples() -> tuple[Array, Array]:
    """Values and targets with mean 0 and deviation 1."""
    loaded = load_diabetes()
    x = loaded.data / loaded.data.std(axis=0)
    y = (loaded.target - loaded.target.mean()) / loaded.target.std()
    return x.astype(np.float32), y.astype(np.float32).reshape(-1, 1)


def trained(build: Build, x: Array, y: Array) -> dict[str, Array]:
    """Weights after training from the same fresh weights each time."""
    with build.session() as device:
        rng = np.random.default_rng(1)
        device.executor.write(fresh_weights(build.manifest, build.manifest.trained(), rng))
        device.train(x, y, epochs=60, lr=0.02, batch=4)
        return device.weights()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--share", type=float, default=0.15, help="share of the patients, the oldest ones")
    share = parser.parse_args().share
    FOLDER.mkdir(parents=True, exist_ok=True)
    network(FOLDER / "diabetes.onnx")
    build = mcutrain.compile(FOLDER / "diabetes.onnx", loss="mse", unlearn="gradient,distill,sparse-finetune")
    x, y = samples()
    test = np.arange(len(y)) % 4 == 3
    old = x[:, 0] >= np.quantile(x[:, 0], 1 - share)
    sets = {"forgotten": ~test & old, "retained": ~test & ~old, "test": test & ~old}
    forget, retain = ((x[sets[name]], y[sets[name]]) for name in ("forgotten", "retained"))
    print(f"{len(forget[1])} patients are forgotten, {len(retain[1])} retained.")
    print("Mean absolute error, in standard deviations of the target; the last column is the mean")
    print("distance of the answers on the forgotten patients to those of the retrained network.\n")
    original = trained(build, x[~test], y[~test])
    retrained = trained(build, *retain)
    with build.session() as device:
        device.load(retrained)
        wanted = device.infer(forget[0])

        def show(name: str) -> None:
            errors = [float(np.abs(device.infer(x[rows]) - y[rows]).mean()) for rows in sets.values()]
            apart = float(np.abs(device.infer(forget[0]) - wanted).mean())
            print(f"{name:24}" + "".join(f"{e:>11.3f}" for e in (*errors, apart)), flush=True)

        print(f"{'':24}" + "".join(f"{name:>11}" for name in (*sets, "distance")))
        show("retrained")
        device.load(original)
        show("original")
        for name, options in METHODS:
            method, variant = parse_method(name)
            device.load(original)
            method.run(Task(device, forget, retain, variant=variant, options=options))
            show(name)


if __name__ == "__main__":
    main()
