"""Train neural networks on RISC-V microcontrollers: ONNX in, firmware on the device, trained ONNX out.

>>> build = mcutrain.compile("model.onnx", target="native", precision="mixed", loss="cross-entropy")
>>> with build.session() as device:
...     device.train(x, y, epochs=1, lr=0.01)
...     build.save_onnx("trained.onnx", device.weights())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcutrain.errors import McutrainError

if TYPE_CHECKING:
    from mcutrain.build import Build, compile

__all__ = ["Build", "McutrainError", "compile"]


def __getattr__(name: str) -> Any:
    """Load the compiler when it is first asked for: the command line often needs none of it."""
    if name in ("Build", "compile"):
        from mcutrain import build

        return getattr(build, name)
    raise AttributeError(f"module 'mcutrain' has no attribute '{name}'")
