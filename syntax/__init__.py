"""The ground floor: which document is which; languages, grammars in a process of their own, statements and blocks."""

# The current folder is not trusted, and `python -m` looks for modules there first; some dependencies look for programs.
# So these lines take it out of both search paths before any other import, unless Python or this package lies in it.
# Each package that `python -m` starts has these lines: importing them would search the current folder. Python itself
# has imported the modules that they need.
import os
import site
import sys

_programs = os.environ.get("PATH", os.defpath).split(os.pathsep)
os.environ["PATH"] = os.pathsep.join(entry for entry in _programs if os.path.isabs(entry))
_relative = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if not os.path.isabs(entry)]
_library = os.path.dirname(os.__file__)
_trusted = (
    f"{__path__[0]}/..",
    _library,
    f"{_library}/lib-dynload",
    *site.getsitepackages(),
    site.getusersitepackages(),
)
try:
    _strange = {*map(os.path.realpath, ("", *_relative))} - {*map(os.path.realpath, _trusted)}
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry) not in _strange]
except OSError:  # the current folder was removed: nothing can be imported from it
    sys.path[:] = [entry for entry in sys.path if os.path.isabs(entry)]

from syntax.cursor import Cursor  # noqa: E402
from syntax.document import DocumentId, file_uri, identify, normalized, path_in, resolved  # noqa: E402
from syntax.languages import Language, WordBlock, has_grammar, language_named, language_of  # noqa: E402
from syntax.nesting.around import Delimiter, Reading  # noqa: E402
from syntax.nesting.delimiters import Delimiters, grammars  # noqa: E402
from syntax.nesting.leaves import CLOSERS, COMMENT, block_words  # noqa: E402
from syntax.nesting.walk import at_line_end, is_quote  # noqa: E402
from syntax.parsing.grammar_process import GrammarProcess, NotRead  # noqa: E402
from syntax.statements import (  # noqa: E402
    Ending,
    closes_block,
    continues,
    ending,
    first_word,
    goes_on,
    indentation,
    is_annotation,
    is_unfinished,
    may_continue,
    opens_block,
)

__all__ = [
    "CLOSERS",
    "COMMENT",
    "Cursor",
    "Delimiter",
    "Delimiters",
    "DocumentId",
    "Ending",
    "GrammarProcess",
    "Language",
    "NotRead",
    "Reading",
    "WordBlock",
    "at_line_end",
    "block_words",
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
    "is_unfinished",
    "language_named",
    "language_of",
    "may_continue",
    "normalized",
    "opens_block",
    "path_in",
    "resolved",
]
