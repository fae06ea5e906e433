"""The workspace as the index knows it: open documents and folders go in, permissions and snippets come out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from lsp_server.configuration.client_requests import watch_files
from lsp_server.configuration.client_settings import ClientSettings
from lsp_server.documents import Document, documents_of
from lsp_server.model_loader import in_thread
from lsp_server.reporting.index_progress import IndexFacts, IndexProgress
from lsp_server.snapshot import Snapshot
from lsp_server.wire.logs import shown_uri
from syntax import DocumentId, normalized, path_in, resolved
from syntax.sentences import is_of_the_machine, reason_of

if TYPE_CHECKING:  # imported at run time only on a thread of its own: it takes most of a second
    from engine import ContextSnippet
    from indexer import IndexMessage
    from lsp_server.completer import Completer
    from lsp_server.workspace.project_context import Context

_PERMISSION_WITHIN = 2.0  # seconds; at the start, the packages that know the rules may still be read
_CONTEXT_WITHIN = 0.05  # seconds

log = logging.getLogger(__name__)


class RulesUnknown(Exception):
    """The rules for a document are not known; the text says why."""


class IndexedWorkspace:
    """The index, and the documents it knows. Used on the event loop's thread alone."""

    def __init__(
        self, server: LanguageServer, settings: ClientSettings, say: Callable[[types.MessageType, str], None]
    ) -> None:
        self._server, self._settings, self._say = server, settings, say
        self._progress = IndexProgress(server, lambda problem: say(types.MessageType.Warning, problem))
        self._told: dict[str, DocumentId] = {}
        """The identity by which the index knows each open document, by URI."""
        self._names: dict[DocumentId, dict[str, None]] = {}
        """The URIs of each identity: a file may be open by several names."""
        self._context: Context | None = None
        self._making_context: asyncio.Task[None] | None = None
        self._roots: set[Path] = set()

    @property
    def context(self) -> Context | None:
        """The index, once its packages are imported."""
        return self._context

    @property
    def is_being_made(self) -> bool:
        """Whether the index's packages are still being imported."""
        return self._making_context is not None and not self._making_context.done()

    @property
    def generation(self) -> tuple[int, ...] | None:
        """Changes when a document that helped may not help any more; None before there is an index."""
        return self._context.generation if self._context is not None else None

    def facts(self) -> IndexFacts:
        """The figures of the index for the status."""
        return self._progress.facts()

    def begin(self) -> None:
        """Import the index's packages, once; then tell it of all documents and folders."""
        if self._making_context is None:
            self._making_context = asyncio.create_task(self._make_context())

    async def watch_files(self) -> None:
        """Ask the client to report changed files, if files are indexed."""
        if self._settings.current.index_workspace:
            await watch_files(self._server)

    def folders_changed(self) -> None:
        """Index the current folders and no others, after the folders or the settings have changed.

        A document gets another identity when its folder is added or removed.
        """
        settings, documents = self._settings.current, documents_of(self._server)
        if self._context is None or not settings.enabled:
            return
        before = self._roots
        self._roots = self._context.use_folders(documents.roots(), indexed=settings.index_workspace)
        for root in before - self._roots:
            self._progress.forget(root)
        for root in self._roots - before:
            self._progress.begin(root)
        for document in list(documents.text_documents.values()):
            if isinstance(document, Document):
                self.update(document)

    def files_changed(self, uris: Iterable[str]) -> None:
        """Let the index read files again that were saved, made or removed: the client may be faster than the system."""
        files: list[Path] = []
        folders: dict[Path, Path] = {}
        documents = documents_of(self._server)
        for uri in map(normalized, uris):
            if (document := documents.open_document(uri)) is not None:
                documents.identify_anew(uri)
                self.update(document)
            if uri.startswith("file:") and (file := path_in(uri)) is not None:
                if file.parent not in folders:
                    folders[file.parent] = resolved(file.parent)
                files.append(folders[file.parent] / file.name)
        if self._context is not None:
            self._context.changed(files)

    def update(self, document: Document) -> None:
        """Give the identity and the text of an open document to the index."""
        if self._context is None:
            return
        identity, before = documents_of(self._server).identity(document.uri), self._told.get(document.uri)
        if before not in (None, identity):
            self.forget(document.uri)
        self._told[document.uri] = identity
        self._names.setdefault(identity, {})[document.uri] = None
        self._context.update(identity, document.language_id or "", document.text)
        if before != identity:
            self._context.opened()

    def forget(self, uri: str) -> None:
        """Remove a document from the index. If its file is open by another name, too, the index gets that text."""
        identity = self._told.pop(uri, None)
        if identity is None or self._context is None:
            return
        names = self._names.get(identity, {})
        names.pop(uri, None)
        if not names:
            self._names.pop(identity, None)
        if (other := next(iter(self._names.get(identity, ())), None)) is None:
            self._context.forget(identity)
        elif (document := documents_of(self._server).open_document(other)) is not None:
            self._context.update(identity, document.language_id or "", document.text)

    async def why_not(self, snapshot: Snapshot) -> str | None:
        """Why the rules of its folder exclude a document, as a sentence; None if they do not.

        Reads changed rules of all documents first. Raises RulesUnknown.
        """
        try:
            async with asyncio.timeout(_PERMISSION_WITHIN):
                if self._context is None and self._making_context is not None:
                    await asyncio.shield(self._making_context)
                if self._context is None:
                    raise RulesUnknown("the rules of its folder cannot be read; run: mellum-lsp doctor")
                return await asyncio.wrap_future(self._context.why_not(snapshot))
        except TimeoutError:
            raise RulesUnknown("the rules of its folder are not known yet") from None

    async def snippets_for(self, snapshot: Snapshot, completer: Completer) -> tuple[ContextSnippet, ...]:
        """The snippets that the index finds in 50 ms, else none: the suggestion does without context."""
        if self._context is None:
            return ()
        try:
            async with asyncio.timeout(_CONTEXT_WITHIN):
                tokens = completer.snippet_budget(snapshot.cursor.offset)
                asked = self._context.snippets_for(
                    snapshot, within=_CONTEXT_WITHIN, tokens=tokens, count=completer.count_tokens
                )
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            log.info("No context within %s s", _CONTEXT_WITHIN)
        except Exception:
            log.exception("No context for %s", shown_uri(snapshot.document.uri))
        return ()

    def look_around(self, snapshot: Snapshot, completer: Completer) -> None:
        """Read what is new near a document, in the background, if the model uses it."""
        if self._context is not None and completer.looks_up:
            self._context.look_around(snapshot, completer.read)

    def neighbours_of(self, snapshot: Snapshot, completer: Completer) -> tuple[str, ...]:
        """Texts of files near a document, as `look_around` last read them; none if the model does not use them."""
        if self._context is None or not completer.looks_up:
            return ()
        return self._context.neighbours_of(snapshot, completer.read)

    def close(self) -> None:
        """Let the index's processes end."""
        if self._context is not None:
            self._context.close()

    async def _make_context(self) -> None:
        loop = asyncio.get_running_loop()

        def hear(root: Path, message: IndexMessage) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
                loop.call_soon_threadsafe(self._hear, root, message)

        def make() -> Context:
            from lsp_server.workspace.project_context import Context

            return Context(hear)

        try:
            self._context = await in_thread("index", make)
        except Exception as error:
            if not is_of_the_machine(error):
                log.exception("There is no index")
            self._say(types.MessageType.Error, f"There is no index ({reason_of(error)}). Run: mellum-lsp doctor")
            return
        self.folders_changed()

    def _hear(self, root: Path, message: IndexMessage) -> None:
        if root in self._roots:
            self._progress.hear(root, message)
