"""What a processor without VNNI would do: `python -m evaluation.avx2 COMMAND...`, on x86-64 under Linux.

Runs a command, and all processes that get its environment: ONNX Runtime finds AVX2, but not AVX-512, VNNI or AMX.
It then takes the kernels that it takes on such a processor, whose sums of products of unsigned and signed bytes
saturate: the answers are those of such a processor, and the times are those of this one without the instructions.
OpenBLAS takes its kernels of Haswell. Wants `gcc` and `objdump` (on Debian: `gcc binutils`). The command is looked for
beside this Python first; its exit code is passed on (128 + N where signal N ended it).

    python -m evaluation.avx2 mellum-lsp setup     # with a MELLUM_LSP_CACHE of its own: weights follow the processor
    python -m evaluation.avx2 python -m evaluation.latency
    python -m evaluation.avx2 python -m pytest -m 'not slow'

How: `mask.c` replaces each `cpuid` instruction of ONNX Runtime before it runs, and answers in its place.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from engine.devices.onnx_runtime import onnxruntime
from syntax.children import find_program

_SOURCE = Path(__file__).with_name("mask.c")


def libraries() -> list[Path]:
    """ONNX Runtime's own code."""
    folder = Path(onnxruntime.__file__).with_name("capi")
    return sorted([*folder.glob("onnxruntime_pybind11_state*.so"), *folder.glob("libonnxruntime.so*")])


def instructions(library: Path) -> Iterator[int]:
    """Where a library asks for the processor's features: addresses, from its start."""
    printed = _output("objdump", "--disassemble", "--no-show-raw-insn", str(library))
    for line in printed.splitlines():
        address, _, instruction = line.partition(":")
        if instruction.strip() == "cpuid":
            yield int(address, 16)


def masked(place: Path) -> Mapping[str, str]:
    """The environment of processes that find no more than AVX2; what it needs is written to `place`."""
    mask, places = place / "mask.so", place / "cpuid.txt"
    if set(str(place)).intersection(" :;"):
        raise SystemExit(f"The linker takes no library from {place}, for its name; let TMPDIR name another folder.")
    _output("gcc", "-O1", "-fPIC", "-shared", "-o", str(mask), str(_SOURCE), "-ldl")
    try:
        ctypes.CDLL(str(mask))  # the linker would go on without it
    except OSError as error:
        raise SystemExit(f"{error}; let TMPDIR name a folder whose files may be run.") from error
    found = [(library.name, address) for library in libraries() for address in instructions(library)]
    places.write_text("".join(f"{name} {address:x}\n" for name, address in found), "utf-8")
    if not found:
        raise SystemExit("ONNX Runtime asks for the processor's features in a way that is not known here.")
    both = {"LD_AUDIT": str(mask), "LD_PRELOAD": str(mask)}
    return os.environ | both | {"MELLUM_LSP_CPUID": str(places), "OPENBLAS_CORETYPE": "Haswell"}


def _output(name: str, *arguments: str) -> str:
    """What a program prints."""
    program = find_program(name)
    if program is None:
        raise SystemExit(f"{name} is not installed (on Debian: gcc binutils).")
    done = subprocess.run([program, *arguments], check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{name} has failed, with exit code {done.returncode}.")
    return done.stdout


def run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a command to its end. What Ctrl-C does is its affair, and SIGTERM is passed on to it."""
    signal.signal(signal.SIGINT, lambda *_: None)
    with subprocess.Popen(command, env=environment) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    return code if code >= 0 else 128 - code


def main() -> int:
    """Run the command, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.avx2",
        usage="%(prog)s COMMAND...",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="with its arguments")
    command = parser.parse_args().command
    command = command[command[:1] == ["--"] :]
    if not command:
        parser.error("a command is missing")
    if sys.platform != "linux" or platform.machine() != "x86_64":
        raise SystemExit("This works on x86-64 under Linux.")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    program = shutil.which(command[0])
    if program is None:
        parser.error(f"{command[0]} is no program that can be run")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # and remove the folder
    try:
        with tempfile.TemporaryDirectory() as place:
            return run([program, *command[1:]], masked(Path(place)))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
