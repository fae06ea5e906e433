"""Records a trace with the real model and the real index: functions are typed key by key into their projects."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from engine import CompletionRequest, ContextSnippet, Engine
from engine.model_folders.locations import find_model
from engine.prompt.layout import Budget, lay_out
from evaluation.capacity.trace import Place, Typed
from evaluation.harness.functions import Function, unpacked
from evaluation.harness.typist import pauses
from evaluation.typing import WORDS_A_MINUTE
from indexer import Index, IndexMessage, UpToDate
from lsp_server.configuration.settings import Settings
from syntax import Cursor, DocumentId

_INDEXED_WITHIN = 120.0  # seconds
_CONTEXT_WITHIN = 1.0  # seconds: what an unhurried machine finds


def record(functions: Sequence[Function], prompt_tokens: int, say: Callable[[str], None]) -> Iterator[Typed]:
    """Type functions with the model in use; prompts have `prompt_tokens` tokens at most.

    The suggestions are the local model's, after prompts of the length that this machine can afford.
    """
    engine = Engine.load(find_model())
    for function in functions:
        typed = _type(function, engine, Budget(prompt_tokens))
        say(f"{function.package} {function.name}: {len(typed.places)} places")
        yield typed


def _type(function: Function, engine: Engine, budget: Budget) -> Typed:
    with tempfile.TemporaryDirectory(prefix="mellum-trace-") as temporary:  # in no folder that git ignores
        root = unpacked(function, Path(temporary).resolve() / "project")
        up_to_date = threading.Event()

        def hear(_: Path, message: IndexMessage) -> None:
            if isinstance(message, UpToDate):
                up_to_date.set()

        index = Index(Path(temporary) / "cache", hear)
        try:
            if index.open_folder(root) and not up_to_date.wait(_INDEXED_WITHIN):
                raise TimeoutError(f"{function.package} was not indexed within {_INDEXED_WITHIN:g} s")
            return _typed(function, engine, budget, index, DocumentId.in_folder(root, function.path))
        finally:
            index.close()


def _typed(function: Function, engine: Engine, budget: Budget, index: Index, document: DocumentId) -> Typed:
    settings, style = Settings(), engine.manifest.prompt
    table: dict[tuple[str, str], int] = {}
    places = []
    for written in range(len(function.text)):
        before = function.before + function.text[:written]
        cursor = Cursor(document, "python", before + function.after, len(before))
        index.update(document, "python", cursor.text)
        chosen = index.context_for(
            cursor, within=_CONTEXT_WITHIN, tokens=budget.context_at(cursor.offset), count=engine.tokenizer.count
        )
        request = CompletionRequest.at(
            cursor,
            context=tuple(ContextSnippet(snippet.path, snippet.text) for snippet in chosen),
            max_tokens=settings.max_tokens,
            confidence=settings.confidence_in("python"),
        )
        suggestion = engine.complete(request)
        places.append(
            Place(
                lay_out(request, engine.tokenizer, style, budget).tokens,
                suggestion.text,
                suggestion.replaces,
                len(suggestion.tokens),
                round(sum(suggestion.timings.values()), 4),
                tuple(table.setdefault((snippet.path, snippet.text), len(table)) for snippet in chosen),
            )
        )
    pause = pauses(function.text, words_a_minute=WORDS_A_MINUTE, seed=function.name)
    name = f"{function.package} {function.name}"
    text = (function.before, function.after, function.text)
    return Typed(name, document.shown, *text, tuple(pause), tuple(places), tuple(table))
