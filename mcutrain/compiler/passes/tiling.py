"""The tiles of every call of a tiled kernel: the quickest that fits L1, or the one the user asks for.

The kernel is told by the attribute ``tile`` of its node, (rows, columns); (0, 0) is a
call that stays in the target's large memory, where the portable kernel takes it.
Results do not depend on tiles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace

from mcutrain.compiler import tiles
from mcutrain.compiler.tiles import Tiling
from mcutrain.errors import MemoryLimitError, OptionError
from mcutrain.ir import Node, Program
from mcutrain.manifest import Options, TileChoice, TileEntry
from mcutrain.ops import KernelCall, op_for
from mcutrain.targets import FastMemory, Target

#: What a call says of its tiles when it has none.
FROM_MEMORY = TileEntry(0, 0, 0, "", "", 0, 0, 0, False)


def choose_tiles(programs: Sequence[Program], target: Target, options: Options) -> list[Program]:
    """The Programs with their tiles chosen; the same Programs on a target without a scratch-pad.

    Args:
        programs: lowered Programs.
        target: its ``fast_memory`` is the limit.
        options: ``workers``, and ``tiles`` as the user wants them, by layer.

    Raises:
        OptionError: tiles for a layer that has no choice of them.
        MemoryLimitError: tiles that do not fit L1, with the bytes they need and what would fit.
    """
    asked = {choice.layer: choice for choice in options.tiles}
    fast = target.fast_memory
    if fast is None:
        if asked:
            raise OptionError(
                f"target '{target.name}' has no scratch-pad to divide into tiles", "leave the tiles out"
            )
        return list(programs)
    _check_names(programs, asked)
    return [_with_tiles(program, target.name, fast, options.workers, asked) for program in programs]


def tile_entry(node: Node, call: KernelCall, options: Options) -> TileEntry | None:
    """What the manifest says of a call's tiles; None where there is nothing to choose."""
    tile = node.attrs.get("tile")
    if tile is None:
        return None
    if tile == (0, 0):
        return FROM_MEMORY
    rows, columns = tile
    found = tiles.tiling(call, rows, columns, options.workers)
    asked = any(choice.layer == node.name for choice in options.tiles)
    return TileEntry(**asdict(found), asked=asked)


def tiled_calls(program: Program) -> Iterator[tuple[int, Node, KernelCall]]:
    """The calls of kernels that exist in a tiled form: position in the graph, node, call."""
    graph = program.graph
    for index, node in enumerate(graph.nodes):
        call = op_for(node.op).kernel(node, graph.input_tensors(node), graph.output_tensors(node))
        if call is not None and call.kernel in tiles.FAMILIES:
            yield index, node, call


def fitting(call: KernelCall, fast: FastMemory, workers: int) -> list[Tiling]:
    """Tiles of a call that fit, the quickest first; none for a shape that tiled kernels do not take."""
    if not tiles.takes(call):
        return []
    return [tiling for tiling in tiles.tilings(call, workers) if tiling.l1 <= fast.usable]


def _with_tiles(
    program: Program, target: str, fast: FastMemory, workers: int, asked: Mapping[str, TileChoice]
) -> Program:
    nodes = list(program.graph.nodes)
    for index, node, call in tiled_calls(program):
        choice, best = asked.get(node.name), next(iter(fitting(call, fast, workers)), None)
        if choice is not None:
            best = _as_asked(call, choice, target, fast, workers)
        nodes[index] = node.with_attrs(tile=(best.rows, best.columns) if best else (0, 0))
    graph = program.graph.copy()
    graph.nodes = nodes
    return replace(program, graph=graph)


def _as_asked(call: KernelCall, choice: TileChoice, target: str, fast: FastMemory, workers: int) -> Tiling:
    """The tile that the user wants; what is 0 is chosen."""
    name = choice.layer
    if not tiles.takes(call):
        raise OptionError(
            f"tiles: '{name}' has a shape that {call.kernel} does not take in tiles", "leave that layer out"
        )
    known = tiles.tilings(call, workers)
    wanted = {(choice.rows or t.rows, choice.columns or t.columns): None for t in known}
    tried = [tiles.tiling(call, rows, columns, workers) for rows, columns in wanted]
    fit = [t for t in tried if t.l1 <= fast.usable]
    if fit:
        return min(fit, key=lambda t: (t.cycles, t.l1))
    least = min(tried, key=lambda t: t.l1)
    others = [t for t in known if t.l1 <= fast.usable]
    remedy = f"{others[0].rows} rows and {others[0].columns} columns fit" if others else "no tile of it fits"
    raise MemoryLimitError(
        f"tiles: '{name}' in tiles of {least.rows} rows and {least.columns} columns needs {least.l1} bytes"
        f" ({least.buffers}), target '{target}' has {fast.usable} in {fast.name}",
        f"ask for less: {remedy}" if others else "leave that layer out: " + remedy,
    )


def _check_names(programs: Sequence[Program], asked: Mapping[str, TileChoice]) -> None:
    known = list(dict.fromkeys(node.name for program in programs for _, node, _ in tiled_calls(program)))
    for name in asked:
        if name not in known:
            raise OptionError(
                f"tiles: there is no '{name}' with tiles to choose", f"there are {', '.join(known) or 'none'}"
            )
