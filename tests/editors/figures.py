"""How grey text follows the keys: what the tests of each editor measure in it, and the table of that.

python -m tests.editors.figures     # prints the table of editors/README.md, from what the last tests left
"""

import json
import statistics
import sys
import sysconfig
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / ".cache" / "figures"
OURS = Path(sysconfig.get_path("scripts")) / "mellum-lsp"
"""The real server."""
RECORDER = Path(__file__).with_name("recorder.py")

OPENING = "opening to grey text, s"
P50, P90 = "key to grey text, p50 ms", "key to grey text, p90 ms"
FLICKERS = "flickers"
REQUESTS, CANCELLATIONS = "requests per 100 keys", "cancellations per 100 keys"
ROWS = (OPENING, P50, P90, FLICKERS, REQUESTS, CANCELLATIONS)

LINES = ("w = TextWrapper(width=width, **kwargs)", "return w.fill(text)")
"""What is typed."""
PAUSE = 0.25
"""Seconds between two keys."""


def recorded_server(folder: Path, real: Path = OURS) -> Path:
    """Put a `mellum-lsp` into `folder` whose messages are noted by `recorder.py`; return the file of the notes."""
    folder.mkdir(parents=True, exist_ok=True)
    notes, script = folder / "notes.jsonl", folder / "mellum-lsp"
    notes.touch()
    record = f'exec "{sys.executable}" "{RECORDER}" "{notes}" "{real}" serve'
    script.write_text(f'#!/bin/sh\nif [ "$1" = serve ]; then {record}; fi\nexec "{real}" "$@"\n')
    script.chmod(0o755)
    return notes


def read_notes(file: Path) -> list[dict[str, Any]]:
    """Return what passed between the editor and its servers so far."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def measured(watched: list[dict[str, Any]], notes: list[dict[str, Any]], opening: float) -> dict[str, Any]:
    """Return the figures of what was typed, from what the editor showed and sent meanwhile.

    `watched` has the keys and what each frame showed, with times in milliseconds; `opening` is in seconds.
    """
    keys = sum(len(note.get("key", "")) == 1 for note in watched)
    methods = [note.get("method") for note in notes]
    delays = delays_of(watched)
    assert len(delays) >= 5, watched
    return {
        OPENING: round(opening, 1),
        P50: round(statistics.median(delays)),
        P90: round(statistics.quantiles(delays, n=10)[-1]),
        FLICKERS: len(flickers_of(watched)),
        REQUESTS: round(100 * methods.count("textDocument/inlineCompletion") / keys),
        CANCELLATIONS: round(100 * methods.count("$/cancelRequest") / keys),
    }


def keep(editor: str, figures: dict[str, Any], watched: list[dict[str, Any]]) -> None:
    """Leave the figures of an editor, and what they come from, for the table."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / f"{editor}.json").write_text(json.dumps({"figures": figures, "watched": watched}, indent=1))


def delays_of(watched: list[dict[str, Any]]) -> list[float]:
    """Milliseconds from each key to the first frame with grey text after it, where that came before the next key."""
    delays, key, typed = [], None, ""
    for note in watched:
        if "key" in note:
            key = note["time"]
        elif key is not None and note["grey"] and note["typed"] != typed:
            delays.append(note["time"] - key)
            key, typed = None, note["typed"]
    return delays


def flickers_of(watched: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Frames without grey text, between two that show the same line."""
    frames = [note for note in watched if "typed" in note]
    return [
        gone
        for before, gone, after in zip(frames, frames[1:], frames[2:], strict=False)
        if before["grey"]
        and not gone["grey"]
        and after["grey"]
        and (after["typed"] + after["grey"]).startswith(before["typed"] + before["grey"])
    ]


def main() -> None:
    """Print the table."""
    found = {file.stem: json.loads(file.read_text())["figures"] for file in sorted(FOLDER.glob("*.json"))}
    print("|", "|".join(["", *found]), "|")
    print("|", " | ".join(["---"] * (len(found) + 1)), "|")
    for row in ROWS:
        print("|", " | ".join([row, *(str(figures[row]) for figures in found.values())]), "|")


if __name__ == "__main__":
    main()
