"""Entry point: collects the verbs and turns what goes wrong into one message and an exit status."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from mcutrain.cli import (
    certificate,
    doctor,
    evaluate,
    flash,
    infer,
    info,
    key,
    profile,
    pull,
    push,
    targets,
    train,
    tune,
    unlearn,
    verify,
)
from mcutrain.cli import compile as compile_verb
from mcutrain.cli import eval as eval_verb
from mcutrain.cli.console import errors, version
from mcutrain.errors import McutrainError

#: Exit statuses: a bad input or a failure of the environment; a stop by the user.
FAILED, INTERRUPTED = 2, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version(), prog_name="mcutrain")
def cli() -> None:
    """Train neural networks on RISC-V microcontrollers.

    An ONNX model becomes C firmware that infers and trains; a driver trains it
    over a serial line and writes the trained weights back into ONNX.  Every
    result equals a NumPy reference, bit for bit.

    \b
    mcutrain doctor
    mcutrain compile model.onnx --target qemu --precision mixed --loss cross-entropy -o build/model
    mcutrain train build/model --data samples.npz --epochs 5 --lr 0.01 --out trained.onnx
    """


for verb in (
    doctor.command,
    compile_verb.command,
    info.command,
    train.command,
    unlearn.command,
    eval_verb.command,
    evaluate.command,
    infer.command,
    verify.command,
    profile.command,
    pull.command,
    push.command,
    flash.command,
    targets.command,
    tune.command,
    key.command,
    certificate.command,
):
    cli.add_command(verb)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status.

    0 done, 1 a comparison or check failed, 2 bad input or environment (one
    message on standard error says what and what to do), 130 stopped by Ctrl-C.
    """
    try:
        result = cli.main(args=arguments, prog_name="mcutrain", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except McutrainError as error:
        errors().print(f"[bold red]error:[/] {_plain(error.reason)}")
        if error.remedy:
            errors().print(f"       {_plain(error.remedy)}")
        return error.exit_status
    except click.exceptions.Exit as error:
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        errors().print("stopped")
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BrokenPipeError:
        # The reader of a pipe went away; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def run() -> NoReturn:
    """The console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(main())


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    """A termination ends like Ctrl-C: simulators are closed on the way out."""
    raise KeyboardInterrupt


def _plain(text: str) -> str:
    """Text without its square brackets read as markup."""
    return text.replace("[", r"\[")
