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


def is_name(name_or_path: str) -> bool:
    """Whether it is a model's name, which has no separator; a path has one.

    A name is never looked up in the current folder, which may be a stranger's workspace.
    """
    return not any(separator in name_or_path for separator in ("/", "\\", ":"))


def find_model(name_or_path: str | None = None) -> Path:
    """Find a model's folder: the chosen one, one by name, or any by its path. Raises ModelError where it is not."""
    name = name_or_path or chosen_model()
    folder = models_folder() / name if is_name(name) else _expanded(name)
    if _holds_a_manifest(folder):
        return folder
    if name == DEFAULT_MODEL:
        raise ModelError("No model is set up yet. Run: mellum-lsp setup")
    if name_or_path is None:
        raise ModelError(f"The chosen model {name} is not there any more. Run: mellum-lsp models use {DEFAULT_MODEL}")
    if is_name(name):
        where = f"in {models_folder()}; a folder elsewhere is written as a path, such as ./{name}"
        raise ModelError(f"There is no model {name!r} {where}")
    raise ModelError(f"There is no model {name!r}: that folder has no {MANIFEST_FILE}")


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # `~name` of a user who is not there, or `~` without a home folder
        raise ModelError(f"There is no model {path!r}: {error}; write the folder's whole path") from error


def _holds_a_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_FILE).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
