"""``mcutrain key set``: give a device the key with which it signs certificates."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import click

from mcutrain.cli.console import output
from mcutrain.cli.options import build_argument, connect, open_build, port_option
from mcutrain.errors import OptionError
from mcutrain.store import device_id

#: Where a generated key goes in a build directory.
KEY_FILE = "device.key"
_SIZE = 32


@click.group("key", short_help="Set the key with which a device signs certificates.")
def command() -> None:
    """The key with which a device signs certificates of forgetting."""


@command.command("set")
@build_argument
@click.option(
    "--key", "path", type=click.Path(path_type=Path), help="File with the key: 64 hexadecimal digits."
)
@click.option("--generate", is_flag=True, help=f"Make a key, in the file of --key (BUILD/{KEY_FILE}).")
@click.option("--reference", is_flag=True, help="The key of the NumPy reference instead.")
@port_option
def set_key(build: Path, path: Path | None, generate: bool, reference: bool, port: str | None) -> None:
    """Set the key of BUILD's device, once in its life.

    It never leaves the device: keep the file, since signatures can only be
    verified with it.
    """
    opened = open_build(build)
    if path is None and not generate:
        raise OptionError("there is no key to set", "give --key FILE, or --generate")
    path = path or build / KEY_FILE
    with connect(opened, port, reference=reference, store=True) as learner:
        assert learner.store is not None
        if learner.store.facts().keyed:
            raise OptionError("the device key is set already", "it is set once in a device's life")
        key = _generate(path) if generate else read_key(path)
        name = learner.store.set_key(key).hex()
    if name != device_id(key).hex():
        raise OptionError("the device has another key", "report this as a bug")
    output().print(f"[green]✓[/] device {name} has its key; a copy is in {path}, keep it safe")


def read_key(path: Path) -> bytes:
    """The key in a file; raises OptionError."""
    try:
        key = bytes.fromhex(path.read_text("ascii"))
    except OSError as error:
        raise OptionError(f"cannot read the key {path}: {error.strerror}", "check the path") from None
    except ValueError:
        key = b""
    if len(key) != _SIZE:
        raise OptionError(f"{path} is no key", f"a key file holds {2 * _SIZE} hexadecimal digits")
    return key


def _generate(path: Path) -> bytes:
    key = secrets.token_bytes(_SIZE)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise OptionError(f"{path} exists", "give it with --key alone, or name another") from None
    except OSError as error:
        raise OptionError(f"cannot write {path}: {error.strerror}", "name another file") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(key.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key
