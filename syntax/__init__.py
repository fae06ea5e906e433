"""The ground floor: which document is which; languages, grammars in a process of their own, statements and blocks."""

from syntax.around import Delimiter, Reading
from syntax.delimiters import Delimiters, grammars
from syntax.document import DocumentId, file_uri, identify, normalized, path_in, resolved
from syntax.grammar_process import GrammarProcess, NotRead
from syntax.languages import Language, has_grammar, language_named, language_of
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
    "GrammarProcess",
    "Language",
    "NotRead",
    "Reading",
    "at_line_end",
    "closes_block",
    "continues",
    "ending",
    "file_uri",
    "first_word",
    "goes_on",
    "grammars",
    "has_grammar",
    "identify",
    "indentation",
    "is_annotation",
    "is_quote",
    "language_named",
    "language_of",
    "may_continue",
    "normalized",
    "opens_block",
    "path_in",
    "resolved",
]
