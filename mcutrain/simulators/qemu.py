"""QEMU's riscv32 virt machine, linked over a semihosted pty or its UART."""

from __future__ import annotations

import os
import shutil
import tempfile
import tty
from pathlib import Path

from mcutrain.errors import SimulatorError
from mcutrain.simulators.process import SimulatorProcess, SimulatorTransport

EXECUTABLE = "qemu-system-riscv32"
INSTALL = "install it: apt-get install qemu-system-misc (Debian, Ubuntu), brew install qemu (macOS)"

#: One controller and eight workers; floats in integer registers.
MACHINE = (
    *("-M", "virt", "-smp", "9", "-m", "16M", "-bios", "none", "-display", "none", "-monitor", "none"),
    *("-cpu", "rv32,f=false,d=false,zfinx=true,zhinx=true"),
)
#: What the board's trap handler adds to an exception's cause to make an exit status.
_TRAP = 64
_CAUSES = {
    0: "misaligned jump",
    1: "jump outside memory",
    2: "illegal instruction",
    3: "breakpoint",
    4: "misaligned load",
    5: "load outside memory",
    6: "misaligned store",
    7: "store outside memory",
}


def find() -> str:
    """Path of QEMU; raises SimulatorError that says how to install it."""
    path = shutil.which(EXECUTABLE)
    if path is None:
        raise SimulatorError(f"QEMU is missing: there is no {EXECUTABLE} in PATH", INSTALL)
    return path


def start(firmware: Path, link: str = "semihosting", flash: Path | None = None) -> SimulatorTransport:
    """Run a firmware on QEMU.

    Args:
        firmware: the ELF file.
        link: ``semihosting`` or ``uart``, as the firmware was built.
        flash: the file behind its second flash chip, of 32 MiB; without one it forgets at the end.

    Raises:
        SimulatorError: QEMU is missing or does not start.
    """
    program = find()
    folder = Path(tempfile.mkdtemp(prefix="mcutrain-qemu-"))
    master, slave = os.openpty()
    try:
        # No echo, no line ends: every byte as it is. The slave stays open so that the line never hangs up
        # before QEMU has opened it.
        tty.setraw(slave)
        (folder / "serial0").symlink_to(os.ttyname(slave))
        command = [program, *MACHINE]
        if flash is None:
            command += ["-kernel", str(firmware.resolve())]
        else:
            # QEMU 7.2 takes the second flash for a boot loader's and then loads no kernel
            command += ["-device", f"loader,file={_escape(firmware.resolve())}"]
            command += ["-drive", f"if=pflash,unit=1,format=raw,file={_escape(flash)}"]
        if link == "semihosting":
            command += ["-semihosting-config", "enable=on,target=native", "-serial", "none"]
        else:
            command += ["-chardev", "serial,id=line,path=serial0", "-serial", "chardev:line"]
        process = SimulatorProcess("QEMU", command, folder, explain=_explain)
    except BaseException:
        os.close(master)
        os.close(slave)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return SimulatorTransport(master, process, keep_open=slave)


def _escape(path: Path) -> str:
    """A path among options that commas separate."""
    return str(path).replace(",", ",,")


def _explain(status: int) -> str:
    """What an exit status of ``targets/qemu`` means."""
    if status == 3:
        return "the firmware lost its link"
    if _TRAP <= status < _TRAP + 16:
        cause = status - _TRAP
        return f"the firmware stopped on an exception: {_CAUSES.get(cause, f'cause {cause}')}"
    return ""
