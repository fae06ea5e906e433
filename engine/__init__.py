"""From a prompt to a suggestion: model, KV state, decoding, stopping, trimming. Knows no LSP and no workspace."""

from engine.engine import Engine
from engine.model_folders.manifest import ModelError
from engine.request import Alternative, Cancelled, CompletionRequest, ContextSnippet, StopReason, Suggestion
from engine.scheduler import Scheduler

__all__ = [
    "Alternative",
    "Cancelled",
    "CompletionRequest",
    "ContextSnippet",
    "Engine",
    "ModelError",
    "Scheduler",
    "StopReason",
    "Suggestion",
]
