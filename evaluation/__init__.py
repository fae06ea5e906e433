"""Benchmarks that drive the real server from outside. Not part of the installed package."""
