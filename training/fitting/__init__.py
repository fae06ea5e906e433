"""Numbers that are fitted to a finished model: how n-grams are mixed in, and how its probabilities are calibrated."""
