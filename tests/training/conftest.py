"""A small vocabulary with the prompt format of Mellum."""

from __future__ import annotations

import pytest

from engine.model_folders.manifest import PromptFormat
from engine.prompt.tokenizer import Tokenizer
from export.prompt_style import prepare
from export.sources.random_weights import synthetic_tokenizer


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tokenizer, PromptFormat]:
    """A tokenizer of 320 tokens, and what a prompt made with it looks like."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer, style = prepare(synthetic_tokenizer(320), 320, "mellum")
    tokenizer.save(str(folder / "tokenizer.json"))
    return Tokenizer(folder / "tokenizer.json"), style
