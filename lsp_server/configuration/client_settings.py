"""The settings that count: what the client sent, less what a workspace must not set for itself."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from pygls.lsp.server import LanguageServer

from lsp_server.configuration.client_requests import ask_for_settings
from lsp_server.configuration.settings import SECTION, Settings, merged, read_settings, section_of, without_wishes_of

_REMEMBERED_COMPLAINTS = 200


class ClientSettings:
    """The settings of one client. Lives on the event loop's thread."""

    def __init__(self, server: LanguageServer, complain: Callable[[str], None]) -> None:
        self._server, self._complain = server, complain
        self.current = Settings()
        """The settings that count."""
        self._sent = self.current
        """The settings as they were sent, with what a workspace may have set for itself."""
        self._initial: object = None
        self._complaints: deque[str] = deque(maxlen=_REMEMBERED_COMPLAINTS)

    def take_initial(self, options: object) -> None:
        """Keep what `initialize` brought: later settings are laid over it."""
        self._initial = section_of(options)

    async def fetch(self, pushed: object) -> object:
        """Our own section of what the client has pushed; if it pushed none, its answer to a request for it."""
        # some clients push the sections of all their servers, so only our own counts here
        raw = pushed.get(SECTION) if isinstance(pushed, Mapping) else None
        return await ask_for_settings(self._server) if raw is None else raw

    def take(self, raw: object, roots: Iterable[Path]) -> None:
        """Read what `fetch` returned, for a workspace with these folders."""
        self._sent, complaints = read_settings(merged(self._initial, raw))
        self.apply(roots, complaints)

    def apply(self, roots: Iterable[Path], complaints: Iterable[str] = ()) -> None:
        """Use what may be used of the settings with these workspace folders; report each problem once."""
        self.current, refused = without_wishes_of(roots, self._sent)
        for complaint in (*complaints, *refused):
            if complaint not in self._complaints:
                self._complaints.append(complaint)
                self._complain(complaint)
