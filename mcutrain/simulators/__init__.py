"""Simulators: start one, get a Transport; it always ends with its transport or with this process."""

from __future__ import annotations

import os
from pathlib import Path

from mcutrain.device.transport import Transport
from mcutrain.errors import OptionError
from mcutrain.simulators.flash import prepare
from mcutrain.simulators.process import SimulatorTransport
from mcutrain.targets import Target


def start(target: Target, firmware: Path, flash: Path | None = None) -> Transport:
    """Start the target's simulator with a firmware and connect to it.

    Closing the transport ends the simulator.

    Args:
        target: whose simulator.
        firmware: what it runs.
        flash: the file that is its flash, made when it is not there; None for a device without memory
            of earlier sessions.

    Raises:
        OptionError: the target is a board without a simulator.
        SimulatorError: the simulator is missing or does not start.
    """
    if flash is not None and target.simulator:
        return _start_with_flash(target, firmware, flash.resolve())
    return _start(target, firmware, flash)


def _start_with_flash(target: Target, firmware: Path, flash: Path) -> SimulatorTransport:
    lock = prepare(flash, target.simulator)
    try:
        transport = _start(target, firmware, flash)
    except BaseException:
        os.close(lock)
        raise
    transport.keep_open(lock)
    return transport


def _start(target: Target, firmware: Path, flash: Path | None) -> SimulatorTransport:
    if target.simulator == "native":
        from mcutrain.simulators import native

        return native.start(firmware, flash)
    if target.simulator == "qemu":
        from mcutrain.simulators import qemu

        return qemu.start(firmware, target.link, flash)
    if target.simulator == "gvsoc":
        from mcutrain.simulators import gvsoc

        return gvsoc.start(firmware, flash)
    raise OptionError(f"target '{target.name}' has no simulator", "name the board's port with --port")
