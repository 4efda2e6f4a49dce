"""From an ONNX file as people have it to operators of Relax."""
