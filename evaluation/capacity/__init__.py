"""How many developers one GPU serves: a trace of typing, what a prefix cache hits of it, and a simulated server."""
