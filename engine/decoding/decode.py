"""Prefill and greedy decoding, as small functions over a model and a slot of KV state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from engine.decoding.draft import Drafts
from engine.decoding.pickers import Picker
from engine.request import Cancelled, IsCancelled
from engine.runtime.session import Model, Slot


def prefill(model: Model, slot: Slot, tokens: Sequence[int], *, chunk: int, is_cancelled: IsCancelled) -> Sequence[int]:
    """Run those of `tokens` that the slot does not hold yet, all but the last chunk of them; take over its moves.

    Returns that chunk, of 1 to `chunk` tokens: it runs together with the first draft. Raises Cancelled between two
    chunks; what is computed by then stays in the slot.
    """

    def run_to(end: int) -> None:
        while (start := len(slot.tokens)) < end:
            if is_cancelled():
                raise Cancelled
            part = tokens[start : min(start + chunk, end)]
            model.run(slot, part, [len(part) - 1])

    for move in slot.moves:
        run_to(move.target)
        slot.take_over(move)
    slot.moves = ()
    left = len(tokens) - len(slot.tokens)
    run_to(len(tokens) - (left % chunk or chunk))
    return tokens[len(slot.tokens) :]


def decode(
    model: Model,
    slot: Slot,
    pending: Sequence[int],
    *,
    picker: Picker,
    drafts: Drafts,
    is_cancelled: IsCancelled,
) -> Iterator[tuple[int, float]]:
    """Yield greedy tokens with their log probabilities until the caller stops asking or the slot is full.

    `pending`: tokens that are still to run before the first one is known. Each step runs the pending tokens and a draft
    after them, then picks a token after each of the draft's tokens as long as the draft agrees with what was picked. So
    the tokens and their probabilities are those of steps without drafts: to the last bit where
    `engine.runtime.benchmark.gives_same_bits`, else except for rounding. Raises Cancelled between two steps.
    """
    while True:
        if is_cancelled():
            raise Cancelled
        room = slot.capacity - len(slot.tokens) - len(pending)
        if room < 0:
            return
        draft = drafts.propose(room)
        predictions = model.predict(slot, [*pending, *draft], range(len(pending) - 1, len(pending) + len(draft)))
        right = 0
        for row, proposed in enumerate([*draft, None]):
            token, log_probability, _ = picker.pick(predictions, row)
            picker.take(token)
            drafts.take(token)
            yield token, log_probability
            if token != proposed:
                break
            right += 1
        slot.keep(len(slot.tokens) - len(draft) + right)
        drafts.learn(right, len(draft))
        pending = [token]
