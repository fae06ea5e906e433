"""What the store takes and gives: the state of a file, a definition or a chunk together with its file.

Definitions and chunks are tuples: a question makes some hundred of them, in a fifth of the time of frozen dataclasses.
"""

from __future__ import annotations

from typing import NamedTuple

from indexer.parsing.chunks import Chunk
from indexer.parsing.symbols import Symbol


class FileState(NamedTuple):
    """By which a file on disk is known to be the one that was read."""

    modified: int
    """Nanoseconds."""
    size: int
    hash: bytes


class Definition(NamedTuple):
    """A definition, and the file that it stands in."""

    path: str
    symbol: Symbol


class StoredChunk(NamedTuple):
    """A chunk, and the file that it stands in."""

    path: str
    chunk: Chunk
