"""A streamed answer: server-sent events to pieces of text with their log probabilities.

Servers differ: vLLM sends the lists of OpenAI's completions, llama-server those of OpenAI's chat, with token ids.
Nothing of an answer is trusted: what has another form raises Malformed.
"""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST_EVENT = 1 << 20  # bytes
_LONGEST_TEXT = 1 << 14  # characters of an event; longer than all tokens that are ever asked for


class Malformed(Exception):
    """An answer has not the form that it should have; its text names the part."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer: mostly one token."""

    text: str
    log_probability: float | None
    """Natural; None where the server does not say it."""
    tokens: tuple[int, ...] = ()
    """Ids, where the server says them."""


@dataclass(frozen=True, slots=True)
class Event:
    """What one event brings."""

    pieces: tuple[Piece, ...]
    finish: str
    """Why the answer ends with this event, such as `stop` and `length`; empty where it goes on."""
    model: str
    """The model that the server says it used; may be empty."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Read the events of an answer, to its end. Raises Malformed.

    Lines end with a line feed alone: text in JSON may hold other characters that end lines elsewhere.
    """
    rest, is_done = b"", False
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_EVENT:
            raise Malformed("an event without an end")
        for line in lines:
            name, _, value = line.partition(b":")
            value = value.strip()
            is_done = is_done or value == b"[DONE]"
            if name != b"data" or not value or is_done:
                continue  # read to its very end, else the connection is of no further use
            try:
                said = json.loads(value)
            except RecursionError as error:
                raise Malformed("an event that is nested too deeply") from error
            except ValueError as error:
                raise Malformed(str(error)) from error
            yield event_of(said)


def event_of(said: Any) -> Event:
    """Read one event. Raises Malformed; ServerSaid where the server tells of an error."""
    if not isinstance(said, Mapping):
        raise Malformed("an event that is no object")
    if said.get("error"):
        raise ServerSaid(said)
    choices = said.get("choices")
    if not isinstance(choices, list):
        raise Malformed("an event without choices")
    model = said.get("model")
    model = model if isinstance(model, str) else ""
    if not choices:  # the last one with counts of tokens
        return Event((), "", model)
    choice = choices[0]
    if not isinstance(choice, Mapping) or not isinstance(text := choice.get("text", ""), str):
        raise Malformed("a choice without text")
    if len(text) > _LONGEST_TEXT:
        raise Malformed("more text than was asked for")
    return Event(_pieces(text, choice.get("logprobs")), str(choice.get("finish_reason") or ""), model)


class ServerSaid(Exception):
    """The server tells of an error inside of its answer."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        super().__init__("an error in the answer")
        self.said = said


def _pieces(text: str, logprobs: Any) -> tuple[Piece, ...]:
    told = _told(logprobs)
    if not told:
        return (Piece(text, None),) if text else ()
    if "".join(piece.text for piece in told) == text:
        return told
    # half a character, what a stop string holds back, or a control token that is not shown: the text is right
    known = [piece.log_probability for piece in told]
    certain = None if None in known else sum(one for one in known if one is not None)
    return (Piece(text, certain, tuple(token for piece in told for token in piece.tokens)),)


def _told(logprobs: Any) -> tuple[Piece, ...]:
    if not isinstance(logprobs, Mapping):
        return ()
    content = logprobs.get("content")
    if isinstance(content, list):
        entries = [one for one in content if isinstance(one, Mapping)]
        return tuple(
            Piece(str(one.get("token", "")), _number(one.get("logprob")), _ids(one.get("id"))) for one in entries
        )
    tokens, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
    if isinstance(tokens, list) and isinstance(values, list) and len(tokens) == len(values):
        return tuple(Piece(str(token), _number(value)) for token, value in zip(tokens, values, strict=True))
    return ()


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if math.isnan(number) else min(number, 0.0)


def _ids(value: Any) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else ()
