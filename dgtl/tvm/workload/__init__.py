"""From an ONNX network to tasks and their design spaces."""
