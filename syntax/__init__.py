"""The ground floor: languages, grammars, statement and block boundaries, identifiers in source text."""
