"""Sessions of real clients: whatever they say of themselves, they are served. What they send lies in `clients/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.harness.client import serving

CLIENTS = sorted((Path(__file__).parent / "clients").glob("*.json"))


def test_the_clients_that_people_use_are_here() -> None:
    assert {
        "vscode",
        "neovim-0.11",
        "neovim-0.12",
        "eglot",
        "lsp-mode",
        "helix",
        "sublime",
        "visual-studio",
        "lsp4ij",
    } <= {file.stem for file in CLIENTS}


@pytest.mark.parametrize(
    "session", [json.loads(file.read_text(encoding="utf-8")) for file in CLIENTS], ids=[file.stem for file in CLIENTS]
)
async def test_a_session_of_a_real_client_is_served(session: dict[str, Any], tmp_path: Path) -> None:
    async with serving(tmp_path, MELLUM_LSP_LOG="info") as server:
        client = server.client
        client.answers["workspace/configuration"] = [{}]
        initialized = await client.request("initialize", session["initialize"])
        encodings = session["initialize"]["capabilities"].get("general", {}).get("positionEncodings", ["utf-16"])
        assert initialized["capabilities"]["positionEncoding"] == encodings[0]
        assert "inlineCompletionProvider" in initialized["capabilities"]
        for message in session["messages"]:
            client.send(message)
            if (asked := message.get("id")) is not None:
                await client.until(lambda asked=asked: any(answer["id"] == asked for answer in client.responses))
        assert await server.wait() == 0
    answers = {message["id"]: message for message in client.responses}
    assert len(answers) == len(client.responses) == 3
    assert isinstance(answers["completion"]["result"]["items"], list)
    assert answers["shutdown"]["result"] is None
    assert b"Refused" not in server.stderr
    assert b"Ignored textDocument" not in server.stderr
    assert b"Traceback" not in server.stderr
