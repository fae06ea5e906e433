"""From a prompt to tokens: greedy decoding, drafts, and n-grams of the project."""
