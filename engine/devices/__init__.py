"""What computes: ONNX Runtime, its execution providers, and which of them this machine has."""
