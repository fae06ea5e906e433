"""Prompts: the layout of each style, budgets, and that typing changes only the end."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import PromptFormat
from engine.prompt.layout import Budget, lay_out
from engine.prompt.tokenizer import Tokenizer
from engine.request import CompletionRequest, ContextSnippet
from engine.runtime.kv_slots import common_prefix

SOURCE = Path(textwrap.__file__).read_text(encoding="utf-8")
REPOSITORY, FILENAME, PREFIX, MIDDLE, SUFFIX = 4, 6, 8, 9, 10


def prompt_format(style: str, *, filename: int | None = FILENAME, healing: bool = False) -> PromptFormat:
    return PromptFormat(style, filename, PREFIX, MIDDLE, SUFFIX, stop=(0,), token_healing=healing)  # type: ignore[arg-type]


def request(offset: int, text: str = SOURCE, context: tuple[ContextSnippet, ...] = ()) -> CompletionRequest:
    return CompletionRequest("lib/textwrap.py", "python", text, offset, context)


@pytest.fixture(scope="module")
def tokenizer(model_cache: Path) -> Tokenizer:
    return Tokenizer(model_cache / "models" / DEFAULT_MODEL / "tokenizer.json")


def test_mellum_reads_the_suffix_first(tokenizer: Tokenizer) -> None:
    text = "def area(r):\n    return \n\nprint(area(2))\n"
    offset = text.index("return ") + len("return ")
    snippet = ContextSnippet("lib/constants.py", "PI = 3.14159\n")
    prompt = lay_out(request(offset, text, (snippet,)), tokenizer, prompt_format("mellum"), Budget(512))
    assert tokenizer.decode(list(prompt.tokens)) == (
        "<filename>lib/constants.py\nPI = 3.14159\n"
        "<filename>lib/textwrap.py\n<fim_suffix>\n\nprint(area(2))\n<fim_prefix>def area(r):\n    return <fim_middle>"
    )


def test_psm_reads_the_prefix_first(tokenizer: Tokenizer) -> None:
    prompt = lay_out(request(3, "abcdef"), tokenizer, prompt_format("psm", filename=None), Budget(512))
    assert tokenizer.decode(list(prompt.tokens)) == "<fim_prefix>abc<fim_suffix>def<fim_middle>"


def test_a_model_that_knows_projects_is_told_the_name_first(tokenizer: Tokenizer) -> None:
    """As Qwen2.5-Coder's authors lay out a repository (examples/Qwen2.5-Coder-repolevel-fim.py)."""
    style = replace(prompt_format("psm"), repository=REPOSITORY)
    asked = replace(request(3, "abcdef", (ContextSnippet("lib/constants.py", "PI = 3.14159\n"),)), project="shapes")
    prompt = lay_out(asked, tokenizer, style, Budget(512))
    assert tokenizer.decode(list(prompt.tokens)) == (
        "<reponame>shapes\n<filename>lib/constants.py\nPI = 3.14159\n"
        "<filename>lib/textwrap.py\n<fim_prefix>abc<fim_suffix>def<fim_middle>"
    )
    alone = lay_out(replace(asked, project=""), tokenizer, style, Budget(512))
    assert alone.tokens == lay_out(asked, tokenizer, prompt_format("psm"), Budget(512)).tokens


def test_plain_ends_at_the_cursor(tokenizer: Tokenizer) -> None:
    prompt = lay_out(request(3, "abcdef"), tokenizer, prompt_format("plain"), Budget(512))
    assert tokenizer.decode(list(prompt.tokens)) == "<filename>lib/textwrap.py\nabc"


@pytest.mark.parametrize(
    ("text", "kept", "word"),
    [
        ("x = ", "x =", " "),
        ("def f():\n    ", "def f():", "\n    "),
        ("return valu", "return", " valu"),
        ("foo(a, b", "foo(a,", " b"),
        ("print(", "print", "("),
        ("é = 'naï", "é = '", "naï"),
        ("", "", ""),
        ("x" * 100, "x" * 100, ""),
    ],
)
def test_the_last_word_is_taken_back_for_token_healing(tokenizer: Tokenizer, text: str, kept: str, word: str) -> None:
    style = prompt_format("plain", filename=None, healing=True)
    prompt = lay_out(request(len(text), text), tokenizer, style, Budget(512))
    assert prompt.last_word == word
    assert tokenizer.decode(list(prompt.tokens)) == (kept or "<|endoftext|>")


def test_an_empty_file_without_a_header_still_has_a_token(tokenizer: Tokenizer) -> None:
    prompt = lay_out(request(0, ""), tokenizer, prompt_format("plain", filename=None), Budget(512))
    assert prompt.tokens == (0,)


def test_the_least_relevant_snippet_goes_first_when_room_is_short(tokenizer: Tokenizer) -> None:
    snippets = tuple(ContextSnippet(f"{name}.py", f"{name} = 1\n" * 30) for name in ("far", "near", "nearest"))
    prompt = lay_out(request(20, SOURCE, snippets), tokenizer, prompt_format("plain"), Budget(1024))
    text = tokenizer.decode(list(prompt.tokens))
    assert "<filename>far.py" not in text
    assert (
        text.index("<filename>near.py") < text.index("<filename>nearest.py") < text.index("<filename>lib/textwrap.py")
    )


def test_the_lines_just_above_come_before_other_files(tokenizer: Tokenizer) -> None:
    snippets = tuple(ContextSnippet(f"{name}.py", f"{name} = 1\n" * 30) for name in ("far", "near", "nearest"))
    for size, offset, shown in ((512, 9000, False), (512, 600, True), (1024, 9000, True)):
        prompt = lay_out(request(offset, SOURCE[:offset], snippets), tokenizer, prompt_format("plain"), Budget(size))
        assert (prompt.snippet_tokens > 0) is shown
        alone = lay_out(request(offset, SOURCE[:offset]), tokenizer, prompt_format("plain"), Budget(size))
        assert prompt.prefix_tokens >= min(alone.prefix_tokens, 512 * 3 // 8)


@pytest.mark.parametrize("style", ["plain", "mellum", "psm"])
@pytest.mark.parametrize(
    "text", [SOURCE, "x" * 50_000, "漢字🎉" * 9_000, "a\n" * 30_000], ids=["code", "line", "cjk", "rows"]
)
def test_the_budget_is_kept_anywhere(tokenizer: Tokenizer, style: str, text: str) -> None:
    budget, markers = Budget(512), 3
    header = 1 + len(tokenizer.encode("lib/textwrap.py\n"))
    for offset in range(0, len(text) + 1, len(text) // 7):
        prompt = lay_out(request(offset, text), tokenizer, prompt_format(style), budget)
        assert len(prompt.tokens) <= budget.prompt + markers + header


def test_typing_a_file_moves_the_window_rarely(tokenizer: Tokenizer) -> None:
    budget, style = Budget(512), prompt_format("plain")
    moves, last = 0, ()
    for offset in range(6000, 9000):
        tokens = lay_out(request(offset, SOURCE[:offset]), tokenizer, style, budget).tokens
        moves += bool(last) and common_prefix(last, tokens) < len(last) // 2
        last = tokens
    assert 1 <= moves <= 10  # 3000 characters: a step is a fifth of 448 tokens, about 400 characters


@pytest.mark.parametrize("size", [256, 512, 1024])
def test_windows_fill_what_they_have(tokenizer: Tokenizer, size: int) -> None:
    budget, style = Budget(size), prompt_format("mellum")
    for offset in range(9000, 12000, 37):
        prompt = lay_out(request(offset, SOURCE), tokenizer, style, budget)
        assert prompt.prefix_tokens >= (0.6 if size < 512 else 0.7) * budget.prefix(prompt.suffix_tokens)
        assert prompt.suffix_tokens == budget.suffix == min(size // 8, 64)
