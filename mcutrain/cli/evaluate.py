"""``mcutrain evaluate``: judge unlearned models against retrained ones."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.progress import Progress

from mcutrain.cli import evaluate_request as asked
from mcutrain.cli.console import errors, output, print_json, progress, table
from mcutrain.cli.options import build_argument, data_option, json_option, limit_option, open_build, open_data
from mcutrain.data import load
from mcutrain.errors import BuildError, OptionError
from mcutrain.weights import read_weights

if TYPE_CHECKING:
    from mcutrain.evaluation.judge import Judge
    from mcutrain.evaluation.judged import Judged
    from mcutrain.evaluation.retrain import Step

_WORDS = ("failed", "suppression", "removal", "exact")


@click.command("evaluate", short_help="Judge whether a model has forgotten, against retrained ones.")
@build_argument
@data_option
@click.option(
    "--test", metavar="FILE", help="Another .npz file whose x_test, y_test take the place of the data's."
)
@click.option(
    "--forget",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Forget training samples: a text file with a row number, or a hash of the build's run log, in each "
    "line. Requests may be repeated and mixed; they are forgotten one after another.",
)
@click.option(
    "--forget-class", "classes", multiple=True, type=click.IntRange(0), metavar="C", help="Forget a class."
)
@click.option(
    "--forget-group",
    "groups",
    multiple=True,
    metavar="G",
    help="Forget a subject or speaker, named in group_train.",
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="M[:VARIANT]",
    help="Method to judge, may be repeated (see `mcutrain unlearn --list`); by default all it can run.",
)
@click.option(
    "-O",
    "options",
    multiple=True,
    metavar="NAME=VALUE",
    help="Option for the methods that take one of that name.",
)
@click.option(
    "--unlearned",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Judge these weights (ONNX, or .npz by initializer name) in place of a method; may be repeated.",
)
@click.option(
    "--control",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Weights of training without the data, which an exact method must equal bit for bit.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The trained model that forgets, as the schedule made it; without it, it is trained here.",
)
@click.option("--epochs", type=click.IntRange(1), help="How the model was trained: passes over the data.")
@click.option("--lr", type=float, default=0.01, show_default=True, help="Learning rate it was trained with.")
@click.option(
    "--schedule",
    metavar="E:LR,…",
    help="In place of --epochs and --lr, several phases of EPOCHS:RATE, such as 40:0.002,20:0.0004.",
)
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Samples per update it was trained with.",
)
@click.option(
    "--momentum",
    type=float,
    default=0.0,
    show_default=True,
    help="Momentum it was trained with; needs a build with --momentum.",
)
@click.option(
    "--weight-decay", type=float, default=0.0, show_default=True, help="Weight decay it was trained with."
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Seed it was trained with; retrained models take others.",
)
@click.option(
    "--golds", type=click.IntRange(2), default=3, show_default=True, help="Retrained models to compare with."
)
@click.option(
    "--shadows",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Shadow models for the likelihood ratio attack (LiRA), each trained on half of all samples; 48 is "
    "good. Any request on the same model and data uses the same ones. Without them no method "
    "but an exact one is more than suppression.",
)
@click.option(
    "--shadow-cache",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder of the shadow models, by default with the retrained ones in the user's cache.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    metavar="N",
    help="Models that train at a time (default: one a core).",
)
@click.option(
    "--require",
    type=click.Choice(_WORDS[1:]),
    help="Exit with 1 unless every verdict is at least this.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=Path("report"),
    show_default=True,
    help="Report folder.",
)
@limit_option
@json_option
def command(
    build: Path,
    data: str,
    test: str | None,
    files: tuple[Path, ...],
    classes: tuple[int, ...],
    groups: tuple[str, ...],
    methods: tuple[str, ...],
    options: tuple[str, ...],
    unlearned: tuple[Path, ...],
    control: Path | None,
    weights: Path | None,
    epochs: int | None,
    lr: float,
    schedule: str | None,
    batch: int,
    momentum: float,
    weight_decay: float,
    seed: int,
    golds: int,
    shadows: int,
    shadow_cache: Path | None,
    processes: int | None,
    require: str | None,
    out: Path,
    limit: int | None,
    as_json: bool,
) -> int:
    """Judge whether a model has forgotten: against models retrained without the data.

    Methods forget on a native twin of BUILD, which has the same bits. Retrained models start from
    the build's weights and see the same schedule without the forgotten data; they are kept, so
    that a second evaluation is quick and one stopped by Ctrl-C goes on. The report is one HTML file, and
    JSON with everything. (`mcutrain eval` only scores a model.)
    """
    from mcutrain.evaluation import report
    from mcutrain.evaluation.judge import Judge
    from mcutrain.evaluation.record import as_json as recorded

    opened = open_build(build)
    opened.manifest.program("train_step")
    if not (files or classes or groups):
        raise OptionError("nothing to forget", "give --forget, --forget-class or --forget-group")
    if unlearned and (methods or options):
        raise OptionError("--unlearned judges weights that are there", "leave out --method and -O")
    if control is not None and len(unlearned) + len(methods) != 1:
        raise OptionError("--control is for one model", "name one --method or one --unlearned file")
    dataset, _ = open_data(opened, data, limit)
    arrays = asked.arrays(opened, dataset, load(test) if test else dataset)
    requests = asked.requests(opened, arrays, dataset, files, classes, groups)
    chosen = asked.chosen(opened.manifest, methods, options) if not unlearned else []
    if not (chosen or unlearned):
        raise OptionError("no method could run", "compile the model with --unlearn, or name a --method")
    finished = [(path.stem, asked.weights(path, opened.manifest)) for path in unlearned]
    expected = asked.weights(control, opened.manifest) if control else None
    with progress("what") as bar:
        judge = Judge(
            opened,
            arrays,
            requests,
            asked.schedule(schedule, epochs, lr, batch, momentum, weight_decay),
            original=read_weights(weights, opened.manifest) if weights else None,
            golds=golds,
            shadows=shadows,
            shadow_cache=shadow_cache,
            seed=seed,
            processes=processes,
            on_step=_Steps(bar),
            on_word=_Words(bar),
        )
        with judge:
            judged = [
                judge.judge(n, w, claim="exact" if expected else "suppression", control=expected)
                for n, w in finished
            ]
            judged += _run(judge, chosen, strict=bool(methods), control=expected)
            if not judged:
                raise OptionError("no method could run", "name a --method to see why")
            result = recorded(judge, judged)
    html, _ = report.write(out, result)
    if as_json:
        print_json(result)
    else:
        _print(result, html)
    least = _WORDS.index(require) if require else 0
    return int(any(_WORDS.index(j.verdict.word) < least for j in judged))


def _run(judge: Judge, chosen: Sequence[Any], *, strict: bool, control: Any) -> list[Judged]:
    """Run the methods; one that the build cannot run is an error only when it was asked for."""
    judged = []
    for method, variant, options in chosen:
        try:
            judged.append(judge.run(method, variant, options, control=control))
        except (BuildError, OptionError) as error:
            if strict:
                raise
            errors().print(f"{method.name} is left out: {error.reason}", markup=False)
    return judged


class _Words:
    """What is being done, as a line of the progress bar."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._task = bar, bar.add_task("", total=None, what="")

    def __call__(self, word: str) -> None:
        self._bar.update(self._task, description=word)


class _Steps:
    """Models that train, as a line of the progress bar; called from several threads."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: Any = None
        self._under_way: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, step: Step) -> None:
        with self._lock:
            if self._task is None:
                self._task = self._bar.add_task("training models", total=step.of, what="")
            self._under_way[step.title] = step.done / step.total
            if step.done == step.total:
                self._under_way.pop(step.title)
            done = step.models + sum(self._under_way.values())
            self._bar.update(self._task, total=step.of, completed=done, what=step.title)


def _print(result: dict[str, Any], html: Path) -> None:
    from mcutrain.evaluation import report

    console = output()
    judged = result["judged"]
    listing = table("", "original>", "retrained ± floor>", *(f"{j['name']}>" for j in judged))
    for row in report.rows(result, report.SHORT):
        listing.add_row(*row)
    console.print(listing)
    for j in judged:
        console.print()
        gates = table("gate", "model>", "retrained>", "measured>", "limit>", "", "note", title=j["name"])
        for gate in j["gates"]:
            mark = {True: "[green]✓[/]", False: "[red]✗[/]", None: "–"}[gate["passed"]]
            plain = "lira" if gate["name"] == "lira" else "share"
            cells = [report.shown(plain, gate["value"]), report.shown(plain, gate["gold"])]
            gates.add_row(gate["title"], *cells, _measured(gate), f"{gate['limit']:g}", mark, gate["note"])
        console.print(gates)
    console.print()
    for j in judged:
        v = j["verdict"]
        colour = {"exact": "green", "removal": "green", "suppression": "yellow"}.get(v["word"], "red")
        console.print(f"[bold]{j['name']}[/]: [{colour}]{v['word']}[/], {v['reason']}")
        for outcome in j["outcomes"]:
            if not outcome["changed"]:
                console.print(f"  it changed nothing: {outcome['stop']}", markup=False)
    console.print(f"[green]✓[/] {html}")


def _measured(gate: dict[str, Any]) -> str:
    if gate["measured"] is None:
        return "–"
    return f"{gate['measured']:.3f}" if gate["name"] == "lira" else f"{gate['measured']:.1f} pt"
