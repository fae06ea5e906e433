"""Runs programs that a model wrote: with limits on time, memory, processes and files, and without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache

_MEGABYTES = 512
_GUARD = f"""
import os, sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, ({_MEGABYTES} << 20, {_MEGABYTES} << 20))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
except ImportError:
    pass  # Windows has none of these; the rules below hold there, too
_REFUSED = (
    "socket.", "subprocess.", "shutil.", "ctypes.", "winreg.", "os.system", "os.exec", "os.fork", "os.posix_spawn",
    "os.spawn", "os.kill", "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod",
    "os.truncate", "os.putenv", "signal.pthread_kill",
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
def _guard(event, arguments):
    if event.startswith(_REFUSED) or (event == "open" and arguments[2] & _WRITING):
        raise PermissionError(event)
_program = sys.stdin.read()
sys.addaudithook(_guard)
exec(compile(_program, "program", "exec"), {{"__name__": "__main__"}})
"""


def passes(program: str, *, seconds: float = 5.0) -> bool:
    """Whether a Python program ends by itself within `seconds`, and without an exception.

    The rules keep a model's accidents in, not a person who means to break out: they are those of the interpreter, with
    the system's limits in addition and, where Linux allows it, a network namespace that has nothing in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                [*_without_network(), sys.executable, "-I", "-S", "-c", _GUARD],
                input=program.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=folder,
                env={name: os.environ[name] for name in ("SYSTEMROOT",) if name in os.environ},
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == 0


@cache
def _without_network() -> tuple[str, ...]:
    """The command in front that takes the network away; nothing where the system does not let us."""
    command = (shutil.which("unshare") or "", "--net", "--map-root-user")
    if not command[0]:
        return ()
    works = subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
    return command if works else ()
