"""A real VS Code in a browser without a window: started with a home folder of its own, typed into, and looked at."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
from playwright.sync_api import Page

from tests.editors.figures import OURS, read_notes, recorded_server
from tests.editors.unfinished import TYPED
from tests.editors.vscode_install import install, path_with_node
from tests.editors.waiting import eventually

CACHE = Path(__file__).parents[1] / ".cache"
VSCODE = CACHE / "vscode"
PICTURES = CACHE / "pictures"

PATIENT = {"mellum.deadline": 5000, "mellum.eagerness": "always"}
"""There is text on a machine that runs other tests, too, and where the model is not sure: these test the editor."""

LOOK = """
(() => {
  window.look = () => {
    const editor = document.querySelector('.monaco-editor.focused');
    const cursor = editor?.querySelector('.cursors-layer .cursor');
    if (!cursor) return { typed: '', grey: '' };
    const top = cursor.style.top;
    const line = [...editor.querySelectorAll('.view-lines > .view-line')].find(one => one.style.top === top);
    let typed = '', grey = '';
    for (const span of line?.firstElementChild?.children ?? []) {
      if (span.className.includes('ghost-text')) grey += span.textContent; else typed += span.textContent;
    }
    for (const more of editor.querySelectorAll('.view-zones .ghost-text, .view-zones .suggest-preview-text')) {
      for (const one of more.querySelectorAll('.view-line')) grey += '\\n' + one.textContent;
    }
    return { typed: typed.replaceAll('\\u00a0', ' '), grey: grey.replaceAll('\\u00a0', ' ') };
  };
  window.watch = () => {
    const seen = window.seen = [];
    const note = () => {
      if (window.seen !== seen) return;
      const now = window.look(), last = seen.findLast(one => !one.key);
      if (now.typed !== last?.typed || now.grey !== last?.grey) seen.push({ time: performance.now(), ...now });
      requestAnimationFrame(note);
    };
    note();
  };
  addEventListener('keydown', event => window.seen?.push({ time: performance.now(), key: event.key }), true);
})()
"""
"""In the page: what stands in the cursor's line, and in grey; and, frame by frame, how that changes with the keys."""

SETTINGS = {
    "editor.minimap.enabled": False,
    # VS Code's own menu waits 750 ms for grey text, then throws it away; a machine that runs other tests takes longer
    "editor.quickSuggestions": {"other": "on", "comments": "off", "strings": "off"},
    "editor.wordBasedSuggestions": "off",
    "files.autoSave": "off",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.startupEditor": "none",
}
"""Of the user: no more on the screen than the tests look at."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the screen shows in the cursor's line."""

    typed: str
    grey: str

    @property
    def line(self) -> str:
        """The line as a person reads it."""
        return self.typed + self.grey.split("\n")[0]


class Host:
    """code-server with the extension, in a home folder of its own; `server` is on its PATH as `mellum-lsp`."""

    def __init__(
        self,
        cache: Path,
        vsix: Path,
        home: Path,
        environment: Mapping[str, str],
        *,
        server: Path | None = OURS,
        machine: Mapping[str, object] | None = None,
    ) -> None:
        self.home = home
        self.data = home / "data"
        self._notes = home / "bin" / "notes.jsonl"
        for where, settings in (("User", SETTINGS), ("Machine", machine or {})):
            file = self.data / where / "settings.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps(settings))
        (home / "bin").mkdir()
        # VS Code takes the environment from a login shell
        (home / ".profile").write_text(f'PATH="{home / "bin"}:$PATH"\n')
        if server is not None:
            recorded_server(home / "bin", server)
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
        subprocess.run(
            [*self.command, "--install-extension", str(vsix)],
            env=self.environment,
            cwd=home,
            check=True,
            capture_output=True,
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        flags = ["--auth=none", f"--bind-addr=127.0.0.1:{self.port}", "--disable-telemetry", "--disable-update-check"]
        flags += ["--disable-workspace-trust", "--disable-getting-started-override"]
        self.log = (home / "code-server.log").open("w")
        self.process = subprocess.Popen(
            [*self.command, *flags],
            env=self.environment,
            cwd=home,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        eventually(self._listens, "the start of code-server")

    def notes(self) -> list[dict[str, Any]]:
        """Return what passed between the editor and its servers so far."""
        return read_notes(self._notes)

    def servers(self) -> list[psutil.Process]:
        """Return the servers that run now."""
        pids = [note["pid"] for note in self.notes() if "pid" in note]
        running = []
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:
                    running.append(process)
        return running

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.home / "code-server.log").read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def address(self, **query: str) -> str:
        """Return the address of a window; the query names a folder or a workspace."""
        return f"http://127.0.0.1:{self.port}/?{urlencode(query)}"

    def close(self) -> None:
        """End code-server and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(timeout=60)
        self.log.close()


class Window:
    """A window of VS Code: what a person does in it, and sees."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        page.set_default_timeout(300_000)
        page.add_init_script(LOOK)
        page.goto(address)
        page.wait_for_selector(".monaco-workbench .statusbar")

    def press(self, *keys: str) -> None:
        """Press keys one after the other, such as `Control+Right`."""
        for key in keys:
            self.page.keyboard.press(key)

    def write(self, text: str, pause: float = 60) -> None:
        """Type text, with so many milliseconds between the keys."""
        self.page.keyboard.type(text, delay=pause)

    def command(self, title: str) -> None:
        """Run a command by its title in the command palette."""
        self._pick("F1", title)

    def _pick(self, key: str, text: str) -> None:
        self.press(key)
        widget = self.page.locator(".quick-input-widget")
        widget.locator("input").first.wait_for(state="visible")
        self.write(text, 5)
        if key != "Control+g":
            widget.locator(".monaco-list-row.focused").first.wait_for(state="visible")
            eventually(lambda: self._has_focused_entry(text), f"an entry for {text!r}")
        self.press("Enter")

    def _has_focused_entry(self, text: str) -> bool:
        label = self.page.locator(".quick-input-widget .monaco-list-row.focused").first.text_content() or ""
        return text.split("/")[-1].replace(" ", "") in label.replace("\u00a0", " ").replace(" ", "")

    def open(self, file: Path, line: int | None = None) -> None:
        """Open a file, with the cursor at the end of a line, counted from 1."""
        self._pick("Control+p", str(file))
        self.page.wait_for_selector(f'.tab.active[data-resource-name="{file.name}"]')
        self.page.wait_for_selector(".monaco-editor.focused")
        if line is not None:
            self._pick("Control+g", str(line))
            eventually(lambda: f"Ln {line}," in self.position(), f"the cursor in line {line}")
            self.press("End")

    def throw_away(self, file: Path) -> None:
        """Close a file without what was not saved, with all its tabs: a diff editor is a second one."""
        self.open(file)
        tabs = self.page.locator(f'.tab[data-resource-name="{file.name}"]')
        while left := tabs.count():
            self.command("View: Revert and Close Editor")
            eventually(lambda: tabs.count() < left, "the end of a tab", seconds=30)

    def position(self) -> str:
        """Return where the status bar says that the cursor is: `Ln 1, Col 1`."""
        return self.page.locator('[id="status.editor.selection"]').text_content() or ""

    def look(self) -> Seen:
        """Return what the cursor's line shows."""
        return Seen(**self.page.evaluate("look()"))

    def grey(self) -> str:
        """Return the grey text as soon as there is some."""
        try:
            return eventually(lambda: self.look().grey, "grey text", seconds=300)
        except AssertionError as missing:
            missing.add_note(f"The status says: {self.status()}")
            raise

    def watch(self) -> None:
        """From now on, note how the cursor's line changes, frame by frame."""
        self.page.evaluate("watch()")

    def watched(self) -> list[dict[str, Any]]:
        """Return the notes since `watch`: keys, and what the line showed after each change; times in milliseconds."""
        seen: list[dict[str, Any]] = self.page.evaluate("seen")
        return seen

    def status(self) -> str:
        """Return what the item in the status bar says to a screen reader: the state and its sentence."""
        item = self.page.locator('[id="mellum-lsp.mellum-lsp.mellum.status"] a')
        return (item.get_attribute("aria-label") or "") if item.count() else ""

    def says(self, words: str, seconds: float = 400) -> str:
        """Wait until the status holds these words, as whole words, and return it."""
        whole = re.compile(rf"(?<!\w){re.escape(words)}(?!\w)")  # pip says what it has "already"
        try:
            return eventually(lambda: whole.search(said := self.status()) and said, f"{words!r} in the status", seconds)
        except AssertionError as missing:
            missing.add_note(f"The status says: {self.status()}")
            raise

    def messages(self) -> str:
        """Return what the notifications say."""
        return " ".join(self.page.locator(".notification-toast .notification-list-item-message").all_text_contents())

    def answer(self, button: str) -> None:
        """Press a button of a notification."""
        self.page.locator(".notification-toast .monaco-button", has_text=button).first.click()

    def save(self) -> None:
        """Save the file."""
        self.press("Control+s")
        self.page.wait_for_selector(".tab.active.dirty", state="detached")


@contextlib.contextmanager
def opened(browser: Any, host: Host, **query: str) -> Iterator[Window]:
    """Open another window, and close it; where something fails meanwhile, keep a picture of it."""
    page = browser.new_page(viewport={"width": 1000, "height": 640})
    window = Window(page, host.address(**query))
    try:
        yield window
    except BaseException:
        picture_of_failure(window, "another-window")
        raise
    finally:
        page.close()


def picture_of_failure(window: Window, name: str = "fixture") -> None:
    """Write what is on the screen into the folder of pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    window.page.screenshot(path=PICTURES / f"failed-{name}.png")


def begin(window: Window, typed: str = TYPED) -> str:
    """Type the beginning of what is missing on a new line, and return the grey text."""
    window.press("Enter")
    window.write(typed)
    eventually(lambda: window.look().typed.strip().startswith(typed), f"{typed!r} on the screen")
    return window.grey()


def since(host: Host, count: int) -> list[dict[str, Any]]:
    """What passed between the editor and the server after so many notes."""
    return host.notes()[count:]


def answered(notes: list[dict[str, Any]]) -> bool:
    """Whether each request of the editor has its answer."""
    asked = {note["id"] for note in notes if note["from"] == "editor" and "method" in note and "id" in note}
    return asked <= {note["id"] for note in notes if note["from"] == "server" and "id" in note}


def the_server(host: Host) -> psutil.Process:
    """The process of the first window's server. VS Code keeps those of closed windows for hours, for their return."""
    return host.servers()[0]


def accepted(host: Host, count: int) -> bool:
    """Whether the server was told of an accepted suggestion after so many notes."""
    return any(note.get("command") == "mellum.accepted" for note in since(host, count))
