"""What changes while the server runs: settings, the model in memory, work in progress, counts. The only mutable place.

Everything here happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from lsp_server.configuration.settings import SECTION, Settings, merged, read_settings, section_of, without_wishes_of
from lsp_server.documents import Document, Documents
from lsp_server.model_loader import ResidentModel, in_thread
from lsp_server.reporting.feedback import Feedback
from lsp_server.reporting.silence import Silence, Silences
from lsp_server.reporting.statistics import Statistics
from lsp_server.reporting.status import STATUS, State, Status
from lsp_server.snapshot import Snapshot, snapshot_at_last_edit
from lsp_server.warm_up import warm_up
from lsp_server.wire.logs import set_level
from lsp_server.workspace.index_messages import WorkspaceIndex
from syntax import DocumentId, normalized, path_in, resolved

if TYPE_CHECKING:
    from indexer import IndexMessage
    from lsp_server.completer import Completer
    from lsp_server.workspace.project_context import Context

_CONFIGURATION_WITHIN = 2.0
_PERMISSION_WITHIN = 2.0  # seconds; at the start, the packages that know the rules may still be read
_REMEMBERED_COMPLAINTS = 200

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
        self._wanted_settings = self.settings
        """With what a workspace may have set for itself."""
        self.feedback = Feedback()
        self.statistics = Statistics()
        self.silences = Silences()
        self._initial_settings: object = None
        self._complaints: deque[str] = deque(maxlen=_REMEMBERED_COMPLAINTS)
        self._last_typed = 0.0
        self._unloading: asyncio.TimerHandle | None = None
        self._resident = ResidentModel(server, self._state_changed)
        self._work: dict[str, asyncio.Task[Any]] = {}
        self._warm_ups: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, DocumentId] = {}
        """What the index was told of each open document, by its URI."""
        self._names: dict[DocumentId, dict[str, None]] = {}
        """The same by what it is: a file may be open by several names."""
        self._context: Context | None = None
        self._making_context: asyncio.Task[None] | None = None
        self._index = WorkspaceIndex(server, lambda problem: self._log(types.MessageType.Warning, problem))
        self._roots: set[Path] = set()
        self._generation: tuple[int, ...] | None = None
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
            displayed=self.feedback.displayed,
            accepted_in_part=self.feedback.accepted_in_part,
            silence=self.silences.facts(),
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
        self._wanted_settings, complaints = read_settings(merged(self._initial_settings, raw))
        self._apply_settings(complaints)
        set_level(self.settings.log_level)
        if self.settings.enabled:
            if self._making_context is None:
                self._making_context = asyncio.create_task(self._make_context())
            self._resident.want(self.settings.model_choice)
        else:
            self._stop_work()
            self._resident.let_go("The model was let go", for_good=True)
        self._wait_for_rest()
        self.folders_changed()
        if self.status().state is not before:
            self._send_status()

    def workspace_changed(self) -> None:
        """A folder came or went: what it may not set is another matter than before."""
        before = self.settings.model_choice
        self._apply_settings([])
        if self.settings.enabled and self.settings.model_choice != before:
            self._resident.want(self.settings.model_choice)
        self.folders_changed()

    def _apply_settings(self, complaints: list[str]) -> None:
        """Use what may be used of the settings, and say once each, however often they change, what is wrong."""
        self.settings, refused = without_wishes_of(map(Path, self.documents.roots()), self._wanted_settings)
        for complaint in complaints + refused:
            if complaint not in self._complaints:
                self._complaints.append(complaint)
                self._log(types.MessageType.Warning, complaint)

    def is_stale(self, snapshot: Snapshot) -> bool:
        """Whether the document was edited, closed or opened anew since the request arrived."""
        document = self.documents.open_document(snapshot.document.uri)
        return document is not snapshot.document or document.source is not snapshot.source

    def silence_for(self, snapshot: Snapshot) -> Silence | None:
        """Why nothing can be suggested there, whatever the model would say; None where it can.

        Where no model is there, this looks for one.
        """
        if not self.settings.enabled:
            return Silence.OFF
        if snapshot.language in self.settings.disabled_languages:
            return Silence.OFF_HERE
        if snapshot.document.is_out_of_step:
            return Silence.OUT_OF_STEP
        self._resident.look_again()
        if self.completer is not None:
            return None
        return Silence.LOADING if self._resident.state in (State.LOADING, State.UNLOADED) else Silence.NO_MODEL

    def typed(self) -> None:
        """Note that the user is there: the model stays in memory."""
        self._last_typed = asyncio.get_running_loop().time()

    def lose_step(self, uri: str, reason: str) -> None:
        """A change could not be applied: nothing is suggested in a document before its whole text has come again."""
        document = self.documents.open_document(uri)
        if document is None or document.is_out_of_step:
            return
        document.is_out_of_step = True
        self._stop_work(uri)
        self._rest(uri)
        sentence = f"{uri} is out of step with the editor ({reason}). Close it, and open it again."
        self._log(types.MessageType.Warning, sentence)

    def lose_model(self, completer: Completer, reason: str) -> None:
        """The model cannot be used any more: say so, and go on without it."""
        self._resident.lose(completer, reason)

    async def why_not(self, snapshot: Snapshot) -> str | None:
        """Why a document gets no suggestions by the rules of who may be seen, a sentence; None if it may get some.

        The rules of all documents are looked at before it answers. Where some may help no more, suggestions that may be
        made of them are forgotten.
        """
        try:
            async with asyncio.timeout(_PERMISSION_WITHIN):
                if self._context is None and self._making_context is not None:
                    await asyncio.shield(self._making_context)
                if self._context is None:
                    return "the rules of its folder cannot be read; run: mellum-lsp doctor"
                reason = await asyncio.wrap_future(self._context.why_not(snapshot))
        except TimeoutError:
            return "the rules of its folder are not known yet"
        if self._generation != (now := self._context.generation):
            self._generation = now
            if self.completer is not None:
                self.completer.forget()
        return None if self.settings.complete_ignored_files else reason

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
        document = self.documents.open_document(uri)
        if document is None:
            return
        self._stop_work(document.uri)
        self._tell(document)
        if self.completer is not None:
            snapshot = snapshot_at_last_edit(self.documents, document)
            self._warm_ups[document.uri] = asyncio.create_task(warm_up(self, snapshot))

    def document_closed(self, uri: str) -> None:
        """A document was closed."""
        uri = normalized(uri)
        self._stop_work(uri)
        self._rest(uri)
        self._untell(uri)

    def folders_changed(self) -> None:
        """The workspace has other folders, or other settings: index those, and no others.

        Documents are others, too, when the folder that they lie in comes or goes.
        """
        if self._context is None or not self.settings.enabled:
            return
        before = self._roots
        self._roots = self._context.use_folders(self.documents.roots(), indexed=self.settings.index_workspace)
        for root in before - self._roots:
            self._index.forget(root)
        for root in self._roots - before:
            self._index.begin(root)
        self._tell_all()

    def files_changed(self, uris: Iterable[str]) -> None:
        """Files were saved, made or removed: the client may know before the system tells."""
        files: list[Path] = []
        folders: dict[Path, Path] = {}
        for uri in map(normalized, uris):
            if (document := self.documents.open_document(uri)) is not None:
                self.documents.identify_anew(uri)
                self._tell(document)
            if uri.startswith("file:") and (file := path_in(uri)) is not None:
                if file.parent not in folders:
                    folders[file.parent] = resolved(file.parent)
                files.append(folders[file.parent] / file.name)
        if self._context is not None:
            self._context.changed(files)

    def close(self) -> Callable[[], None]:
        """Stop all work; returns what is left to do, which waits for the inference thread."""
        self._stop_work()
        if self._unloading is not None:
            self._unloading.cancel()
        if self._context is not None:
            self._context.close()
        return self._resident.close()

    def _tell(self, document: Document) -> None:
        """Let the index know what an open document is, and what it says."""
        if self._context is None:
            return
        identity, before = self.documents.identity(document.uri), self._told.get(document.uri)
        if before not in (None, identity):
            self._untell(document.uri)
        self._told[document.uri] = identity
        self._names.setdefault(identity, {})[document.uri] = None
        self._context.update(identity, document.language_id or "", document.text)
        if before != identity:
            self._context.opened()

    def _untell(self, uri: str) -> None:
        """Let the index forget a document, unless the same file is open by another name: then that one counts."""
        identity = self._told.pop(uri, None)
        if identity is None or self._context is None:
            return
        names = self._names.get(identity, {})
        names.pop(uri, None)
        if not names:
            self._names.pop(identity, None)
        if (other := next(iter(self._names.get(identity, ())), None)) is None:
            self._context.forget(identity)
        elif (document := self.documents.open_document(other)) is not None:
            self._context.update(identity, document.language_id or "", document.text)

    def _tell_all(self) -> None:
        for document in list(self.documents.text_documents.values()):
            if isinstance(document, Document):
                self._tell(document)

    def _stop_work(self, uri: str | None = None) -> None:
        for tasks in (self._work, self._warm_ups):
            for key in list(tasks) if uri is None else [uri]:
                if (task := tasks.pop(key, None)) is not None:
                    task.cancel()

    def _rest(self, uri: str | None = None) -> None:
        """Stop what the model does ahead, too."""
        if self.completer is not None:
            self.completer.rest(uri)

    def _wait_for_rest(self) -> None:
        """Let the model go once no typing has come for the minutes that are set. One timer, moved when it is due."""
        if self._unloading is not None:
            self._unloading.cancel()
            self._unloading = None
        minutes = self.settings.unload_after
        if self.completer is None or not minutes:
            return
        loop = asyncio.get_running_loop()
        if (left := self._last_typed + 60 * minutes - loop.time()) > 0:
            self._unloading = loop.call_later(left, self._wait_for_rest)
        else:
            sentence = f"The model was let go after {minutes:g} min without typing; the next request brings it back"
            self._resident.let_go(sentence, for_good=False)

    async def _make_context(self) -> None:
        """Import the index's packages on another thread, then tell it of all documents and folders."""
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
            log.exception("There is no index")
            self._log(types.MessageType.Error, f"There is no index ({error}). Run: mellum-lsp doctor")
            return
        self.folders_changed()

    def _hear(self, root: Path, message: IndexMessage) -> None:
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
        return answer[0] if isinstance(answer, list) and answer else None

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
        if status.state is State.READY:
            self.typed()
            self._wait_for_rest()
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
