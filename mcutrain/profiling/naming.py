"""Which layer a kernel call belongs to, and what it is for."""

from __future__ import annotations

from mcutrain.manifest import CallEntry, Manifest

#: What a kernel call is for, by the ending of its operator's name.
_BY_OPERATOR = (
    ("DenseUpdate", "weight gradient, update"),
    ("WeightGradient", "weight gradient"),
    ("InputGradient", "input gradient"),
    ("BiasGradient", "bias gradient"),
    ("ActivationGradient", "activation gradient"),
    ("Gradient", "gradient"),
    ("FiniteCheck", "check"),
    ("Sgd", "update"),
    ("LossScaleUpdate", "update"),
    ("Fill", "clear"),
    ("SumSquares", "statistics"),
)
_LOSSES = ("CrossEntropy", "MeanSquaredError", "UnlearningLoss", "UnlearningRegressionLoss")


def layer_of(manifest: Manifest, node: str) -> str:
    """The model's layer that a kernel call belongs to: ``conv1`` for ``conv1.weight_gradient``."""
    known = {layer.name for layer in manifest.layers}
    parts = node.split(".")
    for count in range(len(parts), 0, -1):
        if ".".join(parts[:count]) in known:
            return ".".join(parts[:count])
    return parts[0]


def direction_of(call: CallEntry, backward: bool) -> str:
    """What a kernel call is for; ``backward`` is whether it comes after the loss."""
    if call.node.endswith(".round"):
        return "rounding"
    if any(call.op.startswith(loss) for loss in _LOSSES):
        return "loss"
    if call.op == "Transpose" and backward:
        return "transposition"
    for ending, direction in _BY_OPERATOR:
        if call.op.endswith(ending):
            return direction
    if not backward:
        return "forward"
    return "input gradient" if call.op.endswith("Dense") else "gradient"
