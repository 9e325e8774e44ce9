"""``python -m mcutrain``: the command line."""

from mcutrain.cli.main import run

run()
