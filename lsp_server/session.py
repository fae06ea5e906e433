"""What changes while the server runs: settings, the model in memory, the workspace, work in progress, counts.

The only mutable state of the server, used on the event loop's thread alone. Handlers start the work for a document and
register it here, so that an edit cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import TYPE_CHECKING, Any

from lsprotocol import types
from pygls.lsp.server import LanguageServer

from lsp_server.configuration.client_requests import watch_settings
from lsp_server.configuration.client_settings import ClientSettings
from lsp_server.configuration.settings import SECTION, Settings
from lsp_server.documents import Document, Documents, Edit, documents_of
from lsp_server.model_loader import ResidentModel
from lsp_server.reporting.feedback import Feedback
from lsp_server.reporting.silence import Silence, Silences
from lsp_server.reporting.statistics import Statistics
from lsp_server.reporting.status import STATUS, State, Status
from lsp_server.snapshot import Snapshot, snapshot_at_last_edit
from lsp_server.statistics.events import plain_name, statistics_file
from lsp_server.statistics.observer import Observer
from lsp_server.statistics.recorder import Recorder
from lsp_server.wire.logs import set_level
from lsp_server.workspace.indexed_workspace import IndexedWorkspace, RulesUnknown
from syntax import normalized
from syntax.sentences import is_of_the_machine, reason_of, shortened

if TYPE_CHECKING:  # imported at run time only by the loading thread, see completer.py
    from lsp_server.completer import Completer

_LOOKED_AROUND = 3  # documents, those that were opened last: the tokens of so many documents' neighbours are kept

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
        self.observer: Observer | None = None
        """Has the events written down; None where the settings want no statistics."""
        self._recorder: Recorder | None = None
        self._resident = ResidentModel(server, self._state_changed, self._remote_changed)
        self._work: dict[str, asyncio.Task[Any]] = {}
        self._warm_ups: dict[str, asyncio.Task[None]] = {}
        self._last_typed = 0.0
        self._unloading: asyncio.TimerHandle | None = None
        self._generation: tuple[int, ...] | None = None
        self._has_shown_hint = False
        self._ready_remote = ""
        self._lost_remotes: set[str] = set()
        """Addresses whose loss was shown."""

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
        """The status of now, for the client."""
        state, message = self._resident.state, self._resident.message
        if not self.settings.enabled:
            state, message = State.DISABLED, f"Suggestions are switched off by the setting {SECTION}.enabled"
        remote = self.completer.remote if self.completer is not None else None
        if remote is not None and state is State.READY:
            message += f". {remote.message}"
        if self.settings.collects:
            message += ". Code around suggestions is kept on this machine, as `collectSamples` is true"
        self.statistics.problem = self._recorder.problem if self._recorder is not None else None
        return Status(
            state=state,
            message=message,
            model=self.completer.facts if self.completer is not None else None,
            remote=remote,
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
        """Read the settings, then load the model and the index in the background. An error becomes the status."""
        try:
            await watch_settings(self._server)
            await self.configure(None)
            await self.workspace.watch_files()
        except Exception as error:
            if not is_of_the_machine(error):
                log.exception("The server cannot begin")
            mend = "let it have more memory, files and threads, and start it again, or run: mellum-lsp doctor"
            self._resident.fail(f"The server cannot begin ({reason_of(error)}); {mend}")

    async def configure(self, pushed: object) -> None:
        """Apply the settings that the client has pushed; if it pushed none, ask for them."""
        raw = await self.client_settings.fetch(pushed)
        before = self.status().state
        self.client_settings.take(raw, self.documents.roots())
        set_level(self.settings.log_level)
        self._keep_statistics()
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
        """Apply the settings for the folders of now: a workspace must not set everything that a user may."""
        before = self.settings.model_choice
        self.client_settings.apply(self.documents.roots())
        if self.settings.enabled and self.settings.model_choice != before:
            self._resident.want(self.settings.model_choice)
        self.workspace.folders_changed()

    def files_changed(self, uris: Iterable[str]) -> None:
        """Report files that were saved, made or removed to the index."""
        self.workspace.files_changed(uris)

    def is_stale(self, snapshot: Snapshot) -> bool:
        """Whether the document was edited, closed or opened anew since the request arrived."""
        document = self.documents.open_document(snapshot.document.uri)
        return document is not snapshot.document or document.source is not snapshot.source

    def silence_for(self, snapshot: Snapshot) -> Silence | None:
        """Why there can be no suggestion, without asking the model; None if there can be one.

        If no model is loaded, this searches for one.
        """
        if not self.settings.enabled:
            return Silence.OFF
        if snapshot.cursor.language in self.settings.disabled_languages:
            return Silence.OFF_HERE
        if snapshot.document.is_out_of_step:
            return Silence.OUT_OF_STEP
        self._resident.look_again()
        if self.completer is not None:
            return None
        return Silence.LOADING if self._resident.state in (State.LOADING, State.UNLOADED) else Silence.NO_MODEL

    async def why_not(self, snapshot: Snapshot) -> str | None:
        """Why a document gets no suggestions by the rules of its folder, a sentence; None if it may get some.

        Reads changed rules of all documents first. If a document may not help any more, cached suggestions are dropped:
        they may contain its text.
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

    def confidence_in(self, language: str) -> float:
        """How sure a suggestion in this language has to be, by the settings and by what was learned from the user."""
        wanted = self.settings.confidence_in(language)
        if self._recorder is None or not self.settings.learn_gate:
            return wanted
        learned = self._recorder.gates.get((self._model_name(), plain_name(language)))
        return wanted if learned is None else learned.gate(wanted)

    def edited(self, document: Document, before: str, edit: Edit) -> None:
        """Hear of each single change of a document, with its text before."""
        if self.observer is not None:
            self.observer.edited(document, before, edit)

    def typed(self) -> None:
        """Note the time of an edit: it keeps the model in memory."""
        self._last_typed = asyncio.get_running_loop().time()

    def lose_step(self, uri: str, reason: str) -> None:
        """Stop suggestions in a document to which a change could not be applied, until its whole text comes again."""
        document = self.documents.open_document(uri)
        if document is None or document.is_out_of_step:
            return
        document.is_out_of_step = True
        self._stop_work(uri)
        self._rest(uri)
        sentence = f"{uri} is out of step with the editor ({reason}). Close it, and open it again."
        self._log(types.MessageType.Warning, sentence)

    def lose_model(self, completer: Completer, reason: str) -> None:
        """Unload a model that failed, and report the reason in the status."""
        self._resident.lose(completer, reason)

    def begin_work(self, uri: str, work: asyncio.Task[Any]) -> None:
        """Register work for a document; this cancels older work for it."""
        self._stop_work(uri)
        self._work[uri] = work

        def forget(done: asyncio.Task[Any]) -> None:
            if self._work.get(uri) is done:
                del self._work[uri]

        work.add_done_callback(forget)

    def begin_warm_up(self, uri: str, work: asyncio.Task[None]) -> None:
        """Register a warm-up of a document; a request and an edit cancel it."""
        self._warm_ups[uri] = work

    def document_changed(self, document: Document) -> None:
        """Cancel work on a document's older text, and give the new text to the index."""
        self._stop_work(document.uri)
        self.workspace.update(document)

    def document_closed(self, uri: str) -> None:
        """Stop all work for a document that was closed."""
        uri = normalized(uri)
        self._stop_work(uri)
        self._rest(uri)
        self.workspace.forget(uri)
        if self.observer is not None:
            self.observer.closed(uri)

    def close(self) -> Callable[[], None]:
        """Stop all work; returns a function that has the last events written, and frees the model once it is idle."""
        self._stop_work()
        if self._unloading is not None:
            self._unloading.cancel()
        self.workspace.close()
        free_model, recorder = self._resident.close(), self._recorder
        if self.observer is not None:
            self.observer.close()

        def finish() -> None:
            if recorder is not None:
                recorder.close()
            free_model()

        return finish

    def _keep_statistics(self) -> None:
        is_wanted = self.settings.statistics
        if is_wanted and self._recorder is None:
            loop = asyncio.get_running_loop()

            def complain(problem: str) -> None:
                with contextlib.suppress(RuntimeError):  # the loop is closed
                    loop.call_soon_threadsafe(self._log, types.MessageType.Warning, problem)

            self._recorder = Recorder(statistics_file(), complain)
            self.observer = Observer(self._recorder.put, self._model_name)
        elif not is_wanted and self._recorder is not None:
            self._recorder.drop()
            self._recorder = self.observer = None
        if self.observer is not None and self._recorder is not None:
            self.observer.collect = self._recorder.put if self.settings.collects else None

    def _model_name(self) -> str:
        return plain_name(self.completer.model_name) if self.completer is not None else ""

    def _stop_work(self, uri: str | None = None) -> None:
        for tasks in (self._work, self._warm_ups):
            for key in list(tasks) if uri is None else [uri]:
                if (task := tasks.pop(key, None)) is not None:
                    task.cancel()

    def _rest(self, uri: str) -> None:
        """Cancel work ahead, too."""
        if self.completer is not None:
            self.completer.rest(uri)

    def _wait_for_rest(self) -> None:
        """Unload the model after the set minutes without typing. One timer, moved when it is due."""
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
            self._stop_work()  # the model that it needs is being replaced
        if status.state is State.READY:
            self.typed()
            self._wait_for_rest()
            self._look_around()
            if (loss := self._resident.loss) is not None:
                self._log(types.MessageType.Warning, loss)
        if status.state is State.FAILED:
            self._log(types.MessageType.Error, status.message)
        if status.state is State.NO_MODEL:
            self._log(types.MessageType.Info, status.message)
            if not self._has_shown_hint:
                self._has_shown_hint = True
                hint = types.ShowMessageParams(types.MessageType.Info, status.message)
                self._server.window_show_message(hint)
        self._send_status()

    def _remote_changed(self) -> None:
        """The remote engine has greeted, or failed."""
        if self.completer is None or (remote := self.completer.remote) is None:
            return
        self._log(types.MessageType.Warning if remote.state == "down" else types.MessageType.Info, remote.message)
        self._send_status()
        if remote.state == "ready":
            self._ready_remote = remote.url
        elif remote.state == "down" and remote.url == self._ready_remote and remote.url not in self._lost_remotes:
            # shown once, and in one line: what suggests is another model from now on; the status says why
            self._lost_remotes.add(remote.url)
            rest = "; the local one goes on" if self.completer.is_local else ""
            sentence = f"The model at {remote.url:.60} is gone{rest}"
            self._server.window_show_message(types.ShowMessageParams(types.MessageType.Warning, sentence))

    def _look_around(self) -> None:
        """Read the files near the documents that were opened while the model was loaded."""
        if (completer := self.completer) is None:
            return
        for document in list(self.documents.text_documents.values())[-_LOOKED_AROUND:]:
            if isinstance(document, Document):
                self.workspace.look_around(snapshot_at_last_edit(self.documents, document), completer)

    def _send_status(self) -> None:
        self._server.protocol.notify(STATUS, self.status().to_json())

    def _log(self, kind: types.MessageType, message: str) -> None:
        """Write to the client's log and to our own."""
        message = shortened(message)
        log.log(logging.INFO if kind is types.MessageType.Info else logging.WARNING, message)
        self._server.window_log_message(types.LogMessageParams(kind, message))
