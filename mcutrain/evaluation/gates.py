"""The gates an unlearned model must pass, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan
from typing import Literal

Word = Literal["exact", "removal", "suppression", "failed"]

#: Largest LiRA accuracy that counts as "cannot be told from never seen".
LIRA_LIMIT = 0.55
#: Gates on behaviour, ``(metric, title, limit in points)``: missing one is a failure.
BEHAVIOUR = (
    ("acc_forget", "accuracy on the forgotten", 3.0),
    ("acc_retain", "accuracy on the retained", 1.0),
    ("acc_test", "accuracy on the test part", 1.0),
)
#: The same for a regression, in percent of the targets' spread.
REGRESSION = (
    ("mae_forget", "error on the forgotten", 3.0),
    ("mae_retain", "error on the retained", 1.0),
    ("mae_test", "error on the test part", 1.0),
)
#: Attacks of which the worst counts, in points.
MEMBERSHIP = (
    ("mia_entropy", "entropy"),
    ("mia_confidence", "confidence"),
    ("auc_loss", "loss"),
    ("rmia", "RMIA"),
)
MEMBERSHIP_LIMIT = 5.0
PROBE_LIMIT = 10.0
#: Gates that the original, which knew the data, should miss.
TELLING = ("acc_forget", "mae_forget", "membership", "lira", "probe_recall")
_WEAK = "the original passes, too"


@dataclass(frozen=True)
class Gate:
    """One condition with its number."""

    name: str
    title: str
    #: of the judged model, and the mean over retrained ones
    value: float
    gold: float
    #: what is compared with the limit
    measured: float
    limit: float
    #: None where the measure does not exist for this request
    passed: bool | None
    #: how far retrained models are from each other by the same measure
    floor: float
    note: str = ""
    #: whether the original, which knew the data, passes it as well; None where nobody looked
    original_passed: bool | None = None


@dataclass(frozen=True)
class Verdict:
    """The word, the gate that decided it (empty when none had to), and a sentence."""

    word: Word
    gate: str
    reason: str


def gates(
    values: Mapping[str, float], golds: Mapping[str, tuple[float, float]], *, regression: bool = False
) -> list[Gate]:
    """All gates in order.

    Args:
        values: measures of the judged model; accuracies and attack rates are shares, 0 to 1.
        golds: mean and spread of the same measures over the retrained models.
        regression: whether errors take the place of accuracies (then in shares of the targets' spread).
    """
    made = [
        _near(name, title, limit, values, golds)
        for name, title, limit in (REGRESSION if regression else BEHAVIOUR)
    ]
    made.append(_membership(values, golds))
    lira = values.get("lira", float("nan"))
    gold, floor = golds.get("lira", (float("nan"), float("nan")))
    measured = isfinite(lira)
    note = "" if measured else "not measured: it needs shadow models, see --shadows"
    if regression:
        note = "does not exist for a regression"
    made.append(
        Gate(
            "lira",
            "likelihood ratio attack (LiRA)",
            lira,
            gold,
            lira,
            LIRA_LIMIT,
            (None if regression else measured and lira <= LIRA_LIMIT),
            floor,
            note,
        )
    )
    if not regression:
        made.append(
            _near("probe_recall", "linear probe's recall of the forgotten", PROBE_LIMIT, values, golds)
        )
    return made


def beside(judged: Sequence[Gate], original: Sequence[Gate]) -> list[Gate]:
    """The gates of a judged model, each with whether the original passes it.

    A gate that should tell whether a model knew the data, and lets the one through that did, says little
    about this request: that is noted.
    """
    known = {gate.name: gate for gate in original}
    made = []
    for gate in judged:
        passed = known[gate.name].passed
        note = gate.note
        if passed and gate.name in TELLING:
            note = f"{note}; {_WEAK}" if note else _WEAK
        made.append(replace(gate, note=note, original_passed=passed))
    return made


def _near(
    name: str,
    title: str,
    limit: float,
    values: Mapping[str, float],
    golds: Mapping[str, tuple[float, float]],
) -> Gate:
    value = values.get(name, float("nan"))
    gold, floor = golds.get(name, (float("nan"), float("nan")))
    measured = 100.0 * abs(value - gold)
    if isnan(measured):
        return Gate(name, title, value, gold, measured, limit, None, floor, "no sample to measure it on")
    # Counted shares differ by rounding of the last bit.
    note = "retrained models differ by more among themselves" if 100.0 * floor > limit else ""
    return Gate(name, title, value, gold, measured, limit, measured <= limit + 1e-9, 100.0 * floor, note)


def _membership(values: Mapping[str, float], golds: Mapping[str, tuple[float, float]]) -> Gate:
    found = [
        _near(name, title, MEMBERSHIP_LIMIT, values, golds)
        for name, title in MEMBERSHIP
        if isfinite(values.get(name, float("nan"))) and isfinite(golds.get(name, (float("nan"), 0.0))[0])
    ]
    if not found:
        nan = float("nan")
        return Gate(
            "membership", "membership attacks", nan, nan, nan, MEMBERSHIP_LIMIT, False, nan, "not measured"
        )
    worst = max(found, key=lambda gate: gate.measured)
    note = f"{worst.title} attack" + (f"; {worst.note}" if worst.note else "")
    return Gate(
        "membership",
        "membership attacks, the worst",
        worst.value,
        worst.gold,
        worst.measured,
        MEMBERSHIP_LIMIT,
        worst.passed,
        worst.floor,
        note,
    )


def verdict(passed: Sequence[Gate], honesty: str, *, bit_equal: bool | None = None) -> Verdict:
    """What the gates make of a method.

    A gate on behaviour that is missed means *failed*; one on knowledge (membership, LiRA, probe)
    that is missed or was not measured means *suppression*.  What a method claims does not raise its
    verdict: *removal* is earned by passing every gate, and *exact* takes an exact method and weights equal to
    the last bit to those of training without the data.
    """
    if bit_equal and honesty == "exact":
        return Verdict("exact", "", "the weights equal those of training without the data, bit for bit")
    if bit_equal is False and honesty == "exact":
        return Verdict(
            "failed", "bits", "an exact method whose weights differ from those of training without the data"
        )
    behaviour = {name for name, _, _ in (*BEHAVIOUR, *REGRESSION)}
    missed = [gate for gate in passed if gate.passed is False]
    for gate in missed:
        if gate.name in behaviour:
            return Verdict("failed", gate.name, f"{gate.title}: {_number(gate)}")
    for gate in missed:
        return Verdict("suppression", gate.name, f"{gate.title}: {_number(gate)}")
    proof = (
        ""
        if honesty != "exact"
        else "; no weights of training without the data were there to compare bits with"
    )
    weak = [gate.title for gate in passed if gate.original_passed and gate.name in TELLING]
    if weak:
        proof = f"; the original, which knew the data, also passes: {', '.join(weak)}" + proof
    return Verdict("removal", "", "no gate tells it from retrained models" + proof)


def _number(gate: Gate) -> str:
    if not isfinite(gate.measured):
        return gate.note
    if gate.name == "lira":
        return f"{gate.measured:.3f}, at most {gate.limit:.2f}"
    return f"{gate.measured:.1f} points from retrained, at most {gate.limit:g}"
