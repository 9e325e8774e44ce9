"""What happens between training steps: clearing, checking, updating, measuring.  FP32 state, in place."""

from __future__ import annotations

import numpy as np

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import canonical, narrow, widen
from mcutrain.numerics.rounding import Float32
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    TensorType,
    expect,
    pointer,
    pointers,
    present,
    register,
    required,
)

#: Lanes of :class:`SumSquares` (``LANES`` in kernels/sum_squares.c).
LANES = 8


def _expect_type(node: Node, tensor: Tensor, shape: tuple[int, ...], dtype: str) -> None:
    expect(
        (tensor.shape, tensor.dtype) == (shape, dtype),
        node,
        f"'{tensor.name}' is {tensor.dtype}{list(tensor.shape)}, not {dtype}{list(shape)}",
        "report this as a bug",
    )


@register
class Fill(Op):
    """y[...] = attribute ``value`` (0), in place; without an operand y is new, of ``shape`` and ``dtype``.

    i32 only of zeros.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        if not inputs:
            return [(tuple(node.attrs["shape"]), node.attrs["dtype"])]
        y = required(node, inputs, 0)
        return [(y.shape, y.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        value = narrow(np.array([node.attrs.get("value", 0.0)], np.float32), NUMPY_DTYPES[outputs[0].dtype])
        return [np.full(outputs[0].shape, value[0])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        y, value = outputs[0], float(node.attrs.get("value", 0.0))
        floats = y.dtype in ("f16", "f32")
        expect(
            floats or (y.dtype == "i32" and not value), node, f"{y.dtype} of {value}", "report this as a bug"
        )
        fields: dict[str, FieldValue] = {"y": pointer(y), "count": y.size, "value": value}
        return KernelCall("fill", y.dtype if floats else "f32", fields)


@register
class FiniteCheck(Op):
    """overflow i32[1] becomes 1 when x[...] T holds an infinity or a NaN, and stays as it is otherwise."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        expect(
            required(node, inputs, 0).dtype != "i32",
            node,
            "the operand is of integers",
            "report this as a bug",
        )
        _expect_type(node, required(node, inputs, 1), (1,), "i32")
        return [((1,), "i32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        finite = bool(np.isfinite(present(inputs, 0)).all())
        return [present(inputs, 1).copy() if finite else np.ones(1, np.int32)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        fields: dict[str, FieldValue] = {"x": pointer(x), "overflow": pointer(outputs[0]), "count": x.size}
        return KernelCall("finite_check", x.dtype, fields)


@register
class Sgd(Op):
    """Stochastic gradient descent, in place; every operation rounds once in FP32.

    inputs: w f32, g f32 (accumulated gradient), v f32 (momentum) or '',
    hyper f32[4] = [rate, momentum, weight decay, 1 / batch], scale f32[1]
    (loss scale), overflow i32[1].  outputs: w, v when given, and g, which is
    left at zero for the next batch.

        t = g * (hyper[3] / scale);  gg = t + weight_decay * w, or t without a decay
        with v:     v = momentum * v + gg;  w = w - rate * v
        without:    w = w - rate * gg

    Neither w nor v change when overflow is set.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        expect(len(inputs) == 6, node, f"{len(inputs)} operands, not 6", "report this as a bug")
        w = required(node, inputs, 0)
        _expect_type(node, w, w.shape, "f32")
        _expect_type(node, required(node, inputs, 1), w.shape, "f32")
        for index, shape, dtype in ((3, (4,), "f32"), (4, (1,), "f32"), (5, (1,), "i32")):
            _expect_type(node, required(node, inputs, index), shape, dtype)
        if inputs[2] is None:
            return [(w.shape, "f32")] * 2
        _expect_type(node, inputs[2], w.shape, "f32")
        return [(w.shape, "f32")] * 3

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        w, g, v = present(inputs, 0), present(inputs, 1), inputs[2]
        rate, momentum, decay, inverse_batch = present(inputs, 3)
        cleared = np.zeros_like(g)
        if present(inputs, 5)[0] != 0:
            return [w.copy(), cleared] if v is None else [w.copy(), v.copy(), cleared]
        with np.errstate(all="ignore"):
            step = g * (inverse_batch / present(inputs, 4)[0])
            if decay != 0:
                step = step + decay * w
            if v is None:
                return [w - rate * step, cleared]
            step = momentum * v + step
            return [w - rate * step, step, cleared]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        w, g, v, hyper, scale, overflow = inputs
        fields: dict[str, FieldValue] = {
            **pointers(w=w, g=g, v=v, hyper=hyper, scale=scale, overflow=overflow),
            "count": outputs[0].size,
        }
        return KernelCall("sgd", "f32", fields)


@register
class LossScaleUpdate(Op):
    """Dynamic loss scaling after a step (Micikevicius et al., *Mixed Precision Training*, 2018), in place.

    scale f32[1], overflow i32[1], good_steps i32[1], skipped_steps i32[1];
    attrs growth_interval (200), max (32768), min (1).  Overflow: the scale
    halves, good_steps = 0, skipped_steps + 1.  Otherwise good_steps + 1, and at
    the interval the scale doubles and good_steps = 0.  Clears overflow.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        types: list[TensorType] = [((1,), "f32"), ((1,), "i32"), ((1,), "i32"), ((1,), "i32")]
        for index, (shape, dtype) in enumerate(types):
            _expect_type(node, required(node, inputs, index), shape, dtype)
        return types

    def _limits(self, node: Node) -> tuple[int, np.float32, np.float32]:
        attrs = node.attrs
        return (
            int(attrs.get("growth_interval", 200)),
            np.float32(attrs.get("min", 1)),
            np.float32(attrs.get("max", 32768)),
        )

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        interval, smallest, largest = self._limits(node)
        scale: np.float32 = present(inputs, 0)[0]
        good, skipped = int(present(inputs, 2)[0]), int(present(inputs, 3)[0])
        if present(inputs, 1)[0] != 0:
            scale, good, skipped = max(scale * np.float32(0.5), smallest), 0, skipped + 1
        elif good + 1 >= interval:
            scale, good = min(scale * np.float32(2), largest), 0
        else:
            good += 1
        counters = [np.array([n], np.int32) for n in (0, good, skipped)]
        return [np.array([scale], np.float32), *counters]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        interval, smallest, largest = self._limits(node)
        names = ("scale", "overflow", "good_steps", "skipped_steps")
        fields: dict[str, FieldValue] = {
            **{name: pointer(tensor) for name, tensor in zip(names, outputs, strict=True)},
            "growth_interval": interval,
            "smallest": float(smallest),
            "largest": float(largest),
        }
        return KernelCall("loss_scale_update", "f32", fields)


@register
class SumSquares(Op):
    """y f32[1] = the sum of x[...]² in FP32: eight sums of the elements i mod 8, added in order."""

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        expect(
            required(node, inputs, 0).dtype != "i32",
            node,
            "the operand is of integers",
            "report this as a bug",
        )
        return [((1,), "f32")]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x: Float32 = widen(present(inputs, 0)).reshape(-1)
        padded = np.zeros((-(-x.size // LANES), LANES), np.float32)
        padded.reshape(-1)[: x.size] = x
        with np.errstate(all="ignore"):
            lanes = np.add.accumulate(padded * padded, axis=0)[-1]
            return [canonical(np.add.accumulate(lanes)[-1:])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        return KernelCall(
            "sum_squares", x.dtype, {"x": pointer(x), "y": pointer(outputs[0]), "count": x.size}
        )
