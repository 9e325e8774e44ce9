"""How far to dampen: the search for a threshold that forgets and that the guard set bears.

Three things make dampening stronger: a lower threshold α, a smaller factor λ, and more layers.  Thresholds
are tried downwards, first in the whole network.  Where the guard set suffers before the forget set is at
its target only the last layer is dampened, in which a class is least mixed with others.  Where neither
serves λ becomes smaller.

A set is only scored until its verdict is certain: few forget samples tell that too many are still known,
few guard samples that too many are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mcutrain.events import Evaluation
from mcutrain.manifest import Manifest
from mcutrain.unlearning.goal import Goal, words
from mcutrain.unlearning.layers import last_layers, layer_of, only_for
from mcutrain.unlearning.run import Run, Snapshot
from mcutrain.words import counted

#: Values of α that are tried, as shares of N / n_f, which is more than any parameter reaches.
SHARES = (0.9, 0.7, 0.5, 0.35, 0.25, 0.18, 0.12)
#: Values of λ that are tried.  As I_f / I_o is at most N / n_f, λ = 1 leaves a good part of every weight
#: where few classes share the data.
DAMPINGS = (1.0, 0.3, 0.0)
#: Thresholds nearer than this factor are not told apart.
_APART = 1.02
#: Samples that a first look at a set takes; mostly they decide.
_FORGET_FIRST, _GUARD_FIRST = 8, 24
FIRST_LOOKS = _FORGET_FIRST + _GUARD_FIRST


def depths(manifest: Manifest) -> tuple[int, ...]:
    """Numbers of last layers that are dampened, in the order in which they are tried."""
    layers = len({layer_of(t.name) for t in manifest.trained()})
    return tuple(dict.fromkeys((layers, 1)))


@dataclass
class Bracket:
    """Thresholds known to forget too little, and to hurt."""

    above: float
    below: float = 0.0

    @property
    def middle(self) -> float:
        return float((self.above * self.below) ** 0.5)


@dataclass(frozen=True)
class Found:
    """A good threshold, the network dampened by it, and the share of the guard set that it cost."""

    alpha: float
    damping: float
    layers: int
    selected: int
    network: Snapshot
    lost: float


class Search:
    """Dampens a network again and again from where it is, until it is good.

    Args:
        run: at the network to be dampened; its accumulators hold the squares of the forget set.
        guard: what the guard set scores there.
        top: N / n_f.
        factor: what makes the accumulated squares a mean.
        budget: samples after which no further threshold is tried.
    """

    def __init__(
        self, run: Run, goal: Goal, guard: Evaluation, top: float, factor: float, budget: int
    ) -> None:
        self._run, self._goal, self._guard = run, goal, guard
        self._top, self._factor = top, factor
        self._start = self._network()
        self._last = run.inference + budget
        #: device batches of a set, those first that are likely to tell most: at first by their losses
        self._order = {
            "forget": np.argsort(run.losses("forget"), kind="stable").tolist(),
            "guard": np.argsort(-run.losses("guard"), kind="stable").tolist(),
        }
        self._trials = 0
        self._words = ""
        self._found: Found | None = None

    def search(self, depths: Sequence[int], dampings: Sequence[float], alpha: float | None) -> str:
        """Leave the network dampened and return nothing, or as it was and return why."""
        every = [share * self._top for share in SHARES] if alpha is None else [alpha]
        known: dict[int, Bracket] = {}
        bracket = Bracket(self._top)
        for damping in dampings:
            for index, layers in enumerate(depths):
                if self._exhausted:
                    break
                earlier, alphas = known.get(layers), every
                if earlier is not None and earlier.below:
                    # a stronger λ may forget where the weaker one was not enough
                    bracket, alphas = Bracket(self._top, earlier.below), [earlier.above]
                elif earlier is None and index:
                    # what forgets too little in the whole network does so in a part of it
                    alphas = [bracket.below, *(a for a in every if a < bracket.below)]
                    bracket = Bracket(bracket.above)
                else:
                    bracket = Bracket(self._top)
                self._stage(layers, damping, bracket, alphas, alpha is None)
                if self._found:
                    return self._keep(self._found)
                known[layers] = bracket
                if not bracket.below:
                    break
        self._run.restore(self._start)
        why = "no threshold brings the forget set to its target"
        if any(bracket.below for bracket in known.values()):
            why = "the guard set suffers before the forget set is at its target"
        return f"put back: {why} ({self._words})"

    @property
    def _exhausted(self) -> bool:
        return self._run.inference >= self._last

    def _stage(
        self, layers: int, damping: float, bracket: Bracket, alphas: Sequence[float], refined: bool
    ) -> None:
        """Try thresholds with one λ in some layers; ``bracket`` follows."""
        waiting = list(alphas)
        halvings = self._run.count("refine") if refined else 0
        while waiting and not self._exhausted:
            alpha = waiting.pop(0)
            enough, hurt = self._attempt(alpha, damping, layers)
            if hurt:
                bracket.below = alpha
            elif not enough:
                bracket.above = alpha
            elif self._found and self._found.lost > 0:
                # a larger threshold changes less
                bracket.below = alpha
            else:
                return
            if bracket.below:
                halvings -= 1
                apart = bracket.above > bracket.below * _APART
                waiting = [bracket.middle] if halvings >= 0 and apart else []

    def _attempt(self, alpha: float, damping: float, layers: int) -> tuple[bool, bool]:
        """Whether the forget set is at its target, and whether the guard set suffers."""
        run, goal = self._run, self._goal
        run.restore(self._start)
        selected = self._dampen(alpha, damping, layers)
        missed = goal.out_of_reach(len(run["forget"]))
        harmed = goal.surely_hurt(self._guard, len(run["guard"]))
        enough = hurt = False
        # a first look at both sets, and then at all of each
        for forget_samples, guard_samples in ((_FORGET_FIRST, _GUARD_FIRST), (0, 0)):
            forget = self._score("forget", missed, forget_samples)
            self._words = words("forget", forget)
            if missed(forget):
                break
            guard = self._score("guard", harmed, guard_samples)
            self._words += f", {words('guard', guard)}"
            hurt = harmed(guard)
            if hurt:
                break
        else:
            enough, hurt = goal.reached(forget), goal.hurt(self._guard, guard)
        if enough and not hurt:
            lost = (self._guard.accuracy or 0.0) - (guard.accuracy or 0.0)
            self._found = Found(alpha, damping, layers, selected, self._network(), lost)
        self._trials += 1
        run.chosen["thresholds"] = self._trials
        stage = f"thresholds, λ = {damping:g}, {counted(layers, 'layer')}"
        run.event(stage, self._trials, self._trials, self._words)
        return enough, hurt

    def _keep(self, found: Found) -> str:
        run = self._run
        if run.version != found.network.version:
            run.restore(found.network)
        run.chosen.update(
            alpha=float(np.float32(found.alpha)),
            damping=found.damping,
            layers=found.layers,
            selected=found.selected,
        )
        return ""

    def _network(self) -> Snapshot:
        names = [t.name for t in self._run.manifest.trained()]
        return Snapshot(self._run.learner.executor.read(names), self._run.version)

    def _score(self, name: str, decided: Callable[[Evaluation], bool], first: int) -> Evaluation:
        """Score a set, or its ``first`` samples, until that decides; next time begin with what told most."""
        hits = [0]

        def until(so_far: Evaluation) -> bool:
            hits.append(round((so_far.accuracy or 0.0) * so_far.samples))
            return decided(so_far) or so_far.samples == first

        order = self._order[name]
        scored = self._run.evaluate(name, until, order)
        # a forget sample still known, a guard sample that isn't
        telling = [n for n, right in zip(order, np.diff(hits), strict=False) if right == (name == "forget")]
        self._order[name] = [*telling, *(n for n in order if n not in set(telling))]
        return scored

    def _dampen(self, alpha: float, damping: float, layers: int) -> int:
        run = self._run
        names = [t.name for t in last_layers(run.manifest, layers)]
        *parts, last = only_for(run.manifest, "dampen", names)
        inputs = {"dampening": [alpha, damping, self._factor]}
        for part in parts:
            run.execute("dampen", inputs, calls=part, changes=True)
        return int(run.execute("dampen", inputs, ["selected"], calls=last, changes=True)["selected"][0])
