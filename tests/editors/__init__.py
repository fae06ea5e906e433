"""The thin clients, each driven in the real editor, and the scripts that get those editors."""
