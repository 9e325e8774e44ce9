"""Results of the unlearning benchmark that stay, and their tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from common import table
from unlearning_subjects import OUT

from mcutrain.evaluation.record import clean
from mcutrain.evaluation.report import PLAIN
from mcutrain.unlearning.run import GUARD_SIZE

#: What counts as reached: forget accuracy, and distance of the retain accuracy to retrained.
FORGET_AT_MOST, RETAIN_WITHIN = 0.05, 0.01
#: Programs that training and `ssd` run, and a file of their cycles on GVSoC by precision.
COUNTED = (
    "train_step",
    "apply",
    "evaluate",
    "importance",
    "zero_gradients",
    "statistics",
    "store_importance",
    "retain_importance",
    "dampen",
)
CYCLES = OUT / "unlearning-cycles.json"


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
        *(f"fewer cycles, {precision}" for precision in _cycles()),
        "faster",
        "what decides",
    ]
    rows, reached, better = [], 0, 0
    for key, value in lines.found.items():
        method, c, models = key.split("|")
        if (method, models) != (name, golds):
            continue
        f, o, g = value["figures"], value["original"], value["reference"]
        missed = _missed(f, g)
        reached += not missed
        better += (
            f["acc_forget"] <= FORGET_AT_MOST and f["acc_retain"] >= g["acc_retain"][0] - RETAIN_WITHIN - 1e-9
        )
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
                *(_fewer_cycles(value, each) for each in _cycles().values()),
                f"{value['retraining_seconds'] / max(value['cost']['seconds'], 1e-9):.1f} ×",
                missed or "reached",
            ]
        )
    print(f"\n{name}: {reached} of {len(rows)} classes reached; {better} where the retained may be better\n")
    table(header, rows)


def _cheaper_stored(value: dict[str, Any]) -> float:
    """Fewer samples where the importance was stored when the network learned.

    Gradients of the forget set alone; of the retained only the guard set is scored at first.
    """
    cost, measured = value["cost"], value["parameters"].get("importance_samples") or 0
    retained = value["parameters"]["training_samples"] - value["forget"]
    inference = cost["inference"] - (retained - min(GUARD_SIZE, retained))
    return float(3 * cost["retraining"] / (3 * (cost["gradient"] - measured) + inference))


def _cycles() -> dict[str, dict[str, int]]:
    """Cycles of each Program by precision, where they were counted."""
    return json.loads(CYCLES.read_text()) if CYCLES.exists() else {}


def _fewer_cycles(value: dict[str, Any], cycles: dict[str, int]) -> str:
    """Cycles of the method and how often they fit into those of retraining.

    Runs of Programs times the cycles of a run; a part of a Program counts as all of it.
    """
    own = sum(count * cycles[name] for name, count in value["cost"]["programs"].items())
    whole = sum(count * cycles[name] for name, count in value["retraining_programs"].items())
    return f"{own / 1e6:,.0f} M, {whole / own:.1f} ×"


def _missed(f: dict[str, Any], g: dict[str, Any]) -> str:
    missed = []
    if f["acc_forget"] > FORGET_AT_MOST:
        missed.append("remembers")
    distance = f["acc_retain"] - g["acc_retain"][0]
    if abs(distance) > RETAIN_WITHIN + 1e-9:
        missed.append(f"retained {100 * distance:+.1f}")
    return ", ".join(missed)


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


#: Verdicts, best first.
_VERDICTS = ("exact", "removal", "suppression", "failed")


def verdict_table(prefixes: Sequence[str], lines: Lines) -> None:
    """How many runs got which verdict on each request, and how far LiRA tells models apart there."""
    rows = []
    for prefix in prefixes:
        base = lines.found.get(f"{prefix}|models")
        if base is None:
            continue
        words = [value["verdict"]["word"] for _, value in _measured(prefix, lines) if "verdict" in value]
        gold = base["reference"].get("lira", (None, None))
        lira = [base["original"].get("lira"), *gold, base.get("lira_power")]
        rows.append(
            [
                f"{base['subject']}: {base['request']}",
                *(words.count(word) for word in _VERDICTS),
                *("–" if value is None else f"{value:.2f}" for value in lira),
                base.get("shadows") or "–",
            ]
        )
    print()
    header = [
        "request",
        *_VERDICTS,
        "LiRA, original",
        "retrained",
        "± floor",
        "on shadow models",
        "shadow models",
    ]
    table(header, rows)


def _measured(prefix: str, lines: Lines) -> list[tuple[str, dict[str, Any]]]:
    """Names and values of what was measured on a request, exact methods first."""
    found = [
        (key.rpartition("|")[2], value)
        for key, value in lines.found.items()
        if key.startswith(f"{prefix}|") and not key.endswith("|models")
    ]
    return sorted(found, key=lambda pair: not pair[0].startswith("rollback"))


def method_table(prefix: str, lines: Lines) -> None:
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
    for name, value in _measured(prefix, lines):
        if "refused" in value:
            refused.append(f"{name}: {value['refused']}")
            continue
        verdict = value["verdict"]
        cheaper = value["cost"]["cheaper"]
        judged = verdict["word"] + (f": {verdict['gate']}" if verdict["gate"] else "")
        rows.append([name, *cells(value["figures"]), "–" if cheaper is None else f"{cheaper:.1f} ×", judged])
    told = f"{base['forget']} of {base['train']} samples"
    print(f"\n**{base['subject']}: {base['request']}** ({told})\n")
    table(["", *(COLUMNS[c] for c in columns), "cheaper", "verdict"], rows)
    for line in refused:
        print(f"\nNot run: {line}.")


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
