"""What keeps the index up to date with the files, in a process of its own."""
