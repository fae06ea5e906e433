"""Where statements begin and end, line by line, as the table of languages says.

All functions look at one line without its comment. What a line cannot tell, such as open brackets, its caller knows.
"""

from __future__ import annotations

from enum import Enum

from syntax.languages import Language

_TAB = 8  # columns; only compared with each other

# A line that ends or begins so is half of an expression. No `/` or `*`, which begin comments, no `-`, `+` or `<`, which
# begin statements or end types; a line with one of those is mostly followed by one that is indented further.
_UNFINISHED = ("=", "+", "-", ",", "|", "&", "?", "<", "(", "[", ".", " in", " of", " and", " or", " not", " new", "\\")
_FINISHED = ("++", "--", "...")
_GOES_ON = (".", "?", ":", "&&", "||", "=>", "=", "->", ")", "]", "{", "and ", "or ")
_COMPOUND = frozenset({"if", "try", "do", "begin", "unless", "for", "while", "match", "switch", "case"})


class Ending(Enum):
    """What a line's end says about the statement that it ends in."""

    COMPLETE = "complete"
    UNFINISHED = "unfinished"
    NEXT_LINE_TELLS = "next line tells"


def ending(code: str, language: Language, *, is_item: bool, is_outermost: bool) -> Ending:
    """Judge the last line of a statement outside of brackets and strings that the statement itself opened.

    `is_item`: it stands directly in a bracket of the document, where a comma ends an item. `is_outermost`: it stands in
    no bracket at all.
    """
    code = code.strip()
    if not code:
        return Ending.UNFINISHED
    if code.startswith(language.directives) and not code.endswith("\\"):
        return Ending.COMPLETE
    if code.endswith(";"):
        return Ending.COMPLETE
    if code.endswith(",") and is_item:
        return Ending.NEXT_LINE_TELLS if language.statements == "semicolon" else Ending.COMPLETE
    if language.statements == "newline":
        unfinished = code.endswith("\\") or (language.blocks == "braces" and is_unfinished(code))
        return Ending.UNFINISHED if unfinished else Ending.COMPLETE
    if code.endswith("}"):
        return Ending.NEXT_LINE_TELLS
    if is_unfinished(code) or (is_outermost and language.statements == "semicolon"):
        return Ending.UNFINISHED
    return Ending.NEXT_LINE_TELLS


def is_unfinished(code: str) -> bool:
    """Whether a line ends in the middle of an expression."""
    return code.endswith(_UNFINISHED) and not code.endswith(_FINISHED)


def goes_on(line: str, language: Language, *, indent: int) -> bool:
    """Whether a further line, by its start, belongs to a statement above it, which is indented by `indent`."""
    stripped = line.strip()
    if language.blocks != "end" and indentation(line) > indent and not stripped.startswith(("}", "@")):
        return True
    return stripped.startswith(_GOES_ON) and not stripped.startswith(("...", "::"))


def is_annotation(code: str, language: Language) -> bool:
    """Whether a line belongs to the statement below it, such as a decorator."""
    return language.annotation is not None and language.annotation.fullmatch(code.strip()) is not None


def opens_block(code: str, language: Language) -> bool:
    """Whether a line is the head of a block whose body follows below it."""
    return language.opens.search(code.rstrip()) is not None


def may_continue(code: str, language: Language) -> bool:
    """Whether the statement that begins with this line may have a further block after its first, such as `else`."""
    return bool(language.continues) and first_word(code) in _COMPOUND | language.continues


def continues(line: str, language: Language, *, is_whole: bool = True) -> bool:
    """Whether a line begins a further block of the statement whose block ends before it, such as `else:`."""
    return _begins_with(line, language.continues, is_whole=is_whole)


def closes_block(line: str, language: Language, *, is_whole: bool = True) -> bool:
    """Whether a line begins with a keyword that ends a block, such as `end`."""
    return _begins_with(line, language.closes, is_whole=is_whole)


def _begins_with(line: str, keywords: frozenset[str], *, is_whole: bool) -> bool:
    word = first_word(line)
    if is_whole or not line.rstrip().endswith(word):
        return word in keywords
    return bool(word) and any(keyword.startswith(word) for keyword in keywords)


def first_word(line: str) -> str:
    """The word that a line begins with, after a closing brace; empty where it begins with something else."""
    stripped = line.strip().lstrip("}").lstrip()
    end = next((index for index, character in enumerate(stripped) if not character.isalnum()), len(stripped))
    return stripped[:end]


def indentation(line: str) -> int:
    """How far a line is indented in columns, a tab to the next multiple of eight."""
    expanded = line[: len(line) - len(line.lstrip())].expandtabs(_TAB)
    return len(expanded)
