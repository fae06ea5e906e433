"""Files that hold secrets by convention: see `files.toml`."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from functools import lru_cache
from pathlib import Path

_FILES = tomllib.loads(Path(__file__).with_name("files.toml").read_text(encoding="utf-8"))
_NAMES: list[str] = [pattern for pattern in _FILES["names"] if "/" not in pattern]
_PATHS: list[str] = [pattern for pattern in _FILES["names"] if "/" in pattern]
_HARMLESS = re.compile("|".join(fnmatch.translate(pattern) for pattern in _FILES["harmless"]))
_ANY_NAME = re.compile("|".join(f"({fnmatch.translate(pattern)})" for pattern in _NAMES))
_ANY_PATH = re.compile("|".join(f"({fnmatch.translate(pattern)})" for pattern in _PATHS))


@lru_cache(4096)
def secret_name(path: str) -> str | None:
    """Why a file of this name is taken for a secret; None if it is not.

    `path` has forward slashes; its folders count, too.
    """
    folders, _, name = path.lower().rpartition("/")
    if _HARMLESS.match(name) is not None:
        return None
    if (found := _ANY_NAME.match(name)) is not None:
        return f"{_NAMES[(found.lastindex or 1) - 1]} files often hold secrets"
    above = folders.split("/") if folders else []
    for depth in (1, 2):
        if len(above) >= depth and (found := _ANY_PATH.match("/".join((*above[-depth:], name)))) is not None:
            return f"{_PATHS[(found.lastindex or 1) - 1]} files often hold secrets"
    return None
