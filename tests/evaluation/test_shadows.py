"""The shadow models' pool: who trains on what, what is kept, and that any request finds it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mcutrain
from mcutrain import data as datasets
from mcutrain.build import Build
from mcutrain.errors import OptionError
from mcutrain.evaluation import metrics
from mcutrain.evaluation import requests as ask
from mcutrain.evaluation.attacks import Bench
from mcutrain.evaluation.lira import Lira, halves
from mcutrain.evaluation.measure import Data, Sets, measure
from mcutrain.evaluation.retrain import Plan, Trainer
from mcutrain.evaluation.schedule import Schedule, constant
from mcutrain.evaluation.shadows import Pool, Population, train_pool

SCHEDULE = constant(2, 0.1, batch=4)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, dense_model: Path) -> Build:
    out = tmp_path_factory.mktemp("shadows") / "dense"
    return mcutrain.compile(dense_model, target="native", loss="cross-entropy", workers=1, out=out)


@pytest.fixture(scope="module")
def data() -> Data:
    a = datasets.load("digits").arrays
    x, x_test = (a[name].reshape(-1, 64).astype(np.float32) for name in ("x_train", "x_test"))
    return Data(x[:60], a["y_train"][:60], x_test[:40], a["y_test"][:40], 10)


@pytest.fixture(scope="module")
def poisoned(data: Data) -> tuple[Data, np.ndarray]:  # type: ignore[type-arg]
    poison = ask.Poison(target=7, image=(8, 8))
    x, y, rows = poison.spread(data.x_train, data.y_train, 0.2, seed=1)
    return Data(x, y, data.x_test, data.y_test, 10, poison=poison), rows


def test_a_population_is_everything_and_no_more_tests_than_training_samples(data: Data) -> None:
    whole = Population.of(data)
    x, y = whole.samples()
    assert len(x) == len(y) == 100
    assert np.array_equal(y, np.concatenate([data.y_train, data.y_test]))
    small = Population.of(Data(data.x_train[:10], data.y_train[:10], data.x_test, data.y_test, 10))
    assert len(small.tests) == len(np.unique(small.tests)) == 10
    assert np.array_equal(small.samples()[0][10:], data.x_test[small.tests])
    # held-out samples are looked for among those of the population
    request = ask.by_class(data.y_train[:10], int(data.y_train[0]))
    forgotten, outsiders = small.compared(Sets(small.data, request))
    assert np.array_equal(forgotten, request.rows)
    labels = small.samples()[1]
    assert (labels[outsiders] == data.y_train[0]).all()
    assert len(outsiders) == (data.y_test[small.tests] == data.y_train[0]).sum()
    assert (outsiders >= 10).all()


def test_forgotten_poison_is_compared_with_poison_that_nobody_saw(
    poisoned: tuple[Data, np.ndarray],  # type: ignore[type-arg]
) -> None:
    data, rows = poisoned
    assert np.array_equal(data.poison.carriers(data.x_train, data.y_train), rows)  # type: ignore[union-attr]
    population = Population.of(data)
    x, y = population.samples()
    forgotten, outsiders = population.compared(Sets(data, ask.poisoned(rows, 0.5)))
    assert np.array_equal(forgotten, rows)
    assert len(outsiders) == len(rows) == 12
    assert (y[outsiders] == 7).all()
    assert (x[outsiders].reshape(-1, 8, 8)[:, :3, :3] == 1).all()
    assert (data.y_test[population.patched] != 7).all()
    # another request on the same data is compared with plain test samples
    _, others = population.compared(Sets(data, ask.by_class(data.y_train, 5)))
    assert (others < 100).all()
    assert (y[others] == 5).all()


def test_margins_of_a_measured_model_are_in_the_populations_order(
    build: Build,
    poisoned: tuple[Data, np.ndarray],  # type: ignore[type-arg]
) -> None:
    data, rows = poisoned
    population = Population.of(data)
    x, y = population.samples()
    with build.session(workers=1) as learner:
        bench = Bench(learner, SCHEDULE)
        sets = Sets(data, ask.poisoned(rows, 0.5))
        measured = measure(bench, "m", learner.weights(), sets, attacked=False)
        wanted = metrics.margins(bench.observer.outputs(x)[0], y)
    assert population.margins(measured) == pytest.approx(wanted)


class Counted:
    """A pool of a build and data in a folder, and which models were trained for it."""

    def __init__(self, build: Build, data: Data, folder: Path) -> None:
        self.build, self.data, self.folder = build, data, folder
        self.trained: list[str] = []

    def __call__(self, models: int, seed: int = 0, schedule: Schedule = SCHEDULE) -> Pool:
        self.trained.clear()
        population = Population.of(self.data, seed)
        x, y = population.samples()

        def on_step(step) -> None:  # type: ignore[no-untyped-def]
            if step.done == step.total and not step.cached:
                self.trained.append(step.title)

        trainer = Trainer(self.build, x, y, schedule, processes=2, cache=self.folder, on_step=on_step)
        with self.build.session(workers=1) as learner:
            bench = Bench(learner, schedule)
            return train_pool(trainer, bench, population, models, seed=seed, folder=self.folder)


def test_a_pool_is_kept_continued_and_told_apart(build: Build, data: Data, tmp_path: Path) -> None:
    pool = Counted(build, data, tmp_path)
    four = pool(4)
    assert sorted(pool.trained) == [f"shadow model {i}" for i in (1, 2, 3, 4)]
    assert four.margins.shape == four.inside.shape == (4, 100)
    # the margins are those of a model that is trained here on the same half
    x, y = Population.of(data).samples()
    own = np.flatnonzero(four.inside[1])
    with build.session(workers=1) as learner:
        SCHEDULE.train(learner, x[own], y[own], seed=100_001)
        wanted = metrics.margins(Bench(learner, SCHEDULE).observer.outputs(x)[0], y)
    assert np.array_equal(four.margins[1], wanted)
    # more are added, fewer are taken, and the weights are not needed any more
    six = pool(6)
    assert sorted(pool.trained) == ["shadow model 5", "shadow model 6"]
    assert np.array_equal(six.margins[:4], four.margins)
    for path in tmp_path.glob("*.npz"):
        if not path.name.startswith("shadows-"):
            path.unlink()
    for models in (6, 4):
        again = pool(models)
        assert pool.trained == []
        assert np.array_equal(again.margins, six.margins[:models])
    # another seed or schedule is another pool
    pool(4, seed=1)
    assert len(pool.trained) == 4
    pool(4, schedule=constant(1, 0.1, batch=4))
    assert len(pool.trained) == 4
    assert len(list(tmp_path.glob("shadows-*.npz"))) == 3


@pytest.mark.parametrize("harm", ["cut", "empty", "text", "other"])
def test_a_damaged_pool_is_made_again(build: Build, data: Data, tmp_path: Path, harm: str) -> None:
    pool = Counted(build, data, tmp_path)
    wanted = pool(4)
    (path,) = tmp_path.glob("shadows-*.npz")
    if harm == "cut":
        path.write_bytes(path.read_bytes()[:-30])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "text":
        path.write_text("no pool")
    else:
        np.savez(path, margins=wanted.margins + 1, inside=~wanted.inside)
    assert np.array_equal(pool(4).margins, wanted.margins)
    # the models themselves were kept
    assert pool.trained == []
    with np.load(path) as stored:
        assert np.array_equal(stored["inside"], wanted.inside)


def test_a_stopped_pool_goes_on(build: Build, data: Data, tmp_path: Path) -> None:
    population = Population.of(data)
    x, y = population.samples()
    inside = halves(len(y), 2, 0)
    plan = Plan("first", tuple(np.flatnonzero(inside[2]).tolist()), 100_002)
    Trainer(build, x, y, SCHEDULE, cache=tmp_path).train([plan])
    pool = Counted(build, data, tmp_path)
    pool(4)
    assert sorted(pool.trained) == [f"shadow model {i}" for i in (1, 2, 4)]


def test_the_power_of_a_pool_is_what_it_tells_of_its_own_models() -> None:
    rng = np.random.default_rng(5)
    inside = halves(400, 12, 0)
    ease = rng.normal(0, 2, 400)
    plain = ease + rng.normal(0, 1, inside.shape)
    assert Pool(plain, inside).power() == pytest.approx(0.5, abs=0.02)
    # Φ(1) = .84 with Gaussians that are known; fitted ones a little less
    assert 0.78 < Pool(plain + 2.0 * inside, inside).power() < 0.85
    assert np.isnan(Pool(plain[:4], inside[:4]).power())
    assert isinstance(Pool(plain, inside).lira(), Lira)


@pytest.mark.parametrize("models", [0, 1, 2, 3, 7])
def test_a_pool_that_fits_nothing_is_refused(build: Build, data: Data, tmp_path: Path, models: int) -> None:
    with pytest.raises(OptionError, match=f"on {models} shadow model"):
        Counted(build, data, tmp_path)(models)
    assert not list(tmp_path.iterdir())
