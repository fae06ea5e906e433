"""The file that tests open in each editor: one of the standard library, from which a passage is missing."""

import textwrap
from pathlib import Path

MISSING = "    w = TextWrapper(width=width, **kwargs)\n    return w.fill(text)\n"
"""What the user is about to write, once more, in a file that already has it: no model should be in doubt here."""
TYPED = "w = Text"
BEFORE, AFTER = Path(textwrap.__file__).read_text(encoding="utf-8").split(MISSING)
PLACE = BEFORE.count("\n")
"""The number of the line above what is missing."""


def make_project(folder: Path, line_ends: str = "\n") -> Path:
    """Make a project with the file in it; returns the file."""
    (folder / ".git").mkdir(parents=True, exist_ok=True)
    file = folder / "textwrap.py"
    file.write_text(BEFORE + AFTER, encoding="utf-8", newline=line_ends)
    return file
