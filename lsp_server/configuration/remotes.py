"""Servers that the user lets have code, and their tokens: nothing that the settings of a workspace could bring.

LSP does not tell the user's settings from a workspace's, and some clients merge them. So an address in the settings
counts only if `mellum-lsp remote allow` has named it, or the environment does: `MELLUM_LSP_REMOTE`.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from engine.model_folders.whole_file import write_whole
from lsp_server.statistics.events import statistics_file

ADDRESS_VARIABLE, TOKEN_VARIABLE = "MELLUM_LSP_REMOTE", "MELLUM_LSP_REMOTE_TOKEN"
_KEYRING = "mellum-lsp"


class KeyringError(Exception):
    """The token cannot be kept; the text is one sentence."""


def allowed() -> list[str]:
    """The addresses that were allowed, as `engine.remote.address.Address.base` writes them."""
    file = _file()
    try:
        said = json.loads(file.read_text(encoding="utf-8")) if file is not None else []
    except (OSError, ValueError):
        return []
    return [one for one in said if isinstance(one, str)] if isinstance(said, list) else []


def allow(base: str) -> None:
    """Let a server have code from now on. Raises OSError."""
    _change(lambda before: [*(one for one in before if one != base), base])


def forbid(base: str) -> bool:
    """Let a server have none from now on; False where it had none before. Raises OSError."""
    was_there = base in allowed()
    _change(lambda before: [one for one in before if one != base])
    return was_there


def token_of(base: str) -> str | None:
    """The token for a server: the environment's, else the keyring's. May wait for the user to unlock the keyring."""
    if (given := os.environ.get(TOKEN_VARIABLE)) and _is_for(base):
        return given
    if importlib.util.find_spec("keyring") is None:
        return None
    try:
        import keyring

        return keyring.get_password(_KEYRING, base)
    except Exception:  # there is none on this system, or it is locked; backends raise errors of their own
        return None


def _is_for(base: str) -> bool:
    """Whether the environment's token is for this server: the one that it names, else the only one that is allowed."""
    if not (named := os.environ.get(ADDRESS_VARIABLE)):
        return allowed() == [base]
    from engine.remote.address import RemoteError, parse_address  # a server starts without the engine

    try:
        return parse_address(named).base == base
    except RemoteError:
        return False


def keep_token(base: str, token: str | None) -> None:
    """Write a token into the keyring; None removes it. Raises KeyringError."""
    if importlib.util.find_spec("keyring") is None:
        if token is None:
            return
        raise KeyringError(
            f"There is no keyring. Run: pip install 'mellum-lsp[remote]', or set the variable {TOKEN_VARIABLE}"
        )
    import keyring

    try:
        if token is not None:
            keyring.set_password(_KEYRING, base, token)
        elif keyring.get_password(_KEYRING, base) is not None:
            keyring.delete_password(_KEYRING, base)
    except Exception as error:
        if token is not None:
            raise KeyringError(
                f"The keyring does not take the token ({error}). Set the variable {TOKEN_VARIABLE} instead"
            ) from error


def _file() -> Path | None:
    """Beside the statistics: it cannot be made again."""
    statistics = statistics_file()
    return statistics.with_name("remotes.json") if statistics is not None else None


def _change(new: Callable[[list[str]], list[str]]) -> None:
    if (file := _file()) is None:
        raise OSError("There is no home folder")
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_name("remotes.lock")):
        write_whole(file, json.dumps(new(allowed())))
