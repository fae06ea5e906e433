"""A prefix cache of blocks, as vLLM keeps one: a block is known by its tokens and all before them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

BLOCK = 16  # tokens; vLLM's default

Chain = tuple[int, ...]


def chain(tokens: Sequence[int], block: int = BLOCK) -> Chain:
    """A number for each whole block of a prompt, which stands for it and for all that is before it."""
    names: list[int] = []
    before = 0
    for start in range(0, len(tokens) - block + 1, block):
        before = hash((before, tuple(tokens[start : start + block])))
        names.append(before)
    return tuple(names)


class BlockCache:
    """What is cached of all prompts together: at most `capacity` tokens, the least recently used blocks out first."""

    def __init__(self, capacity: int, block: int = BLOCK) -> None:
        self._block, self._most = block, capacity // block
        self._blocks: OrderedDict[int, None] = OrderedDict()

    def hit(self, blocks: Chain, length: int, owner: int = 0) -> int:
        """How many of a prompt's `length` tokens are cached; at least the last one is not.

        `owner`: prompts of different owners share nothing.
        """
        found = 0
        for name in blocks[: (length - 1) // self._block]:
            if name ^ owner not in self._blocks:
                break
            found += 1
        self._touch(blocks[:found], owner)
        return found * self._block

    def add(self, blocks: Chain, computed: int, owner: int = 0) -> None:
        """Keep the blocks of a prompt's first `computed` tokens."""
        self._touch(blocks[: computed // self._block], owner)

    def _touch(self, blocks: Chain, owner: int) -> None:
        for name in reversed(blocks):  # so that a prompt loses its end first: its start may serve others
            self._blocks[name ^ owner] = None
            self._blocks.move_to_end(name ^ owner)
        while len(self._blocks) > self._most:
            self._blocks.popitem(last=False)
