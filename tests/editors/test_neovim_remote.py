"""Real Neovim with a model on another machine: it suggests, and when it is gone, the local one goes on."""

import itertools
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pynvim", reason="pynvim is missing: run `pip install -e '.[dev]'`")

from engine.model_folders.locations import CACHE_VARIABLE
from tests.editors.neovim_driver import PLUGIN, Editor, environment, opened
from tests.editors.unfinished import TYPED
from tests.editors.waiting import eventually
from tests.engine.remote.running import llama_running

pytestmark = [pytest.mark.slow]

ASK = """
local client = vim.lsp.get_clients({ bufnr = 0, name = 'mellum', method = 'textDocument/inlineCompletion' })[1]
local status = client and client:request_sync('mellum/status', vim.empty_dict(), 1000, 0)
return status and status.result
"""
SETTINGS = """
vim.lsp.config('mellum', {{
  settings = {{
    mellum = {{ remote = {{ url = '{url}' }}, contextTokens = 256, deadline = 5000, eagerness = 'always' }},
  }},
}})
"""


def status(editor: Editor) -> dict[str, Any]:
    """What the server says of itself; nothing where it has not begun."""
    return editor.nvim.exec_lua(ASK) or {}


def remote(editor: Editor) -> dict[str, Any]:
    """What it says of the other machine."""
    return status(editor).get("remote") or {}


def messages(editor: Editor) -> str:
    """What Neovim has shown of messages."""
    said: str = editor.nvim.exec_lua("return vim.fn.execute('messages')")
    return said


def suggest_again(editor: Editor, number: int) -> None:
    """Write the line anew, with a name that was not there before, and wait for grey text."""
    typed = TYPED.replace("w", f"w{number}")
    editor.press(f"<Esc>uo{typed}")
    eventually(lambda: editor.line().endswith(typed), "the typed text")
    eventually(editor.grey, "grey text", seconds=300)


def test_it_suggests_and_when_it_is_killed_the_local_model_goes_on_and_that_is_told_once(
    tmp_path: Path, model_cache: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with llama_running(model_cache) as server:
        allow = ["env", *environment(home), f"{CACHE_VARIABLE}={model_cache}", "mellum-lsp", "remote", "allow"]
        done = subprocess.run([*allow, server.address], capture_output=True, text=True, check=True)
        assert f"{server.address} may have code" in done.stdout
        settings = SETTINGS.format(url=server.address)
        place = home, tmp_path / "workspace", model_cache
        with opened(("0.12", PLUGIN), *place, settings, known=server.address) as editor:
            eventually(lambda: remote(editor).get("state") == "ready", "the greeting", seconds=300)
            eventually(lambda: status(editor)["state"] == "ready", "the loading of the local model", seconds=300)
            assert editor.suggestion()
            numbers = itertools.count()
            while not remote(editor)["seconds"]:  # on a busy machine, the local model is faster at first
                suggest_again(editor, next(numbers))
            os.kill(server.pid, signal.SIGKILL)
            for _ in range(3):
                suggest_again(editor, next(numbers))
            eventually(lambda: remote(editor)["state"] == "down", "the news of its end")
            said = status(editor)
            assert said["state"] == "ready"
            assert server.address in said["message"]
            gone = f"The model at {server.address} is gone; the local one goes on"
            eventually(lambda: gone in messages(editor), "the message")
            suggest_again(editor, next(numbers))
            assert messages(editor).count("is gone") == 1
            assert editor.mode() == "i"
