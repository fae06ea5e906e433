"""The ground floor: which document is which; languages, grammars, brackets, statements and blocks, identifiers."""

from syntax.delimiters import Delimiter, Delimiters, Reading
from syntax.document import DocumentId, file_uri, identify, normalized, path_in, resolved
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
    "DocumentId",
    "Ending",
    "Language",
    "Reading",
    "at_line_end",
    "closes_block",
    "continues",
    "ending",
    "file_uri",
    "first_word",
    "goes_on",
    "grammar_of",
    "identifiers",
    "identifiers_in",
    "identify",
    "indentation",
    "is_annotation",
    "is_quote",
    "language_named",
    "language_of",
    "may_continue",
    "normalized",
    "opens_block",
    "parser_for",
    "path_in",
    "resolved",
]
