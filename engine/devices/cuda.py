"""NVIDIA's side of a machine: which card and driver there is, and the libraries that the CUDA provider wants.

The libraries need not be where the system looks: pip puts them into `nvidia/*/lib` beside other packages (as the extra
`cuda` and torch do), from where they are loaded ahead. Nothing here starts a context on the card.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from engine.devices.onnx_runtime import onnxruntime

_CUDA_MAJOR = re.compile(r"\d+")
_CUFFT = {12: 11, 13: 12}
_CUDNN = 9
_CUDART = "libcudart.so.{}"
_SUCCESS = 0
_DEVICE_TO_DEVICE = 3


@dataclass(frozen=True, slots=True)
class Card:
    """The first NVIDIA card that this process may use, as the driver describes it."""

    name: str
    driver: str
    cuda: str
    """The newest CUDA that the driver runs, such as `13.0`."""
    memory: int
    """Bytes."""
    free: int
    """Bytes that no process holds."""


@dataclass(frozen=True, slots=True)
class Library:
    """One of the shared libraries that the CUDA provider links to or loads."""

    name: str
    path: Path | None
    """Where it was found; None where only the system's loader may find it."""
    loaded: bool
    required: bool = True


def wanted() -> str:
    """The CUDA that this build of ONNX Runtime was made for, such as `13.0`; empty where it was made for none."""
    return str(getattr(onnxruntime, "cuda_version", "") or "")


@cache
def load_libraries() -> tuple[Library, ...]:
    """Load CUDA's and cuDNN's libraries into this process, once, so that the provider finds them by their names.

    Does nothing where ONNX Runtime was not built for CUDA. Raises nothing: what is missing says so.
    """
    major = _CUDA_MAJOR.match(wanted())
    if major is None:
        return ()
    if sys.platform != "linux":
        onnxruntime.preload_dlls()
        return ()
    folders = list(library_folders())
    return tuple(_load(name, folders, required) for name, required in _names(int(major[0])))


def library_folders() -> Iterator[Path]:
    """Folders of installed packages that hold NVIDIA's libraries, and CUDA's own place, in the order to look in."""
    for entry in dict.fromkeys(sys.path):
        packages = Path(entry)
        if entry and packages.is_absolute() and packages.is_dir():
            yield from sorted(packages.glob("nvidia/*/lib"), key=lambda folder: folder.parent.name != "cu13")
            if (folder := packages / "torch" / "lib").is_dir():
                yield folder
    for home in (os.environ.get("CUDA_PATH"), os.environ.get("CUDA_HOME"), "/usr/local/cuda"):
        if home and (folder := Path(home) / "lib64").is_dir():
            yield folder


def card() -> Card | None:
    """Ask the driver for its first card; None where there is no driver or no card."""
    try:
        driver = ctypes.CDLL("nvml.dll" if sys.platform == "win32" else "libnvidia-ml.so.1")
        if driver.nvmlInit_v2() != _SUCCESS:
            return None
    except (OSError, AttributeError):
        return None
    try:
        device, memory = ctypes.c_void_p(), (ctypes.c_ulonglong * 3)()
        if driver.nvmlDeviceGetHandleByIndex_v2(_visible_index(), ctypes.byref(device)) != _SUCCESS:
            return None
        driver.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))
        cuda = ctypes.c_int()
        driver.nvmlSystemGetCudaDriverVersion_v2(ctypes.byref(cuda))
        return Card(
            name=_text(driver.nvmlDeviceGetName, device),
            driver=_text(driver.nvmlSystemGetDriverVersion),
            cuda=f"{cuda.value // 1000}.{cuda.value % 1000 // 10}",
            memory=memory[0],
            free=memory[1],
        )
    finally:
        driver.nvmlShutdown()


def free_memory() -> int | None:
    """Bytes that are free on the card that this process computes on; None where there is none."""
    runtime = _runtime()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if runtime is not None and runtime.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) == _SUCCESS:
        return free.value
    found = card()
    return found.free if found is not None else None


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of memory on the card: where the first one begins, and bytes from one row to the next."""

    address: int
    pitch: int


def copy_rows(pairs: Sequence[tuple[Block, Block]], *, width: int, rows: int) -> bool:
    """Copy the first `width` bytes of `rows` rows on the card, for each pair from the second to the first.

    Returns once all is there; False where this process cannot copy on the card.
    """
    runtime = _runtime()
    if runtime is None:
        return False
    size, address = ctypes.c_size_t, ctypes.c_void_p
    for target, source in pairs:
        failed = runtime.cudaMemcpy2D(
            address(target.address),
            size(target.pitch),
            address(source.address),
            size(source.pitch),
            size(width),
            size(rows),
            _DEVICE_TO_DEVICE,
        )
        if failed:
            return False
    return bool(runtime.cudaDeviceSynchronize() == _SUCCESS)  # the session's stream does not wait for copies


@cache
def _runtime() -> ctypes.CDLL | None:
    """CUDA's runtime as the provider has it, in whose context its memory lies."""
    major = _CUDA_MAJOR.match(wanted())
    if major is None:
        return None
    try:
        return ctypes.CDLL(f"cudart64_{major[0]}.dll" if sys.platform == "win32" else _CUDART.format(major[0]))
    except OSError:
        return None


def _names(major: int) -> Iterator[tuple[str, bool]]:
    """Each library with whether it is required, those first that others need."""
    yield _CUDART.format(major), True
    yield f"libcublasLt.so.{major}", True
    yield f"libcublas.so.{major}", True
    yield "libcurand.so.10", True
    yield f"libnvrtc.so.{major}", False
    yield f"libcufft.so.{_CUFFT.get(major, major - 1)}", False
    yield f"libcudnn.so.{_CUDNN}", False


def _load(name: str, folders: list[Path], required: bool) -> Library:
    for path in (folder / name for folder in folders):
        if path.is_file() and _loads(str(path)):
            return Library(name, path, True, required)
    return Library(name, None, _loads(name), required)


def _loads(path: str) -> bool:
    try:
        ctypes.CDLL(path)
    except OSError:
        return False
    return True


def _visible_index() -> int:
    """The driver's number of the first card that CUDA may use here."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    return int(first) if first.isdigit() else 0


def _text(function: ctypes._NamedFuncPointer, *arguments: object) -> str:
    buffer = ctypes.create_string_buffer(96)
    return buffer.value.decode(errors="replace") if function(*arguments, buffer, 96) == _SUCCESS else ""
