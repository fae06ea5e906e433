"""What the server says of itself: `mellum/status`, sent when the state changes and answered when asked for.

It is not sent for every request that begins or ends: clients warn of notifications they do not know, and a client knows
best which of its own requests are under way.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from lsp_server.reporting.index_progress import IndexFacts
from lsp_server.reporting.silence import SilenceFacts
from lsp_server.reporting.statistics import Statistics

STATUS = "mellum/status"


class State(StrEnum):
    """What a request for a suggestion can expect now."""

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
    """One sentence: what is, and if something is wrong, how to mend it."""
    model: ModelFacts | None
    busy: bool
    """Whether a suggestion is being computed right now."""
    shown: int
    """Suggestions sent in this session."""
    accepted: int
    """Those of them that the user took."""
    displayed: int
    """Those that the client has said to be on the screen; not every client says so."""
    accepted_in_part: int
    """Those of which the user took a word or a line."""
    silence: SilenceFacts
    statistics: Statistics
    index: IndexFacts
    version: str

    def to_json(self) -> dict[str, Any]:
        """The status as plain JSON values."""
        fields = asdict(self)
        if self.index.problem is None:
            del fields["index"]["problem"]
        return fields
