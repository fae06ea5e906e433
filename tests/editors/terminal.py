"""A real terminal without a window, by tmux: a program in it is typed into and looked at, as by a person."""

import io
import re
import subprocess
import uuid
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.ansi import AnsiDecoder
from rich.console import Console
from rich.terminal_theme import MONOKAI

COLUMNS, ROWS = 110, 30
_FONTS = r"@font-face \{\{.*?\n    \}\}\n"
"""What rich would have a reader's browser load from elsewhere."""


class Terminal:
    """A terminal in which one program runs."""

    def __init__(
        self, command: list[str], environment: dict[str, str], columns: int = COLUMNS, rows: int = ROWS
    ) -> None:
        self.rows, self.columns = rows, columns
        self._environment = environment
        self._tmux = f"mellum-{uuid.uuid4().hex}"
        self._call("new-session", "-d", "-x", str(columns), "-y", str(rows), *command)

    def _call(self, *words: str) -> str:
        """Run a tmux command."""
        command = ["tmux", "-L", self._tmux, "-f", "/dev/null", *words]
        return subprocess.run(
            command, env=self._environment, check=True, capture_output=True, text=True, timeout=180
        ).stdout

    def close(self) -> None:
        """End the terminal, and what runs in it."""
        self._call("kill-server")

    def type(self, text: str) -> None:
        """Type text, character by character."""
        self._call("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Press keys, in tmux' notation."""
        self._call("send-keys", *keys)

    def screen(self) -> list[str]:
        """Return what the terminal shows."""
        return self._call("capture-pane", "-p").split("\n")[: self.rows]

    def row(self) -> str:
        """Return the line of the terminal that the cursor is in, grey text included."""
        return self.screen()[int(self._call("display-message", "-p", "#{cursor_y}"))].rstrip()

    def column(self) -> int:
        """Return the column of the terminal's cursor."""
        return int(self._call("display-message", "-p", "#{cursor_x}"))

    def draw(self, file: Path, title: str) -> None:
        """Draw what the terminal shows as an SVG."""
        console = Console(file=io.StringIO(), record=True, width=self.columns, height=self.rows, highlight=False)
        lines = self._call("capture-pane", "-p", "-e", "-N").split("\n")[: self.rows]
        for line in AnsiDecoder().decode("\n".join(lines)):  # a colour holds until the next one, over lines
            console.print(line, no_wrap=True, crop=True)
        drawn = re.sub(_FONTS, "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code, ", "")
        console.save_svg(str(file), title=title, theme=MONOKAI, code_format=drawn, unique_id=file.parent.name)
