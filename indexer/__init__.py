"""From a workspace to ranked snippets. Knows no LSP and no model."""

from indexer.index import Index, Snippet

__all__ = ["Index", "Snippet"]
