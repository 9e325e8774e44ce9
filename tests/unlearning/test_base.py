"""Options, variants and the registry: what is refused, and how it says so."""

from __future__ import annotations

from typing import Any

import pytest

from mcutrain.errors import OptionError
from mcutrain.unlearning import HONESTY, Option, find_method, methods, parse_method
from mcutrain.unlearning.options import check_options

RATE = Option("lr", float, 0.5, "rate", 0, 1)
COUNT = Option("epochs", int, 3, "passes", 1, 9, variants=("slow",))
FLAG = Option("twice", bool, False, "again")
WORD = Option("kind", str, "a", "which", choices=("a", "b"))
ALL = (RATE, COUNT, FLAG, WORD)


def test_defaults_and_texts_become_values() -> None:
    assert check_options("m", "slow", ALL, {}) == {"lr": 0.5, "epochs": 3, "twice": False, "kind": "a"}
    given = {"lr": "0.25", "epochs": "4", "twice": "yes", "kind": "b"}
    assert check_options("m", "slow", ALL, given) == {"lr": 0.25, "epochs": 4, "twice": True, "kind": "b"}
    assert "epochs" not in check_options("m", "fast", ALL, {})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (RATE, "x"),
        (RATE, "nan"),
        (RATE, "inf"),
        (RATE, 1.5),
        (RATE, True),
        (RATE, None),
        (COUNT, 2.5),
        (COUNT, 0),
        (COUNT, "10"),
        (FLAG, "perhaps"),
        (WORD, "c"),
    ],
)
def test_a_wrong_value_is_refused_with_the_range(option: Option, value: Any) -> None:
    with pytest.raises(OptionError, match=f"option {option.name} is") as caught:
        option.check(value)
    assert option.range in caught.value.remedy


def test_an_unknown_option_and_one_of_another_variant() -> None:
    with pytest.raises(OptionError, match="m:fast takes no option 'rate'") as caught:
        check_options("m", "fast", ALL, {"rate": 1})
    assert "lr, twice, kind" in caught.value.remedy
    with pytest.raises(OptionError, match="takes no option 'epochs'; slow do"):
        check_options("m", "fast", ALL, {"epochs": 1})


def test_every_method_describes_itself() -> None:
    known = methods()
    assert len({m.name for m in known}) == len(known) >= 1
    for method in known:
        assert method.honesty in HONESTY
        assert method.summary
        assert method.needs_retain
        assert len({v.name for v in method.variants}) == len(method.variants) >= 1
        for variant in method.variants:
            settings = check_options(method.name, variant.name, method.options, {})
            for option in method.options:  # defaults keep to their own ranges
                if option.default is not None:
                    assert option.check(option.default) == option.default
                assert not set(option.variants) - {v.name for v in method.variants}
            method.tokens(variant.name, settings)


def test_methods_are_found_by_name_and_variant() -> None:
    method, variant = parse_method("sparse-finetune")
    assert (method.name, variant) == ("sparse-finetune", "l1")
    assert parse_method("sparse-finetune:cf-k")[1] == "cf-k"
    with pytest.raises(OptionError, match="no variant 'cf'"):
        parse_method("sparse-finetune:cf")
    with pytest.raises(OptionError, match="no unlearning method 'amnesia'"):
        find_method("amnesia")
