"""``mcutrain unlearn``: forget samples on the device."""

from __future__ import annotations

from typing import Any

import click

from mcutrain.cli.console import output, print_json, table
from mcutrain.cli.options import json_option
from mcutrain.unlearning import HONESTY, Method, methods


@click.command("unlearn")
@click.option("--list", "listing", is_flag=True, help="List the methods with their variants and options.")
@json_option
def command(listing: bool, as_json: bool) -> None:
    """Make a network forget samples, on the device."""
    known = methods()
    if as_json:
        print_json([_described(method) for method in known])
    else:
        _print_methods(known)


def _print_methods(known: Any) -> None:
    console = output()
    rows = table("method", "honesty", "needs retained data", "memory", "cost")
    for method in known:
        rows.add_row(method.name, method.honesty, method.needs_retain, method.memory_words, method.cost_words)
    console.print(rows)
    for method in known:
        console.print(f"\n[bold]{method.name}[/]: {method.summary}")
        variants = table("variant", "what it does")
        for variant in method.variants:
            variants.add_row(f"  {variant.name}", variant.summary)
        console.print(variants)
        options = table("option", "default>", "values", "help")
        for o in method.options:
            whose = f" ({', '.join(o.variants)})" if o.variants else ""
            options.add_row(f"  -O {o.name}", str(o.default), o.range, o.help + whose)
        console.print(options)
    console.print()
    for honesty, words in HONESTY.items():
        console.print(f"[bold]{honesty}[/]: {words}")


def _described(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "summary": method.summary,
        "honesty": method.honesty,
        "needs_retain": method.needs_retain,
        "memory": method.memory_words,
        "cost": method.cost_words,
        "variants": [{"name": v.name, "summary": v.summary} for v in method.variants],
        "options": [
            {"name": o.name, "default": o.default, "values": o.range, "help": o.help, "variants": o.variants}
            for o in method.options
        ],
    }
