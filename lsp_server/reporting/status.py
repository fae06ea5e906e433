"""`mellum/status`: a notification when the state changes, and a request at any time.

It is not sent when a request begins or ends: some clients warn of each notification that they do not know, and a client
knows which of its own requests are pending.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from lsp_server.reporting.index_progress import IndexFacts
from lsp_server.reporting.silence import SilenceFacts
from lsp_server.reporting.statistics import Statistics

if TYPE_CHECKING:  # imported at run time only by the loading thread, see completer.py
    from engine.remote.engine import RemoteFacts

STATUS = "mellum/status"


class State(StrEnum):
    """The states of the server, as a request for a suggestion meets them."""

    LOADING = "loading"
    READY = "ready"
    NO_MODEL = "no-model"
    FAILED = "failed"
    DISABLED = "disabled"
    UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model in memory, for a status line."""

    name: str
    architecture: str
    parameters: int
    quantization: str
    providers: tuple[str, ...]
    threads: int


@dataclass(frozen=True, slots=True)
class Status:
    """The whole status; field names are those of the JSON."""

    state: State
    message: str
    """One sentence: the state, and the mend if something is wrong."""
    model: ModelFacts | None
    remote: RemoteFacts | None
    """The model on another machine, where the settings name one."""
    busy: bool
    """Whether a suggestion is being computed now."""
    shown: int
    """Suggestions sent in this session."""
    accepted: int
    """Those that the user accepted."""
    displayed: int
    """Those that the client reported as shown; not every client does."""
    accepted_in_part: int
    """Those of which the user accepted a part."""
    silence: SilenceFacts
    statistics: Statistics
    index: IndexFacts
    version: str

    def to_json(self) -> dict[str, Any]:
        """The status as plain JSON values."""
        fields = asdict(self)
        for part in ("index", "statistics"):
            if fields[part]["problem"] is None:
                del fields[part]["problem"]
        return fields
