"""Where weights come from: files, folders, the hub, adapters, or a random generator; all read in slices of rows."""

from export.sources.gguf_file import GgufSource
from export.sources.source import Floats, Source

__all__ = ["Floats", "GgufSource", "Source"]
