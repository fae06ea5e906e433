"""The ground floor: languages, grammars, brackets and quotes, identifiers in source text."""

from syntax.delimiters import Delimiter, Delimiters, at_line_end, is_quote
from syntax.identifiers import identifiers
from syntax.languages import Language, language_named, language_of, parser_for

__all__ = [
    "Delimiter",
    "Delimiters",
    "Language",
    "at_line_end",
    "identifiers",
    "is_quote",
    "language_named",
    "language_of",
    "parser_for",
]
