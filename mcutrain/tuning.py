"""Tuning: the best few tiles of every kernel call are measured, and the quickest is kept in a file.

A round is one firmware in which every call has another of its candidates; its
calls run one by one, each twice, and the second is counted.  Calls of one
shape are measured once.  The file is written after every call, so that a
run that was stopped goes on where it was.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from mcutrain.build import Build
from mcutrain.compiler.passes.tiling import fitting, tiled_calls
from mcutrain.compiler.pipeline import compile_model, lower
from mcutrain.compiler.tiles import Tiling
from mcutrain.device.profile import count_call
from mcutrain.device.session import Session
from mcutrain.errors import OptionError
from mcutrain.manifest import Options, TileChoice
from mcutrain.ops import KernelCall
from mcutrain.targets import find_target
from mcutrain.tile_file import Tile, TileFile, read_tiles, write_tiles

#: Cycles of one kernel call of the measured Program, by its number.
Counter = Callable[[int], int]
#: Builds a firmware with these tiles and lets its calls be counted.
Measure = Callable[[tuple[TileChoice, ...]], AbstractContextManager[Counter]]
#: Called with calls measured, calls in all, and what is measured.
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Group:
    """Calls of one shape: their layers, the number of one of them, and tiles to try, the likeliest first."""

    layers: tuple[str, ...]
    call: int
    candidates: tuple[Tiling, ...]


@dataclass(frozen=True)
class Tuned:
    """What became of one group: the compiler's own tile and the quickest, with their cycles."""

    layers: tuple[str, ...]
    before: Tile
    cycles_before: int
    expected: int
    best: Tile
    cycles: int


def tune(
    model: Path,
    options: Options,
    path: Path,
    *,
    candidates: int = 3,
    measure: Measure | None = None,
    progress: Progress | None = None,
) -> list[Tuned]:
    """Measure the likeliest tiles of every kernel call of a training step (of ``infer`` without a loss).

    Args:
        model: an ONNX file.
        options: of the build; ``tiles`` must be empty.
        path: the file of tiles to write; one that holds measurements of the same build is continued.
        candidates: tiles to try for each call, those with the fewest expected cycles.
        measure: how, by default on the target's simulator.
        progress: called before each call.

    Raises:
        OptionError: the target has no tiles, or ``path`` belongs to another build.
        McutrainError: as of compiling and of the simulator.
    """
    if find_target(options.target).fast_memory is None:
        raise OptionError(f"target '{options.target}' has no scratch-pad to divide into tiles", "tune gvsoc")
    if options.tiles:
        raise OptionError("tuning starts from the compiler's own tiles", "leave the tiles out")
    name = model.stem
    lowered = lower(model, options, name=name)
    program = "train_step" if options.loss else "infer"
    groups = _groups(model, options, program, candidates)
    file = _resume(path, lowered.manifest.build_id)
    todo = [
        (round_, group)
        for round_ in range(candidates)
        for group in groups
        if round_ < len(group.candidates) and _known(file, group, round_) is None
    ]
    total, done = sum(len(group.candidates) for group in groups), 0
    done = total - len(todo)
    with_tiles = measure or on_simulator(model, options, program)
    for round_ in sorted({round_ for round_, _ in todo}):
        here = [group for n, group in todo if n == round_]
        with with_tiles(_choices(here, round_)) as count:
            for group in here:
                tiling = group.candidates[round_]
                if progress:
                    progress(done, total, f"{group.layers[0]} in {tiling.rows} × {tiling.columns}")
                cycles = count(group.call)
                for layer in group.layers:
                    file.measured.setdefault(layer, {})[tiling.rows, tiling.columns] = cycles
                    file.tiles[layer] = _quickest(file, layer)
                write_tiles(path, file)
                done += 1
    write_tiles(path, file)
    return [_tuned(file, group) for group in groups]


def on_simulator(model: Path, options: Options, program: str) -> Measure:
    """Cycles as the target's simulator counts them."""

    @contextmanager
    def measure(choices: tuple[TileChoice, ...]) -> Iterator[Counter]:
        with tempfile.TemporaryDirectory(prefix="mcutrain-tune-") as folder:
            manifest = compile_model(model, replace(options, tiles=choices), Path(folder) / "build")
            with Build(Path(folder) / "build", manifest).session() as learner:
                session = learner.executor
                assert isinstance(session, Session)
                yield lambda call: _second(session, program, call)

    return measure


def _second(session: Session, program: str, call: int) -> int:
    """Cycles of the workers for a call that has run just before, so that the instruction cache holds it."""
    session.run(program, calls=(call, call + 1))
    clock, counts = count_call(session, program, call)
    if not clock.counts_cycles:
        raise OptionError(
            f"the clock of target '{session.manifest.options.target}' does not count cycles", "tune gvsoc"
        )
    begins, ends = ([worker[key] for worker in counts.workers] for key in ("begin", "end"))
    return max(ends) - min(begins)


def _groups(model: Path, options: Options, program: str, candidates: int) -> list[Group]:
    target = find_target(options.target)
    assert target.fast_memory is not None
    lowered = lower(model, options)
    found: dict[tuple[object, ...], tuple[list[str], int, KernelCall]] = {}
    (measured,) = (p for p in lowered.plan.programs if p.name == program)
    numbers = {call.node: i for i, call in enumerate(lowered.manifest.program(program).calls) if call.tile}
    for _, node, call in tiled_calls(measured):
        if node.name in numbers and fitting(call, target.fast_memory, options.workers):
            key = (call.kernel, call.dtype, *sorted((k, v) for k, v in call.fields.items() if _plain(v)))
            found.setdefault(key, ([], numbers[node.name], call))[0].append(node.name)
    return [
        Group(tuple(layers), call, tuple(fitting(kernel, target.fast_memory, options.workers)[:candidates]))
        for layers, call, kernel in found.values()
    ]


def _plain(value: object) -> bool:
    return isinstance(value, (int, float))


def _choices(groups: Sequence[Group], round_: int) -> tuple[TileChoice, ...]:
    return tuple(
        TileChoice(layer, group.candidates[round_].rows, group.candidates[round_].columns)
        for group in groups
        for layer in group.layers
    )


def _resume(path: Path, subject: str) -> TileFile:
    if not path.exists():
        return TileFile(subject=subject)
    file = read_tiles(path)
    if file.subject != subject:
        raise OptionError(
            f"{path} is of another build, or was not measured", "choose another -o, or remove it yourself"
        )
    return file


def _known(file: TileFile, group: Group, round_: int) -> int | None:
    tiling = group.candidates[round_]
    return file.measured.get(group.layers[0], {}).get((tiling.rows, tiling.columns))


def _quickest(file: TileFile, layer: str) -> Tile:
    cycles: Mapping[Tile, int] = file.measured[layer]
    return min(cycles, key=lambda tile: cycles[tile])


def _tuned(file: TileFile, group: Group) -> Tuned:
    layer, first = group.layers[0], group.candidates[0]
    cycles = file.measured[layer]
    best = _quickest(file, layer)
    before = (first.rows, first.columns)
    return Tuned(group.layers, before, cycles[before], first.cycles, best, cycles[best])
