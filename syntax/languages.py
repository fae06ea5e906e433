"""Languages by file name: a first few."""

from __future__ import annotations

from pathlib import PurePath

_SUFFIXES = {".py": "python", ".js": "javascript", ".ts": "typescript", ".go": "go", ".rs": "rust", ".java": "java"}


def language_of(name: str) -> str:
    """Guess the LSP language id of a file by its name."""
    return _SUFFIXES.get(PurePath(name).suffix, "plaintext")
