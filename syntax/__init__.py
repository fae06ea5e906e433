"""The ground floor: languages, grammars, statement and block boundaries, identifiers in source text."""

from syntax.languages import language_of

__all__ = ["language_of"]
