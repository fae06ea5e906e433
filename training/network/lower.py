"""The output of the frozen lower layers for each example: computed once, kept in a file, and read from then on.

A run that reads its examples several times computes the lower half of the model only the first time. The file lies
beside the checkpoint, takes 1.2 kB a token for the default model, and is removed when the run ends.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from training.network.decoder import Model

_SPARE = 1 << 30  # bytes that are left free on the disk


class LowerStates:
    """The lower states of sequences, found by their tokens; the processes of a machine share the file."""

    def __init__(self, folder: Path, sequences: Iterable[NDArray[np.int64]], model: Model) -> None:
        """Open the file in `folder`, or make room for one. `sequences` are all that will ever be kept.

        A file of other sequences or another model is removed. Raises OSError where the disk has no room.
        """
        self._model, self._places = model, dict[bytes, tuple[int, int]]()
        total = 0
        for sequence in sequences:
            key = _key(sequence)
            if key not in self._places:
                self._places[key] = len(self._places), total
                total += len(sequence)
        element = np.dtype(f"i{model.embeddings.element_size()}")
        name = hashlib.blake2b(b"".join(self._places), digest_size=8)
        name.update(model.embeddings.cpu().view(torch.uint8).numpy().tobytes())  # the adapter's may differ
        name.update(f"{model.first_adapted}".encode())
        self._files = [folder / f"lower-{name.hexdigest()}.{end}" for end in ("states", "sums")]
        shapes = [(total, model.architecture.hidden), (len(self._places),)]
        kinds = [element, np.dtype(np.uint32)]
        if os.environ.get("LOCAL_RANK", "0") == "0":  # the first process of each machine
            self._make(folder, [int(np.prod(shape)) * kind.itemsize for shape, kind in zip(shapes, kinds, strict=True)])
        if distributed.is_initialized():
            distributed.barrier()
        self._states, self._sums = (
            np.memmap(file, kind, "r+", shape=shape)
            for file, kind, shape in zip(self._files, kinds, shapes, strict=True)
        )

    def lower(self, tokens: Tensor, lengths: Sequence[int]) -> Tensor:
        """The lower states [n, hidden] of `tokens` int64[n], sequences of `lengths`: those kept, or else computed."""
        keys = [_key(part.numpy()) for part in tokens.cpu().split(list(lengths))]
        kept = [self._kept(key, length) for key, length in zip(keys, lengths, strict=True)]
        dtype = self._model.embeddings.dtype
        if all(part is not None for part in kept):
            return torch.from_numpy(np.concatenate(kept)).view(dtype).to(tokens.device)  # type: ignore[arg-type]
        states = self._model.lower(tokens, lengths)
        whole = torch.from_numpy(np.empty(0, self._states.dtype)).dtype
        for key, part in zip(keys, states.cpu().view(whole).split(list(lengths)), strict=True):
            self._keep(key, part.numpy())
        return states

    def remove(self) -> None:
        """Take the file away; nothing can be asked for any more."""
        del self._states, self._sums  # Windows removes no file that is mapped
        for file in self._files:
            file.unlink(missing_ok=True)

    def _kept(self, key: bytes, length: int) -> NDArray[np.signedinteger] | None:
        if key not in self._places:
            return None
        index, start = self._places[key]
        states = self._states[start : start + length]
        # a machine that lost its power may have kept the one file and not the other
        return states if self._sums[index] and self._sums[index] == _sum(states) else None

    def _keep(self, key: bytes, states: NDArray[np.signedinteger]) -> None:
        if key in self._places:
            index, start = self._places[key]
            self._states[start : start + len(states)] = states
            self._sums[index] = _sum(states)

    def _make(self, folder: Path, sizes: list[int]) -> None:
        """Remove what is of other runs, and make files of these sizes where they are missing."""
        for other in folder.glob("lower-*"):
            if other not in self._files:
                other.unlink()
        if all(file.is_file() for file in self._files):
            return
        if (free := shutil.disk_usage(folder).free) < sum(sizes) + _SPARE:
            needed = f"{sum(sizes) / 1e9:.1f} GB for the states of layers that stay as they are"
            raise OSError(f"{folder} needs {needed}, and has {free / 1e9:.1f} GB: free some, or give --no-keep")
        for file, size in zip(self._files, sizes, strict=True):
            with file.open("wb") as new:
                new.truncate(size)


def _key(sequence: NDArray[np.int64]) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(sequence).tobytes(), digest_size=16).digest()


def _sum(states: NDArray[np.signedinteger]) -> int:
    """A checksum; never 0, which stands for nothing kept."""
    return zlib.crc32(states.tobytes()) or 1
