"""What the server asks of the client: its settings, and reports of changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from lsprotocol import types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer

from lsp_server.configuration.settings import SECTION

_ANSWER_WITHIN = 2.0  # seconds

log = logging.getLogger(__name__)


async def ask_for_settings(server: LanguageServer) -> object:
    """Ask for the client's settings; None where it does not offer or send them."""
    workspace = server.client_capabilities.workspace
    if workspace is None or not workspace.configuration:
        return None
    params = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
    answer = await _answer_of(server.workspace_configuration_async(params))
    return answer[0] if isinstance(answer, list) and answer else None


async def watch_settings(server: LanguageServer) -> None:
    """Ask for reports of changed settings, where the client offers them: VS Code sends none otherwise."""
    workspace = server.client_capabilities.workspace
    capability = workspace.did_change_configuration if workspace is not None else None
    if capability is not None and capability.dynamic_registration:
        options = types.DidChangeConfigurationRegistrationOptions(section=SECTION)
        await _register(server, types.WORKSPACE_DID_CHANGE_CONFIGURATION, options)


async def watch_files(server: LanguageServer) -> None:
    """Ask for reports of changed files, where the client offers them."""
    workspace = server.client_capabilities.workspace
    capability = workspace.did_change_watched_files if workspace is not None else None
    if capability is not None and capability.dynamic_registration:
        watchers = [types.FileSystemWatcher(glob_pattern="**/*")]
        options = types.DidChangeWatchedFilesRegistrationOptions(watchers=watchers)
        await _register(server, types.WORKSPACE_DID_CHANGE_WATCHED_FILES, options)


async def _register(server: LanguageServer, method: str, options: Any) -> None:
    registration = types.Registration(id=method, method=method, register_options=options)
    await _answer_of(server.client_register_capability_async(types.RegistrationParams([registration])))


async def _answer_of(request: Awaitable[Any]) -> Any:
    """Wait for the client's answer, but not for long: a model can be loaded without it."""
    try:
        async with asyncio.timeout(_ANSWER_WITHIN):
            return await request
    except (TimeoutError, JsonRpcException) as error:
        log.info("The client did not answer a request about its settings or files: %r", error)
        return None
