"""What a run log holds: runs, forgotten samples, requests; and which snapshots to keep."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np

from mcutrain.data import Samples
from mcutrain.errors import StoreError
from mcutrain.executor import Array
from mcutrain.files import parse_json
from mcutrain.learning import Learner
from mcutrain.manifest import Manifest

#: Bytes of a sample's hash.
HASH_SIZE = 32
#: State that only lives during a run or a request: no carrier of anything between them.
_SCRATCH = (".gradient", ".held", ".mask")
_MOMENTUM = ".momentum"
#: Python's types of a record's fields by their annotation.
_KINDS = {"int": (int,), "float": (float, int), "str": (str,), "bool": (bool,)}


@dataclass(frozen=True)
class RunRecord:
    """A logged training run: all that is needed to do it again, given its samples."""

    #: from 1, in the order of training
    number: int
    name: str
    #: ``open`` while it trains; ``complete``; ``interrupted`` after ``done`` steps; ``lost`` (power or link
    #: failed) and ``diverged`` left no trace in the weights
    status: str
    epochs: int
    lr: float
    momentum: float
    weight_decay: float
    batch: int
    seed: int
    shuffle: bool
    #: optimizer steps that it trained, of ``steps``
    done: int
    steps: int
    #: SHA-256 of the trained parameters before and after it, in hexadecimal
    start: str = ""
    weights: str = ""
    #: seconds that a sample took on this computer, steps included
    pace: float = 0.0
    #: ticks of the device's clock that a sample took, and all else for a step; 0 where nothing counts them
    sample_ticks: float = 0.0
    step_ticks: float = 0.0
    #: the same in seconds of this computer, where the device counts
    sample_seconds: float = 0.0
    step_seconds: float = 0.0
    #: salted hash of each sample, in the order of the data; the seed says in which order they were trained
    hashes: tuple[bytes, ...] = ()

    @property
    def trained(self) -> bool:
        """Whether the weights hold anything of it."""
        return self.done > 0 and self.status in ("complete", "interrupted")

    def options(self) -> dict[str, Any]:
        """How to call :meth:`Learner.train` again."""
        names = ("epochs", "lr", "momentum", "weight_decay", "batch", "seed", "shuffle")
        return {name: getattr(self, name) for name in names}

    def visits(self, exclude: Collection[int] = (), first: int = 0) -> tuple[int, int]:
        """Samples and optimizer steps from step ``first`` to the last one done, without those excluded."""
        count = len(self.hashes)
        rng = np.random.Generator(np.random.Philox(self.seed))
        left_out = np.zeros(count, bool)
        left_out[list(exclude)] = True
        per_epoch = -(-count // self.batch)
        samples = steps = 0
        for epoch in range(self.epochs):
            order = rng.permutation(count) if self.shuffle else np.arange(count)
            for step in range(per_epoch):
                if first <= epoch * per_epoch + step < self.done:
                    chosen = order[step * self.batch : (step + 1) * self.batch]
                    left = int(np.count_nonzero(~left_out[chosen]))
                    samples += left
                    steps += left > 0
        return samples, steps

    def encode(self) -> bytes:
        head = {key: value for key, value in asdict(self).items() if key != "hashes"}
        return _json(head) + b"\n" + b"".join(self.hashes)

    @classmethod
    def decode(cls, data: bytes) -> RunRecord:
        """Raises ValueError."""
        head, _, hashes = data.partition(b"\n")
        if len(hashes) % HASH_SIZE:
            raise ValueError("a hash is cut off")
        split = [hashes[i : i + HASH_SIZE].hex() for i in range(0, len(hashes), HASH_SIZE)]
        value = parse_json(head)
        return cls.from_json({**value, "hashes": split} if isinstance(value, dict) else value)

    @classmethod
    def from_json(cls, value: Any) -> RunRecord:
        """From plain values, the hashes in hexadecimal; raises ValueError."""
        hashes = value.get("hashes") if isinstance(value, dict) else None
        if not isinstance(hashes, list):
            raise ValueError("a run without a list of hashes")
        split = tuple(_hash(text) for text in hashes)
        run: RunRecord = plain_record(cls, {**value, "hashes": split})
        if min(run.number, run.epochs, run.batch) < 1 or run.seed < 0 or not 0 <= run.done <= run.steps:
            raise ValueError(f"run '{run.name[:40]}' has numbers that no run has")
        if run.steps != run.epochs * -(-len(split) // run.batch):
            raise ValueError(f"run '{run.name[:40]}' has {run.steps} steps, which its samples do not take")
        return run


@dataclass(frozen=True)
class Forgotten:
    """A sample that was forgotten: no run up to ``through`` holds it any more."""

    hash: str
    through: int
    request: int

    def __post_init__(self) -> None:
        _hash(self.hash)


@dataclass(frozen=True)
class RequestRecord:
    """A request to forget, and what became of it."""

    #: from 1
    number: int
    method: str
    #: ``begun``; ``done`` (its certificate is still to be made); ``certified``; ``reverted`` (the method gave
    #: up) and ``interrupted`` (the power failed), where the model is as it was before
    status: str
    samples: int
    #: SHA-256 of the trained parameters before and after, in hexadecimal
    before: str = ""
    after: str = ""


R = TypeVar("R")


def encode_all(records: Iterable[Any]) -> bytes:
    """Records as JSON, one a line."""
    return b"".join(_json(asdict(record)) + b"\n" for record in records)


def decode_all(cls: Callable[..., R], data: bytes) -> list[R]:
    """The other way; raises ValueError."""
    return [plain_record(cls, parse_json(line)) for line in data.splitlines()]


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def plain_record(cls: Callable[..., R], value: Any) -> R:
    """A record from plain values; raises ValueError."""
    described = fields(cls)  # type: ignore[arg-type]
    known = {field.name for field in described}
    if not isinstance(value, dict) or not set(value) <= known:
        raise ValueError(f"not a {cls.__name__}")
    for field in described:
        kind = _KINDS.get(str(field.type))
        if kind and field.name in value and type(value[field.name]) not in kind:
            raise ValueError(f"'{field.name}' of a {cls.__name__} is {str(value[field.name])[:40]!r}")
    try:
        return cls(**value)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _hash(text: Any) -> bytes:
    """A sample's hash from hexadecimal; raises ValueError."""
    found = bytes.fromhex(text) if isinstance(text, str) else b""
    if len(found) != HASH_SIZE:
        raise ValueError(f"{str(text)[:40]!r} is no hash of a sample")
    return found


# ---- samples


def sample_hashes(learner: Learner, salt: bytes, x: Array | Samples, y: Array | Samples) -> list[bytes]:
    """SHA-256 of salt, sample and label as the device gets them, for each sample.

    The salt, random for each device, keeps others from trying out which samples
    are in a log they see.  Raises DataError.
    """
    samples, targets = learner.training_set(x, y)
    names = learner.manifest.program("train_step").inputs[:2]
    hashes = []
    for row in range(len(samples)):
        digest = hashlib.sha256(salt)
        for name, array in zip(names, (samples, targets), strict=True):
            sent = learner.rows_of(array, row, name)
            digest.update(sent.astype(sent.dtype.newbyteorder("<")).tobytes())
        hashes.append(digest.digest())
    return hashes


# ---- state


def weight_names(manifest: Manifest) -> list[str]:
    """The trained parameters: what the hash of a model is about."""
    return [t.name for t in manifest.trained()]


def state_names(manifest: Manifest, momentum: bool = False) -> list[str]:
    """All that training and forgetting leave behind: trained parameters and lasting state.

    The optimizer starts anew with each run, so its momentum is only of use within one.
    """
    return [
        t.name
        for t in manifest.tensors
        if t.trained
        or (
            t.kind == "state"
            and not t.name.endswith(_SCRATCH)
            and (momentum or not t.name.endswith(_MOMENTUM))
        )
    ]


# ---- snapshots


def thinned(runs: Sequence[int], most: int) -> list[int]:
    """Which of the snapshots before ``runs`` (ascending) to keep so that there are at most ``most``.

    The first and the last stay; between them gaps grow with age, so that the
    runs to repeat for a sample are at most a constant times those since it.
    """
    kept = list(runs)
    if most < 1:
        raise StoreError("the snapshot budget is less than one snapshot", "give a larger --snapshot-budget")
    while len(kept) > most:
        if len(kept) <= 2:
            kept.pop()
            continue
        now = kept[-1] + 1
        # the gap that a removal leaves, against the age of its younger end
        scores = [(kept[i + 1] - kept[i - 1]) / (now - kept[i + 1]) for i in range(1, len(kept) - 1)]
        kept.pop(1 + int(np.argmin(scores)))
    return kept
