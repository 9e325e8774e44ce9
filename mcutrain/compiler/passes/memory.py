"""The static memory plan: every byte of every Program has its address before the build.

Persistent tensors are placed once, for all Programs: parameters, constants
and state with initial data in region ``data`` (part of the image), the rest
at the bottom of region ``arena``.  Activations and workspaces share the top
of the arena, by lifetime inside each Program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mcutrain.compiler.passes.together import check_places, copies_of, side_by_side
from mcutrain.errors import GraphError, MemoryLimitError
from mcutrain.ir import Graph, Placement, Program, Tensor
from mcutrain.manifest import MemoryEntry, Options
from mcutrain.ops import op_for

#: Alignment of every buffer in bytes.
ALIGNMENT = 16

#: Operators without a kernel: the output is the input's bytes.
VIEWS = frozenset({"Reshape"})

#: Operands that an elementwise operator may overwrite with its result: the worker that
#: writes an element is the only one that reads that element, and reads it before.
IN_PLACE: dict[str, tuple[int, ...]] = {
    "Relu": (0,),
    "Clip": (0,),
    "LeakyRelu": (0,),
    "Sigmoid": (0,),
    "Tanh": (0,),
    "Add": (0, 1),
    "Sub": (0, 1),
    "Mul": (0, 1),
    "Div": (0, 1),
    "ActivationGradient": (0, 1),
    "ReluBiasGradient": (0, 1),
}


@dataclass(frozen=True)
class Buffer:
    """Bytes that must stay untouched by others from node ``first`` to node ``last``."""

    names: tuple[str, ...]
    nbytes: int
    first: int
    last: int
    #: where tensors begin that lie side by side in the buffer; others begin where it does
    inner: Mapping[str, int] = field(default_factory=dict)

    def meets(self, other: Buffer) -> bool:
        """Whether both are alive at some node."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """Programs with every tensor placed, and the sizes of the two regions in bytes."""

    programs: list[Program]
    #: persistent tensors in order of address within their region
    persistent: dict[str, Placement]
    data_size: int
    arena_size: int
    memory: MemoryEntry


def plan_memory(
    graphs: Sequence[Graph], options: Options, limit: int = 0, memory_name: str = "memory"
) -> Plan:
    """Place every tensor of all Programs.

    Args:
        graphs: lowered Programs; a persistent tensor has one name and type in all of them.
        options: ``workers`` and ``guard``; the others only choose the advice in an error.
        limit: bytes the target has for both regions, 0 for no limit.
        memory_name: what the target calls that memory.

    Raises:
        MemoryLimitError: the Programs need more than ``limit``.
    """
    persistent = _persistent_tensors(graphs)
    trained = [name for name in persistent if f"{name}.gradient" in persistent]
    persistent = {t.name: t for t in side_by_side(list(persistent.values()), trained)}
    placements: dict[str, Placement] = {}
    ends: dict[Literal["data", "arena"], int] = {"data": 0, "arena": 0}
    for tensor in persistent.values():
        region: Literal["data", "arena"] = "arena" if tensor.data is None else "data"
        placements[tensor.name] = Placement(region, ends[region] + options.guard)
        ends[region] += _footprint(tensor.nbytes, options.guard)

    base, scratch, workspace = ends["arena"], 0, 0
    programs: list[Program] = []
    for graph in graphs:
        buffers, views = _buffers(graph, options.workers)
        offsets, peak = assign_offsets(buffers, options.guard)
        placed = {t.name: placements[t.name] for t in graph.tensors.values() if t.persistent}
        for buffer, offset in zip(buffers, offsets, strict=True):
            for name in buffer.names:
                placed[name] = Placement("arena", base + offset + buffer.inner.get(name, 0))
        for view, source in views.items():
            placed[view] = placements[source]
        check_overlap(graph.name, buffers, offsets, options.guard)
        programs.append(Program(graph, placed))
        check_places(programs[-1])
        scratch = max(scratch, peak)
        workspace = max([workspace, *(b.nbytes for b in buffers if b.names[0].startswith("workspace:"))])

    sizes = _by_purpose(persistent, options.guard)
    memory = MemoryEntry(**sizes, scratch=scratch, workspace=workspace, available=limit)
    plan = Plan(programs, placements, ends["data"], base + scratch, memory)
    if limit and plan.data_size + plan.arena_size > limit:
        raise _too_big(plan, persistent, options, limit, memory_name)
    return plan


def assign_offsets(buffers: Sequence[Buffer], guard: int = 0) -> tuple[list[int], int]:
    """Offsets (in the order of ``buffers``) and the bytes they take in all.

    Best fit: each buffer, largest first, goes into the smallest gap left by
    those already placed whose lifetimes meet its own.  Four orders are tried
    and the tightest result is kept; optimal placement is NP-hard.
    """
    orders = (
        lambda i: (-buffers[i].nbytes, buffers[i].first),
        lambda i: (-buffers[i].nbytes * (buffers[i].last - buffers[i].first + 1), buffers[i].first),
        lambda i: (-(buffers[i].last - buffers[i].first), -buffers[i].nbytes),
        lambda i: (buffers[i].first, -buffers[i].nbytes),
    )
    best: tuple[list[int], int] | None = None
    for order in orders:
        offsets = _best_fit(buffers, sorted(range(len(buffers)), key=order), guard)
        peak = max(
            (o - guard + _footprint(b.nbytes, guard) for o, b in zip(offsets, buffers, strict=True)),
            default=0,
        )
        if best is None or peak < best[1]:
            best = offsets, peak
    assert best is not None
    return best


def check_overlap(program: str, buffers: Sequence[Buffer], offsets: Sequence[int], guard: int = 0) -> None:
    """Raise GraphError if two buffers that live at the same time share a byte (guards included)."""
    ordered = sorted(zip(offsets, buffers, strict=True), key=lambda pair: pair[0])
    for i, (start, buffer) in enumerate(ordered):
        end = start + buffer.nbytes + guard
        for other_start, other in ordered[i + 1 :]:
            if other_start - guard >= end:
                break
            if buffer.meets(other) and buffer.nbytes and other.nbytes:
                raise GraphError(
                    f"Program '{program}': '{buffer.names[0]}' and '{other.names[0]}' overlap",
                    "report this as a bug",
                )


def live_bytes(graph: Graph, workers: int) -> list[int]:
    """Bytes alive at each node: no placement can take less than their maximum."""
    live = [0] * max(1, len(graph.nodes))
    for buffer in _buffers(graph, workers)[0]:
        for index in range(max(0, buffer.first), min(buffer.last, len(live) - 1) + 1):
            live[index] += _footprint(buffer.nbytes, 0)
    return live


def _footprint(nbytes: int, guard: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT + 2 * guard


def _persistent_tensors(graphs: Sequence[Graph]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for graph in graphs:
        for tensor in graph.used_tensors():
            if not tensor.persistent:
                continue
            known = found.setdefault(tensor.name, tensor)
            if known != tensor:
                raise GraphError(f"'{tensor.name}' differs between Programs", "report this as a bug")
    return found


def _buffers(graph: Graph, workers: int) -> tuple[list[Buffer], dict[str, str]]:
    """The buffers of a Program, and the views of persistent tensors with the tensor they show."""
    last_use = _last_uses(graph)
    holder: dict[str, str] = {}  # tensor -> the first tensor in the same bytes
    members: dict[str, list[str]] = {}
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    buffers: list[Buffer] = []
    together: set[str] = set()
    for index, node in enumerate(graph.nodes):
        source = ""
        inner = copies_of(graph, node)
        if inner is not None:
            *_, (end, start) = inner.items()
            until = max(last_use.get(name, index) for name in inner)
            nbytes = start + graph.tensors[end].nbytes
            buffers.append(Buffer(tuple(inner), nbytes, index, until, inner))
            together.update(inner)
            continue
        if node.op in VIEWS:
            source = node.inputs[0]
            if source in together:
                raise GraphError(f"'{node.name}': a view of one of many copies", "report this as a bug")
        elif node.op in IN_PLACE:
            source = _overwritable(graph, index, holder, last)
        for position, name in enumerate(node.outputs):
            if graph.tensors[name].persistent:
                continue
            # only the first output takes over an operand's bytes
            taken = source if position == 0 else name
            root = holder.get(taken, taken) or name
            holder[name] = root
            members.setdefault(root, []).append(name)
            first.setdefault(root, index)
            last[root] = max(last.get(root, index), last_use.get(name, index))
        nbytes = op_for(node.op).workspace(node, graph.input_tensors(node), graph.output_tensors(node))
        if nbytes:
            buffers.append(Buffer((f"workspace:{index}",), nbytes * workers, index, index))
    views: dict[str, str] = {}
    for root, names in members.items():
        if graph.tensors[root].persistent:
            views.update(dict.fromkeys(names, root))
        else:
            buffers.append(Buffer(tuple(names), graph.tensors[root].nbytes, first[root], last[root]))
    return buffers, views


def _last_uses(graph: Graph) -> dict[str, int]:
    """The last node that reads each tensor; a Program's outputs live to its end."""
    uses = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs if name}
    return {**uses, **dict.fromkeys(graph.outputs, len(graph.nodes))}


def _overwritable(graph: Graph, index: int, holder: dict[str, str], last: dict[str, int]) -> str:
    """The operand whose bytes the result of node ``index`` may take over, or the empty string."""
    node = graph.nodes[index]
    result = graph.tensors[node.outputs[0]]
    for position in IN_PLACE[node.op]:
        operand = graph.tensors[node.inputs[position]]
        root = holder.get(operand.name, operand.name)
        others = [holder.get(n, n) for i, n in enumerate(node.inputs) if n and i != position]
        if (
            (operand.shape, operand.dtype) == (result.shape, result.dtype)
            and not graph.tensors[root].persistent
            and last.get(root) == index
            and root not in others
        ):
            return operand.name
    return ""


def _best_fit(buffers: Sequence[Buffer], order: Sequence[int], guard: int) -> list[int]:
    offsets = [0] * len(buffers)
    placed: list[int] = []
    for i in order:
        size = _footprint(buffers[i].nbytes, guard)
        taken = sorted(
            (offsets[j] - guard, offsets[j] - guard + _footprint(buffers[j].nbytes, guard))
            for j in placed
            if buffers[j].meets(buffers[i])
        )
        chosen, smallest, end = -1, 0, 0
        for start, stop in taken:
            gap = start - end
            if gap >= size and (chosen < 0 or gap < smallest):
                chosen, smallest = end, gap
            end = max(end, stop)
        offsets[i] = (end if chosen < 0 else chosen) + guard
        placed.append(i)
    return offsets


def _by_purpose(persistent: dict[str, Tensor], guard: int) -> dict[str, int]:
    sizes = {"weights": 0, "gradients": 0, "optimizer": 0, "inputs": 0}
    for tensor in persistent.values():
        if tensor.kind in ("parameter", "constant"):
            purpose = "weights"
        elif tensor.kind == "input":
            purpose = "inputs"
        else:
            purpose = "gradients" if tensor.name.endswith(".gradient") else "optimizer"
        sizes[purpose] += _footprint(tensor.nbytes, guard)
    return sizes


def _too_big(
    plan: Plan, persistent: dict[str, Tensor], options: Options, limit: int, memory_name: str
) -> MemoryLimitError:
    """The error: what is largest at the fullest moment, bytes needed and available, what helps."""
    candidates = [(t.nbytes, t.name) for t in persistent.values()]
    fullest = max(plan.programs, key=lambda p: max(live_bytes(p.graph, options.workers)))
    live = live_bytes(fullest.graph, options.workers)
    moment = live.index(max(live))
    for buffer in _buffers(fullest.graph, options.workers)[0]:
        if buffer.first <= moment <= buffer.last:
            name = buffer.names[0]
            if name.startswith("workspace:"):
                name = f"workspace of {fullest.graph.nodes[moment].name or fullest.graph.nodes[moment].op}"
            candidates.append((buffer.nbytes, name))
    largest = sorted(candidates, key=lambda pair: (-pair[0], pair[1]))[:3]
    needed = plan.data_size + plan.arena_size
    helps = []
    if options.loss is not None:
        if options.precision == "fp32":
            helps.append("--precision mixed")
        if options.momentum:
            helps.append("training without momentum")
        helps.append("--train with fewer layers")
    if options.workers > 1 and plan.memory.workspace:
        helps.append("fewer --workers")
    helps.append("a smaller model or a target with more memory")
    return MemoryLimitError(
        f"Program '{fullest.name}' does not fit {memory_name}: {needed} bytes needed, {limit} available"
        f" ({needed - limit} too many); largest: "
        + ", ".join(f"'{name}' {nbytes} bytes" for nbytes, name in largest),
        "what helps: " + ", or ".join(helps),
    )
