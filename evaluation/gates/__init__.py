"""What gates and a filter show while functions are typed, on a simulated clock: `python -m evaluation.gates`."""
