"""A trained network, and what its unlearning tests share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mcutrain.build import Build
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.unlearning import Labelled, Outcome, Task, parse_method


@dataclass(frozen=True)
class Trained:
    """A native build of the dense model, and weights trained on ``train``."""

    build: Build
    weights: dict[str, Array]
    train: Labelled
    test: Labelled

    def of_class(self, label: int, *, train: bool = True) -> tuple[Labelled, Labelled]:
        """The samples of one class, and the others."""
        x, y = self.train if train else self.test
        chosen = np.asarray(y) == label
        return (x[chosen], y[chosen]), (x[~chosen], y[~chosen])

    def run(self, learner: Learner, method: str, task: Task) -> Outcome:
        """One method, from the trained weights."""
        found, variant = parse_method(method)
        learner.load(self.weights)
        return found.run(replace(task, learner=learner, variant=variant))
