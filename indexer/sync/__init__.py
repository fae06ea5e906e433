"""What keeps the index in step with the files, in a process of its own."""
