"""How long a model would take on this machine, and how much memory and disk: sums over its layers and its head."""

from __future__ import annotations

from dataclasses import dataclass

from engine.runtime.thread_count import READ
from export.architecture import Architecture
from export.known_models.machine import Machine
from export.known_models.shape_costs import LARGE, ServedFormat, ShapeCosts, head_bytes, weight_bytes

STEPS_TYPING, STEPS_TYPING_SLOW, STEPS_JUMP = 2, 5, 5
"""Steps of a suggestion while typing, of one in ten, and at a new place, as the default model takes them (README)."""

# the engine's own limits of prompts on the processor (engine.engine); a test compares them
FIRST_SECONDS, IDLE_SECONDS = 0.4, 4.0
LEAST_PROMPT, MOST_PROMPT, IDLE_PROMPT = 256, 4096, 768
_RESERVED = 256  # tokens of the window that the suggestion may need

_START_BYTES = 110e6  # Python, the server, ONNX Runtime and its buffers
_TOKEN_BYTES = 700  # of memory, for each token of the vocabulary: the tokenizer, and rows of logits
_PLACES = 2  # whose states are in memory
_TOKENIZER_BYTES = 8e6
_OPENING = 0.35  # seconds at a start: the engine's imports, the tokenizer, the process of the grammars
_WIDTHS = (1, 2, 4, 8, 16)  # of the steps that the engine times at load of a large model, four times each


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds and bytes of one model in one format."""

    format: ServedFormat
    prefill: float
    """Tokens of a prompt that are read in a second."""
    step: float
    """Seconds to write a token."""
    typing: float
    """Seconds to a suggestion while typing, in the median."""
    typing_slow: float
    """The same of one in ten."""
    jump: float
    """Seconds to a suggestion at a new place."""
    first: float
    """Seconds from the editor's start of the server to the first suggestion."""
    memory: float
    """Bytes that the server takes, with the states of a few places."""
    disk: float
    """Bytes of the exported model."""


def predict(shape: Architecture, costs: ShapeCosts, machine: Machine) -> Prediction:
    """Sum up what a model of a shape takes."""
    prefill = 1 / (shape.layers * costs.read)
    step = shape.layers * costs.step + head_bytes(shape, costs.format) * costs.byte
    first_prompt, prompt = prompts(prefill, shape.context)
    jump = first_prompt / prefill + STEPS_JUMP * step
    weights = weight_bytes(shape, costs.format)
    embeddings = shape.vocabulary * shape.hidden * 2
    disk = weights + embeddings + _TOKENIZER_BYTES
    widths = sum(1 + (costs.verify - 1) * (width - 1) / (_WIDTHS[-1] - 1) for width in _WIDTHS)
    measuring = READ / prefill + 4 * step * widths if disk >= LARGE else step
    load = max(machine.hash_byte * disk, costs.load_byte * weights)  # side by side
    return Prediction(
        format=costs.format,
        prefill=prefill,
        step=step,
        typing=STEPS_TYPING * step,
        typing_slow=STEPS_TYPING_SLOW * step,
        jump=jump,
        first=machine.start + _OPENING + load + measuring + jump,
        memory=_START_BYTES
        + _TOKEN_BYTES * shape.vocabulary
        + weights
        + _PLACES * prompt * shape.kv_bytes_per_token(4),
        disk=disk,
    )


def prompts(prefill: float, context: int) -> tuple[int, int]:
    """Tokens of the first prompt at a new place and of the longest one, as the engine would choose them."""
    affordable = int(prefill * FIRST_SECONDS) // 128 * 128
    ahead = min(int(prefill * IDLE_SECONDS) // 128 * 128, IDLE_PROMPT)
    longest = min(max(affordable, ahead, LEAST_PROMPT), MOST_PROMPT, context - _RESERVED)
    return min(max(affordable, LEAST_PROMPT), longest), longest
