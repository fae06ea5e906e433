"""The model on ONNX Runtime: its session, its KV slots, and how fast this machine runs it."""
