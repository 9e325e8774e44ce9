"""Matrix products: Gemm and MatMul, both to Dense."""

from __future__ import annotations

import numpy as np

from mcutrain.compiler.onnx_import.context import Importer, OnnxNode, Shape, Static, handles

_DENSE = {"activation": "none", "lo": 0.0, "hi": 0.0}


@handles("Gemm")
def gemm(ctx: Importer, node: OnnxNode) -> None:
    """alpha * A' B' + beta * C, with C as Dense's bias where it is one value per column."""
    shapes = ctx.shape(node, 0), ctx.shape(node, 1)
    node.require(len(shapes[0]) == len(shapes[1]) == 2, f"its operands have shapes {shapes}")
    a = ctx.tensor(node, 0, trained=True)
    b = ctx.tensor(node, 1, trained=True)
    if node.attr("transA", 0):
        a = ctx.transpose(node, a, (1, 0))
    if not node.attr("transB", 0):
        b = ctx.transpose(node, b, (1, 0))
    (rows, depth), (columns, other) = ctx.graph.tensors[a].shape, ctx.graph.tensors[b].shape
    node.require(depth == other, f"its operands have {depth} columns and {other} rows")
    alpha, beta = float(node.attr("alpha", 1.0)), float(node.attr("beta", 1.0))
    node.require(bool(np.isfinite(alpha) and np.isfinite(beta)), "alpha and beta must be finite")
    inputs = [a, b]
    addend = ""
    if node.has(2) and beta != 0.0:
        shape = ctx.shape(node, 2)
        node.require(
            _broadcasts(shape, (rows, columns)),
            f"its C of shape {shape} does not broadcast to {(rows, columns)}",
        )
        addend = ctx.tensor(node, 2, trained=int(np.prod(shape)) > 1 or shape == (columns,))
        per_column = shape[-1:] == (columns,) and int(np.prod(shape)) == columns and ctx.is_static(node, 2)
        if per_column and alpha == beta == 1.0 and (columns > 1 or shape == (1,)):
            inputs.append(ctx.reshape(node, addend, (columns,)))
            addend = ""
    y = ctx.emit(node, "Dense", inputs, (rows, columns), **_DENSE)
    if alpha != 1.0:
        y = ctx.emit(node, "Mul", [y, ctx.constant(node, np.array([alpha]))], (rows, columns))
    if addend:
        if beta != 1.0:
            shape = ctx.graph.tensors[addend].shape
            addend = ctx.emit(node, "Mul", [addend, ctx.constant(node, np.array([beta]))], shape or (1,))
        y = ctx.emit(node, "Add", [y, addend], (rows, columns))
    ctx.bind(node, y)


def _broadcasts(shape: Shape, to: Shape) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


@handles("MatMul")
def matmul(ctx: Importer, node: OnnxNode) -> None:
    """NumPy's matmul of any ranks; a constant left operand swaps roles: (A B)^T = B^T A^T."""
    shape_a, shape_b = ctx.shape(node, 0), ctx.shape(node, 1)
    node.require(bool(shape_a and shape_b), "an operand is a scalar")
    a = ctx.tensor(node, 0, trained=True)
    b = ctx.tensor(node, 1, trained=True)
    if len(shape_a) == 1:
        a = ctx.reshape(node, a, (1, *shape_a))
    if len(shape_b) == 1:
        b = ctx.reshape(node, b, (*shape_b, 1))
    rows, depth = ctx.graph.tensors[a].shape[-2:]
    other, columns = ctx.graph.tensors[b].shape[-2:]
    node.require(depth == other, f"its operands have shapes {shape_a} and {shape_b}")
    swap = isinstance(ctx.value(node, 0), Static)
    x, w = (_swapped(ctx, node, b), a) if swap else (a, _swapped(ctx, node, b))
    y, lead = _batched(ctx, node, x, w)
    if swap:
        y = _swapped(ctx, node, y)
    shape = lead + ((rows,) if len(shape_a) > 1 else ()) + ((columns,) if len(shape_b) > 1 else ())
    ctx.bind(node, ctx.reshape(node, y, shape))


def _swapped(ctx: Importer, node: OnnxNode, name: str) -> str:
    """The tensor with its last two axes exchanged."""
    rank = len(ctx.graph.tensors[name].shape)
    return ctx.transpose(node, name, (*range(rank - 2), rank - 1, rank - 2))


def _batched(ctx: Importer, node: OnnxNode, x: str, w: str) -> tuple[str, Shape]:
    """x [..., M, K] by w [..., N, K] with broadcast leading axes: Dense and those axes."""
    shape_x, shape_w = ctx.graph.tensors[x].shape, ctx.graph.tensors[w].shape
    try:
        lead = np.broadcast_shapes(shape_x[:-2], shape_w[:-2])
    except ValueError:
        raise node.invalid(f"its operands' leading axes {shape_x[:-2]} and {shape_w[:-2]} differ") from None
    if all(d == 1 for d in shape_w[:-2]):
        w = ctx.reshape(node, w, shape_w[-2:])
        x = ctx.reshape(node, x, (*lead, *shape_x[-2:]))
    else:
        x, w = (_spread(ctx, node, name, lead) for name in (x, w))
    shape = (*lead, shape_x[-2], shape_w[-2])
    return ctx.emit(node, "Dense", [x, w], shape, **_DENSE), tuple(lead)


def _spread(ctx: Importer, node: OnnxNode, name: str, lead: Shape) -> str:
    """The tensor repeated along new leading axes: by adding zeros, there being nothing cheaper."""
    tail = ctx.graph.tensors[name].shape[-2:]
    if ctx.graph.tensors[name].shape == (*lead, *tail):
        return name
    if int(np.prod(lead)) * int(np.prod(tail)) > 1 << 20:
        raise node.unsupported(
            f"its operands broadcast to {(*lead, *tail)}", "give both the same leading axes"
        )
    zeros = ctx.constant(node, np.zeros((*lead, 1, 1), np.float32))
    return ctx.emit(node, "Add", [name, zeros], (*lead, *tail))
