"""Weights from the Hugging Face hub, downloaded into its own cache: the only module that talks to it.

Only a model's configuration, tokenizer, safetensors and licence are asked for. An interrupted download continues
where it was; `HF_HUB_OFFLINE`, `HF_ENDPOINT`, `HF_TOKEN` and proxies are honoured by huggingface_hub itself.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

from engine.model_folders.locations import models_folder
from engine.model_folders.manifest import sha256_of
from export.architecture import ExportError
from export.sources.source import Progress
from syntax.children import QUIET

_PATTERNS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "*.safetensors",
    "model.safetensors.index.json",
    "LICENSE*",
)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_id(text: str) -> bool:
    """Whether a source has the form of a hub id, such as `JetBrains/Mellum-4b-base`."""
    return _ID.fullmatch(text) is not None


def download(name: str, revision: str | None, progress: Progress) -> tuple[Path, str | None]:
    """Download the missing files of a model; returns its folder, named after the revision, and its card's licence.

    Raises ExportError, with one sentence, for errors of any kind.
    """
    os.environ.update(QUIET)
    os.environ.setdefault("HF_HUB_DISABLE_SYMLINKS_WARNING", "1")
    import huggingface_hub  # takes half a second, and only this function needs it
    from huggingface_hub import errors

    progress(f"Asking the hub for {name}", 0.0)
    pinned = f" at revision {revision}" if revision else ""
    try:
        return _download(huggingface_hub, name, revision, progress)
    except errors.GatedRepoError as error:
        raise ExportError(
            f"{name} is only for those who accepted its terms on the hub; do so there, then run: hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ExportError(f"The hub has no model {name}, or shows it only after: hf auth login") from error
    except errors.RevisionNotFoundError as error:
        raise ExportError(f"{name} has no revision {revision} on the hub; for the newest: --revision main") from error
    except errors.LocalEntryNotFoundError as error:
        offline = huggingface_hub.constants.HF_HUB_OFFLINE
        why = "HF_HUB_OFFLINE is set" if offline else "the hub cannot be reached"
        raise ExportError(
            f"{name}{pinned} is not on this machine and {why}; download it elsewhere and give its folder"
        ) from error
    except errors.HFValidationError as error:
        raise ExportError(f"{name} is no id of a model on the hub ({error})") from error
    except ExportError:
        raise
    except Exception as error:  # of the disk, of this library, and of the HTTP library below it
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{name} could not be downloaded ({reason:.200}); run this again to go on") from error


def _download(hub: Any, name: str, revision: str | None, progress: Progress) -> tuple[Path, str | None]:
    """Fetch the missing files; returns the snapshot's folder, named after the revision, and the card's licence."""
    try:
        info = hub.HfApi().model_info(name, revision=revision, files_metadata=True)
    except (hub.errors.HfHubHTTPError, hub.errors.HFValidationError):
        raise
    except Exception:  # not reachable: the type of error depends on the HTTP library
        info = None  # the cache may have all files
    license_name = None
    if info is not None:
        wanted = list(hub.utils.filter_repo_objects(info.siblings, allow_patterns=_PATTERNS, key=lambda f: f.rfilename))
        _refuse_useless(name, [file.rfilename for file in info.siblings])
        _check_space(hub, name, info.sha, wanted)
        tags = [tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")]
        license_name = tags[0] if tags else None
    tqdm_class = _progress_bar(hub, name, progress)
    folder = hub.snapshot_download(
        name,
        revision=revision,  # not the commit: then the cache remembers the branch for times without network
        allow_patterns=list(_PATTERNS),
        tqdm_class=tqdm_class,
    )
    _check_hashes(Path(folder), name, progress)
    return Path(folder), license_name


def _refuse_useless(name: str, files: list[str]) -> None:
    """Refuse at once a model whose download would end in an error."""
    if "config.json" not in files:
        raise ExportError(f"{name} has no config.json on the hub; download its GGUF file and give that")
    if not any(file.endswith(".safetensors") for file in files):
        raise ExportError(f"{name} has no safetensors on the hub; only safetensors and GGUF are read")


def _check_space(hub: Any, name: str, commit: str, wanted: list[Any]) -> None:
    """Compare what is missing of the download, and the export after it, with the room on their disks."""
    cache, models = Path(hub.constants.HF_HUB_CACHE), models_folder()
    missing = sum(
        file.size or 0
        for file in wanted
        if not isinstance(hub.try_to_load_from_cache(name, file.rfilename, revision=commit), str)
    )
    exported = sum(file.size or 0 for file in wanted)  # 16 bits a parameter there; here at most as much for 8
    cache_disk, models_disk = (_existing(folder) for folder in (cache, models))
    together = cache_disk.stat().st_dev == models_disk.stat().st_dev
    needed, free = missing + exported * together, shutil.disk_usage(cache_disk).free
    if free < needed:
        raise ExportError(
            f"{cache} has {free >> 20} MB free and the download needs {missing >> 20} MB"
            + (f", the export {exported >> 20} MB more" if together else "")
            + "; make room, or set HF_HOME"
        )


def _existing(folder: Path) -> Path:
    return next((one for one in (folder, *folder.absolute().parents) if one.is_dir()), Path("/"))


def _check_hashes(folder: Path, name: str, progress: Progress) -> None:
    """Compare large files with the sha256 that the hub's cache names them by. Raises ExportError.

    A damaged one is removed, so that it is downloaded again. Where the cache has no links, there is no such name.
    """
    for path in sorted(folder.glob("*.safetensors")):
        stored = path.resolve()
        if _SHA256.fullmatch(stored.name):
            progress(f"Checking {path.name}", 1.0)
            if sha256_of(stored) != stored.name:
                stored.unlink()
                raise ExportError(f"{path.name} of {name} was damaged on its way; run this again to download it anew")


def _progress_bar(hub: Any, name: str, progress: Progress) -> Any:
    """A progress bar class for huggingface_hub that reports instead of drawing. Only newer versions count bytes."""

    class Bar(hub.utils.tqdm):  # type: ignore[misc]
        counts_bytes = False

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._is_of_bytes = options.get("unit") == "B"
            Bar.counts_bytes |= self._is_of_bytes
            super().__init__(*arguments, **{**options, "disable": False, "file": _Silent()})

        def display(self, *arguments: Any, **options: Any) -> None:
            if self.total and self._is_of_bytes == Bar.counts_bytes:
                progress(f"Downloading {name}", min(self.n / self.total, 1.0))

    return Bar


class _Silent:
    """Drops the output of tqdm."""

    def write(self, text: str) -> None:
        pass

    def flush(self) -> None:
        pass
