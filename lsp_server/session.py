"""What changes while the server runs: settings, the model in memory, the workspace, work in progress, counts.

The only mutable place, on the event loop's thread alone. It starts no work of its own for a document: handlers do, and
note it here, so that an edit cancels it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from lsp_server.configuration.client_requests import watch_settings
from lsp_server.configuration.client_settings import ClientSettings
from lsp_server.configuration.settings import SECTION, Settings
from lsp_server.documents import Document, Documents, documents_of
from lsp_server.model_loader import ResidentModel
from lsp_server.reporting.feedback import Feedback
from lsp_server.reporting.silence import Silence, Silences
from lsp_server.reporting.statistics import Statistics
from lsp_server.reporting.status import STATUS, State, Status
from lsp_server.snapshot import Snapshot
from lsp_server.wire.logs import set_level
from lsp_server.workspace.indexed_workspace import IndexedWorkspace, RulesUnknown
from syntax import normalized

if TYPE_CHECKING:  # imported at run time only by the loading thread, see completer.py
    from lsp_server.completer import Completer

log = logging.getLogger(__name__)

try:
    VERSION = metadata.version("mellum-lsp")
except metadata.PackageNotFoundError:  # run from a checkout
    VERSION = "unknown"


class Session:
    """One client's session."""

    def __init__(self, server: LanguageServer) -> None:
        self._server = server
        self.client_settings = ClientSettings(server, lambda problem: self._log(types.MessageType.Warning, problem))
        self.workspace = IndexedWorkspace(server, self.client_settings, self._log)
        self.feedback = Feedback()
        self.statistics = Statistics()
        self.silences = Silences()
        self._resident = ResidentModel(server, self._state_changed)
        self._work: dict[str, asyncio.Task[Any]] = {}
        self._warm_ups: dict[str, asyncio.Task[None]] = {}
        self._last_typed = 0.0
        self._unloading: asyncio.TimerHandle | None = None
        self._generation: tuple[int, ...] | None = None
        self._has_shown_hint = False

    @property
    def settings(self) -> Settings:
        """The settings of now."""
        return self.client_settings.current

    @property
    def documents(self) -> Documents:
        """The open documents and the workspace folders."""
        return documents_of(self._server)

    @property
    def completer(self) -> Completer | None:
        """The model, if it is loaded."""
        return self._resident.completer

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
            index=self.workspace.facts(),
            version=VERSION,
        )

    async def start(self) -> None:
        """Read the settings, then load the model and the index in the background."""
        await watch_settings(self._server)
        await self.configure(None)
        await self.workspace.watch_files()

    async def configure(self, pushed: object) -> None:
        """Apply the settings that the client has pushed; if it pushed none, ask for them."""
        raw = await self.client_settings.fetch(pushed)
        before = self.status().state
        self.client_settings.take(raw, self.documents.roots())
        set_level(self.settings.log_level)
        if self.settings.enabled:
            self.workspace.begin()
            self._resident.want(self.settings.model_choice)
        else:
            self._stop_work()
            self._resident.let_go("The model was let go", for_good=True)
        self._wait_for_rest()
        self.workspace.folders_changed()
        if self.status().state is not before:
            self._send_status()

    def workspace_changed(self) -> None:
        """Apply the settings again, as a folder came or went: a workspace may not set what the user may."""
        before = self.settings.model_choice
        self.client_settings.apply(self.documents.roots())
        if self.settings.enabled and self.settings.model_choice != before:
            self._resident.want(self.settings.model_choice)
        self.workspace.folders_changed()

    def files_changed(self, uris: Iterable[str]) -> None:
        """Files were saved, made or removed."""
        self.workspace.files_changed(uris)

    def is_stale(self, snapshot: Snapshot) -> bool:
        """Whether the document was edited, closed or opened anew since the request arrived."""
        document = self.documents.open_document(snapshot.document.uri)
        return document is not snapshot.document or document.source is not snapshot.source

    def silence_for(self, snapshot: Snapshot) -> Silence | None:
        """Why nothing can be suggested there, whatever the model would say; None where it can.

        If no model is loaded, this looks for one.
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

    async def why_not(self, snapshot: Snapshot) -> str | None:
        """Why a document gets no suggestions by the rules of its folder, a sentence; None if it may get some.

        The rules of all documents are looked at before it answers. If some may help no more, suggestions that may be
        made of them are forgotten.
        """
        try:
            reason = await self.workspace.why_not(snapshot)
        except RulesUnknown as unknown:
            return str(unknown)
        if self._generation != (now := self.workspace.generation):
            self._generation = now
            if self.completer is not None:
                self.completer.forget()
        return None if self.settings.complete_ignored_files else reason

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

    def begin_work(self, uri: str, work: asyncio.Task[Any]) -> None:
        """Note work for a document; older work for the same one is cancelled."""
        self._stop_work(uri)
        self._work[uri] = work

        def forget(done: asyncio.Task[Any]) -> None:
            if self._work.get(uri) is done:
                del self._work[uri]

        work.add_done_callback(forget)

    def begin_warm_up(self, uri: str, work: asyncio.Task[None]) -> None:
        """Note work ahead of a request; a request and an edit cancel it."""
        self._warm_ups[uri] = work

    def document_changed(self, document: Document) -> None:
        """A document was opened or edited: stop what is computed from its older text, and tell the index."""
        self._stop_work(document.uri)
        self.workspace.update(document)

    def document_closed(self, uri: str) -> None:
        """A document was closed."""
        uri = normalized(uri)
        self._stop_work(uri)
        self._rest(uri)
        self.workspace.forget(uri)

    def close(self) -> Callable[[], None]:
        """Stop all work; returns what is left to do, which waits for the inference thread."""
        self._stop_work()
        if self._unloading is not None:
            self._unloading.cancel()
        self.workspace.close()
        return self._resident.close()

    def _stop_work(self, uri: str | None = None) -> None:
        for tasks in (self._work, self._warm_ups):
            for key in list(tasks) if uri is None else [uri]:
                if (task := tasks.pop(key, None)) is not None:
                    task.cancel()

    def _rest(self, uri: str) -> None:
        """Stop what the model computes ahead, too."""
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
