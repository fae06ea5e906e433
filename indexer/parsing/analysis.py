"""From a file's text to everything that the index keeps of it. Grammars run in a process of their own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from indexer.parsing.chunks import Chunk, chunks_of
from indexer.parsing.symbols import SECONDS, Imports, Outline, Symbol
from syntax import GrammarProcess, NotRead, has_grammar, language_of

_LARGEST_TREE = 400_000  # code points, which take about 60 ms; a longer file is cut by its lines
_WITHIN = 0.5  # seconds for an open document
_WITHIN_A_FILE = 20.0  # for a file of the workspace, for which the user does not wait
_NO_OUTLINE = Outline((), ())
_FAMILIES = {
    **dict.fromkeys(("javascript", "javascriptreact", "typescript", "typescriptreact"), "javascript"),
    **dict.fromkeys(("c", "cpp"), "c"),
    **dict.fromkeys(("java", "kotlin", "scala"), "jvm"),
    **dict.fromkeys(("css", "scss", "less"), "css"),
}


grammars: GrammarProcess | _GrammarsHere = GrammarProcess("indexer.parsing.trees")


@dataclass(frozen=True)
class Parsed:
    """A text, with its definitions and imports."""

    text: str
    """With line feeds as line ends."""
    path: str
    language: str
    outline: Outline
    is_final: bool = True
    """Whether another attempt would find the same; it may find more where the grammar's process ran out of time."""

    @cached_property
    def lines(self) -> list[str]:
        """All lines."""
        return self.text.split("\n")


@dataclass(frozen=True, slots=True)
class Analysis:
    """What the index keeps of a text."""

    text: str
    family: str
    outline: Outline
    chunks: tuple[Chunk, ...]


def parse(
    text: str, path: str, language: str | None = None, old: Parsed | None = None, *, within: float = _WITHIN
) -> Parsed:
    """Find a text's definitions and imports; none if the grammar takes more than `within` seconds.

    `old` is an earlier answer, which stays right for the same text.
    """
    language = language or language_of(path)
    text = text.replace("\r\n", "\n")
    if old is not None and old.is_final and old.text == text and old.language == language:
        return old
    if not _is_for_grammar(text, language):
        return Parsed(text, path, language, _NO_OUTLINE)
    try:
        answer = grammars.ask("outline", language, text, path, within=within, name=path)
    except NotRead as why:
        return Parsed(text, path, language, _NO_OUTLINE, why.is_final)
    return Parsed(text, path, language, _outline(answer))


def analyse(parsed: Parsed, path: str, *, within: float = _WITHIN) -> Analysis:
    """Cut a text into chunks: by its grammar, or by its lines where there is no grammar or no time."""
    try:
        return _analysis(parsed.text, path, parsed.language, within)
    except NotRead:
        return _by_lines(parsed.text, path, parsed.language, parsed.outline)


def analyse_file(text: str, path: str) -> Analysis:
    """Analyse the text of a file, within seconds. Raises NotRead if the text has ended the grammar's process.

    The caller leaves the file out then, with the exception's text as the reason.
    """
    language, text = language_of(path), text.replace("\r\n", "\n")
    try:
        return _analysis(text, path, language, _WITHIN_A_FILE)
    except NotRead as why:
        if why.has_died:
            raise
        return _by_lines(text, path, language)


def analyse_here(text: str, path: str) -> Analysis:
    """Analyse the text of a file in this process, which the grammar may end: only for expendable processes."""
    from indexer.parsing.trees import chunks_in, read_tree
    from syntax.parsing.grammars import TooSlow, allow

    language, text = language_of(path), text.replace("\r\n", "\n")
    if not _is_for_grammar(text, language):
        return _by_lines(text, path, language)
    allow(SECONDS)
    try:
        read = read_tree(text, language)
        return Analysis(text, family(path, language), read.outline, tuple(chunks_in(read)))
    except TooSlow:
        return _by_lines(text, path, language)


class _GrammarsHere:
    """Answers as a `GrammarProcess` does, in this process."""

    def __init__(self) -> None:
        from indexer.parsing.trees import Answers

        self._answers = Answers()

    def ask(self, question: str, language: str, text: str, path: str, *, within: float, name: str = "") -> Any:
        from syntax.parsing.grammars import TooSlow, allow

        allow(SECONDS)
        try:
            return self._answers(question, language, text, path)
        except TooSlow as error:
            raise NotRead(f"it takes the grammar of {language} too long", is_final=True) from error

    def close(self) -> None:
        """There is no process to end."""


def read_here() -> None:
    """From now on, read all texts in this process, which a grammar may end: only for expendable processes."""
    global grammars
    grammars = _GrammarsHere()


def _is_for_grammar(text: str, language: str) -> bool:
    return len(text) <= _LARGEST_TREE and has_grammar(language)


def _analysis(text: str, path: str, language: str, within: float) -> Analysis:
    if not _is_for_grammar(text, language):
        return _by_lines(text, path, language)
    answer = grammars.ask("chunks", language, text, path, within=within, name=path)
    chunks = tuple(Chunk(first, last, frozenset(names)) for first, last, names in answer["chunks"])
    return Analysis(text, family(path, language), _outline(answer), chunks)


def _by_lines(text: str, path: str, language: str, outline: Outline = _NO_OUTLINE) -> Analysis:
    return Analysis(text, family(path, language), outline, tuple(chunks_of(text.split("\n"), ())))


def _outline(answer: dict[str, Any]) -> Outline:
    symbols = tuple(Symbol(*one) for one in answer["symbols"])
    return Outline(symbols, tuple(Imports(tuple(words), text) for words, text in answer["imports"]))


def family(path: str, language: str) -> str:
    """The family within which files help each other: one language, or languages that share code.

    Files of an unknown language belong together by their suffix. The answer can be stored as UTF-8, which neither the
    path nor the name of the language need be: documents outside of all folders may have any.
    """
    if language in ("", "plaintext"):
        found = PurePosixPath(path).suffix.lower() or PurePosixPath(path).name
    else:
        found = _FAMILIES.get(language, language)
    return found if found.isascii() else found.encode("utf-8", "replace").decode("utf-8")
