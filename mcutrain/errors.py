"""Our error family: each message names the object, the reason and the remedy."""

from __future__ import annotations


class McutrainError(Exception):
    """Base of every error a user can cause or meet.

    ``reason`` says what is wrong and with which object; ``remedy`` what to do.
    The command line prints both and exits with ``exit_status``.
    """

    exit_status = 2

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(f"{reason} — {remedy}" if remedy else reason)
        self.reason = reason
        self.remedy = remedy


class GraphError(McutrainError):
    """A graph breaks the rules of :mod:`mcutrain.ir`."""


class ModelError(McutrainError):
    """The ONNX model cannot be read, or is not a valid model."""


class UnsupportedError(ModelError):
    """The model uses something the compiler does not support."""


class OptionError(McutrainError):
    """Options that do not fit the model, the target or each other."""


class DataError(McutrainError):
    """Samples, labels or weights that do not fit the model."""


class MemoryLimitError(McutrainError):
    """The Programs do not fit the target's memory."""


class ToolchainError(McutrainError):
    """The C compiler is missing or refused the generated project."""


class TargetError(McutrainError):
    """An unknown target, or a board description with a mistake."""


class BuildError(McutrainError):
    """A build directory is missing, incomplete or from another version."""


class LinkError(McutrainError):
    """The link to the device failed: no answer, lost, or refused."""


class DeviceError(McutrainError):
    """The device answered with an error."""


class SimulatorError(McutrainError):
    """A simulator is missing, did not start, or died."""


class StoreError(McutrainError):
    """The persistent store refuses, is full, or is damaged."""


class DivergedError(McutrainError):
    """Training diverged; the last good weights are kept."""
