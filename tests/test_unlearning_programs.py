"""Programs of the unlearning methods: firmware against the reference, call by call and bit by bit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from arena import check_guards
from networks import NETWORKS
from onnx_models import model, node, normal

import mcutrain
from mcutrain import data
from mcutrain.build import Build
from mcutrain.compiler.pipeline import lower
from mcutrain.errors import OptionError
from mcutrain.executor import Array, Executor, same_bits
from mcutrain.manifest import UNLEARNING, Options, Precision
from mcutrain.numerics import octaves

QEMU = pytest.param("qemu", marks=pytest.mark.qemu)
PRECISIONS = ["fp32", "mixed"]
WORKERS = {"native": (1, 3, 8), "qemu": (8,)}
METHODS = tuple(method for method in UNLEARNING if method != "rollback")
#: networks that take one sample at a time, and their kinds of targets
SINGLE = ["residual", "separable"]

Inputs = Mapping[str, Array]


def compare(device: Executor, reference: Executor, build: Build, program: str, inputs: Inputs) -> None:
    """Run a Program on both, one call at a time: every tensor that a call writes has the same bits."""
    entry = build.manifest.program(program)
    given = {name: inputs[name] for name in entry.inputs}
    assert entry.calls
    for index, call in enumerate(entry.calls):
        outputs = list(dict.fromkeys(call.outputs))
        calls = (index, index + 1)
        first = given if index == 0 else {}
        got = device.run(program, first, outputs, calls)
        want = reference.run(program, first, outputs, calls)
        for name in outputs:
            where = f"{program}, call {index} ({call.op} {call.node}): {name}"
            assert same_bits(got[name], want[name]), where
            assert got[name].dtype.kind != "f" or np.isfinite(got[name]).all(), where


def sample_inputs(build: Build, seed: int = 3) -> dict[str, Array]:
    """A random sample, its target, and settings for every Program."""
    manifest, rng = build.manifest, np.random.default_rng(seed)
    step = manifest.program("train_step")
    entry = manifest.tensor(step.inputs[0])
    kind = np.float16 if entry.dtype == "f16" else np.float32
    inputs: dict[str, Array] = {
        entry.name: rng.normal(size=entry.shape).astype(kind),
        "hyper": np.float32([0.05, 0.9, 0.01, 1.0]),
        "unlearn_switch": np.float32([0, 1, 0.1, -0.5, 2, 50, 0, 0]),
        "importance_factor": np.float32([0.5]),
        "dampening": np.float32([0.6, 1, 1]),
        "retention": np.float32([10, 4, 0.3]),
        "mask_rule": np.float32([0, 0.02]),
        "threshold": np.float32([0.03]),
        "head_ridge": np.float32([500]),
    }
    target = manifest.tensor(step.inputs[1])
    if target.dtype == "i32":
        classes = manifest.tensor("reference_scores").shape[1]
        inputs[target.name] = rng.integers(0, classes, target.shape).astype(np.int32)
        scores = rng.random(manifest.tensor("reference_scores").shape)
        inputs["reference_scores"] = (scores / scores.sum(1, keepdims=True)).astype(np.float32)
    else:
        inputs[target.name] = rng.normal(size=target.shape).astype(np.float32)
        shape = manifest.tensor("reference_attention").shape
        inputs["reference_attention"] = rng.random(shape).astype(np.float32)
    return inputs


def methods_for(network: str) -> tuple[str, ...]:
    return tuple(m for m in METHODS if m != "ssd" or network in SINGLE)


@pytest.mark.parametrize("target", ["native", QEMU])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("part", [False, True], ids=["all", "part"])
@pytest.mark.parametrize("network", NETWORKS)
def test_small_networks(network: str, part: bool, precision: Precision, target: str) -> None:
    make, loss, some = NETWORKS[network]
    build = mcutrain.compile(
        make(),
        target=target,
        precision=precision,
        loss=loss,  # type: ignore[arg-type]
        momentum=True,
        train=some if part else "*",
        unlearn=methods_for(network),
        guard=32,
    )
    modes = [0, 7] if loss == "mse" else range(7)
    inputs = sample_inputs(build)
    for team in WORKERS[target]:
        with build.session(workers=team) as session, build.reference() as reference:

            def both(
                program: str, device: Executor = session.executor, other: Executor = reference.executor
            ) -> None:
                compare(device, other, build, program, inputs)

            both("zero_gradients")
            for _ in range(2):
                both("importance")
            if "ssd" in build.manifest.options.unlearn:
                both("store_importance")
                both("unlearn_step")
                both("dampen")
                both("retain_importance")
            for mode in modes:
                inputs["unlearn_switch"][0] = mode
                both("unlearn_step")
                both("project_gradient")
                both("hold_gradient")
            for inputs["mask_rule"][0] in (0, 1):
                both("select_mask")
                both("masked_apply")
            both("prune")
            both("shrink")
            scale = {"head.scale": np.float32([20, 0.25])}
            session.executor.write(scale)
            reference.executor.write(scale)
            for program in ("head_features", "gram_learn", "gram_learn", "gram_forget", "head_solve"):
                both(program)
            assert reference.executor.read(["solved"])["solved"][0] == 1
    assert check_guards(build, inputs) > 1000


def importance_by_hand(build: Build, samples: list[Inputs]) -> dict[str, Array]:
    """Sums of squared gradients, each sample's gradient from Program ``train_step`` alone."""
    names = [f"{t.name}.gradient" for t in build.manifest.trained()]
    total = {name: np.zeros(build.manifest.tensor(name).shape, np.float32) for name in names}
    with build.session() as session:
        for sample in samples:
            session.executor.run("zero_gradients")
            got = session.executor.run("train_step", sample, names)
            for name in names:
                total[name] = total[name] + got[name] * got[name]
    return total


def check_importance(build: Build, samples: list[Inputs]) -> None:
    """Program ``importance`` leaves the bits of :func:`importance_by_hand`."""
    want = importance_by_hand(build, samples)
    with build.session() as session:
        session.executor.run("zero_gradients")
        for sample in samples:
            session.executor.run("importance", sample)
        got = session.executor.read(list(want))
    for name, squares in want.items():
        assert same_bits(got[name], squares), name
        assert squares.max() > 0, name


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("network", SINGLE)
def test_importance_is_the_sum_of_squared_gradients(network: str, precision: Precision) -> None:
    make, loss, _ = NETWORKS[network]
    build = mcutrain.compile(make(), precision=precision, loss=loss, unlearn="ssd")  # type: ignore[arg-type]
    step = build.manifest.program("train_step").inputs
    rng = np.random.default_rng(0)
    entry = build.manifest.tensor(step[0])
    samples: list[Inputs] = [
        {
            step[0]: rng.normal(size=entry.shape).astype(np.float16 if entry.dtype == "f16" else np.float32),
            step[1]: np.int32([label]),
        }
        for label in (0, 2, 1)
    ]
    check_importance(build, samples)


def sharing() -> onnx.ModelProto:
    """[1, 9] to 4 classes: a weight and a bias that two layers share, and a factor of its own gradient."""
    return model(
        [1, 9],
        [
            node("Gemm", "x w1 b1", "a", transB=1),
            node("Relu", "a", "b"),
            node("Gemm", "b w1 b1", "c", transB=1),
            node("Mul", "c factor", "d"),
            node("Relu", "d", "e"),
            node("Gemm", "e w2 b2", "y", transB=1),
        ],
        {"w1": normal(9, 9), "b1": normal(9), "factor": normal(9), "w2": normal(4, 9), "b2": normal(4)},
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_importance_of_shared_weights(precision: Precision) -> None:
    """The whole gradient of what several nodes make is squared, not its parts; others have no tensor."""
    network, options = sharing(), Options(precision=precision, loss="cross-entropy", unlearn=("ssd",))
    (program,) = (p.graph for p in lower(network, options).plan.programs if p.graph.name == "importance")
    apart = {name for name in program.tensors if name.endswith(".sample")}
    assert apart == {f"{name}.gradient.sample" for name in ("dense1.weight", "dense1.bias", "mul1.weight")}
    squared = {node.outputs[-1] for node in program.nodes if node.attrs.get("squares")}
    assert squared == {"dense3.weight.gradient", "dense3.bias.gradient"}
    assert {node.outputs[0] for node in program.nodes if node.op == "AddSquares"} == {
        name.removesuffix(".sample") for name in apart
    }
    build = mcutrain.compile(network, precision=precision, loss="cross-entropy", unlearn="ssd")
    x, y = build.manifest.program("train_step").inputs
    rng = np.random.default_rng(0)
    kind = np.float16 if precision == "mixed" else np.float32
    samples: list[Inputs] = [
        {x: rng.normal(size=(1, 9)).astype(kind), y: np.int32([label])} for label in (0, 3)
    ]
    check_importance(build, samples)


@pytest.mark.parametrize("network", NETWORKS)
def test_no_gradient_of_a_sample_is_kept(network: str) -> None:
    """Every weight that one layer has is squared where its gradient is made."""
    make, loss, _ = NETWORKS[network]
    for precision in PRECISIONS:
        options = Options(precision=precision, loss=loss, unlearn=("gradient",))  # type: ignore[arg-type]
        programs = {p.graph.name: p.graph for p in lower(make(), options).plan.programs}
        step, importance = programs["train_step"], programs["importance"]
        assert [n.op for n in importance.nodes] == [n.op for n in step.nodes]
        assert not any(name.endswith(".sample") for name in importance.tensors)
        made = [n.outputs[-1] for n in importance.nodes if n.attrs.get("squares")]
        assert all(name.endswith(".gradient") for name in made)
        assert len(made) == sum(t.kind == "parameter" for t in importance.tensors.values())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("network", SINGLE)
def test_dampening_and_the_importance_of_who_is_left(network: str, precision: Precision) -> None:
    """alpha = N / n selects nothing; what is stored afterwards is what the others alone would have."""
    make, loss, _ = NETWORKS[network]
    build = mcutrain.compile(make(), precision=precision, loss=loss, unlearn="ssd")  # type: ignore[arg-type]
    trained = [t.name for t in build.manifest.trained()]
    count, gone = 12, 4
    x = np.random.default_rng(1).normal(size=(count, *build.manifest.tensor("input").shape[1:]))
    y = np.arange(count) % 3
    with build.session() as session:
        run = session.executor.run

        def squares(first: int, last: int) -> np.float32:
            """Accumulate samples [first, last); the factor that makes their mean of it."""
            run("zero_gradients")
            samples, labels = session.training_set(x.astype(np.float32), y)
            session.accumulate(samples, labels, range(first, last), program="importance")
            scale = session.executor.read(["loss_scale"])["loss_scale"][0]
            return np.float32(1) / (np.float32(last - first) * scale * scale)

        def stored() -> dict[str, Array]:
            return session.executor.read([f"{name}.importance" for name in trained])

        run("store_importance", {"importance_factor": squares(gone, count).reshape(1)})
        others = stored()
        run("store_importance", {"importance_factor": squares(0, count).reshape(1)})
        everyone = stored()
        factor = squares(0, gone)
        before = session.executor.read(trained)
        for share in (1.0, 1.5, 0.3):
            settings = np.float32([share * count / gone, 1, factor])
            selected = run("dampen", {"dampening": settings}, ["selected"])["selected"][0]
            same = all(same_bits(before[name], got) for name, got in session.executor.read(trained).items())
            assert (selected == 0) == same == (share >= 1)
        run("retain_importance", {"retention": np.float32([count, gone, factor])})
        for name, code in stored().items():
            left, exact = octaves.decode(code), octaves.decode(others[name])
            slack = octaves.decode(everyone[name]) * 0.19 * count / (count - gone)
            assert (left >= exact / 1.2).all(), name
            assert (left <= 1.2 * (exact + slack)).all(), name


@pytest.mark.parametrize("precision", PRECISIONS)
def test_attention_is_drawn_to_that_of_another_network(precision: Precision) -> None:
    """Steps on the difference of the maps alone: it falls, and the last layer does not move."""
    make = NETWORKS["mlp"][0]
    build = mcutrain.compile(make(), precision=precision, loss="mse", unlearn="distill")
    inputs = sample_inputs(build)
    with build.session() as session:
        run = session.executor.run
        start = session.weights()
        x = {"input": inputs["input"]}
        session.load({name: value[::-1] for name, value in start.items()})
        inputs["reference_attention"] = run("attention", x, ["attention"])["attention"]
        session.load(start)
        inputs["unlearn_switch"] = np.float32([0, 0, 0, 0, 1, 50, 0, 0])
        losses = []
        for _ in range(30):
            run("zero_gradients")
            given = {name: inputs[name] for name in build.manifest.program("unlearn_step").inputs}
            losses.append(float(run("unlearn_step", given, ["attention_loss"])["attention_loss"][0]))
            run("apply", {"hyper": np.float32([0.5, 0, 0, 1])})
        after = session.weights()
    assert losses[-1] < 0.5 * losses[0]
    moved = {name for name in start if not np.array_equal(start[name], after[name])}
    assert moved == {"w1", "b1", "w2", "b2"}


@pytest.mark.data
@pytest.mark.parametrize("target", ["native", QEMU])
@pytest.mark.parametrize("name", ["dscnn_kws", "resnet8_ic"])
def test_a_real_model(mlperf_tiny: Path, name: str, target: str) -> None:
    build = mcutrain.compile(
        mlperf_tiny / f"{name}.onnx",
        target=target,
        precision="mixed",
        loss="cross-entropy",
        unlearn="ssd,gradient",
    )
    file = {"dscnn_kws": "kws01.npz", "resnet8_ic": "cifar10_subset.npz"}[name]
    x, y = data.load(mlperf_tiny / file).part("train", data.ModelShape.of(build.manifest))
    inputs = sample_inputs(build)
    entry = build.manifest.tensor(build.manifest.program("infer").inputs[0])
    inputs[entry.name] = x[:1].astype(np.float16).reshape(entry.shape)
    inputs["label"] = np.int32(y[:1])
    with build.session() as session, build.reference() as reference:
        for program in ("zero_gradients", "importance"):
            compare(session.executor, reference.executor, build, program, inputs)


@pytest.mark.parametrize(
    "target",
    [pytest.param("qemu-xpulp", marks=pytest.mark.qemu), pytest.param("gvsoc", marks=pytest.mark.gvsoc)],
)
def test_every_program_on_pulp(target: str) -> None:
    """Weights that stream through L1, of odd sizes; whole Programs, and all that they leave behind."""
    layers = [
        node("Gemm", "x w1 b1", "a", transB=1),
        node("Relu", "a", "b"),
        node("Gemm", "b w2 b2", "y", transB=1),
    ]
    sizes = {"w1": normal(33, 41) / 6, "b1": normal(33), "w2": normal(9, 33) / 6, "b2": normal(9)}
    methods = tuple(method for method in UNLEARNING if method != "rollback")
    build = mcutrain.compile(
        model([1, 41], layers, sizes),
        target=target,
        precision="mixed",
        loss="cross-entropy",
        unlearn=methods,
    )
    inputs = sample_inputs(build)
    states = [t.name for t in build.manifest.tensors if t.kind in ("parameter", "state")]
    with build.session() as session, build.reference() as reference:
        for learner in (session, reference):
            learner.executor.write({"head.scale": np.float32([20, 0.25])})
        for program in (
            *("zero_gradients", "importance", "importance", "store_importance", "unlearn_step"),
            *("dampen", "retain_importance", "hold_gradient", "zero_gradients", "unlearn_step"),
            *("project_gradient", "select_mask", "masked_apply", "prune", "shrink", "head_features"),
            *("gram_learn", "gram_learn", "gram_forget", "head_solve"),
        ):
            entry = build.manifest.program(program)
            if program == "unlearn_step":
                inputs["unlearn_switch"][0] += 1
            given = {name: inputs[name] for name in entry.inputs}
            got = session.executor.run(program, given, [*entry.outputs, *states])
            want = reference.executor.run(program, given, [*entry.outputs, *states])
            for name, value in want.items():
                assert same_bits(got[name], value), f"{program}: {name}"
            if "selected" in want:
                assert 0 < want["selected"][0] < 41 * 33
        assert want["solved"][0] == 1


def test_a_build_without_unlearning_is_as_it_was() -> None:
    make, loss, _ = NETWORKS["residual"]
    plain, more = (
        lower(make(), Options(loss=loss, unlearn=methods)).manifest  # type: ignore[arg-type]
        for methods in ((), ("rollback",))
    )
    assert [p.name for p in plain.programs] == [p.name for p in more.programs]
    assert (plain.data_size, plain.arena_size) == (more.data_size, more.arena_size)
    assert "importance" not in {p.name for p in plain.programs}


@pytest.mark.data
@pytest.mark.parametrize("target", ["qemu", "gvsoc"])
def test_ssd_takes_little_memory(mlperf_tiny: Path, target: str) -> None:
    """A byte a weight, and no gradient of a sample.

    Against a plan without rounded copies of all parameters, which GVSoC's has when no method is asked for.
    """
    plain, more = (
        lower(
            mlperf_tiny / "resnet8_ic.onnx",
            Options(target=name, precision="mixed", loss="cross-entropy", unlearn=methods),
        ).manifest
        for name, methods in (("qemu", ()), (target, ("ssd",)))
    )
    extra = (more.data_size + more.arena_size) - (plain.data_size + plain.arena_size)
    weights = sum(math.prod(t.shape) for t in more.tensors if t.kind == "parameter")
    assert weights <= extra < weights + 1000


def test_what_cannot_be_unlearned_is_refused() -> None:
    make = NETWORKS["mlp"][0]
    with pytest.raises(OptionError, match="no unlearning method 'ssb'"):
        lower(make(), Options(loss="mse", unlearn=("ssb",)))
    with pytest.raises(OptionError, match="needs a loss"):
        lower(make(), Options(unlearn=("ssd",)))
    with pytest.raises(OptionError, match="single samples, the model takes 3"):
        lower(make(), Options(loss="mse", unlearn=("ssd",)))


def test_the_analytic_head_needs_a_dense_layer_at_the_end() -> None:
    ends = [node("Conv", "x w b", "a"), node("Relu", "a", "y")]
    network = model([1, 2, 4, 4], ends, {"w": normal(3, 2, 4, 4), "b": normal(3)})
    with pytest.raises(OptionError, match="ends in a dense layer with weights of its own, not in"):
        lower(network, Options(loss="mse", unlearn=("analytic-head",)))
    ends = [node("Gemm", "x w b", "a", transB=1), node("Sigmoid", "a", "y")]
    network = model([1, 5], ends, {"w": normal(3, 5), "b": normal(3)})
    with pytest.raises(OptionError, match="not in Sigmoid"):
        lower(network, Options(loss="mse", unlearn=("analytic-head",)))


def test_a_linear_model_is_all_head() -> None:
    network = model([1, 5], [node("Gemm", "x w b", "y", transB=1)], {"w": normal(3, 5), "b": normal(3)})
    build = mcutrain.compile(network, loss="cross-entropy", unlearn="analytic-head")
    inputs = {"input": normal(1, 5), "label": np.int32([1]), "head_ridge": np.float32([1])}
    with build.session() as session, build.reference() as reference:
        for both in (session, reference):
            both.executor.write({"head.scale": np.float32([30, 0])})
        for program in ("head_features", "gram_learn", "head_solve"):
            compare(session.executor, reference.executor, build, program, inputs)
