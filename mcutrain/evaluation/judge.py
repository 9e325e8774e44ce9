"""The whole way: original, retrained and shadow models, then methods judged against them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from mcutrain.build import Build
from mcutrain.errors import OptionError
from mcutrain.evaluation.attacks import Bench
from mcutrain.evaluation.compare import figures, summary
from mcutrain.evaluation.gates import Verdict, beside, gates, verdict
from mcutrain.evaluation.history import Past
from mcutrain.evaluation.judged import Cost, Judged
from mcutrain.evaluation.lira import Lira
from mcutrain.evaluation.measure import Data, Measured, Sets, measure
from mcutrain.evaluation.observe import read_parameters, weights_hash
from mcutrain.evaluation.requests import Request, together
from mcutrain.evaluation.retrain import Plan, Step, Trainer, cache_folder, native_twin
from mcutrain.evaluation.schedule import Schedule, seeds
from mcutrain.evaluation.shadows import Population, check_models, train_pool
from mcutrain.executor import Array
from mcutrain.work import Stopwatch

if TYPE_CHECKING:
    from mcutrain.unlearning import Method


class Judge:
    """Evaluates models of one build, data set and list of requests.

    Args:
        build: any build with a loss; its native twin does the work, with the same bits.
        requests: forgotten one after another.
        schedule: how the original was trained; retrained models are trained alike.
        original: its weights by ONNX name; it is trained here with ``seed`` when None.
        start: weights that training starts from, those of the build when None.
        golds: number of retrained models, at least 2.
        shadows: shadow models, of which every sample is in half; 0 leaves the likelihood ratio attack out.
        shadow_cache: folder of these, which any request on the same model and data finds again; by
            default that of the other models.
        attacked: whether models are also relearned, exported, trained on, and compared layer by layer.
        processes: how many models train at a time.
        cache: folder of trained models.
        on_step: called as models train.
        on_word: called with what is being done.
    """

    def __init__(
        self,
        build: Build,
        data: Data,
        requests: Sequence[Request],
        schedule: Schedule,
        *,
        original: Mapping[str, Array] | None = None,
        start: Mapping[str, Array] | None = None,
        golds: int = 3,
        shadows: int = 0,
        shadow_cache: Path | None = None,
        attacked: bool = True,
        seed: int = 0,
        processes: int | None = None,
        cache: Path | None = None,
        on_step: Callable[[Step], None] | None = None,
        on_word: Callable[[str], None] | None = None,
    ) -> None:
        if golds < 2:
            raise OptionError(f"{golds} retrained models have no spread", "train at least 2")
        if shadows:
            check_models(shadows)
        self.request = together(requests)
        self.request.check(len(data.y_train))
        self.requests = tuple(requests)
        self.data, self.schedule, self.seed = data, schedule, seed
        self.sets = Sets(data, self.request, seed)
        self._word = on_word or (lambda _: None)
        folder = cache or cache_folder()
        self.build = native_twin(build, folder)
        self.source = build
        self._trainer = Trainer(
            self.build,
            data.x_train,
            data.y_train,
            schedule,
            start=start,
            processes=processes,
            cache=folder,
            on_step=on_step,
        )
        self._start = start
        self._settings = {"start": start, "processes": processes, "on_step": on_step}
        self._original = dict(original) if original is not None else None
        self._count, self.shadows = golds, shadows
        self._shadow_cache = shadow_cache or folder
        self._attacked = attacked and not data.regression
        self._stack = ExitStack()
        self.lira: Lira | None = None
        #: balanced accuracy that the attack reaches on shadow models
        self.lira_power = float("nan")
        self._population = Population.of(data, seed)
        self._random: Array | None = None

    def __enter__(self) -> Judge:
        try:
            self._prepare()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    # ---- models to compare with

    def _prepare(self) -> None:
        keep = tuple(map(int, self.sets.retain))
        plans = [
            Plan(f"retrained model {i + 1}", keep, s) for i, s in enumerate(seeds(self.seed, self._count))
        ]
        if self._original is None:
            plans.insert(0, Plan("original model", tuple(range(len(self.data.y_train))), self.seed))
        trained = self._trainer.train(plans)
        if self._original is None:
            self._original = trained.pop(0)
        learner = self._stack.enter_context(self.build.session(workers=1, store=False))
        self.bench = Bench(learner, self.schedule)
        if self.shadows and not self.data.regression:
            self._fit_lira()
        self._word("measuring the original")
        self.bench.hold(_random_weights(self._original, self.seed))
        self._random = self.bench.observer.outputs(self.data.x_train[self.sets.forget])[0]
        # Parameters that do not train are not in a user's file of weights.
        self.bench.learner.load(self._original)
        self._original = read_parameters(self.bench.learner)
        self.original = self._measure("original", self._original)
        self.golds = []
        for number, weights in enumerate(trained, start=1):
            self._word(f"measuring retrained model {number}")
            self.golds.append(self._measure(f"retrained {number}", weights))
        self.gold_figures = [
            self._figures(gold, [g for g in self.golds if g is not gold]) for gold in self.golds
        ]
        self.summary = summary(self.gold_figures)
        self.original_figures = self._figures(self.original, self.golds)
        self.original_gates = gates(self.original_figures, self.summary, regression=self.data.regression)

    def _fit_lira(self) -> None:
        x, y = self._population.samples()
        folder = self._shadow_cache
        trainer = Trainer(self.build, x, y, self.schedule, cache=folder, **self._settings)  # type: ignore[arg-type]
        pool = train_pool(
            trainer,
            self.bench,
            self._population,
            self.shadows,
            seed=self.seed,
            folder=folder,
            on_word=self._word,
        )
        self.lira, self.lira_power = pool.lira(), pool.power()

    def _measure(self, name: str, weights: Mapping[str, Array]) -> Measured:
        return measure(self.bench, name, weights, self.sets, attacked=self._attacked)

    def _figures(self, model: Measured, golds: Sequence[Measured]) -> dict[str, float]:
        return figures(
            model,
            self.original,
            golds,
            self.sets,
            random=self._random,
            lira=self.lira,
            population=self._population,
        )

    # ---- judging

    def judge(
        self,
        name: str,
        weights: Mapping[str, Array],
        *,
        claim: str = "suppression",
        control: Mapping[str, Array] | None = None,
        cost: Cost | None = None,
        outcomes: Sequence[Mapping[str, Any]] = (),
    ) -> Judged:
        """Judge a model by its weights.

        Args:
            claim: honesty class of the method that made it.
            control: for an exact method, weights of training without the data.
            cost, outcomes: what the method took and said, for the report.
        """
        self._word(f"measuring {name}")
        measured = self._measure(name, {**self.original.weights, **weights})
        found = self._figures(measured, self.golds)
        passed = beside(gates(found, self.summary, regression=self.data.regression), self.original_gates)
        bit_equal = None
        if control is not None:
            bit_equal = weights_hash({**self.original.weights, **control}) == measured.digest
        decided = verdict(passed, claim, bit_equal=bit_equal)
        if not measured.finite:
            decided = Verdict("failed", "finite", "weights or outputs are NaN or beyond all bounds")
        cost = cost or Cost(retraining=self.retraining)
        if decided.word in ("exact", "removal"):
            cost = Cost(**{**asdict(cost), "seconds_to_pass": cost.seconds})
        return Judged(name, claim, decided, tuple(passed), found, cost, measured, tuple(outcomes))

    @property
    def retraining(self) -> int:
        """Samples that one retrained model streams."""
        return self.schedule.streamed(len(self.sets.retain))

    def run(
        self,
        method: Method,
        variant: str = "",
        options: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        control: Mapping[str, Array] | None = None,
        on_event: Callable[[Any], None] | None = None,
    ) -> Judged:
        """Let a method forget the requests one after another, and judge the result.

        The method is given the test part for validation, of which it may use the score: how a
        network does on what it never saw is what forgetting aims at.  One that goes back on how the
        model has learned is given a device that has learned so here, and is compared bit for bit
        with the same without the samples, unless ``control`` has other weights for that.

        Raises what the method raises; the learner then holds no model in particular.
        """
        from mcutrain.unlearning import Task

        variant = method.variant(variant).name
        plain = method.name if variant == method.variants[0].name else f"{method.name}:{variant}"
        name = name or plain
        d, options = self.data, dict(options or {})
        self.bench.hold(self.original.weights)
        self._word(f"{name} begins")
        with self._past().stage(method, variant, options, self.bench.learner) as stage:
            outcomes = []
            told = np.zeros(len(d.y_train), bool)
            watch = Stopwatch(stage.learner.executor)
            for request in self.requests:
                self._word(f"{name} forgets {request.title}")
                told[request.rows] = True
                task = Task(
                    learner=stage.learner,
                    forget=(d.x_train[request.rows], d.y_train[request.rows]),
                    retain=(d.x_train[~told], d.y_train[~told]),
                    validation=(d.x_test, d.y_test),
                    variant=variant,
                    options=options,
                    seed=self.seed,
                    build=self.build,
                    on_event=on_event,
                )
                outcomes.append(stage.forget(task))
            seconds, work = watch.span().seconds, watch.done()
            weights = read_parameters(stage.learner)
            # Who was told of half a poison cannot have the bits of a model without all of it.
            if control is None and told[self.sets.forget].all():
                self._word(f"{name}: the same without the samples")
                control = stage.control()
        done = [outcome for outcome in outcomes if outcome is not None]
        cost = Cost(
            seconds=seconds,
            inference=sum(o.streamed.inference for o in done),
            gradient=sum(o.streamed.gradient for o in done),
            steps=sum(o.steps for o in done),
            memory=method.memory(self.build.manifest),
            flash_bytes=work.flash_bytes if work and method.history(variant) == "runs" else None,
            programs={n: t.count for n, t in work.programs.items() if t.count} if work else {},
            retraining=self.retraining,
        )
        return self.judge(
            name,
            weights,
            claim=done[-1].honesty if done else method.honesty,
            control=control,
            cost=cost,
            outcomes=[o.as_json() for o in done],
        )

    def _past(self) -> Past:
        return Past(
            self.build,
            self.data,
            self.schedule,
            self.seed,
            self.sets.forget,
            self._start,
            self.original.weights,
        )


def _random_weights(weights: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Weights of the same shapes from a normal distribution with each array's own deviation, biases zero."""
    rng = np.random.Generator(np.random.Philox((seed, 77)))
    return {
        name: rng.normal(0, float(w.std()) or 0.01, w.shape).astype(np.float32)
        if w.ndim > 1
        else np.zeros_like(w)
        for name, w in sorted(weights.items())
    }
