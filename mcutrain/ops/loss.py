"""Losses over the device's batch, and their gradients scaled by the loss scale.

Losses are the mean over the batch.  FP32 inside; sums in index order.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import canonical, narrow, widen
from mcutrain.numerics import math as f32
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    Pointer,
    TensorType,
    expect,
    pointer,
    pointers,
    present,
    register,
    required,
)
from mcutrain.ops.softmax import softmax_terms, sum_in_order

Float32Array = npt.NDArray[np.float32]


class _Loss(Op):
    """inputs: prediction T, label i32 or target f32, and with ``with_gradient`` scale f32[1].
    outputs: loss f32[1], and with ``with_gradient`` the prediction's gradient T.
    """

    with_gradient: ClassVar[bool]

    def _check_target(self, node: Node, x: Tensor, target: Tensor) -> None:
        raise NotImplementedError

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, target = required(node, inputs, 0), required(node, inputs, 1)
        expect(x.dtype != "i32" and x.size > 0, node, f"no loss of {x.dtype}{list(x.shape)}")
        self._check_target(node, x, target)
        if not self.with_gradient:
            return [((1,), "f32")]
        scale = required(node, inputs, 2)
        expect(
            (scale.shape, scale.dtype) == ((1,), "f32"),
            node,
            "the scale is not f32[1]",
            "report this as a bug",
        )
        return [((1,), "f32"), (x.shape, x.dtype)]


class _CrossEntropy(_Loss):
    def _check_target(self, node: Node, x: Tensor, target: Tensor) -> None:
        expect(
            len(x.shape) >= 1 and (target.shape, target.dtype) == (x.shape[:-1] or (1,), "i32"),
            node,
            f"labels {target.dtype}{list(target.shape)} do not fit scores {list(x.shape)}",
            "give one i32 label per row of scores",
        )

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        logits = present(inputs, 0)
        x = widen(logits).reshape(-1, logits.shape[-1])
        label = present(inputs, 1).reshape(-1)
        known = (label >= 0) & (label < x.shape[1])
        row, true = np.arange(len(x)), np.where(known, label, 0)
        count = np.float32(len(x))
        shifted, total = softmax_terms(x, 1)
        with np.errstate(all="ignore"):
            losses = np.where(known, f32.log(total)[:, 0] - shifted[row, true], np.float32(0))
            loss = canonical(sum_in_order(losses, 0) / count)
            if not self.with_gradient:
                return [loss]
            p = f32.exp(shifted) / total
            p[row, true] = np.float32(0)
            p[row, true] = -sum_in_order(p, 1)[:, 0]
            factor = present(inputs, 2)[0] / count
            dx = np.where(known[:, None], factor * p, np.float32(0))
        return [loss, narrow(dx, NUMPY_DTYPES[outputs[1].dtype]).reshape(logits.shape)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        fields: dict[str, FieldValue] = {
            **pointers(logits=x, label=inputs[1]),
            "scale": pointer(inputs[2]) if self.with_gradient else Pointer(""),
            "loss": pointer(outputs[0]),
            "dlogits": pointer(outputs[1]) if self.with_gradient else Pointer(""),
            "rows": x.size // x.shape[-1],
            "classes": x.shape[-1],
        }
        return KernelCall("cross_entropy", x.dtype, fields)


@register
class CrossEntropy(_CrossEntropy):
    """loss f32[1] = mean of -log softmax(logits)[label]; dlogits T = scale / N (p - onehot(label)).

    logits T [N, C], label i32 [N], scale f32 [1].  The true class's entry is
    minus the sum of the others, so that it keeps its digits when p is near
    one.  A row whose label is outside [0, C) contributes nothing.
    """

    with_gradient = True


@register
class CrossEntropyLoss(_CrossEntropy):
    """The loss of :class:`CrossEntropy` alone: logits T [N, C], label i32 [N] -> f32 [1]."""

    with_gradient = False


class _MeanSquaredError(_Loss):
    def _check_target(self, node: Node, x: Tensor, target: Tensor) -> None:
        expect(
            (target.shape, target.dtype) == (x.shape, "f32"),
            node,
            f"target {target.dtype}{list(target.shape)} does not fit prediction {list(x.shape)}",
            "give an f32 target of the prediction's shape",
        )

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        prediction = present(inputs, 0)
        with np.errstate(all="ignore"):
            difference = widen(prediction) - present(inputs, 1)
            count = np.float32(difference.size)
            loss = canonical(sum_in_order((difference * difference).reshape(-1), 0) / count)
            if not self.with_gradient:
                return [loss]
            factor = np.float32(2) * present(inputs, 2)[0] / count
            return [loss, narrow(factor * difference, NUMPY_DTYPES[outputs[1].dtype])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        fields: dict[str, FieldValue] = {
            **pointers(prediction=x, target=inputs[1]),
            "scale": pointer(inputs[2]) if self.with_gradient else Pointer(""),
            "loss": pointer(outputs[0]),
            "dprediction": pointer(outputs[1]) if self.with_gradient else Pointer(""),
            "count": x.size,
        }
        return KernelCall("mean_squared_error", x.dtype, fields)


@register
class MeanSquaredError(_MeanSquaredError):
    """loss f32[1] = mean of (prediction - target)²; dprediction T = (2 scale / count) (prediction - target).

    prediction T, target f32 of the same shape, scale f32 [1]; the mean is over all elements.
    """

    with_gradient = True


@register
class MeanSquaredErrorLoss(_MeanSquaredError):
    """The loss of :class:`MeanSquaredError` alone: prediction T, target f32 -> f32 [1]."""

    with_gradient = False
