"""Certificates of forgetting: a chain of records that a device makes about itself, each with a text.

The device hashes its own weights before and after a request, counts, links
each record to the one before and signs it (``targets/runtime/certificate.h``).
The text, written here and bound to the record by its hash, says what was done.
A file holds one certificate a line, as canonical JSON::

    {"hash": SHA-256 of the record, "record": hexadecimal, "text": {…}}
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mcutrain.errors import StoreError
from mcutrain.files import parse_json
from mcutrain.runlog import RunLog
from mcutrain.runrecords import state_names
from mcutrain.store import PURGED, RECORD, SIGNED, Record, device_id
from mcutrain.unlearning.base import HONESTY, Carrier, Outcome
from mcutrain.words import counted

if TYPE_CHECKING:
    from mcutrain.build import Build

#: Certificates in a build directory: of its device, and of the NumPy reference.
FILE_NAME, REFERENCE_FILE = "certificates.jsonl", "certificates.reference.jsonl"
VERSION = 1
#: What must hold for an exact certificate to mean what it says.
_ASSUMPTIONS = {
    "exact": [
        "the device ran the firmware that the certificate names",
        "training was logged from the first run on, and the data repeated is that of the log",
        "SHA-256 has no collisions, and nobody else knows the device key",
    ],
    "other": ["the certificate proves that this procedure ran on this device, not that nothing is left"],
}
#: What remembers samples on other systems, and is not there.
_ABSENT = [
    "replay buffers: the device keeps no sample",
    "statistics of batch normalisation: folded into weights when the model is compiled",
]


@dataclass(frozen=True)
class Certificate:
    """A record and its text."""

    text: Mapping[str, Any]
    record: Record

    @property
    def hash(self) -> str:
        return hashlib.sha256(self.record.pack()).hexdigest()

    @classmethod
    def of(cls, text: bytes, packed: bytes) -> Certificate:
        return cls(json.loads(text), Record.unpack(packed))

    def line(self) -> bytes:
        """The certificate as it stands in a file."""
        value = {"hash": self.hash, "record": self.record.pack().hex(), "text": self.text}
        return canonical(value) + b"\n"

    def meaning(self) -> str:
        """What this certificate proves, in plain words."""
        honesty = self.text.get("honesty")
        if honesty == "exact":
            return (
                "exact: whoever has the build, the run log and the data can repeat the training without "
                "the samples and must get the weights of this hash (--replay)"
            )
        words = HONESTY.get(str(honesty), "unknown")
        return (
            f"{honesty}: {words}. The certificate proves that the procedure ran on this device and led "
            "to these weights; it does not prove that nothing of the samples is left in them"
        )


def canonical(value: Any) -> bytes:
    """JSON with one way to write each value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def state_hash(log: RunLog) -> str:
    """SHA-256 of all that training and forgetting leave behind, statistics too, computed by the device."""
    return log.store.hash(state_names(log.manifest)).hex()


def make_text(
    log: RunLog, samples: Sequence[bytes], outcome: Outcome, build: Build | None, state_before: str = ""
) -> bytes:
    """The text of the request that ``log`` has pending, before its end is committed.

    ``state_before`` is the :func:`state_hash` when it began.
    """
    request = log.pending
    assert request is not None
    wanted = set(samples)
    runs = {
        run.number: [i for i, s in enumerate(run.hashes) if s in wanted]
        for run in log.runs
        if run.trained and wanted & set(run.hashes)
    }
    spoiled = log.spoiled(samples)
    firmware = hashlib.sha256(build.firmware_path.read_bytes()).hexdigest() if build else ""
    evaluations = {
        when: {name: [e.samples, e.loss, e.accuracy] for name, e in found.items()}
        for when, found in (("before", outcome.before), ("after", outcome.after))
    }
    text = {
        "version": VERSION,
        "request": request.number,
        "method": outcome.method,
        "variant": outcome.variant,
        "honesty": outcome.honesty,
        "assumptions": _ASSUMPTIONS["exact" if outcome.honesty == "exact" else "other"],
        "parameters": dict(outcome.parameters),
        "stop": outcome.stop,
        "code": {"build": log.manifest.build_id, "firmware": firmware, "mcutrain": _version()},
        "samples": [sample.hex() for sample in samples],
        # where each was in the training log, and the log as it was then
        "trained_in": {str(number): places for number, places in runs.items()},
        "log": hashlib.sha256(b"".join(run.encode() for run in log.runs)).hexdigest(),
        "runs": log.runs[-1].number,
        "done": {str(run.number): run.done for run in log.runs if run.trained},
        "seeds": [run.seed for run in log.runs] + [outcome.seed],
        "weights_before": request.before,
        "weights_after": log.weights_hash(),
        "state_before": state_before,
        "state_after": state_hash(log),
        "snapshots_erased": spoiled,
        "snapshots_remade": sorted(log.remade),
        "replayed": [run.number for run in log.rerun],
        "streamed": {"gradient": outcome.streamed.gradient, "inference": outcome.streamed.inference},
        "steps": outcome.steps,
        "metrics": evaluations,
        "carriers": [[c.name, c.fate, c.note] for c in _carriers(log, outcome, spoiled)],
        "no_carriers": _ABSENT,
    }
    return canonical(text)


def _carriers(log: RunLog, outcome: Outcome, spoiled: Sequence[int]) -> list[Carrier]:
    """What a method says of the state it knows, and what the log does with all else that held the samples."""
    carriers = list(outcome.carriers)
    named = {carrier.name for carrier in carriers}
    words = f"those before runs {', '.join(map(str, spoiled))} are erased" if spoiled else "none held them"
    solved = outcome.honesty == "exact"
    for carrier in (
        Carrier("weights", "recomputed", "without the samples")
        if solved
        else Carrier(
            "weights", "kept", "changed by the method; only an evaluation tells what is left in them"
        ),
        Carrier("snapshots", "cleared", words),
        Carrier("flash", "cleared", "what held earlier states is erased"),
    ):
        if carrier.name not in named:
            carriers.append(carrier)
    return carriers


def path_for(build: Build, log: RunLog) -> Path:
    """The file for the certificates of the device whose log this is."""
    return build.directory / (REFERENCE_FILE if log.on_host else FILE_NAME)


def append(path: Path, certificate: Certificate) -> None:
    """Add a certificate to a file, on disk when this returns; raises StoreError."""
    try:
        with path.open("ab") as file:
            file.write(certificate.line())
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}", "make room there") from None


def catch_up(log: RunLog, path: Path) -> bool:
    """Add the device's last certificate to the file if only that one is missing or cut off there; whether
    it was."""
    entries = log.store.entries()
    if "chain" not in entries:
        return False
    chain = log.store.read("chain")
    records = [chain[i : i + RECORD.size] for i in range(0, len(chain), RECORD.size)]
    held = path.read_bytes() if path.exists() else b""
    whole = held[: held.rfind(b"\n") + 1]
    if whole.count(b"\n") != len(records) - 1:
        return False
    if whole != held:  # this computer stopped in the middle of the line
        os.truncate(path, len(whole))
    append(path, Certificate.of(log.store.read("certificate"), records[-1]))
    return True


# ---- verification

#: What a text must say, and its types.
_FIELDS: dict[str, type] = {
    "version": int,
    "request": int,
    "method": str,
    "variant": str,
    "honesty": str,
    "assumptions": list,
    "parameters": dict,
    "code": dict,
    "samples": list,
    "trained_in": dict,
    "log": str,
    "runs": int,
    "done": dict,
    "seeds": list,
    "weights_before": str,
    "weights_after": str,
    "state_before": str,
    "state_after": str,
    "snapshots_erased": list,
    "snapshots_remade": list,
    "replayed": list,
    "steps": int,
    "metrics": dict,
    "carriers": list,
    "no_carriers": list,
}


@dataclass(frozen=True)
class Finding:
    """What is wrong with a certificate, by its line in the file (from 1)."""

    line: int
    reason: str


def read(path: Path) -> tuple[list[Certificate], list[Finding]]:
    """The certificates of a file, and what is wrong with their form; raises StoreError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", "check the path") from None
    certificates, findings = [], []
    lines = data.split(b"\n")
    if not data:
        findings.append(Finding(1, "there is no certificate in it"))
    if lines[-1] != b"":
        findings.append(Finding(len(lines), "the last line is cut off"))
    for number, line in enumerate(lines[:-1], 1):
        try:
            value = parse_json(line)
            if set(value) != {"hash", "record", "text"} or canonical(value) != line:
                raise ValueError("not in canonical form")
            certificate = Certificate(value["text"], Record.unpack(bytes.fromhex(value["record"])))
            if not isinstance(value["text"], dict):
                raise ValueError("its text is no object")
            if certificate.hash != value["hash"] or certificate.record.pack().hex() != value["record"]:
                raise ValueError("its hash is not that of its record")
        except (ValueError, TypeError) as error:
            findings.append(Finding(number, f"cannot be read: {error}"))
            continue
        certificates.append(certificate)
    return certificates, findings


def check(certificates: Sequence[Certificate], key: bytes | None = None) -> list[Finding]:
    """What is wrong with a chain of certificates; with the device key also their signatures."""
    findings = []
    previous, signer = bytes(32), None
    for number, certificate in enumerate(certificates, 1):
        record, text = certificate.record, certificate.text
        problems = []
        if record.counter != number:
            problems.append(f"is number {record.counter} of the chain, in place of {number}")
        if record.previous != previous:
            problems.append("does not follow the certificate before it")
        if record.text != hashlib.sha256(canonical(text)).digest():
            problems.append("its text is not the one the device has seen")
        for name, value in (("weights_before", record.before), ("weights_after", record.after)):
            if text.get(name) != value.hex():
                problems.append(f"its text has other {name.replace('_', ' ')} than the device")
        problems += _lacking(text)
        if not record.flags & PURGED:
            problems.append("the device had not erased what held the samples")
        if record.flags & SIGNED:
            if signer not in (None, record.device_id):
                problems.append("is another device's")
            signer = record.device_id
        elif signer is not None:
            problems.append("is not signed, but earlier ones are")
        problems += _signature(record, key)
        findings += [Finding(number, problem) for problem in problems]
        previous = hashlib.sha256(record.pack()).digest()
    return findings


def _signature(record: Record, key: bytes | None) -> list[str]:
    """What is wrong with a record's signature, by the device ``key`` if it is known."""
    if not record.flags & SIGNED:
        marked = any(record.signature) or any(record.device_id)
        return ["has a signature but says it has none"] if marked else []
    if key is None:
        return []
    if record.device_id != device_id(key):
        return ["is not of the device with this key"]
    right = hmac.compare_digest(record.signature, record.signed(key))
    return [] if right else ["its signature is wrong"]


def _lacking(text: Mapping[str, Any]) -> list[str]:
    """What a text does not say that it must."""
    problems = [
        f"its text has no {name}" for name, kind in _FIELDS.items() if not isinstance(text.get(name), kind)
    ]
    if not problems:
        if not all(isinstance(sample, str) for sample in text["samples"]):
            problems.append("its text has samples that are no hashes")
        if not all(isinstance(steps, int) for steps in text["done"].values()):
            problems.append("its text has runs of no length")
    return problems


def compare(certificates: Sequence[Certificate], chain: bytes) -> list[Finding]:
    """Where certificates differ from the chain that their device keeps: ``chain``, its entry of that name."""
    records = [chain[i : i + RECORD.size] for i in range(0, len(chain), RECORD.size)]
    findings = [
        Finding(number, "is not the one in the device")
        for number, (certificate, record) in enumerate(zip(certificates, records, strict=False), 1)
        if certificate.record.pack() != record
    ]
    if len(certificates) != len(records):
        reason = f"the file has {counted(len(certificates), 'certificate')}, the device {len(records)}"
        findings.append(Finding(min(len(certificates), len(records)) + 1, reason))
    return findings


def _version() -> str:
    try:
        return metadata.version("mcutrain")
    except metadata.PackageNotFoundError:
        return "checkout"
