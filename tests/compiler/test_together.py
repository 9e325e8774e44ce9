"""One kernel call for all trained parameters: the same bits, and only where they lie side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from networks import NETWORKS

import mcutrain
from mcutrain.compiler.passes.together import check_places
from mcutrain.compiler.pipeline import lower
from mcutrain.errors import GraphError
from mcutrain.executor import same_bits
from mcutrain.ir import Placement
from mcutrain.manifest import Options


@pytest.mark.parametrize("momentum", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_as_one_call_each(name: str, momentum: bool) -> None:
    """Guard bytes keep tensors apart, so that a build with them has a call for each parameter."""
    make, loss, some = NETWORKS[name]
    for train in ("*", some):
        states = []
        for guard in (0, 16):
            build = mcutrain.compile(make(), loss=loss, momentum=momentum, train=train, guard=guard)  # type: ignore[arg-type]
            trained = len(build.manifest.trained())
            updates = [c.op for c in build.manifest.program("apply").calls if c.op.endswith("Sgd")]
            assert updates == (["AllSgd"] if guard == 0 and trained > 1 else ["Sgd"] * trained)
            rng = np.random.default_rng(2)
            shape = make().graph.input[0].type.tensor_type.shape.dim
            rows = shape[0].dim_value
            x = rng.normal(size=(4 * rows, *(d.dim_value for d in shape[1:]))).astype(np.float32)
            y = rng.integers(0, 3, len(x)) if loss == "cross-entropy" else rng.normal(size=(len(x), 9))
            with build.session() as device:
                device.train(x, y, lr=0.01, momentum=0.9 * momentum, weight_decay=0.01, batch=2)
                states.append(device.snapshot())
        assert states[0].keys() == states[1].keys()
        assert all(same_bits(value, states[1][key]) for key, value in states[0].items())


def test_places_are_checked() -> None:
    make, loss, _ = NETWORKS["mlp"]
    plan = lower(make(), Options(loss=loss, momentum=True)).plan  # type: ignore[arg-type]
    (apply,) = [p for p in plan.programs if p.name == "apply"]
    check_places(apply)
    for name in ("dense2.weight", "dense2.weight.gradient", "dense2.weight.momentum"):
        place = apply.placements[name]
        moved = replace(
            apply, placements={**apply.placements, name: Placement(place.region, place.offset + 16)}
        )
        with pytest.raises(GraphError, match=r"beside|differently"):
            check_places(moved)
