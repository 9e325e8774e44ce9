"""``mcutrain doctor``: what is here, and how to get the rest."""

from __future__ import annotations

from dataclasses import asdict

import click

from mcutrain.cli.console import output, print_json
from mcutrain.cli.options import json_option


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Look for the compiler, QEMU, GVSoC and serial ports.

    What is missing comes with the way to get it.  Exit status 1 when something
    is missing without which nothing can be compiled.
    """
    from mcutrain.doctor import examine

    findings = []
    for finding in examine():
        findings.append(finding)
        if as_json:
            continue
        mark = "[green]✓[/]" if finding.found else "[red]✗[/]" if finding.required else "[yellow]–[/]"
        output().print(f"{mark} {finding.name:<13}", end="")
        output().print(finding.detail, markup=False)
        if finding.remedy:
            output().print(f"  {'':<13}to get it: {finding.remedy}", markup=False)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    return 1 if any(f.required and not f.found for f in findings) else 0
