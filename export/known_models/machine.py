"""What of this machine a prediction needs, besides the costs of a shape."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass

from engine.model_folders.locations import cache_folder
from engine.runtime.memory import allowed
from engine.runtime.thread_count import default_threads

_HASHED = bytes(16 << 20)


@dataclass(frozen=True, slots=True)
class Machine:
    """Memory and disk in bytes, times in seconds."""

    threads: int
    memory: float
    """What a process may use of it at most, whatever uses it now."""
    free_disk: float
    """Where models are kept."""
    hash_byte: float
    """To check a byte of a model's files, as each load does."""

    start: float = 0.9
    """To start Python and import the server."""

    @classmethod
    def this_one(cls, start: float = 0.9) -> Machine:
        """Look at this machine, where a process takes `start` seconds to start. Takes a few hundredths of a second."""
        started = time.perf_counter()
        hashlib.sha256(_HASHED).digest()
        seconds = time.perf_counter() - started
        place = cache_folder()
        existing = next(folder for folder in (place, *place.absolute().parents) if folder.is_dir())
        return cls(
            threads=default_threads(),
            memory=allowed(),
            free_disk=shutil.disk_usage(existing).free,
            hash_byte=seconds / len(_HASHED),
            start=start,
        )
