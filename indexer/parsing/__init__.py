"""From a file's text to its definitions, its chunks, and the names in them."""
