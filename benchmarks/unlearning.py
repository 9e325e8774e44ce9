"""Forgetting, judged against retrained models, on the native target (whose bits are every target's).

python benchmarks/unlearning.py classes    DS-CNN from fresh weights forgets each of the 12 keyword classes
python benchmarks/unlearning.py methods    every method and variant × four kinds of request × two models

Results are lines of JSON in build/benchmarks; what is there is not measured again (--again does), and
trained models are kept in the user's cache, so a run that was stopped goes on. Tables are Markdown.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from accuracy import with_fresh_weights
from common import DATA, model, table
from onnx import TensorProto, helper, numpy_helper

import mcutrain
from mcutrain import data as datasets
from mcutrain.build import Build
from mcutrain.errors import McutrainError
from mcutrain.evaluation import metrics
from mcutrain.evaluation import requests as ask
from mcutrain.evaluation.judge import Judge, Judged
from mcutrain.evaluation.measure import Data
from mcutrain.evaluation.observe import Observer
from mcutrain.evaluation.record import clean
from mcutrain.evaluation.retrain import Plan, Step, Trainer, cache_folder
from mcutrain.evaluation.schedule import Schedule
from mcutrain.manifest import UNLEARNING
from mcutrain.unlearning import Method, methods, parse_method

OUT = Path(__file__).resolve().parents[1] / "build" / "benchmarks"
#: What counts as reached: forget accuracy, and distance of the retain accuracy to retrained.
FORGET_AT_MOST, RETAIN_WITHIN = 0.05, 0.01
GOLDS = 3


@dataclass(frozen=True)
class Subject:
    """A model, its data and how it is trained."""

    name: str
    build: Build
    data: Data
    schedule: Schedule
    #: shadow models with and without each sample
    lira: int
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
    return Subject("DS-CNN, keywords", build, data, schedule, lira=0, forgotten=3, target=7)


def digits() -> Subject:
    """64-48-24-10 perceptron on 718 of scikit-learn's digits."""
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "digits_mlp.onnx"
    _write_perceptron(path, (64, 48, 24, 10))
    build = _compiled(path)
    full = _data(build, "digits")
    data = Data(full.x_train[::2], full.y_train[::2], full.x_test, full.y_test, full.classes)
    schedule = Schedule.parse("16:0.02,4:0.004", batch=4, momentum=0.9)
    return Subject("perceptron, digits", build, data, schedule, lira=24, forgotten=5, target=7, image=(8, 8))


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


# ---- results that stay


class Lines:
    """Results by key, one line of JSON each."""

    def __init__(self, name: str, again: bool) -> None:
        self._path = OUT / f"unlearning-{name}.jsonl"
        self.found: dict[str, dict[str, Any]] = {}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if again:
            self._path.unlink(missing_ok=True)
        elif self._path.exists():
            for line in self._path.read_text().splitlines():
                value = json.loads(line)
                self.found[value["key"]] = value

    def add(self, key: str, **values: Any) -> None:
        value = clean({"key": key, **values})
        self.found[key] = value
        with self._path.open("a") as file:
            file.write(json.dumps(value, allow_nan=False) + "\n")


def say(word: str) -> None:
    print(f"# {time.strftime('%H:%M:%S')} {word}", flush=True)


def on_step(step: Step) -> None:
    if step.done == step.total and not step.cached:
        say(f"{step.title}: {step.models} of {step.of} models")


def seconds_per_sample(subject: Subject, samples: int = 100) -> float:
    """Host seconds that a training step of one sample takes, by one process, here and now."""
    with subject.build.session(workers=1) as learner:
        started = time.perf_counter()
        x, y = subject.data.x_train[:samples], subject.data.y_train[:samples]
        learner.train(x, y, epochs=1, lr=1e-6, batch=subject.schedule.batch)
        return (time.perf_counter() - started) / samples


# ---- (a) each class in turn


def classes(name: str, options: dict[str, str], lines: Lines, golds: int) -> None:
    subject = dscnn()
    method, variant = parse_method(name)
    name = ", ".join([name, *(f"{k}={v}" for k, v in options.items())])
    for c in range(subject.data.classes):
        key = f"{name}|{c}|{golds}"
        if key in lines.found:
            continue
        request = ask.by_class(subject.data.y_train, c)
        with _judge(subject, subject.data, request, golds=golds, attacked=False, lira=0) as judge:
            pace = seconds_per_sample(subject)
            judged = judge.run(method, variant, options)
            lines.add(
                key,
                **_values(judged),
                forget=len(request.rows),
                original=judge.original_figures,
                reference=judge.summary,
                retraining_seconds=pace * judge.retraining,
            )
            say(f"{name}, class {c}: {judged.verdict.word} ({judged.verdict.reason})")


def class_tables(lines: Lines) -> None:
    """A table for each method and number of retrained models that was measured."""
    for name, golds in dict.fromkeys((key.split("|")[0], key.split("|")[2]) for key in lines.found):
        _class_table(name, golds, lines)


def _class_table(name: str, golds: str, lines: Lines) -> None:
    header = [
        "class",
        "samples",
        "forgotten, before",
        "after",
        "retrained",
        "retained, after",
        "retrained",
        "test without it, after",
        "retrained",
        "probe, after",
        "retrained",
        "fewer samples",
        "with I_o stored",
        "faster",
        "what decides",
    ]
    rows, reached = [], 0
    for key, value in lines.found.items():
        method, c, models = key.split("|")
        if (method, models) != (name, golds):
            continue
        f, o, g = value["figures"], value["original"], value["reference"]
        missed = _missed(f, g)
        reached += not missed
        rows.append(
            [
                c,
                value["forget"],
                _percent(o["acc_forget"]),
                _percent(f["acc_forget"]),
                _percent(g["acc_forget"][0]),
                _percent(f["acc_retain"]),
                f"{_percent(g['acc_retain'][0])} ± {100 * g['acc_retain'][1]:.1f}",
                _percent(f["acc_test_kept"]),
                f"{_percent(g['acc_test_kept'][0])} ± {100 * g['acc_test_kept'][1]:.1f}",
                _percent(f["probe_recall"]),
                _percent(g["probe_recall"][0]),
                f"{value['cost']['cheaper']:.1f} ×",
                f"{_cheaper_stored(value):.1f} ×",
                f"{value['retraining_seconds'] / max(value['cost']['seconds'], 1e-9):.1f} ×",
                missed or "reached",
            ]
        )
    print(f"\n{name}: {reached} of {len(rows)} classes reached\n")
    table(header, rows)


def _cheaper_stored(value: dict[str, Any]) -> float:
    """The same where the importance over all data was stored when the network learned."""
    cost = value["cost"]
    return float(3 * cost["retraining"] / (3 * value["forget"] + cost["inference"]))


def _missed(f: dict[str, Any], g: dict[str, Any]) -> str:
    missed = []
    if f["acc_forget"] > FORGET_AT_MOST:
        missed.append("remembers")
    distance = f["acc_retain"] - g["acc_retain"][0]
    if abs(distance) > RETAIN_WITHIN + 1e-9:
        missed.append(f"retained {100 * distance:+.1f}")
    return ", ".join(missed)


# ---- (b) methods × requests


def _class_request(s: Subject) -> tuple[Data, ask.Request]:
    return s.data, ask.by_class(s.data.y_train, s.forgotten)


def _random_request(s: Subject) -> tuple[Data, ask.Request]:
    return s.data, ask.at_random(len(s.data.y_train), 0.05, seed=11)


def _worst_request(s: Subject) -> tuple[Data, ask.Request]:
    """The 5 % with the lowest loss under the original model."""
    trainer = Trainer(s.build, s.data.x_train, s.data.y_train, s.schedule, on_step=on_step)
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


#: Switches of the gradient family that are compared one at a time.
_SWITCHES: tuple[tuple[str, Any], ...] = (
    ("projection", True),
    ("mask", "saliency"),
    ("mask", "wagle"),
    ("retain_steps", 0),
)


@dataclass(frozen=True)
class Entry:
    """A method as it is compared: its variant, and options beside those of the subject."""

    name: str
    method: Method
    variant: str
    options: dict[str, Any]

    def settings(self, subject: Subject, request: ask.Request) -> dict[str, Any]:
        """Options: rates by which the model was trained where a method trains on, and chance as the
        goal where labels are a poison's."""
        known = {o.name for o in self.method.options if not o.variants or self.variant in o.variants}
        s = subject.schedule
        chosen: dict[str, Any] = {}
        if "target" in known and request.kind == "poison":
            chosen["target"] = 1 / subject.data.classes
        if self.method.name in ("sparse-finetune", "distill"):
            chosen |= {"lr": s.phases[0].lr, "batch": s.batch, "momentum": s.momentum}
            if "proxy_lr" in known:
                chosen["proxy_lr"] = s.phases[0].lr
        return {**chosen, **self.options}


def every_method() -> list[Entry]:
    """All methods and variants, and the switches of ``gradient`` on its first variant."""
    entries = [Entry(f"{m.name}:{v.name}", m, v.name, {}) for m in methods() for v in m.variants]
    for method in methods():
        if method.name == "gradient":
            first = method.variants[0].name
            for options in (
                {"projection": True},
                {"mask": "saliency"},
                {"mask": "wagle"},
                {"retain_steps": 0},
            ):
                ((option, value),) = options.items()
                shown = "projection" if option == "projection" else f"{option}={value}"
                entries.append(Entry(f"gradient:{first}, {shown}", method, first, dict(options)))
    return entries


def compare(
    names: Sequence[str], scenarios: Sequence[str], lines: Lines, golds: int, lira: int | None
) -> None:
    for name in names:
        subject = SUBJECTS[name]()
        for scenario in scenarios:
            prefix = f"{name}|{scenario}"
            wanted = [entry for entry in every_method() if f"{prefix}|{entry.name}" not in lines.found]
            if f"{prefix}|models" in lines.found and not wanted:
                continue
            say(f"{subject.name}, {scenario}")
            data, request = SCENARIOS[scenario](subject)
            pairs = subject.lira if lira is None else lira
            with _judge(subject, data, request, golds=golds, attacked=True, lira=pairs) as judge:
                lines.add(
                    f"{prefix}|models",
                    subject=subject.name,
                    request=request.title,
                    forget=len(judge.sets.forget),
                    train=len(data.y_train),
                    original=judge.original_figures,
                    reference=judge.summary,
                    lira=pairs,
                )
                for entry in wanted:
                    key = f"{prefix}|{entry.name}"
                    try:
                        settings = entry.settings(subject, request)
                        judged = judge.run(entry.method, entry.variant, settings, name=entry.name)
                    except McutrainError as error:
                        lines.add(key, refused=error.reason)
                        say(f"{key}: {error.reason}")
                        continue
                    lines.add(key, **_values(judged))
                    say(f"{key}: {judged.verdict.word} ({judged.verdict.reason})")


#: Columns of the comparison: name and title; percent unless said otherwise.
COLUMNS = {
    "acc_forget": "forgotten",
    "acc_retain": "retained",
    "acc_test": "test",
    "backdoor": "backdoor",
    "mia_entropy": "entropy",
    "mia_confidence": "confidence",
    "auc_loss": "AUC",
    "rmia": "RMIA",
    "lira": "LiRA",
    "kl_forget": "KL",
    "klom_forget": "KLoM",
    "activation_distance": "activation",
    "zrf": "ZRF",
    "weight_distance": "weights",
    "cka_forget": "CKA f",
    "cka_retain": "CKA r",
    "probe_recall": "probe",
    "knn_recall": "k-NN",
    "row_cosine": "row",
    "enrol_5": "enrol",
    "relearn_5": "relearn",
    "int8_forget": "INT8",
    "relapse": "relapse",
}


def _method_table(prefix: str, lines: Lines) -> None:
    from mcutrain.evaluation.report import PLAIN

    base = lines.found.get(f"{prefix}|models")
    if base is None:
        return
    columns = [c for c in COLUMNS if c in base["original"]]

    def cells(values: dict[str, Any]) -> list[str]:
        found = []
        for c in columns:
            value = values.get(c)
            plain = c in PLAIN
            found.append("–" if value is None else f"{value:.2f}" if plain else f"{100 * value:.1f}")
        return found

    rows = [["original", *cells(base["original"]), "", ""]]
    means = {c: v[0] for c, v in base["reference"].items()}
    floors = {c: v[1] for c, v in base["reference"].items()}
    rows.append(["retrained", *cells(means), "1 ×", ""])
    rows.append(["± floor", *cells(floors), "", ""])
    refused = []
    for key, value in lines.found.items():
        if not key.startswith(f"{prefix}|") or key.endswith("|models"):
            continue
        name = key.rpartition("|")[2]
        if "refused" in value:
            refused.append(f"{name}: {value['refused']}")
            continue
        verdict = value["verdict"]
        cheaper = value["cost"]["cheaper"]
        judged = verdict["word"] + (f": {verdict['gate']}" if verdict["gate"] else "")
        rows.append([name, *cells(value["figures"]), "–" if cheaper is None else f"{cheaper:.1f} ×", judged])
    print(f"\n**{base['subject']}: {base['request']}** ({base['forget']} of {base['train']} samples)\n")
    table(["", *(COLUMNS[c] for c in columns), "cheaper", "verdict"], rows)
    for line in refused:
        print(f"\nNot run: {line}.")


# ---- common


@contextmanager
def _judge(
    subject: Subject, data: Data, request: ask.Request, *, golds: int, attacked: bool, lira: int
) -> Iterator[Judge]:
    judge = Judge(
        subject.build,
        data,
        [request],
        subject.schedule,
        golds=golds,
        lira=lira,
        attacked=attacked,
        cache=cache_folder(),
        on_step=on_step,
        on_word=say,
    )
    with judge:
        yield judge


def _values(judged: Judged) -> dict[str, Any]:
    outcome = judged.outcomes[-1] if judged.outcomes else {}
    return {
        "figures": dict(judged.figures),
        "verdict": asdict(judged.verdict),
        "gates": [asdict(g) for g in judged.gates],
        "cost": {**asdict(judged.cost), "cheaper": judged.cost.cheaper},
        "stop": outcome.get("stop", ""),
        "parameters": dict(outcome.get("parameters", {})),
    }


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["classes", "methods"])
    parser.add_argument("--method", default="ssd", help="classes: METHOD[:VARIANT]")
    parser.add_argument("-O", action="append", default=[], metavar="NAME=VALUE", help="classes: option of it")
    parser.add_argument("--models", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--requests", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--golds", type=int, default=GOLDS, help="retrained models of each request")
    parser.add_argument("--lira", type=int, help="shadow models a side, by default as each model says")
    parser.add_argument("--again", action="store_true", help="measure anew what was measured")
    parser.add_argument("--show", action="store_true", help="only print what was measured")
    args = parser.parse_args()
    lines = Lines(args.what, args.again)
    if args.what == "classes":
        options = dict(text.split("=", 1) for text in args.O)
        if not args.show:
            classes(args.method, options, lines, args.golds)
        class_tables(lines)
    else:
        if not args.show:
            compare(args.models, args.requests, lines, args.golds, args.lira)
        for name in args.models:
            for scenario in args.requests:
                _method_table(f"{name}|{scenario}", lines)


if __name__ == "__main__":
    main()
