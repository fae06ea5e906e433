"""Campaigns against the whole product: killed processes, mutated messages and documents, faults, and long typing."""
