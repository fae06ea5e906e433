"""What CUDA graphs would be worth: steps of a fixed width that are recorded once and launched as one.

The engine does not use them: no card was measured yet. All buffers of a step have fixed addresses here;
the total length, which is read while recording, is the slot's capacity, and the true one is read on the card.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine.devices.onnx_runtime import onnxruntime
from engine.model_folders.manifest import GRAPH_FILE
from engine.runtime.session import PICKED, PICKED_SURELY
from evaluation.gpu.records import Recorder
from evaluation.gpu.workplace import Workplace, filled, tokens

_WIDTHS = (1, 8)
_WARM = 4
_NEVER = "-1"  # an id with which nothing is recorded


def measure_graphs(workplace: Workplace, record: Recorder, title: str) -> None:
    """Steps of one and of eight tokens, as the engine runs them and recorded, on the same states."""
    length, steps = min(workplace.sizes.decode), workplace.sizes.steps
    plain = {}
    model = workplace.load(title)
    slot = model.new_slot(length + 64)
    filled(model, slot, length)
    text = tokens(model, length + max(_WIDTHS))
    expected = {}
    for width in _WIDTHS:
        times = []
        for _ in range(_WARM + steps):
            slot.keep(length)
            started = time.perf_counter()
            predictions = model.predict(slot, text[length : length + width], range(width))
            predictions.likeliest(0)
            times.append(time.perf_counter() - started)
        plain[width] = statistics.median(times[_WARM:])
        slot.keep(length)
        expected[width] = model.run(slot, text[length : length + width], range(width)).argmax(axis=1).tolist()
    del slot
    recorded = _Recorded(workplace, title, length + 64)
    recorded.read(text[:length])
    for width in _WIDTHS:
        times, found = [], []
        with recorded.step(width) as step:
            for _ in range(_WARM + steps):
                started = time.perf_counter()
                found = step(text[length : length + width], length)
                times.append(time.perf_counter() - started)
        took = statistics.median(times[_WARM:])
        record.add(title, f"a step of {width} after {length}", plain[width] * 1e3, "ms")
        record.add(title, f"the same, recorded as a CUDA graph ({width})", took * 1e3, "ms")
        same = float(np.mean([a == b for a, b in zip(found, expected[width], strict=True)])) * 100
        record.at_least(title, f"the same likeliest tokens when recorded ({width})", same, 99, "%")


class _Recorded:
    """A session that records its runs, with one slot at a fixed place."""

    def __init__(self, workplace: Workplace, title: str, capacity: int) -> None:
        self._device = "cpu" if workplace.dry else "cuda"
        self._capacity = capacity
        manifest = workplace.manifest(title)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        provider: Any = "CPUExecutionProvider"
        if not workplace.dry:
            settings = {"enable_cuda_graph": "1", "arena_extend_strategy": "kSameAsRequested"}
            provider = ("CUDAExecutionProvider", settings)
        self._session = onnxruntime.InferenceSession(
            str(workplace.folder(title) / GRAPH_FILE), options, providers=[provider], enable_fallback=0
        )
        self._manifest = manifest
        shape = [1, manifest.kv_heads, capacity + 1, manifest.head_size]
        self._states = {
            f"{layer}.{what}": self._make(shape, np.float16)
            for layer in range(manifest.layers)
            for what in ("key", "value")
        }

    def read(self, text: list[int]) -> None:
        """Fill the slot; nothing is recorded."""
        binding = self._binding()
        self._run(binding, self._inputs(binding, len(text), len(text)), text, 0, _NEVER)

    @contextmanager
    def step(self, width: int) -> Iterator[Any]:
        """A function that runs so many tokens after so many others, and returns what is likeliest after each."""
        binding = self._binding()
        inputs = self._inputs(binding, width, self._capacity)
        picked = {
            PICKED: self._make([1, width, 1], np.int64),
            PICKED_SURELY: self._make([1, width, 1], np.float32),
            "logits": self._make([1, width, self._manifest.vocabulary], np.float32),
        }
        for name, value in picked.items():
            binding.bind_ortvalue_output(name, value)

        def run(text: list[int], length: int) -> list[int]:
            self._run(binding, inputs, text, length, str(width))
            return [int(token) for token in picked[PICKED].numpy()[0, :, 0]]

        yield run

    def _make(self, shape: list[int], kind: type[np.generic]) -> onnxruntime.OrtValue:
        return onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, kind, self._device)

    def _binding(self) -> onnxruntime.IOBinding:
        binding = self._session.io_binding()
        for name, state in self._states.items():
            binding.bind_ortvalue_input(f"past_key_values.{name}", state)
            binding.bind_ortvalue_output(f"present.{name}", state)
        for name in ("logits", PICKED, PICKED_SURELY):
            binding.bind_output(name, self._device)
        return binding

    def _inputs(self, binding: onnxruntime.IOBinding, width: int, total: int) -> dict[str, onnxruntime.OrtValue]:
        inputs = {
            "input_ids": self._make([1, width], np.int64),
            "logit_positions": self._make([width], np.int64),
            "seqlens_k": self._make([1], np.int32),
        }
        inputs["logit_positions"].update_inplace(np.arange(width, dtype=np.int64))
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        length = onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(total, np.int32))
        binding.bind_ortvalue_input("total_sequence_length", length)
        return {**inputs, "total_sequence_length": length}  # which has to live as long as the binding

    def _run(
        self,
        binding: onnxruntime.IOBinding,
        inputs: dict[str, onnxruntime.OrtValue],
        text: list[int],
        length: int,
        identity: str,
    ) -> None:
        inputs["input_ids"].update_inplace(np.asarray([text], np.int64))
        inputs["seqlens_k"].update_inplace(np.asarray([length + len(text) - 1], np.int32))
        options = onnxruntime.RunOptions()
        options.add_run_config_entry("gpu_graph_id", identity)
        self._session.run_with_iobinding(binding, options)
