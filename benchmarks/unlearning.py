"""Forgetting, judged against retrained models, on the native target (whose bits are every target's).

python benchmarks/unlearning.py classes    DS-CNN from fresh weights forgets each of the 12 keyword classes
python benchmarks/unlearning.py cycles     the DS-CNN's Programs on GVSoC, for the table of classes
python benchmarks/unlearning.py methods    every method and variant × four kinds of request × two models

Results are lines of JSON in build/benchmarks; what is there is not measured again (--again does), and
trained models are kept in the user's cache, so a run that was stopped goes on. Tables are Markdown.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from importance import program_cycles
from unlearning_subjects import OUT, SCENARIOS, SUBJECTS, Subject, dscnn
from unlearning_tables import COUNTED, CYCLES, Lines, class_tables, method_table, verdict_table

import mcutrain
from mcutrain.errors import McutrainError
from mcutrain.evaluation import requests as ask
from mcutrain.evaluation.judge import Judge
from mcutrain.evaluation.judged import Judged
from mcutrain.evaluation.measure import Data
from mcutrain.evaluation.retrain import Step, cache_folder
from mcutrain.unlearning import Method, methods, parse_method

GOLDS = 3


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
        with _judge(subject, subject.data, request, golds=golds, attacked=False, shadows=0) as judge:
            pace, kept = seconds_per_sample(subject), len(judge.sets.retain)
            judged = judge.run(method, variant, options)
            lines.add(
                key,
                **_values(judged),
                forget=len(request.rows),
                original=judge.original_figures,
                reference=judge.summary,
                retraining_seconds=pace * judge.retraining,
                retraining_programs={
                    "train_step": judge.retraining,
                    "apply": judge.retraining // kept * -(-kept // subject.schedule.batch),
                },
            )
            say(f"{name}, class {c}: {judged.verdict.word} ({judged.verdict.reason})")


def cycles() -> None:
    """Count the Programs that training and ``ssd`` run, in both precisions, and keep that."""
    found = {}
    for precision in ("fp32", "mixed"):
        build = mcutrain.compile(
            OUT / "dscnn_fresh.onnx",
            target="gvsoc",
            precision=precision,
            loss="cross-entropy",
            momentum=True,
            unlearn="ssd",
        )
        data = dscnn().data
        found[precision] = program_cycles(build, data.x_train, data.y_train, COUNTED)
        say(f"{precision}: {found[precision]}")
    CYCLES.write_text(json.dumps(found, indent=1) + "\n")


# ---- (b) methods × requests

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
    # training again from the start takes longest
    return sorted(entries, key=lambda entry: entry.method.name == "rollback")


def compare(
    names: Sequence[str],
    scenarios: Sequence[str],
    lines: Lines,
    golds: int,
    shadows: int | None,
    refused: bool,
) -> None:
    """With ``refused``, what an earlier measurement refused is tried again."""
    for name in names:
        subject = SUBJECTS[name]()
        for scenario in scenarios:
            prefix = f"{name}|{scenario}"
            there = {key for key, line in lines.found.items() if not (refused and "refused" in line)}
            wanted = [entry for entry in every_method() if f"{prefix}|{entry.name}" not in there]
            if f"{prefix}|models" in lines.found and not wanted:
                continue
            say(f"{subject.name}, {scenario}")
            data, request = SCENARIOS[scenario](subject)
            models = subject.shadows if shadows is None else shadows
            with _judge(subject, data, request, golds=golds, attacked=True, shadows=models) as judge:
                lines.add(
                    f"{prefix}|models",
                    subject=subject.name,
                    request=request.title,
                    forget=len(judge.sets.forget),
                    train=len(data.y_train),
                    original=judge.original_figures,
                    reference=judge.summary,
                    shadows=models,
                    lira_power=judge.lira_power,
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


# ---- common


@contextmanager
def _judge(
    subject: Subject, data: Data, request: ask.Request, *, golds: int, attacked: bool, shadows: int
) -> Iterator[Judge]:
    judge = Judge(
        subject.build,
        data,
        [request],
        subject.schedule,
        golds=golds,
        shadows=shadows,
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


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["classes", "cycles", "methods"])
    parser.add_argument("--method", default="ssd", help="classes: METHOD[:VARIANT]")
    parser.add_argument("-O", action="append", default=[], metavar="NAME=VALUE", help="classes: option of it")
    parser.add_argument("--models", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--requests", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--golds", type=int, default=GOLDS, help="retrained models of each request")
    parser.add_argument("--shadows", type=int, help="shadow models, by default as each model says")
    parser.add_argument("--again", action="store_true", help="measure anew what was measured")
    parser.add_argument("--refused", action="store_true", help="measure what was refused before")
    parser.add_argument("--show", action="store_true", help="only print what was measured")
    args = parser.parse_args()
    if args.what == "cycles":
        cycles()
        return
    lines = Lines(args.what, args.again)
    if args.what == "classes":
        options = dict(text.split("=", 1) for text in args.O)
        if not args.show:
            classes(args.method, options, lines, args.golds)
        class_tables(lines)
    else:
        if not args.show:
            compare(args.models, args.requests, lines, args.golds, args.shadows, args.refused)
        prefixes = [f"{name}|{scenario}" for name in args.models for scenario in args.requests]
        verdict_table(prefixes, lines)
        for prefix in prefixes:
            method_table(prefix, lines)


if __name__ == "__main__":
    main()
