"""A measured model against the retrained ones: every figure of the report by name.

Accuracies and attack rates are shares, 0 to 1.  The same function serves the unlearned
model (against all retrained ones) and each retrained model (against the others), whose
values give the mean and the noise floor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mcutrain.evaluation import membership as mia
from mcutrain.evaluation import metrics, representation
from mcutrain.evaluation.lira import Lira
from mcutrain.evaluation.measure import Measured, Sets
from mcutrain.evaluation.shadows import Population
from mcutrain.executor import Array

#: Shots of the re-enrolment test.
SHOTS = (1, 5, 10)

#: Titles of the figures, in the order of the report; a figure without one is not shown in tables.
TITLES = {
    "acc_forget": "accuracy on the forgotten",
    "acc_retain": "accuracy on the retained",
    "acc_test": "accuracy on the test part",
    "acc_test_kept": "accuracy on the test part without forgotten classes",
    "acc_test_forgotten": "accuracy on the test part's forgotten classes",
    "mae_forget": "error on the forgotten, over the targets' spread",
    "mae_retain": "error on the retained, over the targets' spread",
    "mae_test": "error on the test part, over the targets' spread",
    "wasserstein_forget": "Wasserstein-1 of predictions to retrained, forgotten samples",
    "backdoor": "patched test samples taken for the backdoor's class",
    "mia_entropy": "entropy attack: forgotten taken for members",
    "mia_confidence": "confidence attack: forgotten taken for members",
    "auc_loss": "AUC of -loss, forgotten against held-out",
    "privleak": "privleak, 0 is right",
    "rmia": "RMIA, AUC",
    "lira": "LiRA, balanced accuracy",
    "lira_auc": "LiRA, AUC",
    "kl_forget": "KL(retrained ‖ model) on the forgotten, nats",
    "kl_retain": "KL(retrained ‖ model) on the retained, nats",
    "klom_forget": "KLoM of margins on the forgotten, nats",
    "klom_retain": "KLoM of margins on the retained, nats",
    "activation_distance": "distance of probabilities to retrained, forgotten",
    "zrf": "ZRF (1 − Jensen–Shannon to random weights), forgotten",
    "weight_distance": "relative distance of weights to retrained",
    "cka_forget": "CKA with retrained, forgotten, mean over layers",
    "cka_retain": "CKA with retrained, retained, mean over layers",
    "probe_recall": "linear probe's recall of the forgotten",
    "knn_recall": "5-nearest-neighbour recall of the forgotten",
    "row_cosine": "classifier's rows of the forgotten: cosine with the original's",
    "row_norm": "classifier's rows of the forgotten: norm over the original's",
    **{f"relearn_{steps}": f"forgotten, after {steps} relearning steps" for steps in (2, 5, 10, 20)},
    **{f"enrol_{shots}": f"re-enrolled from {shots} sample{'s' * (shots > 1)}: recall" for shots in SHOTS},
    "fp16_forget": "forgotten, exported as FP16",
    "int8_forget": "forgotten, exported as INT8",
    "fp16_test": "test part, exported as FP16",
    "int8_test": "test part, exported as INT8",
    "relapse": "forgotten, after one more epoch on the retained",
}


def figures(
    model: Measured,
    original: Measured,
    golds: Sequence[Measured],
    sets: Sets,
    *,
    random: Array | None = None,
    lira: Lira | None = None,
    population: Population | None = None,
) -> dict[str, float]:
    """All figures of one model against ``golds`` (which must not contain it).

    Args:
        random: logits of a model with random weights on the forgotten samples, for ZRF.
        lira: fitted on shadow models of a ``population``.
    """
    found = _regression(model, golds, sets) if sets.data.regression else _accuracies(model, sets)
    if not sets.data.regression:
        found |= _memberships(model, golds, sets)
        found |= _distances(model, golds, sets, random)
        found |= _knowledge(model, original, sets)
        found |= _attacked(model, sets)
        if lira is not None and population is not None:
            margins = population.margins(model)
            found["lira"], found["lira_auc"] = lira.attack(margins, *population.compared(sets))
    found["weight_distance"] = _mean(
        float(np.mean(list(metrics.weight_distance(model.weights, gold.weights).values()))) for gold in golds
    )
    for side, name in enumerate(("cka_forget", "cka_retain")):
        known = [v for v in cka_by_layer(model, golds, side).values() if np.isfinite(v)]
        if known:
            found[name] = float(np.mean(known))
    return found


def cka_by_layer(model: Measured, golds: Sequence[Measured], side: int) -> dict[str, float]:
    """Mean CKA of every layer with the retrained models; side 0 is the forgotten, 1 the retained."""
    return {
        layer: _mean(representation.linear_cka(gram[side], gold.grams[layer][side]) for gold in golds)
        for layer, gram in model.grams.items()
    }


def _mean(values: Iterable[float]) -> float:
    listed = [float(v) for v in values]
    return float(np.mean(listed)) if listed else float("nan")


def _accuracies(model: Measured, sets: Sets) -> dict[str, float]:
    d = sets.data

    def train(rows: Array) -> float:
        return metrics.accuracy(model.train[rows], d.y_train[rows])

    def test(rows: Array) -> float:
        return metrics.accuracy(model.test[rows], d.y_test[rows])

    found = {
        "acc_forget": train(sets.forget),
        "acc_retain": train(sets.retain),
        "acc_test": metrics.accuracy(model.test, d.y_test),
    }
    if len(sets.test_forgotten):
        found["acc_test_kept"] = test(sets.test_kept)
        found["acc_test_forgotten"] = test(sets.test_forgotten)
    if model.patched is not None and d.poison is not None:
        others = d.y_test != d.poison.target
        found["backdoor"] = float((model.patched[others].argmax(axis=1) == d.poison.target).mean())
    return found


def _memberships(model: Measured, golds: Sequence[Measured], sets: Sets) -> dict[str, float]:
    d = sets.data
    f, r, held = sets.forget, sets.retain, sets.held_out
    # Never trained on, of the classes that the model still knows.
    out = sets.test_kept if len(sets.test_kept) else np.arange(len(d.y_test))
    found = {
        "mia_entropy": mia.entropy_attack(model.train[f], model.train[r], model.test[out]),
        "mia_confidence": mia.confidence_attack(
            (model.train[f], d.y_train[f]), (model.train[r], d.y_train[r]), (model.test[out], d.y_test[out])
        ),
    }
    if not len(held):
        return found

    def area(m: Measured) -> float:
        return mia.loss_auc(
            metrics.losses(m.train[f], d.y_train[f]), metrics.losses(m.test[held], d.y_test[held])
        )

    found["auc_loss"] = area(model)
    if golds:
        found["privleak"] = mia.privleak(found["auc_loss"], _mean(area(gold) for gold in golds))

    def confidences(m: Measured) -> tuple[Array, Array]:
        return (
            np.exp(-metrics.losses(m.train[f], d.y_train[f])),
            np.exp(-metrics.losses(m.test[held], d.y_test[held])),
        )

    references = [confidences(gold) for gold in golds[:4]]
    if len(references) >= 2:
        own = confidences(model)
        found["rmia"] = mia.rmia(*own, [ref[0] for ref in references], [ref[1] for ref in references])
    return found


def _distances(
    model: Measured, golds: Sequence[Measured], sets: Sets, random: Array | None
) -> dict[str, float]:
    d, found = sets.data, {}
    for side, rows in (("forget", sets.forget), ("retain", sets.retain)):
        q = metrics.softmax(model.train[rows])
        found[f"kl_{side}"] = _mean(
            metrics.kl_divergence(metrics.softmax(gold.train[rows]), q) for gold in golds
        )
        if len(golds) >= 2:
            own = metrics.margins(model.train[rows], d.y_train[rows])
            theirs = np.array([metrics.margins(gold.train[rows], d.y_train[rows]) for gold in golds])
            found[f"klom_{side}"] = metrics.klom(own[None], theirs)
    p = metrics.softmax(model.train[sets.forget])
    found["activation_distance"] = _mean(
        metrics.activation_distance(p, metrics.softmax(gold.train[sets.forget])) for gold in golds
    )
    if random is not None:
        found["zrf"] = metrics.zrf(p, metrics.softmax(random))
    return found


def _knowledge(model: Measured, original: Measured, sets: Sets) -> dict[str, float]:
    d, c = sets.data, sets.data.classes
    features, tests, y = model.train_features, model.test_features, d.y_train
    wholly = bool(sets.request.classes)
    if wholly:
        # The probe may see the class's training samples; asked are its test samples where there are any.
        shown = np.arange(len(y))
        if len(sets.test_forgotten):
            asked, asked_y = tests[sets.test_forgotten], d.y_test[sets.test_forgotten]
        else:
            shown = np.setdiff1d(shown, sets.forget[1::2])
            asked, asked_y = features[sets.forget[1::2]], y[sets.forget[1::2]]
    else:
        shown, asked, asked_y = sets.retain, features[sets.forget], y[sets.forget]
    found = {
        "probe_recall": representation.probe_recall(features[shown], y[shown], asked, asked_y, c),
        "knn_recall": representation.neighbour_recall(features[shown], y[shown], asked, asked_y, c),
    }
    if wholly:
        traces = [
            representation.row_trace(model.classifier[k], original.classifier[k]) for k in _rows(model, sets)
        ]
        if traces:
            found["row_cosine"], found["row_norm"] = (float(v) for v in np.mean(traces, axis=0))
        for shots in SHOTS:
            found[f"enrol_{shots}"] = _mean(
                _enrol(features, tests, sets, label, shots) for label in sets.request.classes
            )
    return found


def _rows(model: Measured, sets: Sets) -> list[int]:
    """Classes whose row the classifier's matrix has: it is stored ``[C, d]``."""
    return [k for k in sets.request.classes if model.classifier.shape[0] == sets.data.classes]


def _enrol(features: Array, tests: Array, sets: Sets, label: int, shots: int) -> float:
    y = sets.data.y_train
    own = sets.forget[y[sets.forget] == label]
    asked = tests[np.flatnonzero(sets.data.y_test == label)]
    if not len(asked):
        asked = features[own[shots:]]
    kept = sets.retain
    return representation.prototype_recall(
        features[kept], y[kept], features[own[:shots]], label, asked, sets.data.classes
    )


def _attacked(model: Measured, sets: Sets) -> dict[str, float]:
    d, found = sets.data, {}
    for steps, logits in model.relearned.items():
        found[f"relearn_{steps}"] = metrics.accuracy(logits, d.y_train[sets.asked])
    for name, (train, test) in model.exported.items():
        found[f"{name}_forget"] = metrics.accuracy(train[sets.forget], d.y_train[sets.forget])
        found[f"{name}_test"] = metrics.accuracy(test, d.y_test)
    if model.learned_on is not None:
        found["relapse"] = metrics.accuracy(model.learned_on, d.y_train[sets.forget])
    return found


def _regression(model: Measured, golds: Sequence[Measured], sets: Sets) -> dict[str, float]:
    d = sets.data

    def error(outputs: Array, targets: Array) -> float:
        return metrics.mean_absolute_error(outputs, targets.reshape(len(targets), -1)) / d.spread

    def each(outputs: Array, targets: Array) -> Array:
        return np.asarray(((outputs - targets.reshape(len(targets), -1)) ** 2).mean(axis=1))

    f, r = sets.forget, sets.retain
    found = {
        "mae_forget": error(model.train[f], d.y_train[f]),
        "mae_retain": error(model.train[r], d.y_train[r]),
        "mae_test": error(model.test, d.y_test),
        "auc_loss": mia.loss_auc(each(model.train[f], d.y_train[f]), each(model.test, d.y_test)),
        "wasserstein_forget": _mean(metrics.wasserstein1(model.train[f], gold.train[f]) for gold in golds),
    }
    if golds:
        areas = [mia.loss_auc(each(g.train[f], d.y_train[f]), each(g.test, d.y_test)) for g in golds]
        found["privleak"] = mia.privleak(found["auc_loss"], _mean(areas))
    return found


def summary(values: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float]]:
    """Mean and spread of every figure over the retrained models, each measured against the others."""
    names = dict.fromkeys(name for v in values for name in v)
    return {n: metrics.mean_and_spread([v[n] for v in values if n in v]) for n in names}
