"""The gradient rule of convolutions, of all channels and of each."""

from __future__ import annotations

from collections.abc import Callable

from mcutrain.errors import UnsupportedError
from mcutrain.ir import Node
from mcutrain.ops.base import GradientBuilder
from mcutrain.ops.dense import bias_gradient, gradient_before_activation
from mcutrain.ops.window import window_attrs


def convolution_gradient(
    node: Node, g: GradientBuilder, dys: list[str | None], weight: Callable[[str], str]
) -> None:
    """dw, dx and db by the operators ``<op>WeightGradient``, ``<op>InputGradient`` and ``BiasGradient``.

    ``weight`` makes of w, a tensor's name, what the input gradient takes.  Raises UnsupportedError for a
    weight that is computed and needs a gradient.
    """
    if dys[0] is None:
        return
    x, w = node.inputs[:2]
    dy = gradient_before_activation(node, g, dys[0])
    bias_gradient(node, g, dy)
    if g.needs(w):
        if not g.is_parameter(w):
            name = node.name or node.op
            raise UnsupportedError(
                f"node '{name}': the weight '{w}' is computed by the model and needs a gradient",
                "freeze the layers before it with --train",
            )
        acc = g.accumulator(w)
        g.emit(f"{node.op}WeightGradient", [x, dy, acc], window_attrs(node), node=node, out=acc)
    if g.needs(x):
        attrs = {**window_attrs(node), "input_hw": tuple(g.tensor(x).shape[1:3])}
        g.accumulate(x, g.emit(f"{node.op}InputGradient", [dy, weight(w)], attrs, node=node))
