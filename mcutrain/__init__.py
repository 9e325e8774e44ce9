"""Train neural networks on RISC-V microcontrollers: ONNX in, firmware on the device, trained ONNX out."""

from mcutrain.build import Build, compile
from mcutrain.errors import McutrainError
from mcutrain.learning import EpochEvent, Evaluation, Learner, StepEvent, Training

__all__ = ["Build", "EpochEvent", "Evaluation", "Learner", "McutrainError", "StepEvent", "Training", "compile"]
