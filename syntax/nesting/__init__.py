"""Which brackets, quotes, comments and blocks are open at a place in a text."""
