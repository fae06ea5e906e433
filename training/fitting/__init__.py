"""Numbers that are fitted to a model that exists: how n-grams are mixed in, and how sure the model may say it is."""
