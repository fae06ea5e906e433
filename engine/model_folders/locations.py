"""Where models live on this machine, and how a name or a path becomes a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import platformdirs
import psutil
from filelock import FileLock

from engine.model_folders.leftovers import recover_all, recover_if_free
from engine.model_folders.manifest import MANIFEST_FILE, ModelError
from engine.model_folders.whole_file import write_whole

DEFAULT_MODEL = "smollm2-135m"
CACHE_VARIABLE = "MELLUM_LSP_CACHE"
_CHOICE = ".chosen"
MEASURING = "measuring."
"""In the cache folder: what a process, whose number follows, runs to measure this machine, and removes."""
_LIST = "Run: mellum-lsp models, which lists those that are there"
_mended: set[Path] = set()


def cache_folder() -> Path:
    """The folder for everything that can be made again; `MELLUM_LSP_CACHE` puts it elsewhere.

    Raises ModelError where there is neither that nor a home folder.
    """
    if given := os.environ.get(CACHE_VARIABLE):
        return Path(given)
    try:
        folder = Path(platformdirs.user_cache_dir("mellum-lsp", appauthor=False))
    except (RuntimeError, KeyError):  # what it raises without a home differs by its version
        folder = Path("~")
    if not folder.is_absolute():
        raise ModelError(f"There is no home folder for the cache; let {CACHE_VARIABLE} name a folder for it")
    return folder


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
    """Make a model the one that is used where none is named. Raises OSError."""
    models_folder().mkdir(parents=True, exist_ok=True)
    with FileLock(models_folder() / f"{_CHOICE}.lock"):
        write_whole(models_folder() / _CHOICE, name_or_path + "\n")


def lock_file(target: Path) -> Path:
    """The lock for writing a model folder: beside it among the models, else in the cache folder."""
    if target.parent == models_folder():
        return target.parent / f".{target.name}.lock"
    digest = hashlib.sha256(os.fsencode(target.resolve())).hexdigest()[:32]
    return cache_folder() / "locks" / f"{digest}.lock"


def mend_models(*, always: bool = False) -> None:
    """Finish or undo what killed exports and removals have left; once in a process, unless `always`."""
    if always or models_folder() not in _mended:
        _mended.add(models_folder())
        recover_all(models_folder())
        for unfinished in cache_folder().glob("threads.json.*~"):  # see engine.runtime.thread_count
            if not _is_running(unfinished.name.removeprefix("threads.json.").rstrip("~")):
                unfinished.unlink(missing_ok=True)
        for measured in cache_folder().glob(f"{MEASURING}*~*"):
            if not _is_running(measured.name.removeprefix(MEASURING).partition("~")[0]):
                shutil.rmtree(measured, ignore_errors=True)


def _is_running(process: str) -> bool:
    return process.isdecimal() and psutil.pid_exists(int(process))


def is_name(name_or_path: str) -> bool:
    """Whether it is a model's name, which has no separator; a path has one.

    A name is never looked up in the current folder, which may be a stranger's workspace.
    """
    return not any(separator in name_or_path for separator in ("/", "\\", ":"))


def find_model(name_or_path: str | None = None) -> Path:
    """Find a model's folder: the chosen one, one by name, or any by its path. Raises ModelError where it is not."""
    if name_or_path == "":
        raise ModelError(f"A model's name must not be empty. {_LIST}")
    name = name_or_path or chosen_model()
    mend_models()
    folder = models_folder() / name if is_name(name) else _expanded(name)
    if not is_name(name):
        recover_if_free(folder, lock_file(folder))
    if _holds_a_manifest(folder):
        return folder
    if name == DEFAULT_MODEL:
        raise ModelError("No model is set up yet. Run: mellum-lsp setup")
    if name_or_path is None:
        raise ModelError(f"The chosen model {folder} is not there any more. Run: mellum-lsp models use {DEFAULT_MODEL}")
    if is_name(name):
        where = f"in {models_folder()}; a folder elsewhere is written as a path, such as ./{name}"
        raise ModelError(f"There is no model {name!r} {where}. {_LIST}")
    why = f"that folder has no {MANIFEST_FILE}" if _is_folder(folder) else "there is no such folder"
    raise ModelError(f"There is no model {name!r}: {why}. {_LIST}")


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:  # `~name` of a user who is not there, or `~` without a home folder
        raise ModelError(f"There is no model {path!r}: {error}; write the folder's whole path") from error


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _holds_a_manifest(folder: Path) -> bool:
    try:
        return (folder / MANIFEST_FILE).is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False
