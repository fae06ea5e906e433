"""Where an editor cannot be had, its tests are skipped with the reason; `.ci/run` asks for all, so there they fail."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.editors.debian import CannotInstallError

ASKED_FOR = "MELLUM_LSP_MUST_TEST_EDITORS"


@contextmanager
def or_skipped() -> Iterator[None]:
    """Skip the test, or fail it, by the reason of a `CannotInstallError` that is raised within."""
    try:
        yield
    except CannotInstallError as problem:
        if os.environ.get(ASKED_FOR) == "1":
            pytest.fail(f"{problem} ({ASKED_FOR}=1 asks for this editor.)", pytrace=False)
        pytest.skip(str(problem))


def program(name: str, package: str) -> str:
    """Return the path of a program; CannotInstallError names the package that has it."""
    found = shutil.which(name)
    if found is None:
        raise CannotInstallError(f"There is no {name}: install the package {package}.")
    return found
