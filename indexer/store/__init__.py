"""The index on disk, and what the editor has open laid over it."""
