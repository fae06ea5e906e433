"""Run a command as on a processor with AVX2 and nothing newer, on one that has more."""
