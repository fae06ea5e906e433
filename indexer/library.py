"""All that a search looks through: what the editor has open, laid over the files of every workspace folder."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from indexer.store import Piece, Place, Store


class Library:
    """Stores as one. What an earlier store has hides the file of the same path in later ones."""

    def __init__(self, open_documents: Store, open_paths: Collection[str], folders: Sequence[Store]) -> None:
        self._open, self._open_paths, self._folders = open_documents, open_paths, folders
        self._all = [open_documents, *folders] if open_paths else folders

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Answer all that is asked inside from one moment, so that a definition's lines are still where it was found.

        It also spares each of some sixty answers the locks of its own transaction.
        """
        with ExitStack() as stack:
            for store in self._folders:
                stack.enter_context(store.unchanging())
            yield

    def definitions(
        self, names: Collection[str], family: str, most: int, imported: Collection[str] = ()
    ) -> list[Place]:
        """Definitions of some names in files of a family; see `Store.definitions`."""
        return [
            one
            for store in self._all
            for one in store.definitions(names, family, most, imported)
            if store is self._open or one.path not in self._open_paths
        ]

    def definitions_in(self, path: str, container: str | None = None) -> list[Place]:
        """All definitions of a file, in order; or those of one of its types or, for "", at its top."""
        return next((found for store in self._holding(path) if (found := store.definitions_in(path, container))), [])

    def pieces_with(self, names: Collection[str], family: str, most: int) -> list[Piece]:
        """Chunks that use any of these names, the best of each store first."""
        return [
            one
            for store in self._all
            for one in store.pieces_with(names, family, most)
            if store is self._open or one.path not in self._open_paths
        ]

    def pieces_of(self, path: str) -> list[Piece]:
        """All chunks of a file, in order."""
        return next((found for store in self._holding(path) if (found := store.pieces_of(path))), [])

    def frequencies(self, names: Collection[str]) -> dict[str, int]:
        """In how many chunks each name stands."""
        counts = [store.frequencies(names) for store in self._all]
        return dict(zip(names, map(sum, zip(*counts, strict=True)), strict=True)) if counts else dict.fromkeys(names, 0)

    def paths(self, family: str, **where: Collection[str]) -> list[str]:
        """Files of a family, in order: all, or those of a `folder`, `module` or `subject`."""
        found = {
            path
            for store in self._all
            for path in store.paths(family, **where)
            if store is self._open or path not in self._open_paths
        }
        return sorted(found)

    def opened(self, family: str) -> list[str]:
        """Open documents of a family, in order."""
        return [path for path in self._open.paths(family) if path in self._open_paths]

    def folders(self) -> set[str]:
        """Folders that files of any family lie in."""
        return {folder for store in self._all for folder in store.folders()}

    def lines(self, path: str, wanted: Sequence[int]) -> list[str] | None:
        """Some lines of a file, by their numbers from 0; None where the file is not known, or is shorter."""
        return next((found for store in self._holding(path) if (found := store.lines(path, wanted)) is not None), None)

    def text(self, path: str) -> str | None:
        """A file's text; None where the file is not known."""
        return next((found for store in self._holding(path) if (found := store.text(path)) is not None), None)

    def _holding(self, path: str) -> Sequence[Store]:
        """Where a file is looked for: what the editor has open is not looked for in the folders."""
        return [self._open] if path in self._open_paths else self._folders
