"""Arguments and options that several verbs share, and what stands behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mcutrain import data as datasets
from mcutrain.cli.console import progress
from mcutrain.errors import OptionError
from mcutrain.files import write_whole

if TYPE_CHECKING:
    from mcutrain.build import Build
    from mcutrain.executor import Array
    from mcutrain.learning import Learner

Command = TypeVar("Command", bound=Callable[..., Any])

build_argument = click.argument("build", type=click.Path(path_type=Path))
data_option = click.option(
    "--data",
    required=True,
    metavar="FILE|digits",
    help="Samples: an .npz file with x_train, y_train, x_test, y_test (optional scale, zero_point), "
    "or 'digits' for scikit-learn's.",
)
weights_option = click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="ONNX file whose weights are sent to the device first (for example trained.onnx).",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
limit_option = click.option(
    "--limit", type=click.IntRange(1), metavar="N", help="Use only the first N samples."
)


def part_option(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--part",
        type=click.Choice(["train", "test"]),
        default=default,
        show_default=True,
        help="Which samples of the data.",
    )


def executor_options(command: Command) -> Command:
    """``--port``, ``--workers`` and ``--reference``: who runs the Programs."""
    for option in (
        click.option("--reference", is_flag=True, help="Run on the NumPy reference instead of a device."),
        click.option(
            "--workers",
            type=click.IntRange(1, 8),
            metavar="1-8",
            help="Cores that a simulated device uses (default: as compiled). Results do not depend on it.",
        ),
        port_option,
    ):
        command = option(command)
    return command


port_option = click.option(
    "--port",
    metavar="URL",
    help="Serial port of the device: a path, socket://host:port or any pyserial URL. "
    "Without it a simulator target starts its simulator.",
)


def open_build(path: Path) -> Build:
    """The build in a directory; raises BuildError."""
    from mcutrain.build import Build

    return Build.open(path)


def connect(
    build: Build,
    port: str | None = None,
    workers: int | None = None,
    reference: bool = False,
    store: bool | None = None,
) -> AbstractContextManager[Learner]:
    """The Learner that ``--port``, ``--workers`` and ``--reference`` ask for; ``store`` as in sessions."""
    if not reference:
        return build.session(port=port, workers=workers, store=store)
    if port or workers:
        raise OptionError("--reference runs in NumPy on this computer", "leave out --port and --workers")
    return build.reference(store=store)


@contextmanager
def at_work(
    build: Build,
    weights: Mapping[str, Array] | None,
    port: str | None,
    workers: int | None,
    reference: bool,
    what: str,
) -> Iterator[tuple[Learner, Callable[[int, int], None]]]:
    """A connected Learner that holds ``weights``, and what moves the progress bar: samples done, of all."""
    with connect(build, port, workers, reference) as learner, progress() as bar:
        if weights is not None:
            learner.load(weights)
        task = bar.add_task(what, total=None)
        yield learner, lambda done, total: bar.update(task, completed=done, total=total)


def open_data(
    build: Build, source: str, limit: int | None = None
) -> tuple[datasets.Dataset, datasets.ModelShape]:
    """The data set, cut to ``limit`` samples a part, and what the model asks of it; raises DataError."""
    dataset = datasets.load(source)
    if limit is not None:
        dataset = dataset.first(limit)
    return dataset, datasets.ModelShape.of(build.manifest)


def write_output(path: Path, data: bytes | str) -> None:
    """Write a file, the whole of it or nothing; raises OptionError."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise OptionError(f"cannot write {path}: {error.strerror or error}", "name another file") from None


def check_output(path: Path) -> Path:
    """``path`` when a file can be written there; raises OptionError before any work is lost."""
    if path.is_dir():
        raise OptionError(f"{path} is a directory", "name a file")
    if not path.parent.is_dir():
        raise OptionError(f"there is no directory {path.parent}", "make it first, or name another file")
    return path
