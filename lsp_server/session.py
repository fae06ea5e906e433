"""What changes while the server runs: settings, the model in memory, work in progress, counts. The only mutable place.

Everything here happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from lsp_server.documents import Documents
from lsp_server.feedback import Feedback
from lsp_server.logs import set_level
from lsp_server.resident import ResidentModel, in_thread
from lsp_server.settings import SECTION, Settings, merged, read_settings, section_of, without_wishes_of
from lsp_server.snapshot import Snapshot, snapshot_at_last_edit
from lsp_server.statistics import Statistics
from lsp_server.status import STATUS, State, Status
from lsp_server.warm_up import warm_up
from lsp_server.workspace_index import WorkspaceIndex

if TYPE_CHECKING:
    from lsp_server.completer import Completer
    from lsp_server.context import Context

_CONFIGURATION_WITHIN = 2.0

log = logging.getLogger(__name__)

try:
    VERSION = metadata.version("mellum-lsp")
except metadata.PackageNotFoundError:  # run from a checkout
    VERSION = "unknown"


class Session:
    """One client's session."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self.settings = Settings()
        self.feedback = Feedback()
        self.statistics = Statistics()
        self._initial_settings: object = None
        self._complaints: set[str] = set()
        self._resident = ResidentModel(server, self._state_changed)
        self._work: dict[str, asyncio.Task[Any]] = {}
        self._warm_ups: dict[str, asyncio.Task[None]] = {}
        self._paths: dict[str, str] = {}
        self._context: Context | None = None
        self._making_context: asyncio.Task[None] | None = None
        self._index = WorkspaceIndex(server, lambda problem: self._log(types.MessageType.Warning, problem))
        self._roots: set[Path] = set()
        self._has_shown_hint = False

    @property
    def documents(self) -> Documents:
        """The open documents and the workspace folders."""
        documents = self._server.workspace
        assert isinstance(documents, Documents)
        return documents

    @property
    def completer(self) -> Completer | None:
        """The model, if it is loaded."""
        return self._resident.completer

    @property
    def context(self) -> Context | None:
        """The index, once its packages are imported."""
        return self._context

    def status(self) -> Status:
        """What the server says of itself."""
        state, message = self._resident.state, self._resident.message
        if not self.settings.enabled:
            state, message = State.DISABLED, f"Suggestions are switched off by the setting {SECTION}.enabled"
        return Status(
            state=state,
            message=message,
            model=self.completer.facts if self.completer is not None else None,
            busy=bool(self._work),
            shown=self.feedback.shown,
            accepted=self.feedback.accepted,
            statistics=self.statistics,
            index=self._index.facts(),
            version=VERSION,
        )

    async def start(self, initial_settings: object) -> None:
        """Begin: read the settings, then load the model in the background."""
        self._initial_settings = section_of(initial_settings)
        await self._watch_settings()
        await self.configure(None)
        await self._watch_files()

    async def configure(self, pushed: object) -> None:
        """Take settings over that the client has sent, or ask for them if it sent none."""
        # some clients push the sections of all their servers, so only our own counts here
        raw = pushed.get(SECTION) if isinstance(pushed, Mapping) else None
        if raw is None:
            raw = await self._ask_for_settings()
        before = self.status().state
        settings, complaints = read_settings(merged(self._initial_settings, raw))
        self.settings, refused = without_wishes_of(map(Path, self.documents.roots()), settings)
        set_level(self.settings.log_level)
        for complaint in complaints + refused:
            if complaint not in self._complaints:  # once each, however often the settings change
                self._complaints.add(complaint)
                self._log(types.MessageType.Warning, complaint)
        if self.settings.enabled:
            if self._making_context is None:
                self._making_context = asyncio.create_task(self._make_context())
            self._resident.want(self.settings.model_choice)
        else:
            self._stop_work()
            self._rest()
        self.folders_changed()
        if self.status().state is not before:
            self._send_status()

    def is_stale(self, snapshot: Snapshot) -> bool:
        """Whether the document was edited, closed or opened anew since the request arrived."""
        document = self.documents.open_document(snapshot.document.uri)
        return document is not snapshot.document or document.source is not snapshot.source

    def is_wanted(self, language: str) -> bool:
        """Whether suggestions are switched on for this language, and a model is there; if not, look for one."""
        if not self.settings.enabled or language in self.settings.disabled_languages:
            return False
        self._resident.look_again()
        return self.completer is not None

    def begin_work(self, uri: str, work: asyncio.Task[Any]) -> None:
        """Note work for a document; older work for the same one is cancelled."""
        self._stop_work(uri)
        self._work[uri] = work

        def forget(done: asyncio.Task[Any]) -> None:
            if self._work.get(uri) is done:
                del self._work[uri]

        work.add_done_callback(forget)

    def document_changed(self, uri: str) -> None:
        """A document was opened or edited: what is being computed for it is stale, and the index has to know.

        When a pause follows, the place is warmed up.
        """
        self._stop_work(uri)
        document = self.documents.open_document(uri)
        if document is None:
            return
        is_new = uri not in self._paths
        path = self._paths[uri] = self.documents.path_of(uri)
        if self._context is not None:
            file = self.documents.file_of(uri)
            self._context.update(path, document.language_id or "", document.text, Path(file) if file else None)
            if is_new:
                self._context.opened()
        if self.completer is not None:
            snapshot = snapshot_at_last_edit(self.documents, document)
            self._warm_ups[uri] = asyncio.create_task(warm_up(self, snapshot))

    def document_closed(self, uri: str) -> None:
        """A document was closed."""
        self._stop_work(uri)
        self._rest(uri)
        path = self._paths.pop(uri, None)
        if self._context is not None and path is not None:
            self._context.forget(path)

    def folders_changed(self) -> None:
        """The workspace has other folders, or other settings: index those, and no others."""
        wanted = {Path(root) for root in self.documents.roots()} if self.settings.index_workspace else set()
        wanted = {root for root in wanted if root.is_dir() and root not in (Path.home(), Path(root.anchor))}
        if self._context is None or not self.settings.enabled:
            return
        for root in self._roots - wanted:
            self._index.forget(root)
        for root in wanted - self._roots:
            self._index.begin(root)
        self._roots = wanted
        self._context.use_folders(wanted)

    def files_changed(self, uris: Iterable[str]) -> None:
        """Files were saved, made or removed: the client may know before the system tells."""
        files = [Path(file) for uri in uris if (file := self.documents.file_of(uri)) is not None]
        if self._context is not None:
            self._context.changed(files)

    def close(self) -> Callable[[], None]:
        """Stop all work; returns what is left to do, which waits for the inference thread."""
        self._stop_work()
        if self._context is not None:
            self._context.close()
        return self._resident.close()

    def _stop_work(self, uri: str | None = None) -> None:
        for tasks in (self._work, self._warm_ups):
            for key in list(tasks) if uri is None else [uri]:
                if (task := tasks.pop(key, None)) is not None:
                    task.cancel()

    def _rest(self, uri: str | None = None) -> None:
        """Stop what the model does ahead, too."""
        if self.completer is not None:
            self.completer.rest(uri)

    async def _make_context(self) -> None:
        """Import the index's packages on another thread, then tell it of all documents and folders."""
        loop = asyncio.get_running_loop()

        def hear(root: Path, message: dict[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
                loop.call_soon_threadsafe(self._hear, root, message)

        def make() -> Context:
            from lsp_server.context import Context

            return Context(hear)

        try:
            self._context = await in_thread("index", make)
        except Exception as error:
            log.exception("There is no index")
            self._log(types.MessageType.Error, f"There is no index ({error}). Run: mellum-lsp doctor")
            return
        for uri in list(self.documents.text_documents):
            self.document_changed(uri)
        self._context.opened()
        self.folders_changed()

    def _hear(self, root: Path, message: dict[str, Any]) -> None:
        if root in self._roots:
            self._index.hear(root, message)

    async def _watch_files(self) -> None:
        """Ask to be told of changed files, where the client offers it."""
        workspace = self._server.client_capabilities.workspace
        capability = workspace.did_change_watched_files if workspace is not None else None
        if capability is None or not capability.dynamic_registration or not self.settings.index_workspace:
            return
        watchers = [types.FileSystemWatcher(glob_pattern="**/*")]
        options = types.DidChangeWatchedFilesRegistrationOptions(watchers=watchers)
        method = types.WORKSPACE_DID_CHANGE_WATCHED_FILES
        registration = types.Registration(id=method, method=method, register_options=options)
        await self._answer_of(self._server.client_register_capability_async(types.RegistrationParams([registration])))

    async def _watch_settings(self) -> None:
        """Ask to be told of changes, where the client offers it: VS Code says nothing otherwise."""
        workspace = self._server.client_capabilities.workspace
        capability = workspace.did_change_configuration if workspace is not None else None
        if capability is None or not capability.dynamic_registration:
            return
        options = types.DidChangeConfigurationRegistrationOptions(section=SECTION)
        method = types.WORKSPACE_DID_CHANGE_CONFIGURATION
        registration = types.Registration(id=method, method=method, register_options=options)
        request = self._server.client_register_capability_async(types.RegistrationParams([registration]))
        await self._answer_of(request)

    async def _ask_for_settings(self) -> object:
        workspace = self._server.client_capabilities.workspace
        if workspace is None or not workspace.configuration:
            return None
        params = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
        answer = await self._answer_of(self._server.workspace_configuration_async(params))
        return answer[0] if answer else None

    async def _answer_of(self, request: Any) -> Any:
        """Wait for the client's answer, but not for long: a model can be loaded without it."""
        try:
            async with asyncio.timeout(_CONFIGURATION_WITHIN):
                return await request
        except (TimeoutError, JsonRpcException) as error:
            log.info("The client did not answer about its settings: %r", error)
            return None

    def _state_changed(self) -> None:
        status = self.status()
        if status.state is State.LOADING:
            self._stop_work()  # it waits for a model that is being replaced
        if status.state is State.FAILED:
            self._log(types.MessageType.Error, status.message)
        if status.state is State.NO_MODEL:
            self._log(types.MessageType.Info, status.message)
            if not self._has_shown_hint:
                self._has_shown_hint = True
                hint = types.ShowMessageParams(types.MessageType.Info, status.message)
                self._server.window_show_message(hint)
        self._send_status()

    def _send_status(self) -> None:
        self._server.protocol.notify(STATUS, self.status().to_json())

    def _log(self, kind: types.MessageType, message: str) -> None:
        """Say something in the client's log, and in ours."""
        log.log(logging.INFO if kind is types.MessageType.Info else logging.WARNING, message)
        self._server.window_log_message(types.LogMessageParams(kind, message))
