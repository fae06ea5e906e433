"""A keyring of the package `keyring` in a file, as a system without one may have it: for tests."""

from __future__ import annotations

import json
import os
from pathlib import Path

from keyring.backend import KeyringBackend
from keyring.errors import PasswordDeleteError


class TokenFile(KeyringBackend):
    """Keeps passwords in the file that TOKEN_FILE names."""

    priority = 1  # type: ignore[assignment]

    def get_password(self, service: str, username: str) -> str | None:
        return self._read().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        self._write({**self._read(), f"{service} {username}": password})

    def delete_password(self, service: str, username: str) -> None:
        kept = self._read()
        if kept.pop(f"{service} {username}", None) is None:
            raise PasswordDeleteError
        self._write(kept)

    def _read(self) -> dict[str, str]:
        file = Path(os.environ["TOKEN_FILE"])
        kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        return kept

    def _write(self, kept: dict[str, str]) -> None:
        Path(os.environ["TOKEN_FILE"]).write_text(json.dumps(kept))
