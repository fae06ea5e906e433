"""What a shard holds of a source file: its text, where middles may be cut, and the snippets that the index found.

A shard is JSON lines, compressed. The text takes 0.7 bytes a token, about as much as token ids, and serves any model.
Offsets are in code points.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from training.data.middles import Outline

SHARD = ".jsonl.xz"

_Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a file that was hidden when the index chose snippets at its start: its middles may be asked for."""

    start: int
    end: int
    snippets: list[tuple[str, str]]
    """Path and text of each, the least relevant first."""


@dataclass(frozen=True, slots=True)
class TaughtFile:
    """A file with all that examples are made of."""

    package: str
    path: str
    language: str
    held_out: bool
    text: str
    statements: list[_Span]
    blocks: list[list[_Span]]
    regions: list[Region]

    @property
    def outline(self) -> Outline:
        """Where middles may be cut."""
        return Outline(self.statements, self.blocks)


def write_shard(path: Path, files: Iterable[TaughtFile]) -> None:
    """Write a shard, whole or not at all."""
    lines = (json.dumps(asdict(file), ensure_ascii=False, separators=(",", ":")) for file in files)
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(lzma.compress("\n".join(lines).encode(), preset=6))
    new.replace(path)


def read_shard(path: Path) -> list[TaughtFile]:
    """Read what `write_shard` wrote."""
    text = lzma.decompress(path.read_bytes()).decode()
    return [_file(json.loads(line)) for line in text.split("\n") if line]


def _file(told: dict[str, list[list[list[int]]]]) -> TaughtFile:
    content: dict[str, object] = dict(told)
    content["statements"] = [tuple(span) for span in told["statements"]]
    content["blocks"] = [[tuple(span) for span in block] for block in told["blocks"]]
    content["regions"] = [
        Region(region["start"], region["end"], [(path, text) for path, text in region["snippets"]])  # type: ignore[call-overload]
        for region in told["regions"]
    ]
    return TaughtFile(**content)  # type: ignore[arg-type]
