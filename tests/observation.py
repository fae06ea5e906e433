"""Observes a program: in an empty network namespace, while strace records every socket and every file that it creates.

In the namespace alone, a look-up would fail unnoticed; under strace alone, it would succeed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_MAKING = {
    *("open", "openat", "openat2", "creat", "mkdir", "mkdirat", "mknod", "mknodat"),
    *("link", "linkat", "symlink", "symlinkat", "rename", "renameat", "renameat2"),
}
_CALL = re.compile(r"^(\w+)\((.*)$")
_FAILED = re.compile(r"= -1 E\w+ \(.*\)$")
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<((?:[^>\\]|\\.)*)>, )?"((?:[^"\\]|\\.)*)"')
_REACHING = {"socket", "connect", "bind", "listen", "accept", "accept4"}
_FAMILY = re.compile(r"\b[AP]F_(?!UNIX\b|LOCAL\b|UNSPEC\b)\w+")


@dataclass(frozen=True, slots=True)
class Observed:
    """What a program and all its children did."""

    sockets: list[str] = field(default_factory=list)
    """System calls that reach for another process or machine, whether they succeeded or not: all but socket pairs."""
    made: set[Path] = field(default_factory=set)
    """Files and folders that it made, temporary ones included."""


@cache
def without_network() -> tuple[str, ...]:
    """The command in front that runs a program in an empty network namespace; nothing where the system refuses it."""
    if shutil.which("unshare") is None:
        return ()
    commands = (("unshare", "--net"), ("unshare", "--net", "--map-root-user"))
    works = (not subprocess.run([*one, "true"], capture_output=True, check=False).returncode for one in commands)
    return next((command for command, does in zip(commands, works, strict=True) if does), ())


@cache
def why_not() -> str:
    """Why nothing can be observed here; empty where it can."""
    if shutil.which("strace") is None:
        return "there is no strace (on Debian: apt-get install strace)"
    done = subprocess.run(["strace", "-f", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {done.stderr.strip()}" if done.returncode else ""


def observing(traces: Path, *, isolated: bool = True) -> list[str]:
    """The command in front that observes a program, and writes a file a process into the new folder `traces`."""
    traces.mkdir()
    wanted = ["%network", *(f"?{call}" for call in sorted(_MAKING))]  # `?`: not all processors have all of them
    command = ["strace", "-ff", "-qq", "-y", "-s", "4096", "-e", f"trace={','.join(wanted)}", "-o", str(traces / "of")]
    return [*command, *(without_network() if isolated else ())]


def read_traces(traces: Path, started_in: Path) -> Observed:
    """What was seen of a program that `observing` ran."""
    observed = Observed()
    for line in (line for file in sorted(traces.iterdir()) for line in file.read_text(errors="replace").splitlines()):
        if (call := _CALL.match(line)) is None:
            continue
        name, arguments = call.groups()
        if name not in _MAKING:
            if name in _REACHING or _FAMILY.search(arguments):
                observed.sockets.append(line)
        elif not _FAILED.search(line) and (not name.startswith("open") or re.search("O_CREAT|O_TMPFILE", arguments)):
            folder, path = _PATH.findall(arguments)[-1]  # of two, the new name
            observed.made.add(Path(os.path.normpath(started_in / folder / path)))
    return observed
