"""Losses that the host chooses when a Program runs: to forget, to repair, to imitate.

FP32 inside, every operation rounds once, sums in index order.  With p the softmax of the scores z, y
the label and v the other class of the largest score, dL/dz is

====  =====================  ==============================================================
mode  loss of a row          gradient
====  =====================  ==============================================================
0     -log p_y               p - e_y
1     log p_y                -(p - e_y), gradient ascent
2     2/β log(1 + (p_y/p0)^β)  -2 σ(β (log p_y - log p0)) (p - e_y), negative preference (NPO)
3     1 + p_y - p_v          p_y (e_y - p) - p_v (e_v - p), inverted hinge
4     -mean of log p         p - 1/C, towards the uniform distribution
5     T² KL(q ∥ p)           T (softmax(z/T) - q), q = softmax(reference/T), p of z/T: distillation
6     -sum of r log p        p - r, r the reference's probabilities
====  =====================  ==============================================================

and for regression, of each element, x the prediction and t the target

====  =========  ===============
0     (x - t)²   2 (x - t)
7     |x - t|    sign of (x - t)
====  =========  ===============

switch f32[8] = [mode, weight, β, log p0, T, 0, 0, 0].  The loss is the mean over rows (elements), not
weighted; the gradient is multiplied by weight (which may be negative) and the loss scale.  p - e_y has its
true class as minus the sum of the others, as in :class:`~mcutrain.ops.loss.CrossEntropy`.  In modes 0 to 3
a row whose label is not a class contributes nothing; the others do not read labels.  A mode that does not
exist gives a loss of NaN and no gradient.

Sources: Zhang et al., *Negative Preference Optimization*, 2024 (NPO); Cha et al., *Towards Robust and
Parameter-Efficient Knowledge Unlearning for LLMs*, 2024 (inverted hinge); Hinton et al., *Distilling the
Knowledge in a Neural Network*, 2015.
"""

from __future__ import annotations

import numpy as np

from mcutrain.ir import NUMPY_DTYPES, Array, Node, Tensor
from mcutrain.numerics import canonical, narrow, widen
from mcutrain.numerics import math as f32
from mcutrain.numerics.rounding import Float32
from mcutrain.ops.base import (
    FieldValue,
    KernelCall,
    Op,
    TensorType,
    expect,
    pointers,
    present,
    register,
    required,
)
from mcutrain.ops.softmax import softmax_terms, sum_in_order

_ONE, _TWO = np.float32(1), np.float32(2)
_SWITCH = (8,)


def _check_switch(node: Node, switch: Tensor, scale: Tensor) -> None:
    expect(
        (switch.shape, switch.dtype, scale.shape, scale.dtype) == (_SWITCH, "f32", (1,), "f32"),
        node,
        "the switch is not f32[8] or the scale not f32[1]",
        "report this as a bug",
    )


def _minus_one_hot(p: Float32, chosen: Array) -> Float32:
    """p - e of the chosen class of each row, that entry as minus the sum of the others."""
    difference = p.copy()
    row = np.arange(len(p))
    difference[row, chosen] = 0
    difference[row, chosen] = -sum_in_order(difference, 1)[:, 0]
    return difference


def _runner_up(shifted: Float32, label: Array) -> Array:
    """The first class of the largest score other than the label (the label itself of a single class)."""
    if shifted.shape[1] == 1:
        return label
    others = shifted.copy()
    others[np.arange(len(label)), label] = -np.inf
    others = np.where(np.isnan(others), -np.inf, others)
    others[np.arange(len(label)), label] = np.nan
    return np.asarray(np.nanargmax(others, axis=1))


@register
class UnlearningLoss(Op):
    """loss f32[1], dlogits T[N, C] of logits T[N, C], label i32[N], reference f32[N, C], switch f32[8],
    scale f32[1]: modes 0 to 6 of this module.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, label, reference, switch, scale = (required(node, inputs, i) for i in range(5))
        expect(len(x.shape) == 2 and x.size > 0, node, f"no loss of scores {list(x.shape)}")
        expect((label.shape, label.dtype) == (x.shape[:1], "i32"), node, f"labels {list(label.shape)}")
        expect(
            (reference.shape, reference.dtype) == (x.shape, "f32"),
            node,
            f"reference scores {list(reference.shape)} of scores {list(x.shape)}",
        )
        _check_switch(node, switch, scale)
        return [((1,), "f32"), (x.shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, label = widen(present(inputs, 0)), present(inputs, 1)
        reference, switch, scale = (present(inputs, i) for i in (2, 3, 4))
        rows, classes = x.shape
        mode, weight = switch[0], switch[1]
        known = (label >= 0) & (label < classes)
        y = np.where(known, label, 0)
        with np.errstate(all="ignore"):
            if mode == 5:
                losses, gradient = _distillation(x, reference, switch[4])
            elif mode in (4, 6):
                losses, gradient = _towards(x, reference if mode == 6 else None)
            elif mode in (0, 1, 2, 3):
                losses, gradient = _labelled(x, y, int(mode), switch[2], switch[3])
                losses = np.where(known, losses, np.float32(0))
                gradient = np.where(known[:, None], gradient, np.float32(0))
            else:
                losses, gradient = np.full(rows, np.nan, np.float32), None
            loss = canonical(sum_in_order(losses, 0) / np.float32(rows))
            if gradient is None:
                return [loss, np.zeros(x.shape, NUMPY_DTYPES[outputs[1].dtype])]
            factor = (scale[0] / np.float32(rows)) * weight
            return [loss, narrow(factor * gradient, NUMPY_DTYPES[outputs[1].dtype])]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        fields: dict[str, FieldValue] = {
            **pointers(
                logits=x,
                label=inputs[1],
                reference=inputs[2],
                choice=inputs[3],
                scale=inputs[4],
                loss=outputs[0],
                dlogits=outputs[1],
            ),
            "rows": x.shape[0],
            "classes": x.shape[1],
        }
        return KernelCall("unlearning_loss", x.dtype, fields)


def _labelled(
    x: Float32, y: Array, mode: int, beta: np.float32, log_p0: np.float32
) -> tuple[Float32, Float32]:
    row = np.arange(len(x))
    shifted, total = softmax_terms(x, 1)
    p = f32.exp(shifted) / total
    log_p = shifted[row, y] - f32.log(total)[:, 0]
    towards = _minus_one_hot(p, y)
    if mode == 0:
        return -log_p, towards
    if mode == 1:
        return log_p, -towards
    if mode == 2:
        u = beta * (log_p - log_p0)
        excess = np.where(u < 0, np.float32(0), u) + f32.log(_ONE + f32.exp(np.where(u < 0, u, -u)))
        return (_TWO / beta) * excess, (-(_TWO * f32.sigmoid(u)))[:, None] * towards
    v = _runner_up(shifted, y)
    p_y, p_v = p[row, y], p[row, v]
    away = _minus_one_hot(p, v)
    return (_ONE + p_y) - p_v, p_v[:, None] * away - p_y[:, None] * towards


def _towards(x: Float32, target: Float32 | None) -> tuple[Float32, Float32]:
    """Cross-entropy to a distribution, without one to the uniform."""
    shifted, total = softmax_terms(x, 1)
    p, log_total = f32.exp(shifted) / total, f32.log(total)
    if target is None:
        part = _ONE / np.float32(x.shape[1])
        return log_total[:, 0] - part * sum_in_order(shifted, 1)[:, 0], p - part
    return -sum_in_order(target * (shifted - log_total), 1)[:, 0], p - target


def _distillation(x: Float32, reference: Float32, temperature: np.float32) -> tuple[Float32, Float32]:
    shifted, total = softmax_terms(x / temperature, 1)
    wanted, wanted_total = softmax_terms(reference / temperature, 1)
    p, q = f32.exp(shifted) / total, f32.exp(wanted) / wanted_total
    apart = (wanted - f32.log(wanted_total)) - (shifted - f32.log(total))
    losses = (temperature * temperature) * sum_in_order(q * apart, 1)[:, 0]
    return losses, temperature * (p - q)


@register
class UnlearningRegressionLoss(Op):
    """loss f32[1], dprediction T of prediction T, target f32 of its shape, switch f32[8], scale f32[1]:
    modes 0 and 7 of this module.
    """

    def infer(self, node: Node, inputs: list[Tensor | None]) -> list[TensorType]:
        x, target, switch, scale = (required(node, inputs, i) for i in range(4))
        expect(
            (target.shape, target.dtype) == (x.shape, "f32"),
            node,
            f"target {target.dtype}{list(target.shape)} does not fit prediction {list(x.shape)}",
        )
        _check_switch(node, switch, scale)
        return [((1,), "f32"), (x.shape, x.dtype)]

    def compute(self, node: Node, inputs: list[Array | None], outputs: list[Tensor]) -> list[Array]:
        x, target, switch, scale = (present(inputs, i) for i in range(4))
        dtype = NUMPY_DTYPES[outputs[1].dtype]
        with np.errstate(all="ignore"):
            difference = widen(x) - target
            count = np.float32(difference.size)
            if switch[0] == 0:
                losses, step = difference * difference, _TWO * difference
            elif switch[0] == 7:
                losses = np.abs(difference)
                step = np.where(difference > 0, _ONE, np.where(difference < 0, -_ONE, difference))
            else:
                return [np.full(1, np.nan, np.float32), np.zeros(x.shape, dtype)]
            loss = canonical(sum_in_order(losses.reshape(-1), 0) / count)
            return [loss, narrow(((scale[0] / count) * switch[1]) * step, dtype)]

    def kernel(self, node: Node, inputs: list[Tensor | None], outputs: list[Tensor]) -> KernelCall:
        x = required(node, inputs, 0)
        fields: dict[str, FieldValue] = {
            **pointers(
                prediction=x,
                target=inputs[1],
                choice=inputs[2],
                scale=inputs[3],
                loss=outputs[0],
                dprediction=outputs[1],
            ),
            "count": x.size,
        }
        return KernelCall("unlearning_regression_loss", x.dtype, fields)
