"""Which bytes of a build's memory each Program may change, and whether it kept to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mcutrain.build import Build
from mcutrain.compiler.passes.memory import VIEWS
from mcutrain.compiler.pipeline import lower
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.manifest import Manifest, TensorEntry
from mcutrain.ops import op_for
from mcutrain.ops.base import align

#: name of the tensor that is a whole memory region
WHOLE = {"arena": "the whole arena", "data": "the whole data region"}


def with_regions(manifest: Manifest) -> Manifest:
    """The manifest with two more tensors: everything in region ``arena``, everything in ``data``."""
    sizes = {"arena": manifest.arena_size, "data": manifest.data_size}
    whole = (
        TensorEntry(WHOLE[region], "i32", (size // 4,), "state", region, 0, size)  # type: ignore[arg-type]
        for region, size in sizes.items()
    )
    return replace(manifest, tensors=(*manifest.tensors, *whole))


def allowed(build: Build, program: str, region: str = "arena") -> list[np.ndarray]:
    """For each kernel call of ``program`` the mask of the region's bytes that it may change."""
    manifest = build.manifest
    lowered = lower(build.model_path, manifest.options, name=manifest.name)
    placed = next(p for p in lowered.plan.programs if p.name == program)
    nodes = [(i, n) for i, n in enumerate(placed.graph.nodes) if n.op not in VIEWS]
    masks = []
    for call, (index, lowered_node) in zip(manifest.program(program).calls, nodes, strict=True):
        assert call.outputs == lowered_node.outputs
        mask = np.zeros(manifest.arena_size if region == "arena" else manifest.data_size, bool)
        for name in call.outputs:
            entry = manifest.tensor(name, program)
            if entry.region == region:
                # a call on all parameters goes through what lies between them, too
                nbytes = align(entry.nbytes) if lowered_node.op.startswith("All") else entry.nbytes
                mask[entry.offset : entry.offset + nbytes] = True
        workspace = placed.placements.get(f"workspace:{index}")
        if workspace is not None and workspace.region == region:
            stride = op_for(lowered_node.op).workspace(
                lowered_node,
                placed.graph.input_tensors(lowered_node),
                placed.graph.output_tensors(lowered_node),
            )
            mask[workspace.offset : workspace.offset + stride * manifest.options.workers] = True
        masks.append(mask)
    return masks


def check_guards(build: Build, inputs: Mapping[str, Array], workers: int | None = None) -> int:
    """Assert that whole Programs leave every byte alone that is no output or workspace of theirs.

    All bytes that hold nothing at the time get a pattern before each Program
    runs on all its ``workers`` at once.  Returns how many bytes were watched.
    """
    watched = 0
    manifest = with_regions(build.manifest)
    with Build(build.directory, manifest).session(workers=workers) as session:
        for program in build.manifest.programs:
            session.executor.write({name: inputs[name] for name in program.inputs})
            for region in WHOLE:
                watched += _check_region(build, session, program.name, region)
    return watched


def _check_region(build: Build, session: Learner, program: str, region: str) -> int:
    whole = WHOLE[region]
    writable = np.zeros_like(session.executor.read([whole])[whole].view(np.uint8), bool)
    for mask in allowed(build, program, region):
        writable |= mask
    free = ~writable
    for entry in build.manifest.tensors:
        if entry.region == region and entry.kind != "activation":
            free[entry.offset : entry.offset + entry.nbytes] = False
    before = session.executor.read([whole])[whole].view(np.uint8)
    before[free] = 0xA5
    session.executor.write({whole: before.view(np.int32)})
    session.executor.run(program)
    after = session.executor.read([whole])[whole].view(np.uint8)
    stray = np.flatnonzero((before != after) & ~writable)
    assert not stray.size, f"{program} changed bytes {stray[:8]} of region {region}, which are not its own"
    return int(free.sum())
