"""From an ONNX model to a firmware: import, gradients, passes, code, toolchain."""
