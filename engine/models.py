"""Where models live on this machine, and how a name or a path becomes a folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from engine.manifest import MANIFEST_FILE, ModelError

DEFAULT_MODEL = "smollm2-135m"
CACHE_VARIABLE = "MELLUM_LSP_CACHE"
_CHOICE = ".chosen"


def cache_folder() -> Path:
    """The folder for everything that can be made again; `MELLUM_LSP_CACHE` puts it elsewhere."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("mellum-lsp", appauthor=False))


def models_folder() -> Path:
    """The folder that holds one folder a model."""
    return cache_folder() / "models"


def chosen_model() -> str:
    """The model that is used where none is named: what `mellum-lsp models use` chose, else the default model."""
    try:
        return (models_folder() / _CHOICE).read_text(encoding="utf-8").strip() or DEFAULT_MODEL
    except (OSError, UnicodeDecodeError):
        return DEFAULT_MODEL


def choose_model(name_or_path: str) -> None:
    """Make a model the one that is used where none is named."""
    models_folder().mkdir(parents=True, exist_ok=True)
    temporary = models_folder() / f"{_CHOICE}~"
    temporary.write_text(name_or_path + "\n", encoding="utf-8")
    temporary.replace(models_folder() / _CHOICE)


def find_model(name_or_path: str | None = None) -> Path:
    """Find a model's folder: the chosen one, one by name, or any by its path. Raises ModelError where it is not."""
    name = name_or_path or chosen_model()
    if (folder := models_folder() / name) and (folder / MANIFEST_FILE).is_file():
        return folder
    if (path := Path(name).expanduser()) and (path / MANIFEST_FILE).is_file():
        return path
    if name == DEFAULT_MODEL:
        raise ModelError("No model is set up yet. Run: mellum-lsp setup")
    if name_or_path is None:
        raise ModelError(f"The chosen model {name} is not there any more. Run: mellum-lsp models use {DEFAULT_MODEL}")
    raise ModelError(f"There is no model {name!r}, neither in {models_folder()} nor as a folder with a {MANIFEST_FILE}")
