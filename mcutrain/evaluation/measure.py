"""One model under all eyes: what is read from it once, from which every measure follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mcutrain.evaluation import attacks
from mcutrain.evaluation.attacks import Bench
from mcutrain.evaluation.observe import weights_hash
from mcutrain.evaluation.representation import centred_gram
from mcutrain.evaluation.requests import Poison, Request
from mcutrain.executor import Array

Rows = npt.NDArray[np.int64]

#: Samples of either side that layers are compared on.
CKA_SAMPLES = 128
#: Weights and activations beyond this are those of a broken model.
_LARGEST = 6e4


@dataclass(frozen=True)
class Data:
    """Training and test samples as float32 in the model's shape, with labels or targets."""

    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    #: outputs of the model
    classes: int
    regression: bool = False
    #: a backdoor in the training data
    poison: Poison | None = None

    @property
    def spread(self) -> float:
        """Mean absolute deviation of a regression's targets: what errors are compared with."""
        y = np.asarray(self.y_train, np.float64)
        return float(np.abs(y - y.mean(axis=0)).mean()) or 1.0


@dataclass(frozen=True)
class Sets:
    """Rows of the training and test part by their role in a request."""

    data: Data
    request: Request
    seed: int = 0

    @cached_property
    def forget(self) -> Rows:
        """Training rows that a retrained model lacks."""
        return self.request.lacking

    @cached_property
    def retain(self) -> Rows:
        return np.setdiff1d(np.arange(len(self.data.y_train)), self.request.lacking)

    @cached_property
    def held_out(self) -> Rows:
        """Test rows of the classes that occur among the forgotten: what these are compared with."""
        if self.data.regression:
            return np.arange(len(self.data.y_test))
        return np.flatnonzero(np.isin(self.data.y_test, np.unique(self.data.y_train[self.forget])))

    @cached_property
    def test_kept(self) -> Rows:
        """Test rows of the classes that were not wholly forgotten."""
        if self.data.regression:
            return np.arange(len(self.data.y_test))
        return np.flatnonzero(~np.isin(self.data.y_test, self.request.classes))

    @cached_property
    def test_forgotten(self) -> Rows:
        """Test rows of the classes that were wholly forgotten."""
        return np.setdiff1d(np.arange(len(self.data.y_test)), self.test_kept)

    def _draw(self, rows: Rows, most: int, stream: int) -> Rows:
        rng = np.random.Generator(np.random.Philox((self.seed, stream)))
        return np.sort(rng.permutation(rows)[:most])

    @cached_property
    def relearned(self) -> Rows:
        """The few forgotten samples that an attacker trains on: at most half of them."""
        most = min(attacks.RELEARN_SAMPLES, max(1, len(self.forget) // 2))
        return self._draw(self.forget, most, 1)

    @cached_property
    def asked(self) -> Rows:
        """Forgotten samples that the attacker did not have."""
        rest = np.setdiff1d(self.forget, self.relearned)
        return rest if len(rest) else self.forget

    @cached_property
    def cka_forget(self) -> Rows:
        return self._draw(self.forget, CKA_SAMPLES, 2)

    @cached_property
    def cka_retain(self) -> Rows:
        return self._draw(self.retain, CKA_SAMPLES, 3)


@dataclass(frozen=True)
class Measured:
    """A model's outputs on all data, its layers, and what attacks made of it."""

    name: str
    weights: Mapping[str, Array] = field(repr=False)
    digest: str
    #: logits (of a regression: outputs) and last hidden layer
    train: Array
    test: Array
    train_features: Array
    test_features: Array
    #: the classifier's weights ``[C, d]``
    classifier: Array
    #: centred Gram matrices of every layer on forgotten and retained samples
    grams: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    #: logits of ``Sets.asked`` by relearning step
    relearned: Mapping[int, Array] = field(default_factory=dict)
    #: logits of training and test samples by export
    exported: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    #: logits of the forgotten after learning more
    learned_on: Array | None = None
    #: logits of test samples with the poison's patch
    patched: Array | None = None
    #: False where weights or outputs held NaN or numbers beyond all sense, which were cut
    finite: bool = True


def measure(
    bench: Bench,
    name: str,
    weights: Mapping[str, Array],
    sets: Sets,
    *,
    attacked: bool = True,
) -> Measured:
    """Load ``weights`` and read everything.

    Without ``attacked`` relearning, exports, learning on and the layers, which take most of the time, are
    left out.
    """
    data, observer = sets.data, bench.observer
    digest = weights_hash(weights)
    finite = all(map(_sound, weights.values()))
    weights = {n: cut(w) for n, w in weights.items()}
    bench.hold(weights)
    read = (*observer.outputs(data.x_train), *observer.outputs(data.x_test))
    finite = finite and all(map(_sound, read))
    train, train_features, test, test_features = map(cut, read)
    grams = {}
    if attacked or data.regression:
        forget = observer.activations(data.x_train[sets.cka_forget])
        retain = observer.activations(data.x_train[sets.cka_retain])
        grams = {n: (centred_gram(cut(forget[n])), centred_gram(cut(retain[n]))) for n in forget}
    classifier = bench.learner.executor.read([observer.classifier])[observer.classifier]
    patched = None
    if data.poison is not None:
        patched = cut(observer.outputs(data.poison.stamp(data.x_test))[0])
    exported, relearned, learned_on = {}, {}, None
    if attacked:
        for export in attacks.EXPORTS:
            bench.hold(export.round(weights))
            logits = (observer.outputs(x)[0] for x in (data.x_train, data.x_test))
            first, second = map(cut, logits)
            exported[export.name] = (first, second)
        x, y, few, keep = data.x_train, data.y_train, sets.relearned, sets.retain
        relearned = bench.relearn(weights, x[few], y[few], x[sets.asked], seed=sets.seed)
        learned_on = bench.learn_on(weights, x[keep], y[keep], x[sets.forget], seed=sets.seed)
    return Measured(
        name,
        weights,
        digest,
        train,
        test,
        train_features,
        test_features,
        classifier.astype(np.float32).reshape(classifier.shape[0], -1),
        grams,
        relearned,
        exported,
        learned_on,
        patched,
        finite,
    )


def cut(values: Array) -> Array:
    """``values`` with NaN as zero, and cut to what FP16 holds: a broken model must not break the measures."""
    return np.asarray(np.clip(np.nan_to_num(values, nan=0.0), -_LARGEST, _LARGEST), values.dtype)


def _sound(values: Array) -> bool:
    return bool((np.abs(values) <= _LARGEST).all())
