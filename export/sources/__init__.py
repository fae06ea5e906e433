"""Sources of weights: files, folders, the hub, adapters, a random generator; all are read in slices of rows."""

from export.architecture import tensor_names
from export.sources.better_sources import cautions
from export.sources.folder import Checkpoint
from export.sources.gguf.file import GgufSource
from export.sources.opening import name_for, open_checkpoint, open_source
from export.sources.source import Floats, Progress, Source

__all__ = [
    "Checkpoint",
    "Floats",
    "GgufSource",
    "Progress",
    "Source",
    "cautions",
    "name_for",
    "open_checkpoint",
    "open_source",
    "tensor_names",
]
