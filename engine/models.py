"""Where models live on this machine, and how a name or a path becomes a folder."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from engine.manifest import MANIFEST_FILE, ModelError

DEFAULT_MODEL = "smollm2-135m"
CACHE_VARIABLE = "MELLUM_LSP_CACHE"


def cache_folder() -> Path:
    """The folder for everything that can be made again; `MELLUM_LSP_CACHE` puts it elsewhere."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("mellum-lsp", appauthor=False))


def models_folder() -> Path:
    """The folder that holds one folder a model."""
    return cache_folder() / "models"


def find_model(name_or_path: str | None = None) -> Path:
    """Find a model's folder: the default one, one by name, or any by its path. Raises ModelError where it is not."""
    name = name_or_path or DEFAULT_MODEL
    if (folder := models_folder() / name) and (folder / MANIFEST_FILE).is_file():
        return folder
    if (path := Path(name).expanduser()) and (path / MANIFEST_FILE).is_file():
        return path
    if name == DEFAULT_MODEL:
        raise ModelError("No model is set up yet. Run: mellum-lsp setup")
    raise ModelError(f"There is no model {name!r}, neither in {models_folder()} nor as a folder with a {MANIFEST_FILE}")
