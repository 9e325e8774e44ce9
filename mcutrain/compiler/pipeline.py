"""The whole way from a model to a firmware, on one page."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from mcutrain.compiler.emit import data_image, emit, write_sources
from mcutrain.compiler.onnx_io import ImportedModel, load_model
from mcutrain.compiler.passes.memory import Plan, plan_memory
from mcutrain.compiler.passes.tiling import choose_tiles
from mcutrain.compiler.passes.together import can_round_together
from mcutrain.compiler.programs import build_programs
from mcutrain.compiler.report import make_manifest
from mcutrain.compiler.toolchain import build_firmware, check_link, find_compiler
from mcutrain.errors import BuildError, MemoryLimitError, OptionError
from mcutrain.manifest import FILE_NAME, Manifest, Options
from mcutrain.targets import Target, find_target

#: Names of the files in a build directory; the firmware's is the target's.
MODEL_FILE, SOURCE_FOLDER, MAP_FILE = "model.onnx", "src", "firmware.map"
#: Folder of a build for what its devices remember.
STATE_FOLDER = "state"

Progress = Callable[[str], None]
Model = str | os.PathLike[str] | onnx.ModelProto


@dataclass(frozen=True)
class Lowered:
    """A model on its way, before code: what it is, what it does, where everything lives."""

    model: ImportedModel
    plan: Plan
    image: bytes
    manifest: Manifest


def lower(
    model: Model, options: Options, progress: Progress | None = None, name: str | None = None
) -> Lowered:
    """Import, differentiate, choose types and place in memory; the same input always gives the same result.

    ``name`` is the build's, by default the model file's without its suffix.

    Raises:
        ModelError, UnsupportedError: the model cannot be read or has something unknown.
        OptionError, TargetError: options that do not fit.
        MemoryLimitError: the Programs do not fit the target, or tiles that are asked for its L1.
    """
    say = progress or (lambda step: None)
    options.check()
    target = find_target(options.target)
    _check_workers(options, target)
    say("importing")
    imported = load_model(model)
    say("lowering")
    tiled, together = target.fast_memory is not None, can_round_together(options, target)
    graphs = build_programs(imported.graph, options, tiled=tiled, round_together=together)
    say("planning memory")
    try:
        plan = plan_memory(graphs, options, target.memory.size, target.memory.name)
    except MemoryLimitError:
        if not together:
            raise
        graphs = build_programs(imported.graph, options, tiled=tiled)
        plan = plan_memory(graphs, options, target.memory.size, target.memory.name)
    plan = replace(plan, programs=choose_tiles(plan.programs, target, options))
    image = data_image(plan)
    if name is None:
        name = imported.graph.name if isinstance(model, onnx.ModelProto) else Path(model).stem
    return Lowered(imported, plan, image, make_manifest(name, imported.graph, plan, image, options))


def compile_model(
    model: Model,
    options: Options,
    out_dir: Path,
    progress: Progress | None = None,
    cc: str | None = None,
) -> Manifest:
    """Compile an ONNX model into a build directory.

    The directory appears complete or not at all; one that holds an earlier
    build is replaced.

    Args:
        model: an ONNX file or a model in memory.
        options: see :class:`~mcutrain.manifest.Options`.
        out_dir: where the build goes; missing, empty or an earlier build.
        progress: called with a word on each step as it begins.
        cc: C compiler, see :func:`~mcutrain.compiler.toolchain.find_compiler`.

    Raises:
        McutrainError: of the kinds named at :func:`lower`, and ToolchainError, BuildError.
    """
    say = progress or (lambda step: None)
    out_dir = out_dir.resolve()
    _check_replaceable(out_dir)
    lowered = lower(model, options, progress)
    manifest = lowered.manifest
    target = find_target(options.target)
    compiler = find_compiler(cc)
    say("generating code")
    sources = emit(manifest.name, lowered.plan, lowered.image, manifest.build_id, options.workers)
    missing = [folder for folder in out_dir.parents if not folder.exists()]
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", dir=out_dir.parent))
    except OSError as error:
        raise BuildError(f"cannot write to {out_dir.parent}: {error.strerror}", "choose another -o") from None
    try:
        made = scratch / "build"
        made.mkdir()
        write_sources(sources, made / SOURCE_FOLDER)
        (made / MODEL_FILE).write_bytes(lowered.model.proto.SerializeToString(deterministic=True))
        say("compiling")
        firmware = build_firmware(
            target, made / SOURCE_FOLDER, sources.kernels, made / target.executable, compiler=compiler
        )
        check_link(firmware.elf, manifest.data_size, manifest.arena_size)
        (made / MAP_FILE).write_text(firmware.elf.map(), "utf-8")
        (made / FILE_NAME).write_text(manifest.to_json(), "utf-8")
        _replace(out_dir, made, scratch / "old")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: the build is in it
                folder.rmdir()
    return manifest


def _check_workers(options: Options, target: Target) -> None:
    if options.workers > target.workers:
        raise OptionError(
            f"workers is {options.workers}, target '{target.name}' has {target.workers}",
            f"give 1 to {target.workers}",
        )


def _check_replaceable(out_dir: Path) -> None:
    """Refuse to overwrite anything but an earlier build."""
    if not out_dir.exists():
        return
    if (out_dir / STATE_FOLDER).exists():
        raise BuildError(
            f"{out_dir} holds what a device has learned and certified (its folder {STATE_FOLDER}/)",
            "choose another -o, or remove that folder yourself",
        )
    if out_dir.is_dir() and ((out_dir / FILE_NAME).is_file() or not any(out_dir.iterdir())):
        return
    raise BuildError(f"{out_dir} exists and is not a build", "choose another -o, or remove it yourself")


def _replace(out_dir: Path, made: Path, old: Path) -> None:
    """Put the finished build in its place, the earlier one aside (it goes with the scratch folder)."""
    try:
        if out_dir.exists():
            os.rename(out_dir, old)
        os.rename(made, out_dir)
    except OSError as error:
        if old.exists() and not out_dir.exists():
            os.rename(old, out_dir)
        raise BuildError(f"cannot write {out_dir}: {error.strerror}", "choose another -o") from None
