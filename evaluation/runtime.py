"""What ONNX Runtime's settings cost, side by side in one run: `python -m evaluation.runtime`.

Prints, for each way of letting threads spin and for each number of threads, milliseconds a decode step and a prefill
of 256 tokens take, and the CPU seconds that the process burns in the second after the last step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from engine.devices.onnx_runtime import onnxruntime
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import GRAPH_FILE, read_manifest
from engine.runtime.session import InPlaceSlot, Results
from engine.runtime.thread_count import default_threads

_SETTINGS: dict[str, dict[str, str]] = {
    "spin always (the runtime's default)": {},
    "never spin": {"session.intra_op.allow_spinning": "0"},
    "spin within a step (ours)": {"session.force_spinning_stop": "1"},
}
_ROUNDS, _STEPS = 3, 30


class _Candidate:
    """A session with some settings, and a slot of its own."""

    def __init__(self, folder: Path, settings: Mapping[str, str], threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        for key, value in settings.items():
            options.add_session_config_entry(key, value)
        self.session = onnxruntime.InferenceSession(
            str(folder / GRAPH_FILE), options, providers=["CPUExecutionProvider"]
        )
        manifest = read_manifest(folder)
        self.slot = InPlaceSlot(self.session, manifest, 1024, Results(self.session, manifest))

    def seconds(self, count: int, past: int) -> float:
        """Time one run of `count` tokens after `past` others."""
        inputs = {
            "input_ids": np.arange(1000, 1000 + count, dtype=np.int64)[None],
            "logit_positions": np.array([count - 1], np.int64),
            "seqlens_k": np.array([past + count - 1], np.int32),
            "total_sequence_length": np.array(past + count, np.int32),
        }
        for name, values in inputs.items():
            self.slot.binding.bind_cpu_input(name, values)
        self.slot.binding.bind_output("logits", "cpu")
        started = time.perf_counter()
        self.session.run_with_iobinding(self.slot.binding)
        return time.perf_counter() - started


def main() -> None:
    """Alternate between the settings, so that a change of the machine's speed meets all of them."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    folder = find_model()
    candidates = {name: _Candidate(folder, settings, default_threads()) for name, settings in _SETTINGS.items()}
    ours = list(_SETTINGS.values())[-1]
    for threads in range(1, min(os.cpu_count() or 1, 8) + 1):
        candidates[f"{threads} of {os.cpu_count()} threads"] = _Candidate(folder, ours, threads)
    decode: dict[str, list[float]] = {name: [] for name in candidates}
    prefill: dict[str, list[float]] = {name: [] for name in candidates}
    idle: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(_ROUNDS):
        for name, candidate in candidates.items():
            prefill[name].append(candidate.seconds(256, 0))
            decode[name] += [candidate.seconds(1, 256) for _ in range(_STEPS)]
            before = time.process_time()
            time.sleep(1)
            idle[name].append(time.process_time() - before)
    for name in candidates:
        print(
            f"{name:36} decode {statistics.median(decode[name]) * 1e3:6.2f} ms   "
            f"prefill 256 {statistics.median(prefill[name]) * 1e3:6.1f} ms   "
            f"CPU in an idle second {statistics.median(idle[name]):.3f} s"
        )


if __name__ == "__main__":
    main()
