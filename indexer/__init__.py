"""From a workspace to ranked snippets. Knows no LSP and no model.

Names are imported on first use, so that the processes which read with grammars load nothing else.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from indexer.admission import Admission, why_not_root
    from indexer.folder import note_on, why_not
    from indexer.index import Index
    from indexer.neighbours import Neighbour
    from indexer.pack import Snippet
    from indexer.reader import counts_of, database_of
    from indexer.worker import index_now

_WHERE = {
    "Admission": "admission",
    "Index": "index",
    "Neighbour": "neighbours",
    "Snippet": "pack",
    "counts_of": "reader",
    "database_of": "reader",
    "index_now": "worker",
    "note_on": "folder",
    "why_not": "folder",
    "why_not_root": "admission",
}

__all__ = [
    "Admission",
    "Index",
    "Neighbour",
    "Snippet",
    "counts_of",
    "database_of",
    "index_now",
    "note_on",
    "why_not",
    "why_not_root",
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"indexer.{_WHERE[name]}"), name)
