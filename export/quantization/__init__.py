"""Weights to 8 and 4 bits, with little lost."""
