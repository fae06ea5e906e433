"""The model on ONNX Runtime: one session, and slots of KV state that it appends to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from engine.devices import cuda
from engine.devices.onnx_runtime import onnxruntime
from engine.devices.providers import Provider, is_out_of_memory, open_session
from engine.model_folders.guard import Guard
from engine.model_folders.manifest import GRAPH_FILE, Manifest, ModelError
from engine.request import Cancelled
from engine.runtime.kv_shift import Rotation
from engine.runtime.memory import allowed, unfilled
from engine.runtime.predictions import Predictions
from engine.runtime.thread_count import default_threads

PICKED, PICKED_SURELY = "likeliest_tokens", "likeliest_log_probabilities"
"""Outputs that graphs for a card have, `[1, wanted, 1]` each: what they pick, and its log probability."""
LONGEST_DRAFT = 15
"""Tokens that a step of decoding verifies at most."""
_STEP = 1 + LONGEST_DRAFT  # rows of logits that a step of decoding wants at most: a token's, and its draft's


class OutOfMemory(ModelError):
    """There is no room for a state, in the card's memory or in the machine's; its text names the mend."""


class Slot(ABC):
    """A cached KV state: room for `capacity` tokens, and the tokens whose keys and values are in it."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.tokens: list[int] = []
        self.prompted = 0
        """How many of them are those of the last prompt; the others were generated."""
        self.filled = 0
        """How many tokens' memory it has touched."""
        self.exact = 0
        """How many tokens at the beginning have the state that computing all of them from the first on gives."""
        self.shifts = 0
        """How often states were moved, one move on top of the other, to make that of the other tokens."""
        self.moves: tuple[Move, ...] = ()
        """What prefill takes over instead of computing it, in order."""

    @property
    def held(self) -> int:
        """How many tokens' memory it takes: the system hands out memory as it is filled, a card at once."""
        return self.filled

    def keep(self, tokens: int) -> None:
        """Forget everything after the first `tokens` tokens. The memory stays; it is overwritten later."""
        del self.tokens[tokens:]
        self.exact = min(self.exact, tokens)
        self.shifts = self.shifts if self.exact < len(self.tokens) else 0

    def copy(self, other: Self, tokens: int) -> None:
        """Take over the first `tokens` tokens of another slot, which stays as it is; none if that is not cheap."""
        self.tokens = other.tokens[: self._copy_states(other, tokens)]
        self.filled = max(self.filled, len(self.tokens))
        self.exact, self.shifts = min(other.exact, len(self.tokens)), other.shifts
        self.keep(len(self.tokens))

    def states(self, start: int, end: int) -> NDArray[Any] | None:
        """A view of the states of some tokens, `[layers * 2, kv_heads, end - start, head_size]`; None if there is none.

        Keys and values of a layer follow each other.
        """
        return None

    def take_over(self, move: Move) -> None:
        """Append tokens whose states another prompt has. Raises ValueError without room, or without such states."""
        raise ValueError("States of this graph cannot be moved: each run returns them whole")

    @abstractmethod
    def _copy_states(self, other: Self, tokens: int) -> int:
        """Copy keys and values; returns of how many tokens."""

    @abstractmethod
    def append(
        self, tokens: Sequence[int], wanted: Sequence[int], options: onnxruntime.RunOptions, *, picked: bool
    ) -> Predictions:
        """Run tokens after those that the slot has; returns what comes after the wanted ones.

        It holds until the session's next run, which may write to the same memory. `picked`: the graph picks the
        likeliest token of each row, and the rows stay where they are until they are asked for.
        """


@dataclass(frozen=True, slots=True)
class Move:
    """States of a run of tokens that goes on at another position."""

    tokens: Sequence[int]
    states: NDArray[Any]
    """As `Slot.states` gives them."""
    target: int
    """Where the run begins in the new prompt."""
    by: int
    """How many positions further on that is."""
    rotation: Rotation


class Results:
    """Room for what the runs of a session give. All its slots share it: each step writes over the one before."""

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest, device: str = "cpu") -> None:
        self._vocabulary, self._on_card = manifest.vocabulary, device != "cpu"
        self._picks = PICKED in {value.name for value in session.get_outputs()}
        self._rows = np.empty((1, _STEP, manifest.vocabulary), np.float32)
        self._made: dict[tuple[int, bool], dict[str, onnxruntime.OrtValue]] = {}

    def of(self, count: int, *, picked: bool) -> dict[str, onnxruntime.OrtValue]:
        """Room for some tokens' results, by the names of the outputs; the same for the numbers that steps have.

        Logits go to the processor's memory where nothing is picked: then only these leave a card.
        """
        if (known := self._made.get((count, picked))) is not None:
            return known
        is_step, make = count <= _STEP, onnxruntime.OrtValue
        if picked and self._on_card:
            logits = make.ortvalue_from_shape_and_type([1, count, self._vocabulary], np.float32, "cuda")
        elif is_step:
            logits = make.ortvalue_from_numpy(self._rows[:, :count])  # no copy
        else:
            logits = make.ortvalue_from_shape_and_type([1, count, self._vocabulary], np.float32)
        made = {"logits": logits}
        if self._picks:  # what is not bound would be allocated anew in each step
            made |= {
                PICKED: make.ortvalue_from_shape_and_type([1, count, 1], np.int64),
                PICKED_SURELY: make.ortvalue_from_shape_and_type([1, count, 1], np.float32),
            }
        if is_step:
            self._made[count, picked] = made
        return made


class InPlaceSlot(Slot):
    """Memory that the graph reads and writes in place: one input and output for keys, one for values a layer."""

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        manifest: Manifest,
        capacity: int,
        results: Results,
        device: str = "cpu",
    ) -> None:
        super().__init__(capacity)
        self.binding = session.io_binding()
        self._session, self._on_card = session, device != "cpu"
        shape = [1, manifest.kv_heads, capacity + 1, manifest.head_size]  # one for what a run of one is padded with
        element, make = _element_type(session), onnxruntime.OrtValue
        names = [f"{layer}.{what}" for layer in range(manifest.layers) for what in ("key", "value")]
        if self._on_card:
            self._states = [make.ortvalue_from_shape_and_type(shape, element, device) for _ in names]
        else:
            self._memory = unfilled([len(names), *shape], element)
            self._states = [make.ortvalue_from_numpy(part) for part in self._memory]  # no copies
        for name, state in zip(names, self._states, strict=True):
            self.binding.bind_ortvalue_input(f"past_key_values.{name}", state)
            self.binding.bind_ortvalue_output(f"present.{name}", state)
        self._results = results

    @property
    def held(self) -> int:
        """See `Slot.held`."""
        return self.capacity if self._on_card else self.filled

    def _copy_states(self, other: Self, tokens: int) -> int:
        if self._on_card:
            return self._copy_on_card(other, tokens)
        self._memory[..., :tokens, :] = other._memory[..., :tokens, :]
        return tokens

    def _copy_on_card(self, other: InPlaceSlot, tokens: int) -> int:
        """Copy between two places on the card, a row for each head; none where that cannot be done there."""
        _, heads, _, size = self._states[0].shape()
        token = size * np.dtype(_element_type(self._session)).itemsize
        pairs = [
            (
                cuda.Block(state.data_ptr(), (self.capacity + 1) * token),
                cuda.Block(source.data_ptr(), (other.capacity + 1) * token),
            )
            for state, source in zip(self._states, other._states, strict=True)
        ]
        return tokens if cuda.copy_rows(pairs, width=tokens * token, rows=heads) else 0

    def states(self, start: int, end: int) -> NDArray[Any] | None:
        """See `Slot.states`."""
        return None if self._on_card else self._memory[:, 0, :, start:end, :]

    def take_over(self, move: Move) -> None:
        """See `Slot.take_over`."""
        start, end = len(self.tokens), len(self.tokens) + len(move.tokens)
        if start != move.target or end > self.capacity:
            raise ValueError(f"A run for {move.target} to {end} does not fit a slot of {self.capacity} at {start}")
        for index in range(0, len(self._memory), 2):  # a layer at a time stays in the processor's cache
            self._memory[index, 0, :, start:end] = move.rotation.turn(move.states[index], move.by)
            self._memory[index + 1, 0, :, start:end] = move.states[index + 1]
        self.tokens += move.tokens
        self.filled = max(self.filled, end)

    def append(
        self, tokens: Sequence[int], wanted: Sequence[int], options: onnxruntime.RunOptions, *, picked: bool
    ) -> Predictions:
        """Nothing is copied: past and present are the same memory."""
        binding, end = self.binding, len(self.tokens) + len(tokens)
        binding.bind_cpu_input("input_ids", np.asarray([tokens], np.int64))
        binding.bind_cpu_input("logit_positions", np.asarray(wanted, np.int64))
        binding.bind_cpu_input("seqlens_k", np.asarray([end - 1], np.int32))
        binding.bind_cpu_input("total_sequence_length", np.asarray(end, np.int32))
        outputs = self._results.of(len(wanted), picked=picked)
        for name, value in outputs.items():
            binding.bind_ortvalue_output(name, value)
        self._session.run_with_iobinding(binding, options)
        logits = outputs["logits"]
        # a view: copying it takes as long as the rest of Python's share of a step
        return Predictions(
            lambda: np.asarray(logits.numpy()[0]),
            (outputs[PICKED].numpy()[0, :, 0], outputs[PICKED_SURELY].numpy()[0, :, 0]) if picked else None,
        )


class CopiedSlot(Slot):
    """States of a graph of standard operators (as optimum exports it): each run returns them whole, one run longer."""

    def __init__(self, session: onnxruntime.InferenceSession, manifest: Manifest, capacity: int) -> None:
        super().__init__(capacity)
        self._session = session
        self._inputs = {value.name for value in session.get_inputs()}
        self._outputs = [value.name for value in session.get_outputs()]
        empty = np.empty((1, manifest.kv_heads, 0, manifest.head_size), _element_type(session))
        self._states = {name: empty for name in self._inputs if name.startswith("past_key_values.")}

    def _copy_states(self, other: Self, tokens: int) -> int:
        self._states = {name: state[:, :, :tokens] for name, state in other._states.items()}
        return tokens

    def append(
        self, tokens: Sequence[int], wanted: Sequence[int], options: onnxruntime.RunOptions, *, picked: bool
    ) -> Predictions:
        """The graph computes all logits; the wanted ones are taken from them."""
        start, end = len(self.tokens), len(self.tokens) + len(tokens)
        feeds = {
            "input_ids": np.asarray([tokens], np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(start, end, dtype=np.int64)[None],
        }
        feeds = {name: values for name, values in feeds.items() if name in self._inputs}
        past = {name: state[:, :, :start] for name, state in self._states.items()}
        outputs = dict(zip(self._outputs, self._session.run(None, feeds | past, options), strict=True))
        self._states = {name: outputs[name.replace("past_key_values", "present")] for name in past}
        logits: NDArray[np.float32] = outputs["logits"][0, list(wanted)]
        return Predictions(lambda: logits)


class Model:
    """A graph in memory. Not thread-safe: one inference thread uses it."""

    def __init__(
        self, folder: Path, manifest: Manifest, *, threads: int | None = None, provider: Provider = "auto"
    ) -> None:
        self.manifest = manifest
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or default_threads()
        options.inter_op_num_threads = 1
        # Threads spin within a step (without: 1.5 times as long) but not between steps (no CPU while the user rests);
        # measured by `python -m evaluation.runtime`.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        options.log_severity_level = 3
        try:
            # ONNX Runtime maps the weights into memory and computes from there
            self._guard = Guard(file for file in folder.glob(f"{GRAPH_FILE}*") if file.name != GRAPH_FILE)
            self.opened = open_session(folder / GRAPH_FILE, options, provider=provider, for_gpu=manifest.is_for_gpu)
        except Exception as error:  # the runtime's own exception classes share no base
            raise ModelError(
                f"ONNX Runtime cannot load {folder / GRAPH_FILE} ({error}). Run: mellum-lsp setup --force"
            ) from error
        self._session = self.opened.session
        self._results = Results(self._session, manifest, self.opened.device)
        self.threads = options.intra_op_num_threads
        # One token alone goes through other kernels of the CPU (attention as products with vectors), whose sums round
        # otherwise; from two on, most processors compute the same bits for a token whatever runs beside it, as
        # `engine.runtime.benchmark.gives_same_bits` checks. So no run is narrower, and answers depend neither on drafts
        # nor on chunks, or in the seventh digit only. It costs a step 5 to 15% (`python -m evaluation.engine`), but one
        # in eight alone: the others have drafts. On a GPU it would cost more, and promise nothing.
        self.narrowest = 2 if self.providers[0] == "CPUExecutionProvider" else 1
        # Whether the graph picks the likeliest tokens: on the processor, where logits are anyway, it would cost more.
        self.picks = self.on_card and PICKED in {value.name for value in self._session.get_outputs()}
        self.begin()

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that really run the graph, as the session itself says."""
        return tuple(self._session.get_providers())

    @property
    def on_card(self) -> bool:
        """Whether keys and values lie in the memory of a card."""
        return self.opened.device != "cpu"

    def new_slot(self, capacity: int) -> Slot:
        """Make room for the state of up to `capacity` tokens. Raises OutOfMemory."""
        if "seqlens_k" not in {value.name for value in self._session.get_inputs()}:
            return CopiedSlot(self._session, self.manifest, capacity)
        try:
            return InPlaceSlot(self._session, self.manifest, capacity, self._results, self.opened.device)
        except Exception as error:  # the runtime raises a bare RuntimeError, and a MemoryError
            if not isinstance(error, MemoryError) and not is_out_of_memory(error):
                raise
            raise self._out_of_memory(f"the state of {capacity} tokens") from error

    def run(self, slot: Slot, tokens: Sequence[int], wanted: Sequence[int]) -> NDArray[np.float32]:
        """Append `tokens` to the slot; returns the logits float32[len(wanted), vocabulary] at those of them.

        They stay as they are; `predict`, which says the rest, saves the copy.
        """
        logits = self._append(slot, tokens, wanted, picked=False).logits
        return logits if len(wanted) > _STEP else logits.copy()

    def predict(self, slot: Slot, tokens: Sequence[int], wanted: Sequence[int]) -> Predictions:
        """Append `tokens` to the slot; returns what comes after those of them that are wanted.

        It holds until the model's next run, of whichever slot.
        `wanted` counts from the first of `tokens`. Raises ValueError where the slot is too small, and Cancelled where
        `interrupt` was called; then the slot is as before, for what lies after its tokens is never read. Raises
        ModelError where the model's files have changed.
        """
        return self._append(slot, tokens, wanted, picked=self.picks)

    def _append(self, slot: Slot, tokens: Sequence[int], wanted: Sequence[int], *, picked: bool) -> Predictions:
        start, end = len(slot.tokens), len(slot.tokens) + len(tokens)
        if (changed := self._guard.changed()) is not None:
            raise ModelError(
                f"{changed} has changed while it was in use, so the model is not used any more. {self.manifest.mend}"
            )
        if end > slot.capacity:
            raise ValueError(f"{end} tokens do not fit a slot of {slot.capacity}")
        try:
            padded = tokens if len(tokens) >= self.narrowest else [*tokens, *tokens]  # the second one is overwritten
            predictions = slot.append(padded, wanted, self._run_options, picked=picked)
        except Exception as error:  # the runtime raises a bare RuntimeError
            if self._run_options.terminate:
                raise Cancelled from error
            if is_out_of_memory(error):
                raise self._out_of_memory(f"computing {len(tokens)} tokens at once") from error
            raise
        finally:
            slot.filled = max(slot.filled, end)
        slot.tokens[start:] = tokens
        if slot.exact == start:
            slot.exact = end
        return predictions

    def _out_of_memory(self, what: str) -> OutOfMemory:
        if self.on_card:
            where, room = "The card", f"{(cuda.free_memory() or 0) / 1e6:.0f} MB are free"
        elif (most := allowed()) < psutil.virtual_memory().total:
            where, room = "This process", f"it may use {most / 1e6:.0f} MB"
        else:
            where, room = "This machine", f"{psutil.virtual_memory().available / 1e6:.0f} MB are free"
        return OutOfMemory(
            f"{where} has no memory left for {what} of {self.manifest.name} ({room}); close what else uses it, or "
            "export the model with --format int4"
        )

    def begin(self) -> None:
        """Forget earlier interruptions."""
        self._run_options = onnxruntime.RunOptions()
        # its default; each run asks for it, and to be told that it is missing takes 0.03 to 0.08 ms
        self._run_options.add_run_config_entry("gpu_graph_id", "0")

    def interrupt(self) -> None:
        """End the run that is under way, between two of its operators, and all further ones until `begin`.

        The one method that other threads may call.
        """
        self._run_options.terminate = True


def _element_type(session: onnxruntime.InferenceSession) -> type[np.floating[Any]]:
    """What keys and values are stored as: float32, or float16 for CUDA."""
    types = {value.type for value in session.get_inputs() if value.name.startswith("past_key_values.")}
    return np.float16 if types == {"tensor(float16)"} else np.float32
