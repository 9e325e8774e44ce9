"""The layers of a network as methods see them: the last ones, fresh weights, partial Programs."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mcutrain.errors import OptionError
from mcutrain.executor import Array
from mcutrain.manifest import Manifest, TensorEntry
from mcutrain.words import counted

Ranges = list[tuple[int, int]]


def layer_of(parameter: str) -> str:
    """``conv1.weight`` → ``conv1``."""
    return parameter.rpartition(".")[0] or parameter


def check_depth(option: str, count: int, manifest: Manifest) -> None:
    """Raises OptionError when ``count``, which ``option`` gave, is more than the layers that train."""
    layers = len({layer_of(t.name) for t in manifest.trained()})
    if not 1 <= count <= layers:
        trained = f"the model trains {counted(layers, 'layer')}"
        raise OptionError(f"{option} is {count}, and {trained}", f"give 1 to {layers}")


def last_layers(manifest: Manifest, count: int) -> list[TensorEntry]:
    """The trained parameters of the last ``count`` trained layers; raises OptionError for too many."""
    check_depth("k", count, manifest)
    trained = manifest.trained()
    layers = list(dict.fromkeys(layer_of(t.name) for t in trained))
    last = set(layers[-count:])
    return [t for t in trained if layer_of(t.name) in last]


def fresh_weights(
    manifest: Manifest, entries: Sequence[TensorEntry], rng: np.random.Generator
) -> dict[str, Array]:
    """New values of parameters, as device tensors.

    Weights are normal with variance 2 over the inputs of an output (He et al.,
    *Delving Deep into Rectifiers*, 2015); biases are zero.
    """
    fresh: dict[str, Array] = {}
    for entry in entries:
        assert entry.origin is not None
        shape = entry.origin.shape
        if len(shape) < 2:
            values = np.zeros(shape, np.float32)
        else:
            inputs = int(np.prod(shape)) // _outputs(manifest, entry)
            values = (rng.standard_normal(shape) * np.sqrt(2.0 / inputs)).astype(np.float32)
        fresh[entry.name] = entry.origin.to_device(values).astype(np.float32)
    return fresh


def _outputs(manifest: Manifest, entry: TensorEntry) -> int:
    """Output channels of a layer, which its bias or, without one, the lowered weight's first axis tells."""
    bias = f"{layer_of(entry.name)}.bias"
    for other in manifest.parameters():
        if other.name == bias:
            return int(np.prod(other.shape))
    return entry.shape[0]


def only_for(manifest: Manifest, program: str, parameters: Collection[str]) -> Ranges:
    """The kernel calls of ``program`` but those that change trained parameters not in ``parameters``.

    Returned as ranges [first, last) in order; running them one after another
    leaves the other parameters alone.
    """
    others = {t.name for t in manifest.trained()} - set(parameters)
    ranges: Ranges = []
    for number, call in enumerate(manifest.program(program).calls):
        if others.intersection(call.outputs):
            continue
        if ranges and ranges[-1][1] == number:
            ranges[-1] = (ranges[-1][0], number + 1)
        else:
            ranges.append((number, number + 1))
    return ranges


def backward_to(manifest: Manifest, program: str, parameters: Collection[str]) -> tuple[int, int]:
    """The kernel calls of ``program`` from the first to the last that these parameters' gradients need."""
    wanted = {f"{name}.gradient" for name in parameters} | {"loss"}
    calls = manifest.program(program).calls
    last = max(number for number, call in enumerate(calls) if wanted.intersection(call.outputs))
    return 0, last + 1
