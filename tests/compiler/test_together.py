"""One kernel call for all trained parameters: the same bits, and only where they lie side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from networks import NETWORKS
from onnx_models import model, node, normal

import mcutrain
from mcutrain.compiler import pipeline
from mcutrain.compiler.passes.together import check_places
from mcutrain.compiler.pipeline import lower
from mcutrain.errors import GraphError
from mcutrain.executor import same_bits
from mcutrain.ir import Placement
from mcutrain.manifest import Options
from mcutrain.targets import Target
from mcutrain.verification import make_batches, verify


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


def pointwise() -> onnx.ModelProto:
    """[1, 3, 9, 8] to 3 classes; the weights of all layers are of whole blocks."""
    return model(
        [1, 3, 9, 8],
        [
            node("Conv", "x w1 b1", "a", strides=[1, 1], pads=[1, 1, 1, 1]),
            node("Relu", "a", "b"),
            node("Conv", "b w2 b2", "c"),
            node("Relu", "c", "d"),
            node("Conv", "d w3 b3", "e", group=16, pads=[1, 1, 1, 1]),
            node("GlobalAveragePool", "e", "f"),
            node("Flatten", "f", "g"),
            node("Gemm", "g w4 b4", "y", transB=1),
        ],
        {
            **{"w1": normal(8, 3, 3, 3), "w2": normal(16, 8, 1, 1), "w3": normal(16, 1, 3, 3)},
            **{"w4": normal(4, 16), "b1": normal(8), "b2": normal(16), "b3": normal(16), "b4": normal(4)},
        },
    )


def operators(options: Options, program: str = "train_step") -> list[str]:
    return [call.op for call in lower(pointwise(), options).manifest.program(program).calls]


MIXED = Options(loss="cross-entropy", precision="mixed", target="qemu-xpulp")


def test_parameters_are_rounded_together() -> None:
    """At the start of each Program that needs them, where kernels are tiled."""
    for program in ("infer", "evaluate", "train_step"):
        found = operators(MIXED, program)
        assert found[0] == "AllCast"
        assert "Cast" not in found
    for other in (
        replace(MIXED, target="native"),
        replace(MIXED, target="qemu"),
        replace(MIXED, guard=16),
        replace(MIXED, unlearn=("ssd",)),
    ):
        assert operators(other).count("Cast") == 4
    assert "AllCast" not in operators(replace(MIXED, precision="fp32"))


def test_roundings_of_some_parameters() -> None:
    """Those that are not trained are stored in binary16."""
    assert operators(replace(MIXED, train=("w3", "w4")))[0] == "AllCast"
    assert "AllCast" not in operators(replace(MIXED, train=("w4",)))


def test_each_is_rounded_before_its_use_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    find = pipeline.find_target
    together = lower(pointwise(), MIXED).manifest
    need = together.data_size + together.arena_size

    def smaller(name: str) -> Target:
        found = find(name)
        return replace(found, memory=replace(found.memory, size=need - 16))

    monkeypatch.setattr(pipeline, "find_target", smaller)
    assert operators(MIXED).count("Cast") == 4


def test_copies_lie_as_the_parameters_do() -> None:
    plan = lower(pointwise(), MIXED).plan
    (step,) = [p for p in plan.programs if p.name == "train_step"]
    check_places(step)
    rounding = step.graph.nodes[0]
    for name in (rounding.inputs[1], rounding.outputs[1], rounding.outputs[2]):
        place = step.placements[name]
        moved = replace(
            step, placements={**step.placements, name: Placement(place.region, place.offset + 16)}
        )
        with pytest.raises(GraphError, match=r"beside|differently"):
            check_places(moved)


def test_rounded_together_the_bits_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    states = []
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(4, 3, 9, 8)).astype(np.float32), rng.integers(0, 4, 4)
    for together in (False, True):
        monkeypatch.setattr(pipeline, "can_round_together", lambda *_, joined=together: joined)
        build = mcutrain.compile(pointwise(), loss="cross-entropy", precision="mixed")
        assert ("AllCast" in {c.op for c in build.manifest.program("infer").calls}) == together
        with build.session() as device:
            device.train(x, y, lr=0.01, batch=2)
            states.append({**device.snapshot(), "scores": device.infer(x)})
    assert all(same_bits(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.qemu
def test_rounded_together_and_untransposed_on_pulp() -> None:
    build = mcutrain.compile(pointwise(), loss="cross-entropy", precision="mixed", target="qemu-xpulp")
    found = [call.op for call in build.manifest.program("train_step").calls]
    assert found.count("DenseInputGradient") == 2
    assert found.count("Transpose") == 1  # that of the input
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(2, 3, 9, 8)).astype(np.float32), rng.integers(0, 4, 2)
    batches = make_batches(build.manifest, x, y, 2)
    with build.session() as session, build.reference() as reference:
        report = verify(session.executor, reference.executor, build.manifest, batches, lr=0.01)
    assert report.equal, report.difference
