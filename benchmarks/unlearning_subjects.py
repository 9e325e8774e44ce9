"""Models, data and requests of the unlearning benchmark."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from accuracy import with_fresh_weights
from common import DATA, model
from onnx import TensorProto, helper, numpy_helper

import mcutrain
from mcutrain import data as datasets
from mcutrain.build import Build
from mcutrain.evaluation import metrics
from mcutrain.evaluation import requests as ask
from mcutrain.evaluation.measure import Data
from mcutrain.evaluation.observe import Observer
from mcutrain.evaluation.retrain import Plan, Trainer
from mcutrain.evaluation.schedule import Schedule
from mcutrain.manifest import UNLEARNING

#: Models and results.
OUT = Path(__file__).resolve().parents[1] / "build" / "benchmarks"


@dataclass(frozen=True)
class Subject:
    """A model, its data and how it is trained."""

    name: str
    build: Build
    data: Data
    schedule: Schedule
    #: shadow models, of which each sample is in half
    shadows: int
    #: class of the class request, and of the poison
    forgotten: int
    target: int
    image: tuple[int, int] | None = None


def dscnn() -> Subject:
    """The MLPerf Tiny keyword spotter with fresh weights, 500 training samples."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = with_fresh_weights(model("dscnn"), OUT / "dscnn_fresh.onnx")
    build = _compiled(path)
    data = _data(build, DATA / "kws01.npz")
    schedule = Schedule.parse("24:0.003,6:0.0006", batch=5, momentum=0.9)
    return Subject("DS-CNN, keywords", build, data, schedule, shadows=32, forgotten=3, target=7)


def digits() -> Subject:
    """64-48-24-10 perceptron on 718 of scikit-learn's digits."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "digits_mlp.onnx"
    _write_perceptron(path, (64, 48, 24, 10))
    build = _compiled(path)
    full = _data(build, "digits")
    data = Data(full.x_train[::2], full.y_train[::2], full.x_test, full.y_test, full.classes)
    schedule = Schedule.parse("16:0.02,4:0.004", batch=4, momentum=0.9)
    return Subject(
        "perceptron, digits", build, data, schedule, shadows=48, forgotten=5, target=7, image=(8, 8)
    )


def _compiled(path: Path) -> Build:
    """A native training build with the Programs of every unlearning method."""
    return mcutrain.compile(
        path, target="native", loss="cross-entropy", momentum=True, workers=1, unlearn=UNLEARNING
    )


def _data(build: Build, source: str | Path) -> Data:
    shape = datasets.ModelShape.of(build.manifest)
    loaded = datasets.load(source)
    x, y = loaded.part("train", shape)
    x_test, y_test = loaded.part("test", shape)
    classes = int(np.prod(shape.output))
    return Data(np.asarray(x), np.asarray(y), np.asarray(x_test), np.asarray(y_test), classes)


def _write_perceptron(path: Path, widths: Sequence[int], seed: int = 3) -> None:
    """Dense layers with Relu between, weights after He et al. 2015, as ONNX."""
    rng = np.random.default_rng(seed)
    nodes, weights, last = [], [], "x"
    for i, (inputs, outputs) in enumerate(pairwise(widths), start=1):
        w = rng.normal(0, (2 / inputs) ** 0.5, (outputs, inputs)).astype(np.float32)
        weights += [
            numpy_helper.from_array(w, f"w{i}"),
            numpy_helper.from_array(np.zeros(outputs, np.float32), f"b{i}"),
        ]
        final = i == len(widths) - 1
        out = "y" if final else f"h{i}"
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [out], f"dense{i}", transB=1))
        if not final:
            nodes.append(helper.make_node("Relu", [out], [f"r{i}"], f"relu{i}"))
        last = f"r{i}"
    graph = helper.make_graph(
        nodes,
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, widths[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, widths[-1]])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def _class_request(s: Subject) -> tuple[Data, ask.Request]:
    return s.data, ask.by_class(s.data.y_train, s.forgotten)


def _random_request(s: Subject) -> tuple[Data, ask.Request]:
    return s.data, ask.at_random(len(s.data.y_train), 0.05, seed=11)


def _worst_request(s: Subject) -> tuple[Data, ask.Request]:
    """The 5 % with the lowest loss under the original model."""
    trainer = Trainer(s.build, s.data.x_train, s.data.y_train, s.schedule)
    (weights,) = trainer.train([Plan("original model", tuple(range(len(s.data.y_train))), 0)])
    with s.build.session(workers=1) as learner:
        learner.load(weights)
        logits, _ = Observer(learner).outputs(s.data.x_train)
    return s.data, ask.worst_case(metrics.losses(logits, s.data.y_train), 0.05)


def _poison_request(s: Subject) -> tuple[Data, ask.Request]:
    """A tenth of the samples carries a patch and a wrong label; half of them were found."""
    poison = ask.Poison(s.target, image=s.image, value=float(s.data.x_train.max()))
    x, y, rows = poison.spread(s.data.x_train, s.data.y_train, 0.10, seed=12)
    data = Data(x, y, s.data.x_test, s.data.y_test, s.data.classes, poison=poison)
    return data, ask.poisoned(rows, 0.5, seed=13)


SCENARIOS: dict[str, Callable[[Subject], tuple[Data, ask.Request]]] = {
    "class": _class_request,
    "random 5 %": _random_request,
    "worst case 5 %": _worst_request,
    "poison, half known": _poison_request,
}
SUBJECTS = {"dscnn": dscnn, "digits": digits}
