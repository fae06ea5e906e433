"""Files near a document, the nearest first: open documents, imported files, its test, and its folder.

Their texts are whole; the n-grams of the engine look up in them what is written elsewhere in the project.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from indexer.files.paths import folder_of, subject_of
from indexer.retrieval.query import IS_MODULE, Question
from indexer.store.overlay import Library
from syntax import DocumentId

MOST_NEIGHBOURS, MOST_CHARACTERS = 24, 400_000  # files, code points
LONGEST = 60_000  # code points of one file
_MOST_SIBLINGS = 2
_FOLDERS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A file near a document; a long text is cut at a line's end."""

    document: DocumentId
    text: str

    @property
    def path(self) -> str:
        """Relative to its workspace folder: two files may have the same."""
        return self.document.path


def nearest(
    question: Question, library: Library, visited: Sequence[str], most: int, characters: int
) -> list[Neighbour]:
    """Texts of at most `most` files, of `characters` code points in all. `visited`: keys, the last one first."""
    found: list[Neighbour] = []
    seen, left = {question.path}, characters
    for path in _in_order(question, library, visited):
        if len(found) >= most or left <= 0:
            break
        if path in seen:
            continue
        seen.add(path)
        text = library.text(path)
        if text is None or text.isspace() or not (start := _start(text, min(LONGEST, left))):
            continue
        if (document := library.document(path)) is not None:
            found.append(Neighbour(document, start))
            left -= min(LONGEST, len(text))
    return found


def imported_files(question: Question, library: Library) -> dict[str, float]:
    """Files that the document's imports name, in order of their paths, and how well each agrees with the imports."""
    return {
        path: agrees
        for path in library.paths(question.family, module=question.imported)
        if path != question.path and (agrees := question.path_in_imports(path)) >= IS_MODULE
    }


def sibling_files(question: Question, library: Library) -> list[str]:
    """The file's tests, or the files that it tests: those of the same subject, the nearest first."""
    paths = library.paths(question.family, subject=[subject_of(question.path)])
    return _by_nearness(question, [path for path in paths if path != question.path])[:_MOST_SIBLINGS]


def _in_order(question: Question, library: Library, visited: Sequence[str]) -> Iterator[str]:
    """Paths, the nearest first, some of them twice. Far folders are searched only when the caller gets that far."""
    opened = library.opened(question.family)
    yield from (path for path in visited if path in opened)
    yield from _by_nearness(question, opened)
    agreements = imported_files(question, library)
    yield from sorted(agreements, key=lambda path: (-agreements[path], -question.nearness(path), path))
    yield from sibling_files(question, library)
    folders = sorted(library.folders(), key=lambda folder: (-question.nearness(f"{folder}/"), folder))
    for at in range(0, len(folders), _FOLDERS_AT_ONCE):
        paths = library.paths(question.family, folder=folders[at : at + _FOLDERS_AT_ONCE])
        yield from sorted(paths, key=lambda path: (-question.nearness(path), folder_of(path), path))


def _by_nearness(question: Question, paths: Sequence[str]) -> list[str]:
    return sorted(paths, key=lambda path: (-question.nearness(path), path))


def _start(text: str, most: int) -> str:
    """The whole lines at a text's start that have at most `most` code points."""
    return text if len(text) <= most else text[: text.rfind("\n", 0, most) + 1]
