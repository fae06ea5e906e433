"""A language server that answers `textDocument/inlineCompletion` in each shape that clients have to live with.

Which one is asked for stands in the document's first line: `# shape: lines`.
"""

import json
import sys
from pathlib import Path
from typing import Any

CALL = "    foo(a, )"
"""The line that is asked for, with the cursor before its bracket."""
SHAPES = ("null", "nothing", "no range", "snippet", "from the start", "something else", "over the bracket", "lines")

Items = list[dict[str, Any]]


def _range(line: int, start: int, end: int) -> dict[str, Any]:
    return {"start": {"line": line, "character": start}, "end": {"line": line, "character": end}}


def items(shape: str, line: int, column: int) -> Items | None:
    """The answer of a shape at a position."""
    here = _range(line, column, column)
    whole = _range(line, 0, column)
    answers: dict[str, Items | None] = {
        "null": None,
        "nothing": [],
        "no range": [{"insertText": "b"}],
        "snippet": [{"insertText": {"kind": "snippet", "value": "b"}, "range": here}],
        "from the start": [{"insertText": f"{CALL[:column]}b", "range": whole}],
        "something else": [{"insertText": "    bar(b", "range": whole}],
        "over the bracket": [{"insertText": "b)", "range": _range(line, column, column + 1)}],
        "lines": [{"insertText": "b,\n        c", "range": here}],
        "two": [{"insertText": "b", "range": here}, {"insertText": "c", "range": here}],
        "late": [{"insertText": "b", "range": here}],
    }
    return answers[shape]


def take_the_place_of_ours(folder: Path) -> None:
    """Put a `mellum-lsp` into `folder` that is this server."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "mellum-lsp"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).absolute()}"\n')
    script.chmod(0o755)


def write(folder: Path, shape: str) -> Path:
    """Write a file in which the second line is asked for, and answered in this shape."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{shape.replace(' ', '_')}.py"
    file.write_text(f"# shape: {shape}\n{CALL}\n")
    return file


def main() -> None:
    """Serve on stdio until the client says exit."""
    documents: dict[str, str] = {}
    held: dict[int, Items | None] = {}
    while (message := _read()) is not None:
        method, params = message.get("method"), message.get("params") or {}
        uri = params.get("textDocument", {}).get("uri", "")
        if method == "exit":
            return
        if method == "initialize":
            sync = {"openClose": True, "change": 1}
            _answer(message, {"capabilities": {"textDocumentSync": sync, "inlineCompletionProvider": {}}})
        elif method == "initialized":
            _write({"method": "mellum/status", "params": _STATUS})
        elif method == "textDocument/didOpen":
            documents[uri] = params["textDocument"]["text"]
        elif method == "$/cancelRequest" and params["id"] in held:
            _answer(params, {"items": held.pop(params["id"])})  # too late
        elif method == "textDocument/inlineCompletion":
            shape = documents[uri].split("\n")[0].removeprefix("# shape: ").strip()
            found = items(shape, params["position"]["line"], params["position"]["character"])
            if shape == "late":
                held[message["id"]] = found
            else:
                _answer(message, found if found is None else {"items": found})
        elif "id" in message and method is not None:
            _answer(message, _STATUS if method == "mellum/status" else None)


_STATUS = {
    "state": "ready",
    "message": "The shapes are ready.",
    "accepted": 0,
    "shown": 0,
    "model": None,
    "version": "1",
}


def _read() -> dict[str, Any] | None:
    length = 0
    while header := sys.stdin.buffer.readline().strip():
        name, _, value = header.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    message: dict[str, Any] | None = json.loads(sys.stdin.buffer.read(length)) if length else None
    return message


def _answer(request: dict[str, Any], result: object) -> None:
    _write({"id": request["id"], "result": result})


def _write(message: dict[str, Any]) -> None:
    body = json.dumps({"jsonrpc": "2.0", **message}).encode()
    sys.stdout.buffer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
