"""From a file's text to its definitions, its pieces, and the names that it uses."""
