"""What became of suggestions: how many were shown, and how many the user took, told by each item's command."""

from __future__ import annotations

from collections import OrderedDict

ACCEPTED = "mellum.accepted"

_REMEMBERED = 256


class Feedback:
    """Counts for this session. A suggestion is known by the identifier that it was sent with."""

    def __init__(self) -> None:
        self.shown = 0
        self.accepted = 0
        self._open: OrderedDict[str, None] = OrderedDict()

    def show(self) -> str:
        """Count a suggestion that is sent; returns its identifier."""
        self.shown += 1
        identifier = f"suggestion-{self.shown}"
        self._open[identifier] = None
        if len(self._open) > _REMEMBERED:
            self._open.popitem(last=False)
        return identifier

    def accept(self, identifier: object) -> bool:
        """Count an acceptance, once for each suggestion; False for one that is not known."""
        if not isinstance(identifier, str) or identifier not in self._open:
            return False
        del self._open[identifier]
        self.accepted += 1
        return True
