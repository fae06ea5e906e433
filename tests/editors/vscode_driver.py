"""A real VS Code in a browser without a window: started with a home folder of its own, typed into, and looked at."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright

from engine.models import CACHE_VARIABLE
from tests.editors.vscode_install import chromium, install, path_with_node

Answer = TypeVar("Answer")

RECORDER = Path(__file__).with_name("recorder.py")

LOOK = """
() => {
  const parts = document.querySelectorAll('.monaco-editor.focused .view-lines .view-line, .monaco-editor.focused .view-zones .view-line');
  const grey = [...document.querySelectorAll('.monaco-editor .ghost-text-decoration, .monaco-editor .ghost-text-decoration-preview')].map(e => e.textContent);
  return {grey, classes: [...new Set([...document.querySelectorAll('.monaco-editor [class*=ghost], .monaco-editor [class*=suggest-preview]')].map(e => e.className))], html: [...document.querySelectorAll('.monaco-editor [class*=ghost]')].map(e => e.parentElement.outerHTML).slice(0, 3)};
}
"""


def eventually(look: Callable[[], Answer], what: str, seconds: float = 120) -> Answer:
    """Return what `look` sees as soon as that is true."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.05)
    return seen


class Host:
    """code-server with the extension, in a home folder of its own."""

    def __init__(self, cache: Path, vsix: Path | None, home: Path, environment: dict[str, str], *, server: bool) -> None:
        self.home = home
        self.notes = home / "notes.jsonl"
        self.data = home / "data"
        self.notes.touch()
        (home / "bin").mkdir()
        # VS Code takes the environment from a login shell
        (home / ".profile").write_text(f'PATH="{home / "bin"}:$PATH"\n')
        if server:
            real = Path(sysconfig.get_path("scripts")) / "mellum-lsp"
            script = home / "bin" / "mellum-lsp"
            record = f'exec "{sys.executable}" "{RECORDER}" "{self.notes}" "{real}" serve'
            script.write_text(f'#!/bin/sh\nif [ "$1" = serve ]; then {record}; fi\nexec "{real}" "$@"\n')
            script.chmod(0o755)
        self.environment = {**os.environ, "HOME": str(home), "PATH": path_with_node(cache), **environment}
        for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "VSCODE_IPC_HOOK_CLI"):
            self.environment.pop(name, None)
        command = install(cache)
        (home / "config.yaml").write_text("auth: none\n")
        self.command = [
            str(command),
            f"--config={home / 'config.yaml'}",
            f"--user-data-dir={self.data}",
            f"--extensions-dir={home / 'extensions'}",
        ]
        if vsix is not None:
            self.run(["--install-extension", str(vsix)])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        flags = ["--auth=none", f"--bind-addr=127.0.0.1:{self.port}", "--disable-telemetry", "--disable-update-check"]
        flags += ["--disable-workspace-trust", "--disable-getting-started-override"]
        self.log = (home / "code-server.log").open("w")
        self.process = subprocess.Popen(
            [*self.command, *flags], env=self.environment, cwd=home, stdout=self.log, stderr=self.log, start_new_session=True
        )
        eventually(self._listens, "the start of code-server")

    def run(self, arguments: list[str]) -> str:
        return subprocess.run(
            [*self.command, *arguments], env=self.environment, cwd=self.home, check=True, capture_output=True, text=True
        ).stdout

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.home / "code-server.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def address(self, folder: Path, file: Path | None = None) -> str:
        address = f"http://127.0.0.1:{self.port}/?folder={quote(str(folder))}"
        if file is not None:
            payload = json.dumps([["openFile", f"vscode-remote://127.0.0.1:{self.port}{file}"]])
            address += f"&payload={quote(payload)}"
        return address

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 15)
        self.process.wait(timeout=60)
        self.log.close()
