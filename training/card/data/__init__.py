"""Examples for the card: gathered and packed on the first machine, drawn on the second."""
