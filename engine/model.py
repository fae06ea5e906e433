"""The model on ONNX Runtime: one session, and slots of KV state that it reads and writes in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engine.manifest import GRAPH_FILE, Manifest, ModelError


class Slot:
    """A cached KV state: memory for `capacity` tokens, and the tokens whose keys and values are in it."""

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest, capacity: int) -> None:
        self.capacity = capacity
        self.tokens: list[int] = []
        self.binding = session.io_binding()
        shape = [1, manifest.kv_heads, capacity, manifest.head_size]
        for layer in range(manifest.layers):
            for what in ("key", "value"):
                # uninitialized: the operating system hands out the pages as tokens fill them
                state = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32)
                self.binding.bind_ortvalue_input(f"past_key_values.{layer}.{what}", state)
                self.binding.bind_ortvalue_output(f"present.{layer}.{what}", state)
        self.logits_output = 2 * manifest.layers  # outputs are numbered in the order of their binding

    def keep(self, tokens: int) -> None:
        """Forget everything after the first `tokens` tokens. The memory stays; it is overwritten later."""
        del self.tokens[tokens:]


class Model:
    """A graph in memory. Not thread-safe: one inference thread uses it."""

    def __init__(self, folder: Path, manifest: Manifest, *, threads: int | None = None) -> None:
        self.manifest = manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        # Threads spin within a step (without: 1.5 times as long) but not between steps (no CPU while nobody types);
        # measured by `python -m evaluation.runtime`.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                str(folder / GRAPH_FILE), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's own exception classes share no base
            raise ModelError(
                f"ONNX Runtime cannot load {folder / GRAPH_FILE} ({error}). Run: mellum-lsp setup --force"
            ) from error
        self.threads = options.intra_op_num_threads

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that really run the graph, as the session itself says."""
        return tuple(self._session.get_providers())

    def new_slot(self, capacity: int) -> Slot:
        """Make room for the state of up to `capacity` tokens."""
        return Slot(self._session, self.manifest, capacity)

    def run(self, slot: Slot, tokens: Sequence[int], wanted: Sequence[int]) -> NDArray[np.float32]:
        """Append `tokens` to the slot; returns the logits float32[len(wanted), vocabulary] at those of them.

        `wanted` counts from the first of `tokens`. Raises ValueError where the slot is too small.
        """
        start, end = len(slot.tokens), len(slot.tokens) + len(tokens)
        if end > slot.capacity:
            raise ValueError(f"{end} tokens do not fit a slot of {slot.capacity}")
        binding = slot.binding
        binding.bind_cpu_input("input_ids", np.asarray([tokens], np.int64))
        binding.bind_cpu_input("logit_positions", np.asarray(wanted, np.int64))
        binding.bind_cpu_input("seqlens_k", np.asarray([end - 1], np.int32))
        binding.bind_cpu_input("total_sequence_length", np.asarray(end, np.int32))
        binding.bind_output("logits", "cpu")  # anew each time: its shape follows `wanted`
        self._session.run_with_iobinding(binding)
        slot.tokens[start:] = tokens
        logits: NDArray[np.float32] = binding.get_outputs()[slot.logits_output].numpy()[0]
        return logits


def default_threads() -> int:
    """All cores of a small machine, half of a large one: the editor and its other servers want some, too."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(max(cores // 2, 2), 8, cores)
