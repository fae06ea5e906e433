"""Proof and measurement on an NVIDIA card: `python -m evaluation.gpu`; see README.md beside this file."""
