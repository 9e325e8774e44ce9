"""Generated code: exact, deterministic, with addresses from the plan and nothing it does not need."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from sample_program import dense_graph, dense_plan

from mcutrain.compiler.emit import data_image, emit, float_literal, write_sources
from mcutrain.compiler.passes.memory import plan_memory
from mcutrain.errors import GraphError
from mcutrain.ir import Placement, Tensor
from mcutrain.manifest import Options

BUILD_ID = bytes(range(32)).hex()


def model_c(name: str = "sample", **options: int) -> str:
    plan = dense_plan(**options)
    return emit(name, plan, data_image(plan), BUILD_ID, 8).files["model.c"].decode()


def test_arguments_have_the_planned_addresses_and_exact_values() -> None:
    text = model_c()
    assert ".x = (void *)(mct_arena + 0)," in text
    assert ".w = (void *)(mct_data + 0)," in text
    assert ".bias = (void *)(mct_data + 32)," in text
    assert ".y = (void *)(mct_arena + 16)," in text
    assert f".hi = {float_literal(0.1)}," in text
    assert "{mct_dense_f16, &arguments_0, sizeof arguments_0}, /* Dense fc */" in text
    assert '{"infer", infer_calls, 1},' in text
    assert "uint8_t mct_arena[32]" in text


def test_an_absent_operand_is_null() -> None:
    plan = plan_memory([dense_graph(bias=False)], Options())
    assert ".bias = 0," in emit("m", plan, data_image(plan), BUILD_ID, 8).files["model.c"].decode()


def test_the_build_id_is_the_manifests() -> None:
    assert "0x00, 0x01, 0x02, 0x03" in model_c()
    assert "0x1d, 0x1e, 0x1f,\n" in model_c()


def test_only_needed_kernels_are_included_and_compiled() -> None:
    plan = dense_plan()
    sources = emit("m", plan, data_image(plan), BUILD_ID, 8)
    assert sources.kernels == (("dense", "f16"),)
    includes = [line for line in sources.files["model.c"].decode().splitlines() if "#include" in line]
    assert includes == ['#include "mct_model.h"', '#include "dense.h"']


def test_equal_arguments_are_stored_once() -> None:
    plan = plan_memory([dense_graph("infer"), dense_graph("evaluate")], Options())
    text = emit("m", plan, data_image(plan), BUILD_ID, 8).files["model.c"].decode()
    assert text.count("static const struct mct_dense ") == 1
    assert text.count("&arguments_0, sizeof arguments_0}") == 2


def test_output_is_the_same_to_the_byte() -> None:
    first, second = (emit("m", p, data_image(p), BUILD_ID, 8) for p in (dense_plan(), dense_plan()))
    assert first == second


def test_the_image_holds_every_tensor_where_the_plan_says() -> None:
    plan = dense_plan(guard=16)
    image = data_image(plan)
    weight, bias = plan.persistent["fc.weight"], plan.persistent["fc.bias"]
    assert weight == Placement("data", 16)
    assert np.frombuffer(image, "<f2", 12, weight.offset).tolist() == list(range(12))
    assert np.frombuffer(image, "<f4", 3, bias.offset).tolist() == [0, 1, 2]
    assert len(image) == plan.data_size
    assert not any(image[:16])


def test_data_of_another_type_is_refused() -> None:
    graph = dense_graph()
    graph.tensors["fc.bias"] = replace(graph.tensors["fc.bias"], data=np.zeros(3))
    with pytest.raises(GraphError, match=r"'fc\.bias'"):
        data_image(plan_memory([graph], Options()))


def test_a_tensor_without_address_is_refused() -> None:
    plan = dense_plan()
    del plan.programs[0].placements["y"]
    with pytest.raises(GraphError, match="'y' has no address"):
        emit("m", plan, b"", BUILD_ID, 8)


def test_names_cannot_break_out_of_comments() -> None:
    text = model_c("evil */ int x; /*\n#error")
    assert text.startswith("/* evil * / int x; / *?#error: generated")


@pytest.mark.parametrize("value", [0.0, -0.0, 0.1, 1 / 3, 1e-45, 3.4028235e38, 2.0**-126, -7.25])
def test_float_literals_are_exact(value: float) -> None:
    literal = float_literal(value)
    single = struct.unpack("<f", struct.pack("<f", value))[0]
    assert struct.pack("<d", float.fromhex(literal.removesuffix("f"))) == struct.pack("<d", single)


def test_float_literals_beyond_numbers() -> None:
    assert float_literal(float("inf")) == "__builtin_inff()"
    assert float_literal(-1e39) == "-__builtin_inff()"
    assert float_literal(float("nan")).startswith("__builtin_nanf")


def test_an_empty_data_region_is_no_special_case(tmp_path) -> None:
    graph = dense_graph()
    for name in ("fc.weight", "fc.bias"):
        graph.tensors[name] = Tensor(name, graph.tensors[name].shape, graph.tensors[name].dtype, "input")
    plan = plan_memory([graph], Options())
    sources = emit("m", plan, data_image(plan), BUILD_ID, 8)
    assert b".incbin" not in sources.files["weights.S"]
    write_sources(sources, tmp_path / "src")
    assert sorted(p.name for p in (tmp_path / "src").iterdir()) == ["model.c", "weights.S", "weights.bin"]
