"""From a workspace to ranked snippets. Knows no LSP and no model."""

from indexer.admission import Admission, why_not_root
from indexer.folder import note_on, why_not
from indexer.index import Index
from indexer.neighbours import Neighbour
from indexer.pack import Snippet
from indexer.reader import counts_of, database_of
from indexer.worker import index_now

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
