"""What every unlearning method is: a recipe that runs Programs on an Executor.

A :class:`Method` takes a :class:`Task` (whom to forget, what to keep, options)
and returns an :class:`Outcome` (what was done, what it cost, what is left).
The recipe runs on the host and the arithmetic in the build's Programs, so a
method does the same to a device and to the NumPy reference, bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

from mcutrain.data import Samples
from mcutrain.errors import BuildError, OptionError
from mcutrain.events import Evaluation
from mcutrain.executor import Array
from mcutrain.learning import Learner
from mcutrain.manifest import Manifest
from mcutrain.unlearning.options import Option, Value, check_options

if TYPE_CHECKING:
    from mcutrain.build import Build
    from mcutrain.runlog import RunLog

Honesty = Literal["exact", "removal", "suppression"]
#: Samples ``[n, *input]`` and their labels ``[n]`` or targets ``[n, *output]``.
Labelled: TypeAlias = "tuple[Array | Samples, Array | Samples]"

#: The honesty classes in plain words.
HONESTY: dict[str, str] = {
    "exact": "the weights equal those of a network that never saw the data; anybody can check that by hash",
    "removal": "measured against retrained networks, and no gate of the evaluation tells the difference",
    "suppression": "the network behaves as if it had forgotten, but knowledge may remain in its weights; "
    "only an evaluation against retrained networks can say more",
}


@dataclass(frozen=True)
class Variant:
    """One way to run a method."""

    name: str
    summary: str


@dataclass(frozen=True)
class Progress:
    """How far a method is: ``done`` of ``total`` samples or steps of a phase, and a word on the result."""

    phase: str
    done: int
    total: int
    note: str = ""


@dataclass(frozen=True)
class Streamed:
    """Samples that ran through the network: forward only, and forward and backward."""

    inference: int = 0
    gradient: int = 0

    @property
    def total(self) -> int:
        return self.inference + self.gradient


@dataclass(frozen=True)
class Cost:
    """What a task takes at most: samples streamed and optimizer steps.

    A method that stops at its target takes less; ``bound`` is False where it always takes exactly this.
    """

    streamed: Streamed
    steps: int = 0
    bound: bool = True
    #: seconds of this computer that it will take, where earlier runs tell
    seconds: float | None = None
    #: ticks of the device's own clock: ``rate`` a second, 0 for cycles; None where nothing counts
    ticks: float | None = None
    rate: int | None = None


@dataclass(frozen=True)
class Carrier:
    """State beside the weights that the forgotten samples had touched, and what became of it."""

    name: str
    #: ``cleared``, ``recomputed`` or ``kept`` (then the influence is still there)
    fate: Literal["cleared", "recomputed", "kept"]
    note: str = ""


@dataclass(frozen=True)
class Task:
    """A request to forget.

    ``learner`` holds the trained network.  ``forget`` is what to forget;
    ``retain`` training data to keep, ``guard`` 64 to 256 retained samples that
    must not suffer (drawn from ``retain`` when absent), ``validation`` samples
    that were never trained, which say what forgotten means where nothing else
    does.  ``options`` are checked against those the method declares; ``seed``
    fixes every random choice.  ``build`` is given where a method needs the
    build's own files.
    """

    learner: Learner
    forget: Labelled
    retain: Labelled | None = None
    guard: Labelled | None = None
    validation: Labelled | None = None
    variant: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    on_event: Callable[[Progress], None] | None = None
    build: Build | None = None
    #: the run log, where the request is one of a logged device
    log: RunLog | None = None
    #: salted hashes of what to forget, where ``forget`` isn't at hand (``rollback`` needs no more)
    samples: Sequence[bytes] = ()


@dataclass(frozen=True)
class Outcome:
    """What a method did."""

    method: str
    variant: str
    honesty: Honesty
    #: False when nothing was kept: the network is as it was before
    changed: bool
    #: why it stopped, for people
    stop: str
    #: the options as checked, and what the method chose (``alpha``, ``selected`` …)
    parameters: Mapping[str, Value]
    seed: int
    streamed: Streamed
    #: optimizer steps
    steps: int
    #: evaluations by set, ``forget`` and ``guard``, before and after
    before: Mapping[str, Evaluation] = field(default_factory=dict)
    after: Mapping[str, Evaluation] = field(default_factory=dict)
    carriers: tuple[Carrier, ...] = ()
    #: whether it gave up: the goal cannot be reached this way
    missed: bool = False

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return asdict(self)


class Method(ABC):
    """One unlearning method; its class attributes describe it, :meth:`run` does it."""

    name: ClassVar[str]
    summary: ClassVar[str]
    honesty: ClassVar[Honesty]
    #: the first is the default
    variants: ClassVar[tuple[Variant, ...]]
    options: ClassVar[tuple[Option, ...]] = ()
    #: whether retained training data must be at hand; in words for people
    needs_retain: ClassVar[str]
    #: state it keeps, and what it costs, in words
    memory_words: ClassVar[str]
    cost_words: ClassVar[str]

    def variant(self, name: str = "") -> Variant:
        """A variant by name, the first without one; raises OptionError."""
        for variant in self.variants:
            if name in ("", variant.name):
                return variant
        known = ", ".join(v.name for v in self.variants)
        raise OptionError(f"method '{self.name}' has no variant '{name}'", f"it has {known}")

    def settings(self, task: Task) -> dict[str, Value]:
        """The options that hold for ``task``, defaults included; raises OptionError."""
        return check_options(self.name, self.variant(task.variant).name, self.options, task.options)

    def history(self, variant: str) -> Literal["", "runs", "head"]:
        """What must have learned the samples for it: logged ``runs``, a ``head``, or no matter what."""
        return ""

    def tokens(self, variant: str, settings: Mapping[str, Value]) -> Mapping[str, tuple[str, ...]]:
        """The Programs it runs beside those of training, by the ``--unlearn`` token that compiles them."""
        return {}

    def check_build(self, task: Task) -> None:
        """Raise BuildError when the build lacks a Program, naming the compile option that adds it."""
        self.check_manifest(task.learner.manifest, task.variant, self.settings(task))

    def check_manifest(self, manifest: Manifest, variant: str, settings: Mapping[str, Value]) -> None:
        """The same of a build that runs nowhere yet."""
        manifest.program("train_step")
        if manifest.options.immediate:
            raise BuildError(
                f"build '{manifest.name}' updates its weights immediately and keeps no gradients",
                "compile it without --immediate",
            )
        known = {program.name for program in manifest.programs}
        needed = self.tokens(self.variant(variant).name, settings)
        for program in (p for programs in needed.values() for p in programs):
            if program not in known:
                raise BuildError(
                    f"build '{manifest.name}' has no Program '{program}', which {self.name} runs",
                    f"compile the model with --unlearn {','.join(needed)}",
                )

    @abstractmethod
    def memory(self, manifest: Manifest) -> int:
        """Bytes of device memory that its state takes beside that of training."""

    @abstractmethod
    def cost(self, task: Task) -> Cost:
        """What ``task`` takes at most; raises what :meth:`run` would raise before it starts."""

    @abstractmethod
    def run(self, task: Task) -> Outcome:
        """Forget.

        The network ends up either as the method leaves it or, after an error,
        an interruption or a goal that was missed, exactly as it was before.

        Raises:
            OptionError: options, variant or sets that do not fit.
            DataError: samples that do not fit the model.
            BuildError: the build lacks a Program.
        """


M = TypeVar("M", bound=type[Method])
_METHODS: dict[str, Method] = {}
#: Modules that register the methods, in the order they are shown.
_MODULES: tuple[str, ...] = ("rollback", "analytic_head", "ssd", "sparse_finetune", "distill", "gradient")


def register(cls: M) -> M:
    """Class decorator: make a method known by its name."""
    _METHODS[cls.name] = cls()
    return cls


def methods() -> Sequence[Method]:
    """All methods, exact ones first."""
    for module in _MODULES:
        import_module(f"mcutrain.unlearning.{module}")
    order = {"exact": 0, "removal": 1, "suppression": 2}
    return sorted(_METHODS.values(), key=lambda m: order[m.honesty])


def find_method(name: str) -> Method:
    """The method called ``name``; raises OptionError."""
    known = {method.name: method for method in methods()}
    if name not in known:
        raise OptionError(f"there is no unlearning method '{name}'", f"choose from {', '.join(known)}")
    return known[name]


def parse_method(text: str) -> tuple[Method, str]:
    """``gradient:npo`` as a method and the name of its variant (the default without one)."""
    name, _, variant = text.partition(":")
    method = find_method(name)
    return method, method.variant(variant).name
