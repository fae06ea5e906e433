"""How many secrets the index keeps out, and how many ordinary files it takes for secrets."""
