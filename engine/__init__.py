"""From a prompt to a suggestion: model, KV state, decoding, stopping, trimming. Knows no LSP and no workspace."""

from engine.engine import Engine
from engine.inference_thread import InferenceThread
from engine.model_folders.manifest import ModelError
from engine.request import (
    Alternative,
    Cancelled,
    CompletionRequest,
    ContextSnippet,
    StopReason,
    Suggestion,
    Unavailable,
)

__all__ = [
    "Alternative",
    "Cancelled",
    "CompletionRequest",
    "ContextSnippet",
    "Engine",
    "InferenceThread",
    "ModelError",
    "StopReason",
    "Suggestion",
    "Unavailable",
]
