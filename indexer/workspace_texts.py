"""The texts of a workspace folder that its index would read, without an index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from indexer.files.disk import NotAFile, read_regular
from indexer.files.text import LARGEST, read_text
from indexer.files.walk import walk
from indexer.rules.exclusion import Rules


def texts_of(root: Path) -> Iterator[tuple[str, str]]:
    """Each file's path in the folder and its text, in which lines with secrets are empty; without what is refused."""
    for found in walk(Rules(root)):
        try:
            _, data = read_regular(root / found.path, LARGEST)
        except (OSError, NotAFile):
            continue
        text = read_text(data)
        if isinstance(text, str):
            yield found.path, text
