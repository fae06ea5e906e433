"""The ground floor: languages, grammars, brackets and quotes, statements and blocks, identifiers in source text."""

from syntax.delimiters import Delimiter, Delimiters, Reading
from syntax.identifiers import identifiers, identifiers_in
from syntax.languages import Language, grammar_of, language_named, language_of, parser_for
from syntax.leaves import CLOSERS, COMMENT
from syntax.statements import (
    Ending,
    closes_block,
    continues,
    ending,
    first_word,
    goes_on,
    indentation,
    is_annotation,
    may_continue,
    opens_block,
)
from syntax.walk import at_line_end, is_quote

__all__ = [
    "CLOSERS",
    "COMMENT",
    "Delimiter",
    "Delimiters",
    "Ending",
    "Language",
    "Reading",
    "at_line_end",
    "closes_block",
    "continues",
    "ending",
    "first_word",
    "goes_on",
    "grammar_of",
    "identifiers",
    "identifiers_in",
    "indentation",
    "is_annotation",
    "is_quote",
    "language_named",
    "language_of",
    "may_continue",
    "opens_block",
    "parser_for",
]
