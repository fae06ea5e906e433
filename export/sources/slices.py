"""Work on the rows of large arrays in slices that fit a core's cache, on all cores.

Numpy alone would use one core for most of it, and carry every intermediate result to memory and back; BLAS uses all
cores, but for small products it takes longer to wake its threads than to multiply.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from threadpoolctl import ThreadpoolController

_SLICE_BYTES = 1 << 20


def on_slices(work: Callable[[slice], None], count: int, bytes_each: int, *, slice_bytes: int = _SLICE_BYTES) -> None:
    """Call `work` in parallel with slices that together are `range(count)`; each must write to its own rows only."""
    step = max(slice_bytes // bytes_each, 1)
    slices = [slice(start, min(start + step, count)) for start in range(0, count, step)]
    with _blas().limit(limits=1, user_api="blas"):
        for _ in _pool().map(work, slices):
            pass


@cache
def _pool() -> ThreadPoolExecutor:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(cores, thread_name_prefix="slices")


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController()
