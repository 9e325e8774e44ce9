"""The NumPy reference: an Executor that defines the bits every backend must produce.

It runs the very Programs that are lowered to C, node by node, through each
operator's exact :meth:`~mcutrain.ops.base.Op.compute`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from mcutrain.errors import DataError, OptionError
from mcutrain.ir import NUMPY_DTYPES, Array, Graph, Node, Tensor
from mcutrain.ops import op_for


def run_node(graph: Graph, node: Node, values: dict[str, Array]) -> None:
    """Compute one node from ``values`` and put its outputs there."""
    inputs = [values[name] if name else None for name in node.inputs]
    with np.errstate(all="ignore"):
        results = op_for(node.op).compute(node, inputs, graph.output_tensors(node))
    for name, result in zip(node.outputs, results, strict=True):
        tensor = graph.tensors[name]
        if result.shape != tensor.shape or result.dtype != NUMPY_DTYPES[tensor.dtype]:
            raise AssertionError(f"{node.op}: '{name}' is {result.dtype}{result.shape}, not {tensor}")
        values[name] = result


def run_graph(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run a whole graph once on ``inputs``; returns its outputs."""
    values = {t.name: initial(t) for t in graph.tensors.values() if t.persistent}
    values.update(inputs)
    for node in graph.nodes:
        run_node(graph, node, values)
    return {name: values[name] for name in graph.outputs}


def initial(tensor: Tensor) -> Array:
    """A persistent tensor's value at power-up: its data, or zeros."""
    if tensor.data is None:
        return np.zeros(tensor.shape, NUMPY_DTYPES[tensor.dtype])
    return np.array(tensor.data, NUMPY_DTYPES[tensor.dtype]).reshape(tensor.shape)


def _numbered(graph: Graph) -> Iterator[tuple[int, Node]]:
    """Each node with the number of its kernel call; a view goes with the call after it."""
    number = 0
    for node in graph.nodes:
        yield number, node
        kernel = op_for(node.op).kernel(node, graph.input_tensors(node), graph.output_tensors(node))
        number += kernel is not None


class Reference:
    """Executor over lowered Programs.

    ``programs`` are the graphs of a build; persistent tensors are shared
    between them by name.
    """

    def __init__(self, programs: Iterable[Graph]) -> None:
        self.programs = {graph.name: graph for graph in programs}
        self._tensors = {t.name: t for g in self.programs.values() for t in g.tensors.values()}
        self._values = {t.name: initial(t) for t in self._tensors.values() if t.persistent}
        self._calls = {graph.name: list(_numbered(graph)) for graph in self.programs.values()}

    def write(self, tensors: Mapping[str, Array]) -> None:
        for name, array in tensors.items():
            tensor = self._tensors.get(name)
            if tensor is None or not tensor.persistent:
                raise DataError(f"there is no tensor '{name}' to write", "see `mcutrain info` for the names")
            array = np.asarray(array)
            if array.shape != tensor.shape or array.dtype != NUMPY_DTYPES[tensor.dtype]:
                wanted, given = f"{tensor.dtype}{list(tensor.shape)}", f"{array.dtype}{list(array.shape)}"
                raise DataError(
                    f"tensor '{name}' is {wanted}, not {given}",
                    "give an array of the tensor's own type",
                )
            self._values[name] = array.copy()

    def read(self, names: Sequence[str]) -> dict[str, Array]:
        missing = [name for name in names if name not in self._values]
        if missing:
            raise DataError(f"tensor '{missing[0]}' has no value yet", "run the Program that makes it first")
        return {name: self._values[name].copy() for name in names}

    def run(
        self,
        program: str,
        inputs: Mapping[str, Array] | None = None,
        outputs: Sequence[str] = (),
        calls: tuple[int, int] | None = None,
    ) -> dict[str, Array]:
        graph = self.programs.get(program)
        if graph is None:
            known = ", ".join(self.programs)
            raise OptionError(
                f"the build has no Program '{program}' (it has {known})", "training needs --loss"
            )
        self.write(inputs or {})
        for number, node in self._calls[program]:
            if calls is None or calls[0] <= number < calls[1]:
                run_node(graph, node, self._values)
        return self.read(outputs)

    def close(self) -> None:
        """Nothing to give up."""
