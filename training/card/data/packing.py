"""Cuts the data for the machine with the card into pieces that are small enough to copy, and joins them there."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from training.card.data.files import SHARD

PIECES, BASE, SITE = "pieces.json", "base", "site"
_CARRIED = ("cattrs", "gguf")  # plain Python: what a machine with torch, transformers and onnxruntime lacks to read us
_BLOCK = 1 << 20

Say = Callable[[str], None]


class PackingError(Exception):
    """Pieces are not what they should be; its text names the mend."""


def put_base(folder: Path, wheel: Path | None, model: str | None) -> None:
    """Lay the base model beside the shards. Raises PackingError."""
    target = folder / BASE
    shutil.rmtree(target, ignore_errors=True)
    if wheel is not None:
        target.mkdir(parents=True)
        shutil.copy(wheel, target / wheel.name)
    elif model is not None and Path(model).is_dir():
        shutil.copytree(model, target)
    else:
        raise PackingError(f"{model} is no folder; download the model and give its folder")


def base_in(folder: Path) -> tuple[Path | None, str | None]:
    """What `open_base` takes, of a folder that `put_base` filled. Raises PackingError."""
    if not (folder / BASE).is_dir():
        raise PackingError(f"{folder} has no {BASE}; unpack the pieces there, or pack first")
    wheel = next((folder / BASE).glob("*.whl"), None)
    return (wheel, None) if wheel else (None, str(folder / BASE))


def put_site(folder: Path) -> None:
    """Lay the plain Python packages beside the shards that the other machine lacks, as they are installed here."""
    target = folder / SITE
    shutil.rmtree(target, ignore_errors=True)
    for name in _CARRIED:
        for file in importlib.metadata.files(name) or []:
            if file.suffix == ".py" and ".." not in file.parts:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file.locate(), target / file)


def write_pieces(folder: Path, *, megabytes: int, with_base: bool, say: Say) -> list[Path]:
    """Cut shards, packages and the model of `folder` into `pieces/` of it; returns `pieces.json` and the pieces."""
    pieces = folder / "pieces"
    shutil.rmtree(pieces, ignore_errors=True)
    pieces.mkdir()
    tar = pieces / "all.tar"
    with tarfile.open(tar, "w") as archive:
        # first what stays the same when shards are added, so that its pieces need not be carried again
        base = [folder / BASE] if with_base else []
        for path in (*base, folder / SITE, *sorted(folder.glob(f"*{SHARD}"))):
            if path.exists():
                archive.add(path, path.name)
    listed = {}
    with tar.open("rb") as data:
        for index, part in enumerate(iter(lambda: data.read(megabytes * 1_000_000), b"")):
            (pieces / f"piece.{index}").write_bytes(part)
            listed[f"piece.{index}"] = hashlib.sha256(part).hexdigest()
    tar.unlink()
    (pieces / PIECES).write_text(json.dumps({"sha256": listed}, indent=2) + "\n", encoding="utf-8")
    say(f"{len(listed)} pieces of at most {megabytes} MB in {pieces}")
    return [pieces / PIECES, *(pieces / name for name in listed)]


def unpack(pieces: Path, folder: Path) -> None:
    """Check the pieces and lay what is in them into `folder`. Raises PackingError."""
    with tarfile.open(fileobj=_Joined(checked(pieces)), mode="r|") as archive:  # type: ignore[call-overload]
        archive.extractall(folder, filter="data")


def checked(pieces: Path) -> list[Path]:
    """The pieces in their order, each as it was written. Raises PackingError."""
    try:
        listed = json.loads((pieces / PIECES).read_text(encoding="utf-8"))["sha256"]
    except FileNotFoundError as error:
        raise PackingError(f"{pieces} has no {PIECES}; carry it along with the pieces") from error
    if missing := [name for name in listed if not (pieces / name).is_file()]:
        raise PackingError(f"{pieces} lacks {', '.join(missing)}; carry what is missing, in any order")
    for name, known in listed.items():
        with (pieces / name).open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != known:
                raise PackingError(f"{pieces / name} is not the piece that was packed; carry it again")
    return [pieces / name for name in listed]


class _Joined:
    """Files read as one."""

    def __init__(self, files: list[Path]) -> None:
        self._blocks = _blocks(files)
        self._rest = b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (block := next(self._blocks, b"")):
            self._rest += block
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


def _blocks(files: list[Path]) -> Iterator[bytes]:
    for path in files:
        file: IO[bytes]
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block
