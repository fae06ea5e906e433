"""Counts of suggestions that were sent, shown and accepted; the client reports an acceptance by the item's command."""

from __future__ import annotations

from collections import OrderedDict

ACCEPTED = "mellum.accepted"
DID_SHOW = "textDocument/didShowCompletion"
"""`{item}`: the item is on the screen. The name, as the next one, is that of Copilot's language server."""
DID_PARTIALLY_ACCEPT = "textDocument/didPartiallyAcceptCompletion"
"""`{item, acceptedLength}`: so much of it was accepted, in UTF-16 units from the start of its `insertText`."""
DID_DISMISS = "textDocument/didDismissCompletion"
"""`{item}`: the user sent it away by a key."""

_REMEMBERED = 256


class Feedback:
    """Counts of this session. The identifier that is sent with a suggestion names it."""

    def __init__(self) -> None:
        self.shown = 0
        self.accepted = 0
        self.displayed = 0
        """Suggestions that the client reported as shown; not every client does."""
        self.accepted_in_part = 0
        self._open: OrderedDict[str, set[str]] = OrderedDict()

    def show(self) -> str:
        """Count a suggestion that is sent; returns its identifier."""
        self.shown += 1
        identifier = f"suggestion-{self.shown}"
        self._open[identifier] = set()
        if len(self._open) > _REMEMBERED:
            self._open.popitem(last=False)
        return identifier

    def accept(self, identifier: object) -> bool:
        """Count an acceptance, once for each suggestion; False for an unknown one."""
        if not isinstance(identifier, str) or identifier not in self._open:
            return False
        del self._open[identifier]
        self.accepted += 1
        return True

    def display(self, identifier: object) -> bool:
        """Count a suggestion as shown, once; False for an unknown one."""
        is_new = self._note(identifier, DID_SHOW)
        self.displayed += is_new or 0
        return is_new is not None

    def accept_in_part(self, identifier: object, length: int) -> bool:
        """Count a suggestion of which `length` UTF-16 units were accepted, once; False for an unknown one."""
        is_new = self._note(identifier, DID_PARTIALLY_ACCEPT) if length > 0 else None
        self.accepted_in_part += is_new or 0
        return is_new is not None

    def _note(self, identifier: object, what: str) -> bool | None:
        """Whether this is the first such report of a suggestion; None for an unknown one."""
        told = self._open.get(identifier) if isinstance(identifier, str) else None
        if told is None:
            return None
        is_new = what not in told
        told.add(what)
        return is_new
