"""What computes: execution providers, and which of them this machine has."""
