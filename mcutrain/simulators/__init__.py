"""Simulators: start one, get a Transport; it always ends with its transport or with this process."""

from __future__ import annotations

from pathlib import Path

from mcutrain.device.transport import Transport
from mcutrain.errors import OptionError
from mcutrain.targets import Target


def start(target: Target, firmware: Path) -> Transport:
    """Start the target's simulator with a firmware and connect to it.

    Closing the transport ends the simulator.

    Raises:
        OptionError: the target is a board without a simulator.
        SimulatorError: the simulator is missing or does not start.
    """
    if target.simulator == "native":
        from mcutrain.simulators import native

        return native.start(firmware)
    if target.simulator == "qemu":
        from mcutrain.simulators import qemu

        return qemu.start(firmware, target.link)
    if target.simulator == "gvsoc":
        from mcutrain.simulators import gvsoc

        return gvsoc.start(firmware)
    raise OptionError(f"target '{target.name}' has no simulator", "name the board's port with --port")
