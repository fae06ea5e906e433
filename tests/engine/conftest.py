"""What grammars say is asserted here, so it is waited for, also on a busy machine: else a text is read without them."""

from __future__ import annotations

import pytest

from syntax.nesting import delimiters


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimiters, "_WITHIN", 30.0)
    monkeypatch.setattr(delimiters, "_FIRST_WITHIN", 30.0)
