"""What the benchmarks share: the server as a client drives it, real code to type, peers, and tables."""
