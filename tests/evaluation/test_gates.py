"""Gates and verdicts: each gate is the one that decides when it alone is missed."""

from __future__ import annotations

import pytest

from mcutrain.evaluation.gates import beside, gates, verdict

GOOD = {
    "acc_forget": 0.10,
    "acc_retain": 0.95,
    "acc_test": 0.80,
    "mia_entropy": 0.30,
    "mia_confidence": 0.20,
    "auc_loss": 0.50,
    "rmia": 0.50,
    "lira": 0.50,
    "probe_recall": 0.60,
}
GOLDS = {name: (value, 0.005) for name, value in GOOD.items()}


def decided(honesty: str = "suppression", bit_equal: bool | None = None, **changes: float) -> tuple[str, str]:
    v = verdict(gates({**GOOD, **changes}, GOLDS), honesty, bit_equal=bit_equal)
    return v.word, v.gate


def test_all_gates_passed_is_removal_and_no_more() -> None:
    assert decided() == ("removal", "")
    assert decided("removal") == ("removal", "")
    # an exact method without proof is judged like any other; bits that agree by themselves are no claim
    assert decided("exact") == ("removal", "")
    assert decided("removal", bit_equal=True) == ("removal", "")


def test_exact_takes_equal_bits() -> None:
    assert decided("exact", bit_equal=True) == ("exact", "")
    assert decided("exact", bit_equal=True, lira=0.9) == ("exact", "")
    assert decided("exact", bit_equal=False) == ("failed", "bits")


@pytest.mark.parametrize(
    ("name", "within", "beyond", "word"),
    [
        ("acc_forget", 0.13, 0.131, "failed"),
        ("acc_forget", 0.07, 0.069, "failed"),
        ("acc_retain", 0.94, 0.939, "failed"),
        ("acc_test", 0.81, 0.811, "failed"),
        ("lira", 0.55, 0.551, "suppression"),
        ("probe_recall", 0.70, 0.701, "suppression"),
    ],
)
def test_the_limits(name: str, within: float, beyond: float, word: str) -> None:
    assert decided(**{name: within}) == ("removal", "")
    assert decided(**{name: beyond}) == (word, name)


@pytest.mark.parametrize("attack", ["mia_entropy", "mia_confidence", "auc_loss", "rmia"])
def test_the_worst_membership_attack_counts(attack: str) -> None:
    assert decided(**{attack: GOOD[attack] + 0.05})[0] == "removal"
    found = gates({**GOOD, "mia_entropy": 0.31, attack: GOOD[attack] - 0.06}, GOLDS)
    gate = next(g for g in found if g.name == "membership")
    assert gate.measured == pytest.approx(6.0)
    assert gate.passed is False
    decision = verdict(found, "removal")
    assert decision.word == "suppression"
    assert "6.0 points" in decision.reason


def test_behaviour_decides_before_knowledge() -> None:
    assert decided(acc_test=0.5, lira=0.9) == ("failed", "acc_test")


def test_what_was_not_measured_is_not_removed() -> None:
    assert decided(lira=float("nan")) == ("suppression", "lira")
    values = {k: v for k, v in GOOD.items() if k != "lira"}
    decision = verdict(gates(values, GOLDS), "removal")
    assert decision.gate == "lira"
    assert "not measured" in decision.reason


def test_a_floor_above_the_limit_is_said() -> None:
    golds = {**GOLDS, "acc_test": (0.8, 0.02)}
    gate = next(g for g in gates(GOOD, golds) if g.name == "acc_test")
    assert "among themselves" in gate.note
    assert gate.floor == pytest.approx(2.0)


def test_regression_has_gates_of_its_own() -> None:
    values = {"mae_forget": 0.5, "mae_retain": 0.3, "mae_test": 0.4, "auc_loss": 0.5}
    golds = {name: (value, 0.001) for name, value in values.items()}
    assert verdict(gates(values, golds, regression=True), "removal").word == "removal"
    worse = {**values, "mae_retain": 0.32}
    assert verdict(gates(worse, golds, regression=True), "removal").gate == "mae_retain"


def test_a_gate_that_the_original_passes_tells_little() -> None:
    original = gates({**GOOD, "acc_forget": 0.9, "lira": 0.7}, GOLDS)
    judged = beside(gates(GOOD, GOLDS), original)
    assert {g.name: g.original_passed for g in judged} == {g.name: g.passed for g in original}
    noted = {gate.name for gate in judged if "the original passes, too" in gate.note}
    assert noted == {"membership", "probe_recall"}
    v = verdict(judged, "suppression")
    assert v.word == "removal"
    assert "also passes: membership attacks, the worst, linear probe's recall of the forgotten" in v.reason
    assert "also passes" not in verdict(gates(GOOD, GOLDS), "suppression").reason
