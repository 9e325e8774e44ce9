"""A build described: the manifest with its layers, calls, tensors and memory."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from mcutrain.compiler.emit import kernel_calls
from mcutrain.compiler.passes.memory import VIEWS, Plan
from mcutrain.compiler.passes.tiling import tile_entry
from mcutrain.ir import Graph, Node, Placement, Program, Tensor
from mcutrain.manifest import (
    CallEntry,
    LayerEntry,
    Manifest,
    Options,
    ProgramEntry,
    TensorEntry,
)
from mcutrain.ops import op_for


def make_manifest(name: str, forward: Graph, plan: Plan, image: bytes, options: Options) -> Manifest:
    """The sealed manifest of a build.

    Args:
        name: of the build, for people.
        forward: the imported model, for the layers people know.
        plan: the lowered Programs and their addresses.
        image: initial contents of region ``data``.
        options: what the user asked for.
    """
    tensors: dict[str, Tensor] = {}
    for program in plan.programs:
        tensors.update((t.name, t) for t in program.graph.tensors.values() if t.persistent)
    steps = [p.graph for p in plan.programs if p.name in ("train_step", "apply")]
    written = {name for graph in steps for node in graph.nodes for name in node.outputs}
    trained = {t.name for t in tensors.values() if t.kind == "parameter" and t.name in written}
    return Manifest(
        name=name,
        options=options,
        tensors=tuple(
            _tensor_entry(tensors[tensor], place, trained=tensor in trained)
            for tensor, place in plan.persistent.items()
        ),
        programs=tuple(_program_entry(program, options) for program in plan.programs),
        layers=tuple(describe_layers(forward, [p.graph for p in plan.programs], trained)),
        memory=plan.memory,
        data_size=plan.data_size,
        arena_size=plan.arena_size,
        data_sha256=hashlib.sha256(image).hexdigest(),
    ).sealed()


def describe_layers(forward: Graph, programs: Sequence[Graph], trained: set[str]) -> list[LayerEntry]:
    """Layers in execution order with their parameters and multiply-accumulates.

    ``macs_backward`` counts the input and weight gradients that Program
    ``train_step`` computes for the layer.
    """
    backward: dict[str, int] = {}
    names = {node.name for node in forward.nodes}
    for program in programs:
        if program.name != "train_step":
            continue
        for node in program.nodes:
            if node.name not in names:
                layer = _layer_of(node.name, names)
                backward[layer] = backward.get(layer, 0) + _macs(program, node)
    layers, counted = [], set[str]()
    for node in forward.nodes:
        if node.op in VIEWS:
            continue
        parameters = [t for t in forward.input_tensors(node) if t is not None and t.kind == "parameter"]
        fresh = [t for t in parameters if t.name not in counted]
        counted.update(t.name for t in fresh)
        layers.append(
            LayerEntry(
                name=node.name,
                op=node.op,
                output=forward.tensors[node.outputs[0]].shape,
                parameters=sum(t.size for t in fresh),
                macs_forward=_macs(forward, node),
                macs_backward=backward.pop(node.name, 0),
                trained=any(t.name in trained for t in parameters),
            )
        )
    return layers


def _layer_of(name: str, layers: set[str]) -> str:
    """The layer a gradient node works for: the longest layer name before a dot."""
    while name and name not in layers:
        name = name.rpartition(".")[0]
    return name


def _macs(graph: Graph, node: Node) -> int:
    return op_for(node.op).macs(node, graph.input_tensors(node), graph.output_tensors(node))


def _tensor_entry(tensor: Tensor, place: Placement, *, trained: bool = False) -> TensorEntry:
    return TensorEntry(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        kind=tensor.kind,
        region=place.region,
        offset=place.offset,
        nbytes=tensor.nbytes,
        origin=tensor.origin,
        trained=trained,
    )


def _program_entry(program: Program, options: Options) -> ProgramEntry:
    graph = program.graph
    calls = [
        CallEntry(
            kernel=f"{call.kernel.kernel}_{call.kernel.dtype}",
            node=call.node.name,
            op=call.node.op,
            inputs=call.node.inputs,
            outputs=call.node.outputs,
            accumulation=op_for(call.node.op).accumulation(call.node, call.kernel.dtype),
            macs=_macs(graph, call.node),
            tile=tile_entry(call.node, call.kernel, options),
        )
        for call in kernel_calls(program)
    ]
    activations = [
        _tensor_entry(tensor, program.placements[tensor.name])
        for tensor in graph.used_tensors()
        if not tensor.persistent
    ]
    return ProgramEntry(
        graph.name, tuple(graph.inputs), tuple(graph.outputs), tuple(calls), tuple(activations)
    )
