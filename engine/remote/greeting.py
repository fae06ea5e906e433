"""The first words with a server: whether it serves the model, how long prompts may be, and how they travel.

Token ids travel where the server's tokenizer gives those of the local model's for a difficult text; vLLM and
llama-server can be asked (`/tokenize`). A server that cannot be asked gets text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from typing import Any

from engine.model_folders.manifest import PromptFormat, PromptStyle
from engine.prompt.tokenizer import PROBE, Tokenizer
from engine.remote.address import RemoteError
from engine.remote.connection import Connection
from engine.remote.failures import not_openai
from engine.remote.marks import KNOWN_MARKS, AsText, AsTokens, Marks

_DIFFICULT = PROBE.replace("<|endoftext|>", "the end")  # control in a text is control for a server
_ASKED_WITHIN = 2.0  # seconds, while a request waits
_ASKED_AT_ONCE = 64
_KNOWN_ANSWERS = 4096


@dataclass(frozen=True, slots=True)
class Welcome:
    """What is known of a server that serves the model."""

    model: str
    """By the name that the server gives it."""
    context: int | None
    """Tokens of prompt and answer together; None where the server does not say it."""
    prompts: AsTokens | AsText
    is_extended: bool
    """Whether it knows more than OpenAI's parameters, as vLLM and llama-server do."""
    note: str
    """What the status adds, a sentence's end; empty if there is nothing."""


async def greet(connection: Connection, wanted: str | None, local: tuple[Tokenizer, PromptFormat] | None) -> Welcome:
    """Learn what a request has to know. Raises RemoteError.

    `wanted`: the model's name; None for the only one that there is. `local`: of the model in memory, whose vocabulary
    may be the server's.
    """
    model, context = await _model(connection, wanted)
    questions = _Questions(connection, model)
    try:
        sent = await questions.ask(_DIFFICULT)
    except RemoteError:
        return _without_questions(model, context)
    if local is not None and await _is_same(local, sent, questions):
        return Welcome(model, context, AsTokens(*local), True, "")
    for marks in KNOWN_MARKS:
        ids = await questions.control(marks.names)
        if len(ids) == len(marks.names):
            style = _style_of(model, marks)
            text = AsText(marks, style, ends=frozenset(ids.values()), is_control=questions.control_among)
            return Welcome(model, context, text, True, "")
    # its answers say of nothing that it is control, so they are not believed: all that may be control is broken up
    return Welcome(model, context, AsText(None, "plain"), True, "this model knows no text after the cursor")


async def _model(connection: Connection, wanted: str | None) -> tuple[str, int | None]:
    """The model's name and context."""
    said = await connection.get("/v1/models")
    data = said.get("data") if isinstance(said, Mapping) else None
    if not isinstance(data, list):
        raise not_openai(connection.address, "/v1/models lists none")
    served: dict[str, Mapping[str, Any]] = {}
    for one in data:
        if isinstance(one, Mapping) and isinstance(one.get("id"), str):
            names = [one["id"], *(one["aliases"] if isinstance(one.get("aliases"), list) else [])]
            served |= {name: one for name in names if isinstance(name, str)}
    listed = ", ".join(served)[:200] or "none"
    if wanted is None and len(data) != 1:
        raise RemoteError(f"{connection.address.base} serves several models. Set `remote.model` to one of: {listed}")
    name = wanted or next(iter(served), "")
    if name not in served:
        raise RemoteError(f"{connection.address.base} does not serve {name}. Set `remote.model` to one of: {listed}")
    facts = served[name]
    meta = facts.get("meta")
    context = facts.get("max_model_len") or (meta.get("n_ctx") if isinstance(meta, Mapping) else None)
    return name, context if isinstance(context, int) and context > 0 else None


async def _is_same(local: tuple[Tokenizer, PromptFormat], sent: Sequence[int], questions: _Questions) -> bool:
    """Whether the local vocabulary is the server's."""
    tokenizer, style = local
    if tokenizer.encode_once(_DIFFICULT) != list(sent):
        return False
    marks = [
        mark for mark in (style.filename, style.fim_prefix, style.fim_middle, style.fim_suffix) if mark is not None
    ]
    names = {tokenizer.decode([mark]): mark for mark in marks}
    return await questions.control(tuple(names)) == names


def _without_questions(model: str, context: int | None) -> Welcome:
    """What is taken for true of a server that only completes."""
    name = model.lower()
    marks = next((KNOWN_MARKS[place] for word, place in (("qwen", 2), ("deepseek", 3)) if word in name), KNOWN_MARKS[0])
    style: PromptStyle = "mellum" if marks is KNOWN_MARKS[0] else "psm"
    note = f"it cannot be asked for tokens (/tokenize), so prompts are text with {marks.middle}"
    return Welcome(model, context, AsText(marks, style), False, note)


def _style_of(model: str, marks: Marks) -> PromptStyle:
    """The order of the prompt's parts: StarCoder and its family have Mellum's marks in another one."""
    is_starcoder = any(word in model.lower() for word in ("starcoder", "granite", "santacoder"))
    return "mellum" if marks is KNOWN_MARKS[0] and not is_starcoder else "psm"


class _Questions:
    """Questions to the server's tokenizer, each asked once."""

    def __init__(self, connection: Connection, model: str) -> None:
        self._connection, self._model = connection, model
        self._control: dict[str, int | None] = {}

    async def ask(self, text: str) -> list[int]:
        """The tokens of a text, control among them. Raises RemoteError.

        The parameters are vLLM's and llama-server's, which name them differently.
        """
        body = {
            "model": self._model,
            "prompt": text,
            "content": text,
            "add_special_tokens": False,
            "add_special": False,
        }
        said = await self._connection.post("/tokenize", body, model=self._model)
        tokens = said.get("tokens") if isinstance(said, Mapping) else None
        if not isinstance(tokens, list) or not tokens or not all(type(token) is int for token in tokens):
            raise not_openai(self._connection.address, "/tokenize gives no tokens")
        return tokens

    async def control(self, names: Collection[str]) -> dict[str, int]:
        """Those of some texts that are one token each, with it. Raises RemoteError."""
        new = [name for name in names if name not in self._control]
        found = await asyncio.gather(*(self.ask(name) for name in new))
        if len(self._control) > _KNOWN_ANSWERS:
            self._control.clear()
        self._control |= {name: ids[0] if len(ids) == 1 else None for name, ids in zip(new, found, strict=True)}
        known = {name: self._control.get(name) for name in names}
        told = {name: token for name, token in known.items() if token is not None}
        if len({*told.values()}) < len(told):
            raise not_openai(self._connection.address, "/tokenize gives one token for different texts")
        return told

    def control_among(self, candidates: Collection[str]) -> Collection[str]:
        """Those of a document's texts that the server reads as control; of many new ones, all. Waits for the server."""
        if len(set(candidates) - self._control.keys()) > _ASKED_AT_ONCE:
            return candidates
        try:
            return self._connection.start(self.control(candidates)).result(_ASKED_WITHIN)
        except (RemoteError, TimeoutError, CancelledError):
            return candidates
