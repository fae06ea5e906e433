"""Quantization of weights to 8 and 4 bits, with a small error."""
