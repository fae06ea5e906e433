"""From a workspace to ranked snippets. Knows no LSP and no model."""

from indexer.folder import why_not
from indexer.index import Index
from indexer.pack import Snippet
from indexer.reader import database_of

__all__ = ["Index", "Snippet", "database_of", "why_not"]
