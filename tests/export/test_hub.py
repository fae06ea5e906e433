"""Weights from the hub, against a real HTTP server that answers as the hub does; and without any server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.model_folders.locations import CACHE_VARIABLE
from engine.model_folders.manifest import read_manifest
from tests.export.small_models import VARIANTS, random_weights, write_folder

NAME, COMMIT = "JetBrains/Mellum-small", "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """One repository of one commit, in a folder; remembers what was asked for."""

    def __init__(self, folder: Path, name: str = NAME, commit: str = COMMIT) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.name, self.commit = folder, name, commit
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.damages = False
        self.pauses = False
        """Whether it stops in the middle of a file of weights, until `goes_on` is set; `paused` says that it has."""
        self.paused, self.goes_on = threading.Event(), threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        name_of_model = self.server.name
        path = self.path.split("?")[0]
        self.server.asked.append(path)
        files = [file.name for file in sorted(self.server.folder.iterdir())]
        sizes = {name: (self.server.folder / name).stat().st_size for name in files}
        if (
            path in (f"/api/models/{name_of_model}/revision/{revision}" for revision in ("main", self.server.commit))
            or path == f"/api/models/{name_of_model}"
        ):
            siblings = [{"rfilename": name, "size": sizes[name]} for name in files]
            self._send(
                json.dumps(
                    {
                        "_id": "1",
                        "id": name_of_model,
                        "modelId": name_of_model,
                        "sha": self.server.commit,
                        "siblings": siblings,
                        "tags": ["license:mit"],
                    }
                ).encode()
            )
        elif path == f"/api/models/{name_of_model}/tree/{self.server.commit}":
            tree = [{"type": "file", "path": name, "size": sizes[name], "oid": self._etag(name)} for name in files]
            self._send(json.dumps(tree).encode())
        elif (
            path.startswith(f"/{name_of_model}/resolve/{self.server.commit}/")
            and (name := path.rsplit("/", 1)[1]) in files
        ):
            self._send((self.server.folder / name).read_bytes(), name)
        else:
            code = "RevisionNotFound" if name_of_model in path else "RepoNotFound"
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _etag(self, name: str) -> str:
        """Large files are named by their sha256, as in the hub's storage of them; others by git's hash."""
        data = (self.server.folder / name).read_bytes()
        kind = hashlib.sha256 if name.endswith(".safetensors") else hashlib.sha1
        return kind(data, usedforsecurity=False).hexdigest()

    def _send(self, body: bytes, name: str = "") -> None:
        start = 0
        if wanted := self.headers.get("Range"):
            self.server.ranges.append(f"{name} {wanted}")
            start = int(wanted.removeprefix("bytes=").split("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if name:
            self.send_header("ETag", f'"{self._etag(name)}"')
            self.send_header("X-Repo-Commit", self.server.commit)
        self.end_headers()
        if self.command != "GET":
            return
        is_weights = name.endswith(".safetensors")
        if is_weights and self.server.damages:
            body = bytes([body[0] ^ 1]) + body[1:]
        if is_weights and self.server.pauses:
            middle = max(len(body) // 2, start)
            self.wfile.write(body[start:middle])
            self.wfile.flush()
            self.server.paused.set()
            self.server.goes_on.wait()
            start = middle
        with contextlib.suppress(OSError):  # the client was killed
            self.wfile.write(body[start:])


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    architecture = VARIANTS["grouped and tied"]
    folder = write_folder(tmp_path / "repository", architecture, random_weights(architecture), shards=2)
    (folder / "README.md").unlink()
    (folder / "modeling_mellum.py").write_text("raise SystemExit('this must never run')")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with serving(Hub(folder)) as server:
        yield server


@contextlib.contextmanager
def serving(server: Hub) -> Iterator[Hub]:
    """Answer in a thread."""
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def variables_for(tmp_path: Path, address: str) -> dict[str, str]:
    """An environment with caches of its own, whose hub has this address."""
    variables = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    places = {CACHE_VARIABLE: str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hub"), "HF_ENDPOINT": address}
    return {**variables, **places, "COLUMNS": "200"}


def export(tmp_path: Path, address: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lsp_server.cli", "export", "--target", "cpu", "--no-fit", *arguments]
    variables = variables_for(tmp_path, address) | environment
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def test_only_what_is_needed_is_downloaded_once(hub: Hub, tmp_path: Path) -> None:
    done = export(tmp_path, hub.address, NAME)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(tmp_path / "cache/models/mellum-small-int8")
    assert (manifest.source, manifest.revision, manifest.license) == (NAME, COMMIT, "mit")
    assert manifest.command.endswith(f"--revision {COMMIT}")
    fetched = {path.rsplit("/", 1)[1] for path in hub.asked if "/resolve/" in path}
    shards = {f"model-0000{shard}-of-00002.safetensors" for shard in (1, 2)}
    assert fetched == {"config.json", "tokenizer.json", "model.safetensors.index.json", *shards}
    hub.asked.clear()
    assert export(tmp_path, hub.address, NAME, "--revision", COMMIT).returncode == 0
    assert not [path for path in hub.asked if "/resolve/" in path]


def test_without_the_hub_the_cache_serves(hub: Hub, tmp_path: Path) -> None:
    assert export(tmp_path, hub.address, NAME).returncode == 0
    hub.asked.clear()
    assert export(tmp_path, hub.address, NAME, HF_HUB_OFFLINE="1").returncode == 0
    assert not hub.asked
    assert export(tmp_path, "http://127.0.0.1:9", NAME).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "environment", "sentence"),
    [
        ((NAME,), {"HF_ENDPOINT": "http://127.0.0.1:9"}, "is not on this machine and the hub cannot be reached"),
        ((NAME,), {"HF_HUB_OFFLINE": "1"}, "is not on this machine and HF_HUB_OFFLINE is set"),
        (("JetBrains/nothing",), {}, "The hub has no model JetBrains/nothing"),
        ((NAME, "--revision", "v9"), {}, f"{NAME} has no revision v9"),
    ],
)
def test_what_the_hub_does_not_have_is_one_sentence(
    arguments: tuple[str, ...], environment: dict[str, str], sentence: str, hub: Hub, tmp_path: Path
) -> None:
    done = export(tmp_path, hub.address, *arguments, **environment)
    assert done.returncode == 1
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_repository_of_pickles_is_refused_before_it_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    for path in hub.folder.glob("*.safetensors"):
        path.unlink()
    done = export(tmp_path, hub.address, NAME)
    assert done.returncode == 1
    assert "has no safetensors on the hub" in " ".join(done.stderr.split())
    assert not [path for path in hub.asked if "/resolve/" in path]


def test_a_file_that_was_damaged_on_its_way_is_downloaded_again(hub: Hub, tmp_path: Path) -> None:
    hub.damages = True
    done = export(tmp_path, hub.address, NAME)
    assert done.returncode == 1
    assert "was damaged on its way; run this again" in " ".join(done.stderr.split())
    hub.damages = False
    for _ in range(2):  # each of both files was damaged
        done = export(tmp_path, hub.address, NAME)
    assert done.returncode == 0, done.stderr
