"""What ``mcutrain evaluate`` is asked for: data, requests, schedule, weights and methods from its options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcutrain.cli.console import errors
from mcutrain.data import Dataset
from mcutrain.errors import BuildError, OptionError
from mcutrain.weights import read_weights

if TYPE_CHECKING:
    from mcutrain.build import Build
    from mcutrain.evaluation.measure import Data
    from mcutrain.evaluation.requests import Request
    from mcutrain.evaluation.schedule import Schedule
    from mcutrain.executor import Array
    from mcutrain.manifest import Manifest


def arrays(build: Build, dataset: Dataset, tests: Dataset) -> Data:
    """The training part of one data set and the test part of another, as the model takes them."""
    from mcutrain.data import ModelShape
    from mcutrain.evaluation.measure import Data

    shape = ModelShape.of(build.manifest)
    x, y = dataset.part("train", shape)
    x_test, y_test = tests.part("test", shape)
    classes = int(np.prod(shape.output))
    return Data(
        np.asarray(x), np.asarray(y), np.asarray(x_test), np.asarray(y_test), classes, shape.loss == "mse"
    )


def requests(
    build: Build,
    data: Data,
    dataset: Dataset,
    files: Sequence[Path],
    classes: Sequence[int],
    groups: Sequence[str],
) -> list[Request]:
    """What is to be forgotten, one after another; raises OptionError and DataError."""
    from mcutrain.evaluation import requests as ask

    if classes and data.regression:
        raise OptionError("a regression has no classes", "give --forget or --forget-group")
    named = [ask.read_file(path) for path in files]
    known = _hashes(build, data) if any(request.hashes for request in named) else []
    made = [ask.by_rows(n.find(known), path.name) for n, path in zip(named, files, strict=True)]
    made += [ask.by_class(data.y_train, c) for c in classes]
    if groups:
        names = dataset.groups()
        made += [ask.by_group(names, g) for g in groups]
    return made


def _hashes(build: Build, data: Data) -> list[bytes]:
    """Hashes of the training data, as the run log of the build's device or reference has them."""
    from mcutrain.cli.unlearn_request import no_log
    from mcutrain.logstore import LogCopy
    from mcutrain.runlog import COPY, REFERENCE_COPY
    from mcutrain.runrecords import sample_hashes

    copies = [path for name in (COPY, REFERENCE_COPY) if (path := build.state_folder / name).exists()]
    if not copies:
        raise no_log()
    with build.reference(store=False) as learner:
        return sample_hashes(learner, LogCopy.read(copies[0]).salt, data.x_train, data.y_train)


def schedule(
    text: str | None, epochs: int | None, lr: float, batch: int, momentum: float, weight_decay: float
) -> Schedule:
    """How the original was trained; raises OptionError."""
    from mcutrain.evaluation.schedule import Schedule, constant

    if (text is None) == (epochs is None):
        raise OptionError("how was the model trained?", "give --epochs and --lr, or --schedule")
    others = {"batch": batch, "momentum": momentum, "weight_decay": weight_decay}
    if text is not None:
        return Schedule.parse(text, **others)  # type: ignore[arg-type]
    assert epochs is not None
    return constant(epochs, lr, **others)  # type: ignore[arg-type]


def weights(path: Path, manifest: Manifest) -> dict[str, Array]:
    """Weights from ONNX, or from an .npz file by initializer name."""
    from mcutrain.npz import read_npz

    if path.suffix != ".npz":
        return read_weights(path, manifest)
    known = [t.origin.initializer for t in manifest.parameters() if t.origin]
    found = read_npz(path, known)
    if not found:
        raise OptionError(f"{path} holds none of the model's weights", f"they are {', '.join(known)}")
    return found


def chosen(
    manifest: Manifest, names: Sequence[str], options: Sequence[str]
) -> list[tuple[Any, str, dict[str, str]]]:
    """Methods with variants and options; of those that nobody named, the ones that the build can run."""
    from mcutrain.unlearning import methods, parse_method
    from mcutrain.unlearning.options import check_options

    listed = [parse_method(name) for name in names] or [(m, m.variants[0].name) for m in methods()]
    given = {}
    for text in options:
        name, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"-O {text} has no value", "give -O NAME=VALUE")
        if not any(name == o.name for m, _ in listed for o in m.options):
            raise OptionError(f"no method here has an option '{name}'", "see mcutrain unlearn --list")
        given[name] = value
    taken = [{o.name for o in m.options if not o.variants or v in o.variants} for m, v in listed]
    able = []
    for (method, variant), known in zip(listed, taken, strict=True):
        own = {name: value for name, value in given.items() if name in known}
        try:
            settings = check_options(method.name, variant, method.options, own)
            method.check_manifest(manifest, variant, settings)
        except BuildError as error:
            if names:
                raise
            errors().print(f"{method.name} is left out: {error.reason}", markup=False)
        else:
            able.append((method, variant, own))
    return able
