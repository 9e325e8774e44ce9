"""``mcutrain certificate``: show and verify what a device has certified about forgetting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mcutrain.cli.console import errors, output, print_json, table
from mcutrain.cli.key import read_key
from mcutrain.cli.options import connect, json_option, open_build, open_data, port_option
from mcutrain.errors import OptionError
from mcutrain.runlog import COPY, REFERENCE_COPY
from mcutrain.store import SIGNED
from mcutrain.unlearning.certificate import REFERENCE_FILE, Certificate, Finding, check, compare, read
from mcutrain.unlearning.recheck import Recheck, recheck
from mcutrain.words import counted

path_argument = click.argument("path", metavar="BUILD/certificates.jsonl", type=click.Path(path_type=Path))


@click.group("certificate", short_help="Show and verify what a device certified about forgetting.")
def command() -> None:
    """Certificates of forgetting: a chain that a device makes and signs."""


@command.command("show")
@path_argument
@json_option
def show(path: Path, as_json: bool) -> None:
    """List the certificates of a file."""
    certificates, findings = read(path)
    if as_json:
        print_json([_described(c) for c in certificates])
    else:
        listing = table("no.>", "request>", "method", "class", "samples>", "before", "after", "signed")
        for c in certificates:
            text, record = c.text, c.record
            listing.add_row(
                str(record.counter),
                str(text.get("request")),
                f"{text.get('method')}:{text.get('variant')}",
                str(text.get("honesty")),
                str(len(text.get("samples", []))),
                record.before.hex()[:16],
                record.after.hex()[:16],
                record.device_id.hex()[:8] if record.flags & SIGNED else "no",
            )
        output().print(listing)
    _complain(findings)


@command.command("verify")
@path_argument
@click.option("--key", type=click.Path(path_type=Path), help="The device's key file: verify signatures, too.")
@click.option("--replay", is_flag=True, help="Repeat exact methods and compare the hashes of the weights.")
@click.option("--data", metavar="FILE|digits", help="With --replay: the training data.")
@click.option("--reference", is_flag=True, help="With --replay: repeat on the NumPy reference.")
@click.option("--device", is_flag=True, help="Compare with the chain in the device, which misses nothing.")
@port_option
@json_option
def verify(
    path: Path,
    key: Path | None,
    replay: bool,
    data: str | None,
    reference: bool,
    device: bool,
    port: str | None,
    as_json: bool,
) -> int:
    """Verify a file of certificates, without the device.

    The chain, each text and, with --key, each signature is checked. That the
    last ones have not been left out only the device can tell (--device). Exit
    status 1 when anything is wrong, or when --replay cannot repeat an exact
    certificate with the same hash.
    """
    if replay and data is None:
        raise OptionError("--replay trains again and needs the data", "give --data FILE")
    certificates, findings = read(path)
    findings += check(certificates, read_key(key) if key else None)
    if device or port:
        findings += _compare(path, certificates, port)
    rechecks = _replay(path, certificates, data, reference) if replay and data and not findings else []
    if as_json:
        print_json(
            {
                "certificates": len(certificates),
                "signatures": _signatures(certificates, key),
                "findings": [{"line": f.line, "reason": f.reason} for f in findings],
                "meaning": [c.meaning() for c in certificates],
                "replay": [{"line": r.line, "status": r.status, "reason": r.reason} for r in rechecks],
            }
        )
    else:
        _complain(findings)
        for certificate in certificates if not findings else ():
            output().print(f"{certificate.record.counter}. {certificate.meaning()}")
        for result in rechecks:
            output().print(f"{result.line}. replay {result.status}: {result.reason}")
        if not findings:
            count, signatures = counted(len(certificates), "certificate"), _signatures(certificates, key)
            output().print(f"[green]✓[/] {count}, one chain; {signatures}")
    return int(bool(findings) or any(_fails(certificates[r.line - 1], r) for r in rechecks))


def _fails(certificate: Certificate, recheck: Recheck) -> bool:
    """Whether an exact certificate was not repeated with the same hash; others have none to expect."""
    return recheck.status != "equal" and certificate.text["honesty"] == "exact"


def _compare(path: Path, certificates: list[Certificate], port: str | None) -> list[Finding]:
    """Where the file and the chain in the device differ."""
    build = open_build(path.parent)
    with connect(build, port, reference=path.name == REFERENCE_FILE) as learner:
        store = learner.store
        chain = store.read("chain") if store is not None and "chain" in store.entries() else b""
    return compare(certificates, chain)


def _replay(path: Path, certificates: list[Certificate], data: str, reference: bool) -> list[Recheck]:
    from mcutrain.logstore import LogCopy

    build = open_build(path.parent)
    dataset, shape = open_data(build, data)
    x, y = dataset.part("train", shape)
    log = build.state_folder / (REFERENCE_COPY if path.name == REFERENCE_FILE else COPY)
    with connect(build, reference=reference, store=False) as learner:
        return recheck(certificates, LogCopy.read(log), learner, x, y)


def _signatures(certificates: list[Certificate], key: Path | None) -> str:
    signed = sum(bool(c.record.flags & SIGNED) for c in certificates)
    if not signed:
        return "none is signed: whoever has the file could have made the chain"
    if key is None:
        return f"{signed} {'is' if signed == 1 else 'are'} signed, and not verified without --key"
    return f"{counted(signed, 'signature')} {'is' if signed == 1 else 'are'} right" + (
        "" if signed == len(certificates) else "; the others have none"
    )


def _described(certificate: Certificate) -> dict[str, Any]:
    record = certificate.record
    return {
        "counter": record.counter,
        "hash": certificate.hash,
        "device_id": record.device_id.hex(),
        "build_id": record.build_id.hex(),
        "weights_before": record.before.hex(),
        "weights_after": record.after.hex(),
        "signed": bool(record.flags & SIGNED),
        "meaning": certificate.meaning(),
        "text": dict(certificate.text),
    }


def _complain(findings: list[Finding]) -> None:
    for finding in findings:
        errors().print(f"[bold red]line {finding.line}[/]: {finding.reason}")
