"""The whole way: a build directory that is complete or not there, the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import mcutrain
from mcutrain.build import Build
from mcutrain.compiler import pipeline
from mcutrain.compiler.pipeline import compile_model, lower
from mcutrain.compiler.toolchain import COMPILER_VARIABLE, FLAGS_VARIABLE
from mcutrain.errors import BuildError, McutrainError, MemoryLimitError, OptionError, ToolchainError
from mcutrain.manifest import Manifest, Options

TRAINING = Options(precision="mixed", loss="cross-entropy", workers=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conv 1→4 3×3, Relu, global average pool, Gemm 4→3, on 1×8×8 inputs."""
    rng = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w1", "b1"], ["c"], name="first", pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["p"]),
            helper.make_node("Flatten", ["p"], ["f"]),
            helper.make_node("Gemm", ["f", "w2", "b2"], ["y"], name="last", transB=1),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        [weight("w1", 4, 1, 3, 3), weight("b1", 4), weight("w2", 3, 4), weight("b2", 3)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(proto, path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("target", ["native", "qemu"])
def test_two_builds_are_the_same_to_the_byte(model: Path, tmp_path: Path, target: str) -> None:
    options = Options(target=target, precision="mixed", loss="cross-entropy")
    steps: list[str] = []
    manifest = compile_model(model, options, tmp_path / "first", steps.append)
    compile_model(model, options, tmp_path / "deeper" / "second")
    first = contents(tmp_path / "first")
    assert first == contents(tmp_path / "deeper" / "second")
    firmware = {"native": "firmware", "qemu": "firmware.elf"}[target]
    assert set(first) == {
        "manifest.json",
        "model.onnx",
        firmware,
        "firmware.map",
        "src/model.c",
        "src/weights.S",
        "src/weights.bin",
    }
    assert steps == ["importing", "lowering", "planning memory", "generating code", "compiling"]
    assert Manifest.read(tmp_path / "first") == manifest
    assert manifest.build_id[:2] in first["src/model.c"].decode()


def test_the_manifest_describes_the_model(model: Path) -> None:
    manifest = lower(model, TRAINING).manifest
    assert manifest.name == "small"
    assert [p.name for p in manifest.programs] == [
        "infer",
        "evaluate",
        "train_step",
        "zero_gradients",
        "apply",
        "statistics",
    ]
    weights = {t.origin.initializer: t for t in manifest.parameters() if t.origin}
    assert set(weights) == {"w1", "b1", "w2", "b2"}
    assert all(t.trained for t in weights.values())
    assert weights["w1"].origin is not None
    assert weights["w1"].origin.shape == (4, 1, 3, 3)
    convolution = manifest.layers[0]
    assert convolution.parameters == 40
    assert convolution.macs_forward == convolution.macs_backward == 8 * 8 * 4 * 9
    assert convolution.trained
    gradients = sum(-(-4 * n // 16) * 16 for n in (36, 4, 12, 3))
    assert manifest.memory.gradients == gradients
    assert manifest.arena_size == gradients + manifest.memory.inputs + manifest.memory.scratch
    for program in manifest.programs:
        for call in program.calls:
            for name in filter(None, (*call.inputs, *call.outputs)):
                entry = manifest.tensor(name, program.name)
                limit = manifest.data_size if entry.region == "data" else manifest.arena_size
                assert 0 <= entry.offset <= limit - entry.nbytes


def test_training_few_layers_takes_less_memory(model: Path) -> None:
    whole, part = (
        lower(model, Options(loss="cross-entropy", train=train)).manifest for train in (("*",), ("last",))
    )
    assert part.arena_size < whole.arena_size
    assert {t.origin.initializer for t in part.trained() if t.origin} == {"w2", "b2"}


def test_a_build_without_loss_only_infers(model: Path) -> None:
    manifest = lower(model, Options()).manifest
    assert [p.name for p in manifest.programs] == ["infer"]
    assert manifest.memory.gradients == 0
    assert not manifest.trained()


def test_an_earlier_build_is_replaced(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "build"
    out.mkdir()  # an empty directory may be taken
    compile_model(model, Options(), out)
    (out / "left-over").write_text("from the earlier build")
    compile_model(model, TRAINING, out)
    assert Manifest.read(out).options == TRAINING
    assert not (out / "left-over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_anything_else_is_not_overwritten(model: Path, tmp_path: Path, what: str) -> None:
    out = tmp_path / "precious"
    if what == "folder":
        out.mkdir()
        (out / "thesis.tex").write_text("years of work")
    else:
        out.write_text("years of work")
    before = contents(tmp_path)
    with pytest.raises(BuildError, match="is not a build"):
        compile_model(model, Options(), out)
    assert contents(tmp_path) == before


def _truncate(path: Path, folder: Path) -> Path:
    bad = folder / "bad.onnx"
    bad.write_bytes(path.read_bytes()[:-40])
    return bad


def test_a_failure_leaves_nothing_behind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "new" / "folders" / "build"
    with pytest.raises(McutrainError):
        compile_model(_truncate(model, tmp_path), Options(), out)
    with pytest.raises(McutrainError):
        compile_model(tmp_path / "missing.onnx", Options(), out)
    with pytest.raises(OptionError, match="matches no layer"):
        compile_model(model, Options(loss="mse", train=("nothing*",)), out)
    with pytest.raises(ToolchainError):
        compile_model(model, Options(), out, cc="no-such-compiler")
    monkeypatch.setenv(COMPILER_VARIABLE, "false")
    with pytest.raises(ToolchainError):
        compile_model(model, Options(), out)
    monkeypatch.delenv(COMPILER_VARIABLE)
    monkeypatch.setenv(FLAGS_VARIABLE, "-DMCT_H")  # hides mct.h from every file
    with pytest.raises(ToolchainError, match="error"):
        compile_model(model, Options(), out)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.onnx"]


def test_a_failed_build_keeps_the_earlier_one(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "build"
    compile_model(model, Options(), out)
    before = contents(tmp_path)

    def refuse(*arguments: object, **named: object) -> None:
        raise ToolchainError("the disk is on fire", "put it out")

    monkeypatch.setattr(pipeline, "build_firmware", refuse)
    with pytest.raises(ToolchainError):
        compile_model(model, TRAINING, out)
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_named(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="cannot write to"):
        compile_model(model, Options(), tmp_path / "file" / "build")


def test_a_model_too_big_for_the_target_is_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    small = replace(
        pipeline.find_target("native"), memory=replace(pipeline.find_target("native").memory, size=500)
    )
    monkeypatch.setattr(pipeline, "find_target", lambda name: small)
    with pytest.raises(MemoryLimitError, match=r"bytes needed, 500 available.*largest: '"):
        lower(model, TRAINING)


def test_more_workers_than_the_target_has_are_refused(model: Path) -> None:
    with pytest.raises(OptionError, match="workers is 9"):
        lower(model, Options(workers=9))


def test_a_build_opens_runs_and_agrees_with_its_reference(model: Path, tmp_path: Path) -> None:
    made = mcutrain.compile(model, precision="mixed", loss="cross-entropy", out=tmp_path / "build")
    build = Build.open(tmp_path / "build")
    assert build.manifest == made.manifest
    x = np.random.default_rng(2).normal(size=(3, 1, 8, 8)).astype(np.float32)
    with build.session(workers=2) as session, build.reference() as reference:
        assert session.infer(x).tobytes() == reference.infer(x).tobytes()
        assert session.executor.facts.workers == 2  # type: ignore[attr-defined]
        weights = session.weights()
    build.save_onnx(tmp_path / "trained.onnx", weights)
    saved = onnx.load(tmp_path / "trained.onnx")
    original = onnx.load(model)
    for got, expected in zip(saved.graph.initializer, original.graph.initializer, strict=True):
        assert got.name == expected.name
        np.testing.assert_array_equal(numpy_helper.to_array(got), numpy_helper.to_array(expected))


def test_a_build_of_another_version_is_noticed(model: Path, tmp_path: Path) -> None:
    build = mcutrain.compile(model, out=tmp_path / "build")
    path = tmp_path / "build" / "model.onnx"
    proto = onnx.load(path)
    proto.graph.initializer[0].CopyFrom(
        numpy_helper.from_array(np.zeros((4, 1, 3, 3), np.float32), proto.graph.initializer[0].name)
    )
    onnx.save(proto, path)
    with pytest.raises(BuildError, match="another version"):
        build.reference()


def test_an_incomplete_build_does_not_open(model: Path, tmp_path: Path) -> None:
    mcutrain.compile(model, out=tmp_path / "build")
    (tmp_path / "build" / "firmware").unlink()
    with pytest.raises(BuildError, match="lacks firmware"):
        Build.open(tmp_path / "build")


def test_sessions_refuse_workers_they_cannot_have(model: Path) -> None:
    build = mcutrain.compile(model, workers=2)
    with pytest.raises(OptionError, match="workers is 3, the build is for 2"):
        build.session(workers=3)
    with pytest.raises(OptionError, match="workers is 0"):
        build.session(port="/dev/null", workers=0)


def test_a_temporary_build_goes_with_its_object(model: Path) -> None:
    build = mcutrain.compile(model)
    folder = build.directory
    assert build.firmware_path.is_file()
    del build
    assert not folder.exists()


def test_train_globs_may_be_one_string(model: Path) -> None:
    build = mcutrain.compile(model, loss="mse", train="first, last*")
    assert build.manifest.options.train == ("first", "last*")


@pytest.mark.data
@pytest.mark.parametrize(("name", "most"), [("resnet8_ic", 900_000), ("dscnn_kws", 450_000)])
def test_a_mixed_training_step_fits_a_microcontroller(mlperf_tiny: Path, name: str, most: int) -> None:
    """Data and arena together; compiling checks that the link map has the planned sizes."""
    options = Options(precision="mixed", loss="cross-entropy")
    manifest = lower(mlperf_tiny / f"{name}.onnx", options).manifest
    assert manifest.data_size + manifest.arena_size <= most


@pytest.mark.data
def test_resnet8_has_the_macs_of_its_paper(mlperf_tiny: Path) -> None:
    """12.50 M forward, 12.50 M weight gradient, 12.06 M input gradient (none for the first layer)."""
    manifest = lower(mlperf_tiny / "resnet8_ic.onnx", Options(loss="cross-entropy")).manifest
    assert sum(layer.macs_forward for layer in manifest.layers) == pytest.approx(12.50e6, rel=1e-3)
    assert sum(layer.macs_backward for layer in manifest.layers) == pytest.approx(24.56e6, rel=1e-3)
