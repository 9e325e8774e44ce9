"""Together: what is done to each trained parameter alike becomes one kernel call for all of them.

A call has its price, and most parameters are small: they, their accumulators
and their momentum are placed side by side, in one order, and the kernel goes
through all of them at once.  So do their FP16 copies on targets with tiled
kernels: they then live as long as the Program, which takes more memory.
"""

from __future__ import annotations

from dataclasses import replace

from mcutrain.compiler.autodiff import append
from mcutrain.errors import GraphError
from mcutrain.ir import Graph, Node, Program, Tensor
from mcutrain.manifest import Options
from mcutrain.ops.base import align
from mcutrain.ops.together import ALIGNMENT
from mcutrain.targets import Target

#: Operators on one parameter: what they are called on all, and the node's name.
_JOINED = {
    "Fill": ("AllFill", "parameters.zero"),
    "FiniteCheck": ("AllFiniteCheck", "parameters.check"),
    "Sgd": ("AllSgd", "parameters.update"),
}
_SUFFIXES = (".gradient", ".momentum")


def can_join(options: Options) -> bool:
    """Guards keep tensors apart, and unlearning updates some parameters without the others."""
    return not options.guard and not options.unlearn


def can_round_together(options: Options, target: Target) -> bool:
    """On targets with a DMA: copies of all parameters take memory, which others are short of."""
    mixed = options.precision == "mixed" and bool(options.loss) and not options.immediate
    return mixed and target.fast_memory is not None and can_join(options)


def join_rounding(graph: Graph, trained: list[str]) -> Graph:
    """Roundings of parameters → one node before all others, for all from the first of them to the last.

    ``trained`` is in the order in which the parameters lie. The graph stays as it is where a copy would not
    be aligned, or there is one at the most.
    """
    names = {node.outputs[0]: node.inputs[0] for node in graph.nodes if _rounds(node, trained)}
    at = sorted(trained.index(name) for name in names.values())
    if len(at) < 2:
        return graph
    masters = trained[at[0] : at[-1] + 1]
    sizes = [graph.tensors[name].nbytes if name in graph.tensors else 1 for name in masters[:-1]]
    if any(align(size, ALIGNMENT) % (2 * ALIGNMENT) for size in sizes):
        return graph
    joined = graph.copy()
    copies = {master: copy for copy, master in names.items()}
    joined.nodes = []
    outputs = [copies.get(name) or graph.unique_name(f"{name}.f16") for name in masters]
    append(joined, "AllCast", masters, {"dtype": "f16"}, name="parameters.round", outputs=outputs)
    joined.nodes += [node for node in graph.nodes if node.outputs[0] not in names]
    return joined


def _rounds(node: Node, trained: list[str]) -> bool:
    return node.op == "Cast" and node.attrs.get("dtype") == "f16" and node.inputs[0] in trained


def copies_of(graph: Graph, node: Node) -> dict[str, int] | None:
    """Where the copies that a node makes lie, from the first on; None of other nodes."""
    if node.op != "AllCast":
        return None
    places, end = {}, 0
    for master, copy in zip(node.inputs, node.outputs, strict=True):
        places[copy] = end // 2
        end += align(graph.tensors[master].nbytes, ALIGNMENT)
    return places


def join_updates(graph: Graph) -> Graph:
    """Runs of two or more nodes of the same operator on parameters or accumulators → one node."""
    joined = graph.copy()
    joined.nodes = []
    run: list[Node] = []
    for node in [*graph.nodes, None]:
        if node is not None and node.op in _JOINED and (not run or _alike(run[-1], node)):
            run.append(node)
            continue
        joined.nodes += _join(joined, run)
        run = [node] if node is not None and node.op in _JOINED else []
        if node is not None and not run:
            joined.nodes.append(node)
    return joined


def side_by_side(tensors: list[Tensor], trained: list[str]) -> list[Tensor]:
    """Persistent tensors in an order that puts the trained parameters first, and what belongs to them."""
    wanted = [*trained, *(f"{name}{suffix}" for suffix in _SUFFIXES for name in trained)]
    rank = {name: i for i, name in enumerate(wanted)}
    return sorted(tensors, key=lambda t: rank.get(t.name, len(rank)))


def check_places(program: Program) -> None:
    """Raise GraphError unless the operands of joined nodes lie side by side in the same way."""
    for node in program.graph.nodes:
        if node.op == "AllCast":
            first = program.placements[node.outputs[0]].offset
            steps = [program.placements[name].offset - first for name in node.outputs]
            if [2 * step for step in steps] != _steps(program, node.inputs):
                raise GraphError(f"'{node.name}': operands lie differently", "report this as a bug")
        if node.op not in {op for op, _ in _JOINED.values()}:
            continue
        sets = node.inputs[:: len(node.inputs) // _sets(node)]
        steps = _steps(program, sets)
        for suffix in _SUFFIXES if node.op == "AllSgd" else ():
            others = [f"{name}{suffix}" for name in sets]
            if others[0] in node.inputs and _steps(program, others) != steps:
                raise GraphError(f"'{node.name}': operands lie differently", "report this as a bug")


def _sets(node: Node) -> int:
    return len(node.inputs) // {"AllFill": 1, "AllFiniteCheck": 2, "AllSgd": 6}[node.op]


def _steps(program: Program, names: tuple[str, ...] | list[str]) -> list[int]:
    """Offsets from the first tensor; raises GraphError when there is more than alignment between them."""
    places = [program.placements[name] for name in names]
    end = places[0].offset
    for name, place in zip(names, places, strict=True):
        if (place.region, place.offset) != (places[0].region, end):
            raise GraphError(f"'{name}' does not lie beside its neighbour", "report this as a bug")
        end = place.offset + -(-program.graph.tensors[name].nbytes // 16) * 16
    return [place.offset - places[0].offset for place in places]


def _alike(a: Node, b: Node) -> bool:
    return (a.op, a.attrs, len(a.inputs), len(a.outputs)) == (
        b.op,
        b.attrs,
        len(b.inputs),
        len(b.outputs),
    ) and [bool(name) for name in a.inputs] == [bool(name) for name in b.inputs]


def _join(graph: Graph, run: list[Node]) -> list[Node]:
    if len(run) < 2:
        return run
    op, name = _JOINED[run[0].op]
    single = Graph(graph.name, tensors=dict(graph.tensors))
    append(
        single,
        op,
        [n for node in run for n in node.inputs],
        run[0].attrs,
        name=name,
        outputs=[n for node in run for n in node.outputs],
    )
    return [replace(single.nodes[0], attrs=dict(run[0].attrs))]
