"""Stands between an editor and a language server, passes everything on as it is, and notes each message in a file.

    python recorder.py NOTES COMMAND...

A line of the notes is a JSON object: when (seconds since 1970), from whom, the method, the id and a few parameters, and
how many items an answer has. The first line has the server's process id.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any


def main() -> None:
    """Run the server until one of the two sides ends."""
    notes = Path(sys.argv[1]).open("a", encoding="utf-8", buffering=1)  # noqa: SIM115 (open as long as this runs)
    server = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert server.stdin is not None
    assert server.stdout is not None
    notes.write(json.dumps({"pid": server.pid}) + "\n")
    to_server = threading.Thread(target=_pass_on, args=(sys.stdin.buffer, server.stdin, "editor", notes), daemon=True)
    to_server.start()
    _pass_on(server.stdout, sys.stdout.buffer, "server", notes)
    os._exit(server.wait())


def _pass_on(source: IO[bytes], target: IO[bytes], who: str, notes: IO[str]) -> None:
    try:
        while header := source.readline():
            length, more = 0, header
            while more.strip():
                name, _, value = more.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                more = source.readline()
                header += more
            body = source.read(length)
            target.write(header + body)
            target.flush()
            notes.write(json.dumps(_note(json.loads(body), who)) + "\n")
    except (OSError, ValueError):
        pass  # one of the two sides is gone
    target.close()


def _note(message: dict[str, Any], who: str) -> dict[str, Any]:
    result, params = message.get("result"), message.get("params")
    note = {"time": time.time(), "from": who, "method": message.get("method"), "id": message.get("id")}
    if isinstance(params, dict):
        note["cancels"] = params.get("id")
        note["context"] = params.get("context")
        note["uri"] = (params.get("textDocument") or {}).get("uri")
        note["settings"] = params.get("settings")
        note["command"] = params.get("command")
    if isinstance(result, dict) and "items" in result:
        note["items"] = len(result["items"])
    return {key: value for key, value in note.items() if value is not None}


if __name__ == "__main__":
    main()
