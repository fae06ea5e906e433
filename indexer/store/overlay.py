"""The library that a search looks through: the open documents, laid over the files of every workspace folder.

Each file has a key in it. Keys look like paths, so that functions of paths work on them: in the folder that was opened
first they are the paths themselves; the files of any other folder lie far away from them in the same tree (see
`mount_of`); and the key of a document that is no file of a folder ends in a number (see `numbered`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from indexer.store.rows import Definition, StoredChunk
from indexer.store.store import Store
from syntax import DocumentId

_APART = "/" * 8  # no path has two slashes in a row
F = TypeVar("F", Definition, StoredChunk)


def mount_of(number: int) -> str:
    """The start of the keys of a workspace folder's files. Two folders are at least eight steps apart."""
    return f"~{number}{_APART}" if number else ""


def numbered(path: str, number: int) -> str:
    """A key for a document that shares its path with others."""
    return f"{path}\0{number}"


@dataclass(frozen=True, slots=True)
class Layer:
    """The index of one workspace folder."""

    root: Path
    store: Store
    mount: str = ""
    nested: tuple[str, ...] = ()
    """Folders in it that are workspace folders with layers of their own; each ends in a slash."""

    def holds(self, path: str) -> bool:
        """Whether a file of the folder belongs to this layer, not to a nested one."""
        return not self.nested or not path.startswith(self.nested)


class Library:
    """All stores as one. An open document hides the file of the same key; a file that may not be shown has no text.

    `is_admitted`: whether a file of a folder, by its path there, may be shown; `visible`: open documents that may help,
    by their keys; `hidden`: the keys of all open documents.
    """

    def __init__(
        self,
        opened: Store,
        layers: Sequence[Layer],
        is_admitted: Callable[[Path, str], bool],
        visible: Mapping[str, DocumentId] | None = None,
        hidden: Collection[str] = (),
    ) -> None:
        self._visible, self._hidden = visible if visible is not None else {}, hidden
        self._open = opened
        self._layers = layers
        self._is_admitted = is_admitted

    @contextmanager
    def unchanging(self) -> Iterator[None]:
        """Answer all questions inside from one moment, so that a definition's lines are still where it was found.

        It also saves the locks of a transaction for each of some sixty answers.
        """
        with ExitStack() as stack:
            for layer in self._layers:
                stack.enter_context(layer.store.unchanging())
            yield

    def document(self, key: str) -> DocumentId | None:
        """The document of a key; None for an unknown key."""
        if key in self._visible or (found := self._in_folder(key)) is None:
            return self._visible.get(key)
        layer, path = found
        return DocumentId.in_folder(layer.root, path)

    def definitions(
        self, names: Collection[str], family: str, most: int, imported: Collection[str] = ()
    ) -> list[Definition]:
        """Definitions of some names in files of a family; see `Store.definitions`."""
        found = self._opened(self._open.definitions(names, family, most, imported)) if self._visible else []
        for layer in self._layers:
            found += self._closed(layer, layer.store.definitions(names, family, most, imported))
        return found

    def definitions_in(self, key: str, container: str | None = None) -> list[Definition]:
        """All definitions of a file, in order; or those of one of its types or, for "", at its top."""
        if key in self._visible:
            return self._open.definitions_in(key, container)
        if (found := self._in_folder(key)) is None:
            return []
        layer, path = found
        return self._closed(layer, layer.store.definitions_in(path, container))

    def chunks_with(self, names: Collection[str], family: str, most: int) -> list[StoredChunk]:
        """Chunks that use any of these names, the best of each store first."""
        found = self._opened(self._open.chunks_with(names, family, most)) if self._visible else []
        for layer in self._layers:
            found += self._closed(layer, layer.store.chunks_with(names, family, most))
        return found

    def chunks_of(self, key: str) -> list[StoredChunk]:
        """All chunks of a file, in order."""
        if key in self._visible:
            return self._open.chunks_of(key)
        if (found := self._in_folder(key)) is None:
            return []
        layer, path = found
        return self._closed(layer, layer.store.chunks_of(path))

    def frequencies(self, names: Collection[str]) -> dict[str, int]:
        """In how many chunks each name stands."""
        stores = [self._open] if self._visible else []
        counts = [store.frequencies(names) for store in [*stores, *(layer.store for layer in self._layers)]]
        return dict(zip(names, map(sum, zip(*counts, strict=True)), strict=True)) if counts else dict.fromkeys(names, 0)

    def paths(self, family: str, **where: Collection[str]) -> list[str]:
        """Keys of a family's files, in order: all, or those of a `folder`, `module` or `subject`."""
        found = {key for key in self._open.paths(family, **where) if key in self._visible} if self._visible else set()
        for layer in self._layers:
            inside = {
                name: _folders_in(layer, wanted) if name == "folder" else wanted for name, wanted in where.items()
            }
            paths = layer.store.paths(family, **inside)
            if layer.nested:
                paths = [path for path in paths if layer.holds(path)]
            keys = [layer.mount + path for path in paths] if layer.mount else paths
            found.update(key for key in keys if key not in self._hidden)
        return sorted(found)

    def opened(self, family: str) -> list[str]:
        """Keys of a family's open documents, in order."""
        return [key for key in self._open.paths(family) if key in self._visible] if self._visible else []

    def folders(self) -> set[str]:
        """Folders, as keys have them, that files of any family lie in."""
        found = self._open.folders() if self._visible else set()
        for layer in self._layers:
            found |= {f"{layer.mount}{folder}" if folder else layer.mount[:-1] for folder in layer.store.folders()}
        return found

    def lines(self, key: str, wanted: Sequence[int]) -> list[str] | None:
        """Some lines of a file, by their numbers from 0; None if it is shorter, not known, or may not be shown."""
        store, path = self._text_of(key)
        return store.lines(path, wanted) if store is not None else None

    def text(self, key: str) -> str | None:
        """A file's text; None if it is not known, or may not be shown."""
        store, path = self._text_of(key)
        return store.text(path) if store is not None else None

    def _text_of(self, key: str) -> tuple[Store | None, str]:
        """The store and path of a file's text. All text is read through here, so that only admitted files are shown."""
        if key in self._visible:
            return self._open, key
        found = self._in_folder(key)
        if found is None or not self._is_admitted(found[0].root, found[1]):
            return None, key
        return found[0].store, found[1]

    def _in_folder(self, key: str) -> tuple[Layer, str] | None:
        """The layer of a file that is not open, and its path there."""
        if key in self._hidden:
            return None
        end = key.rfind(_APART)
        mount = key[: end + len(_APART)] if end >= 0 else ""
        path = key[len(mount) :]
        layer = next((layer for layer in self._layers if layer.mount == mount), None)
        return (layer, path) if layer is not None and layer.holds(path) else None

    def _opened(self, found: list[F]) -> list[F]:
        return [one for one in found if one.path in self._visible]

    def _closed(self, layer: Layer, found: list[F]) -> list[F]:
        """Results of a folder's store, by keys, without those of open documents and of nested layers."""
        if layer.mount or layer.nested:
            found = [one._replace(path=layer.mount + one.path) for one in found if layer.holds(one.path)]
        return [one for one in found if one.path not in self._hidden]


def _folders_in(layer: Layer, keys: Collection[str]) -> list[str]:
    """The folders, given as keys, that lie in a layer, by their paths there."""
    if layer.mount:
        return [f"{key}/"[len(layer.mount) : -1] for key in keys if f"{key}/".startswith(layer.mount)]
    return [key for key in keys if _APART[:-1] not in key]
