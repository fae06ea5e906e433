"""`workspace/didChangeWatchedFiles` and `workspace/didChangeWorkspaceFolders`."""

from __future__ import annotations

from lsprotocol import types

from lsp_server.language_server import MellumServer


def did_change_watched_files(ls: MellumServer, params: types.DidChangeWatchedFilesParams) -> None:
    """Let the index read files again."""
    ls.session.files_changed([change.uri for change in params.changes])


def did_change_workspace_folders(ls: MellumServer, _: types.DidChangeWorkspaceFoldersParams) -> None:
    """Index the folders of now. The protocol has updated the list of folders already."""
    ls.session.workspace_changed()
