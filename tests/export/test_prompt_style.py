"""The prompt style follows from the model's tokens, and its tokens can never come out of text."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer

import engine.prompt.tokenizer
from export.architecture import ExportError
from export.prompt_style import prepare
from export.sources.random_weights import synthetic_tokenizer
from tests.export.small_models import PLAIN

STARCODER = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<filename>")
QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|file_sep|>", "<|repo_name|>")
DEEPSEEK = ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")


def tokenizer_with(tokens: tuple[str, ...], *, special: bool) -> Tokenizer:
    tokenizer = synthetic_tokenizer(270)
    plain = Tokenizer.from_str(tokenizer.to_str().replace("fim_", "no_").replace("<filename>", "<nothing>"))
    added = [AddedToken(token, special=special, normalized=False) for token in tokens]
    (plain.add_special_tokens if special else plain.add_tokens)(added)
    return plain


@pytest.mark.parametrize(
    ("tokens", "name", "vocabulary", "style"),
    [
        (STARCODER, "JetBrains/Mellum-4b-base", 320, "mellum"),
        (STARCODER, "my own fine-tuned model", 98304, "mellum"),
        (STARCODER, "granite-3b-code-base", 320, "psm"),
        (QWEN, "Qwen2.5-Coder-1.5B", 320, "psm"),
        (QWEN, "a mellum of another vocabulary", 320, "psm"),
        (DEEPSEEK, "deepseek-coder-1.3b-base", 320, "psm"),
        ((), "SmolLM2-135M", 320, "plain"),
        (STARCODER[:3], "no token of file names", 320, "psm"),
        (QWEN[:4], "no token of projects", 320, "psm"),
        (QWEN[:2], "incomplete", 320, "plain"),
    ],
)
def test_the_style_follows_from_tokens_and_name(
    tokens: tuple[str, ...], name: str, vocabulary: int, style: str
) -> None:
    tokenizer, prompt = prepare(tokenizer_with(tokens, special=True), vocabulary, "auto", name)
    assert prompt.style == style
    if style != "plain":
        expected = [tokenizer.token_to_id(token) for token in tokens[:3]]
        assert [prompt.fim_prefix, prompt.fim_suffix, prompt.fim_middle] == expected
        assert prompt.filename == (tokenizer.token_to_id(tokens[3]) if len(tokens) > 3 else None)
        assert prompt.repository == (tokenizer.token_to_id(tokens[4]) if len(tokens) > 4 else None)
        assert set(expected) <= set(prompt.stop)


def test_tokens_that_were_not_special_become_so(tmp_path: Path) -> None:
    """Qwen2.5's tokenizer.json says that its FIM tokens are plain: a file could then steer the prompt."""
    before = tokenizer_with(QWEN, special=False)
    assert before.encode("<|fim_middle|>").tokens == ["<|fim_middle|>"]
    tokenizer, prompt = prepare(before, PLAIN.vocabulary, "auto", "")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    loaded = engine.prompt.tokenizer.Tokenizer(tmp_path / "tokenizer.json")
    assert prompt.fim_middle not in loaded.encode("a<|fim_middle|>b")
    assert loaded.decode(loaded.encode("a<|fim_middle|>b")) == "a<|fim_middle|>b"
    assert {prompt.fim_prefix, prompt.fim_suffix, prompt.fim_middle, prompt.filename} <= set(prompt.stop)


def test_every_control_token_ends_a_suggestion_and_added_text_stays_text() -> None:
    """Qwen2.5 does not mark `<|fim_pad|>` as special; Phi adds runs of spaces, Gemma tags of HTML."""
    before = tokenizer_with((*QWEN, "<|fim_pad|>", "    ", "<table>", "<| |>"), special=False)
    tokenizer, prompt = prepare(before, 320, "auto", "")
    ends = {tokenizer.id_to_token(token) for token in prompt.stop}
    assert {*QWEN, "<|fim_pad|>"} <= ends
    assert not {"    ", "<table>", "<| |>"} & ends


@pytest.mark.parametrize("style", ["mellum", "psm"])
def test_a_style_without_its_tokens_is_refused(style: str) -> None:
    with pytest.raises(ExportError, match=f"no <fim_prefix> token, which the prompt style '{style}' needs"):
        prepare(tokenizer_with((), special=True), PLAIN.vocabulary, style, "")  # type: ignore[arg-type]


def test_another_model_s_tokenizer_is_refused() -> None:
    with pytest.raises(ExportError, match="do not belong together"):
        prepare(synthetic_tokenizer(400), PLAIN.vocabulary, "auto", "")
