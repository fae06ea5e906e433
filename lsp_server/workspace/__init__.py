"""The index as the server uses it."""
