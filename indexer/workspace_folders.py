"""The workspace folders with the connections to their indexes and the processes that keep these up to date."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from indexer.admission import Admission
from indexer.store.connection import StoreConnection, database_of
from indexer.store.overlay import Layer, mount_of
from indexer.sync.messages import IndexMessage
from indexer.sync.supervisor import Supervisor

Hear = Callable[[Path, IndexMessage], None]
"""Takes the messages of a folder's indexer process, on a thread of its own."""


@dataclass(frozen=True, slots=True)
class WorkspaceFolder:
    """A workspace folder."""

    mount: str
    """What the keys of its files begin with; see `store/overlay.py`."""
    connection: StoreConnection | None = None
    """None for a folder without an index: only its open documents help."""
    supervisor: Supervisor | None = None


class WorkspaceFolders:
    """The table of the workspace folders, by their resolved paths. `admission` knows the same folders at any moment.

    Its lock protects the table and is held for moments. The question lock of `Index` protects the connections; the
    supervisors are thread-safe themselves.
    """

    def __init__(self, admission: Admission, hear: Hear) -> None:
        self._admission, self._hear = admission, hear
        self._lock = threading.Lock()
        self._folders: dict[Path, WorkspaceFolder] = {}
        self.mounts: dict[Path, str] = {}
        """Of all folders that were ever opened, so that a key never changes its meaning."""

    def all(self) -> Mapping[Path, WorkspaceFolder]:
        """The folders of this moment."""
        with self._lock:
            return dict(self._folders)

    def get(self, root: Path) -> WorkspaceFolder | None:
        """A folder of the workspace; None for any other."""
        return self._folders.get(root)

    def add(self, root: Path, cache: Path | None, *, watched: bool) -> WorkspaceFolder:
        """Take a folder in; with `cache`, its index lies there, and with `watched`, a process keeps that up to date."""
        folder = WorkspaceFolder(self.mounts.setdefault(root, mount_of(len(self.mounts))))
        if cache is not None:
            database = database_of(root, cache)
            supervisor = Supervisor(root, database, lambda message: self._hear(root, message)) if watched else None
            alarm = supervisor.check if supervisor is not None else lambda: None
            folder = WorkspaceFolder(folder.mount, StoreConnection(database, alarm), supervisor)
        with self._lock:
            self._folders[root] = folder
            self._admission.use_folders(self._folders)
        return folder

    def remove(self, root: Path) -> WorkspaceFolder | None:
        """Take a folder out, and let its process end; its connection is left to be closed."""
        with self._lock:
            folder = self._folders.pop(root, None)
            self._admission.use_folders(self._folders)
        if folder is not None and folder.supervisor is not None:
            folder.supervisor.close()
        return folder

    def changed(self, files: Iterable[Path]) -> None:
        """Report changed files to the processes of their folders. Files in no workspace folder are left out."""
        files = list(files)
        for root, folder in self.all().items():
            inside = [file.relative_to(root).as_posix() for file in files if file.is_relative_to(root)]
            if inside and folder.supervisor is not None:
                folder.supervisor.tell(inside)

    def connections(self) -> list[StoreConnection]:
        """Those of all indexed folders."""
        return [folder.connection for folder in self.all().values() if folder.connection is not None]

    def layers(self) -> list[Layer]:
        """The indexes that can be read now."""
        folders = self.all()
        return [
            Layer(root, store, folder.mount, _nested(root, folders))
            for root, folder in folders.items()
            if folder.connection is not None and (store := folder.connection.store()) is not None
        ]


def _nested(root: Path, others: Iterable[Path]) -> tuple[str, ...]:
    """Workspace folders that lie in another one."""
    return tuple(f"{other.relative_to(root).as_posix()}/" for other in others if root in other.parents)
