"""The report of an evaluation: one HTML file that needs nothing else, and JSON with everything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from mcutrain.errors import OptionError
from mcutrain.evaluation import plots
from mcutrain.evaluation.compare import TITLES
from mcutrain.files import write_whole

#: Names of the files in the report's folder.
HTML, JSON = "report.html", "report.json"
#: Figures that are counts of nats, distances or ratios; all others are shares and shown in percent.
PLAIN = (
    "auc_loss",
    "privleak",
    "rmia",
    "lira",
    "lira_auc",
    "kl_forget",
    "kl_retain",
    "klom_forget",
    "klom_retain",
    "activation_distance",
    "zrf",
    "weight_distance",
    "cka_forget",
    "cka_retain",
    "row_cosine",
    "row_norm",
    "wasserstein_forget",
)
#: Figures of the text table, in its order.
SHORT = (
    "acc_forget",
    "acc_retain",
    "acc_test",
    "acc_test_kept",
    "mae_forget",
    "mae_retain",
    "mae_test",
    "wasserstein_forget",
    "backdoor",
    "mia_entropy",
    "mia_confidence",
    "auc_loss",
    "rmia",
    "lira",
    "kl_forget",
    "probe_recall",
    "relearn_10",
    "int8_forget",
    "relapse",
)
#: Gates in the plot, which has room for a few words.
_GATES = {
    "acc_forget": "accuracy, forgotten",
    "acc_retain": "accuracy, retained",
    "acc_test": "accuracy, test",
    "mae_forget": "error, forgotten",
    "mae_retain": "error, retained",
    "mae_test": "error, test",
    "membership": "membership attacks",
    "lira": "LiRA",
    "probe_recall": "linear probe",
}
_WORDS = {
    "exact": "the weights equal those of a model that never saw the data",
    "removal": "no gate tells the model from models that never saw the data",
    "suppression": "the model behaves as if it had forgotten; something still tells that it knew",
    "failed": "the model does not behave like one that never saw the data",
}


def write(folder: Path, result: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write both files of ``result`` (of ``record.as_json``) and return their paths.

    Raises OptionError when the folder cannot be written.
    """
    texts = {HTML: html(result), JSON: json.dumps(result, indent=1, allow_nan=False) + "\n"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            write_whole(folder / name, text)
    except OSError as error:
        raise OptionError(
            f"cannot write the report to {folder}: {error.strerror or error}", "name another folder"
        ) from None
    return folder / HTML, folder / JSON


def shown(name: str, value: float | None) -> str:
    """A figure for people: shares in percent, the others as they are, – for what could not be measured."""
    if value is None:
        return "–"
    if name not in PLAIN:
        return f"{100 * value:.1f} %"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def rows(result: Mapping[str, Any], names: Sequence[str] | None = None) -> list[list[str]]:
    """Figures as text: title, original, retrained (mean ± spread), then each judged model."""
    made = []
    models = [result["original"], *result["judged"]]
    for name in names or list(TITLES):
        if not any(name in m["figures"] for m in models):
            continue
        reference = result["reference"].get(name, {"mean": None, "spread": None})
        gold = shown(name, reference["mean"])
        if reference["mean"] is not None:
            gold += f" ± {shown(name, reference['spread'])}"
        original, *judged = (shown(name, m["figures"].get(name)) for m in models)
        made.append([TITLES[name], original, gold, *judged])
    return made


def html(result: Mapping[str, Any]) -> str:
    """The page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = lambda value, name: shown(name, value)
    regression = result["model"]["loss"] == "mse"
    return environment.get_template("report.html.j2").render(
        r=result,
        rows=rows(result),
        words=_WORDS,
        regression=regression,
        plots=_plots(result, regression),
        names=["original", "retrained", *(j["name"] for j in result["judged"])],
        colours=plots.COLOURS,
    )


def _plots(result: Mapping[str, Any], regression: bool) -> dict[str, Any]:
    original, golds, judged = result["original"], result["retrained"], result["judged"]
    models = {"original": original, **{j["name"]: j for j in judged}}

    def series(pick: Any) -> dict[str, list[float | None]]:
        """Original, mean of the retrained, judged, each through ``pick``."""
        means = _mean([pick(g) for g in golds])
        return {"original": pick(original), "retrained": means, **{j["name"]: pick(j) for j in judged}}

    layers = list(original["cka"]["forget"])
    drawn: dict[str, Any] = {
        "limits": _limits(result),
        "cka": [
            (
                f"on the {words}",
                plots.lines(
                    layers,
                    series(lambda m, side=side: [m["cka"][side][layer] for layer in layers]),
                    title=f"CKA by layer on the {words} samples",
                    x_label="layer",
                ),
            )
            for side, words in (("forget", "forgotten"), ("retain", "retained"))
        ],
    }
    if regression:
        return drawn
    classes = [str(c) for c in range(result["data"]["classes"])]
    forgotten = {str(c) for c in result["request"]["classes"]}
    drawn["by_class"] = plots.bars(
        [c + ("*" if c in forgotten else "") for c in classes],
        series(lambda m: m["by_class"]),
        title="accuracy by class",
        x_label="class (* forgotten)" if forgotten else "class",
    )
    steps = list(original["relearn"])
    drawn["relearn"] = plots.lines(
        steps,
        series(lambda m: [m["relearn"].get(s) for s in steps]),
        title="accuracy on the forgotten while relearning",
        x_label="optimizer steps on a few forgotten samples",
        percent=True,
    )
    edges = ["1e-6", "1e-4", "0.01", "1", "100"]
    drawn["losses"] = [
        (
            name,
            plots.histogram(
                edges, m["losses"], title=f"losses of {name}", x_label="cross-entropy of a sample, nats"
            ),
        )
        for name, m in (*models.items(), ("retrained 1", golds[0]))
    ]
    return drawn


def _limits(result: Mapping[str, Any]) -> str:
    titles: list[str] = []
    found: dict[str, list[float | None]] = {}
    for name, j in (("original", result["original"]), *((j["name"], j) for j in result["judged"])):
        titles = [_GATES[gate["name"]] for gate in j["gates"]]
        found[name] = [_times(gate) for gate in j["gates"]]
    # Colour 1 belongs to the retrained models, from which the distances are.
    none: list[float | None] = [None] * len(titles)
    series = {"original": found.pop("original"), "retrained": none, **found}
    return plots.limits(titles, series, title="gates, 1 is the limit")


def _times(gate: Mapping[str, Any]) -> float | None:
    """How far a gate's measure is, in limits; LiRA counts from ½."""
    measured, limit = gate["measured"], gate["limit"]
    if measured is None:
        return None
    if gate["name"] == "lira":
        return max(0.0, float((measured - 0.5) / (limit - 0.5)))
    return float(measured / limit)


def _mean(values: Sequence[Sequence[float | None]]) -> list[float | None]:
    means: list[float | None] = []
    for column in zip(*values, strict=True):
        known = [v for v in column if v is not None]
        means.append(sum(known) / len(known) if known else None)
    return means
