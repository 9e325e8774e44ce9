"""Train neural networks on RISC-V microcontrollers: ONNX in, firmware on the device, trained ONNX out."""
