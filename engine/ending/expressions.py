"""Where a line that is still being written may be cut: after a whole expression, never after a lone word of it.

Lexical and the same for all languages: the line is not complete, so no grammar can parse it.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"""(?P<word>\w+|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`(?:\\.|[^`\\])*`)|\s+|(?P<other>.)""")
_GOES_ON = re.compile(r"\s*(?:[(\[.\w\"'`]|=(?!=)|::|->|\?\.)|<")  # an expression before it is not whole
_WORDS = """
and as assert async await case catch class const def defer do elif else enum except export extends extern fn for from
func function go if impl implements import in instanceof interface is lambda let match mut namespace new not of or
private protected pub public raise return static struct switch template throw throws trait try type typedef typeof
union unless until use using val var when where while with yield
"""
_WANTS_MORE = frozenset(_WORDS.split())  # nothing ends with them


def end_of_expression(line: str) -> int:
    """The offset after the last whole expression of more than one word; 0 where there is none.

    `line` is what was written so far; its last word may go on.
    """
    end = depth = words = 0
    for token in _TOKEN.finditer(line):
        word, other = token["word"], token["other"]
        if word is not None:
            words += 1
        elif other is not None and other in "\"'`":
            break  # a string that is not closed
        elif other is not None and other in "([{":
            depth += 1
        elif other is not None and other in ")]}":
            depth = max(depth - 1, 0)  # without an opening one, it closes what was open before the line's end
            words += 1
        else:
            continue
        is_whole = other is not None or word not in _WANTS_MORE
        is_whole = is_whole and (token.end() < len(line) or not (line[token.end() - 1].isalnum() or line.endswith("_")))
        if depth == 0 and words > 1 and is_whole and not _GOES_ON.match(line, token.end()):
            end = token.end()
    return end
