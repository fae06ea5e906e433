"""Weights from a GGUF file."""
