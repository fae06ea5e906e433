"""From a request to the tokens that the model reads."""
