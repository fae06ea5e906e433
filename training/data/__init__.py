"""From packages to examples: fetched, filtered, cut, laid out, and put into batches."""
