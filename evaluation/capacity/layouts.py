"""Layouts of a prompt beside the one that is used, to see what each leaves of a prefix cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine import CompletionRequest, ContextSnippet
from engine.model_folders.manifest import PromptFormat
from engine.prompt.layout import Budget, Prompt, lay_out
from engine.prompt.tokenizer import Tokenizer
from evaluation.capacity.trace import Tokens, Typed

Layout = Callable[[Typed, int], Tokens]
"""From a function and the number of characters that are written, to the tokens of its prompt."""


def layouts(tokenizer: Tokenizer, style: PromptFormat, budget: Budget) -> Mapping[str, Layout]:
    """All layouts by name, the present one first. Raises ValueError where the model's prompts are not suffix first."""
    if style.style != "mellum" or style.fim_prefix is None or style.fim_suffix is None or style.fim_middle is None:
        raise ValueError("Layouts are compared for models whose prompts begin with the suffix, as Mellum's do")
    to_prefix, to_suffix, to_middle = style.fim_prefix, style.fim_suffix, style.fim_middle

    def parts(typed: Typed, written: int) -> tuple[Prompt, Tokens, Tokens, Tokens]:
        """The prompt; what stands before the suffix; suffix; prefix."""
        prompt = lay_out(request_at(typed, written), tokenizer, style, budget)
        end = len(prompt.tokens) - 1
        prefix = prompt.tokens[end - prompt.prefix_tokens : end]
        end -= prompt.prefix_tokens + 1
        suffix = prompt.tokens[end - prompt.suffix_tokens : end]
        return prompt, prompt.tokens[: end - prompt.suffix_tokens - 1], suffix, prefix

    def present(typed: Typed, written: int) -> Tokens:
        return lay_out(request_at(typed, written), tokenizer, style, budget).tokens

    def suffix_last(typed: Typed, written: int) -> Tokens:
        _, head, suffix, prefix = parts(typed, written)
        return (*head, to_prefix, *prefix, to_suffix, *suffix, to_middle)

    def sliding(typed: Typed, written: int) -> Tokens:
        """The last tokens above the cursor that fit: the window begins elsewhere after each of them."""
        _, head, suffix, _ = parts(typed, written)
        room = budget.prefix(len(head) + len(suffix))
        prefix = tokenizer.encode(typed.before + typed.text[:written])[-room:]
        return (*head, to_suffix, *suffix, to_prefix, *prefix, to_middle)

    def no_snippets(typed: Typed, written: int) -> Tokens:
        prompt = present(typed, written)
        return prompt[parts(typed, written)[0].snippet_tokens :]

    def snippets_nearest(typed: Typed, written: int) -> Tokens:
        """Suffix and path before the snippets: the cursor's file is torn apart, and a jump costs all."""
        prompt, head, suffix, prefix = parts(typed, written)
        snippets, header = head[: prompt.snippet_tokens], head[prompt.snippet_tokens :]
        return (*header, to_suffix, *suffix, *snippets, to_prefix, *prefix, to_middle)

    return {
        "as it is": present,
        "suffix last": suffix_last,
        "window slides with the cursor": sliding,
        "no snippets of other files": no_snippets,
        "suffix before the snippets": snippets_nearest,
    }


def request_at(typed: Typed, written: int) -> CompletionRequest:
    """The request that the server makes there, as it matters for the prompt."""
    before = typed.before + typed.text[:written]
    chosen = (typed.snippets[index] for index in typed.places[written].snippets)
    context = tuple(ContextSnippet(path, text) for path, text in chosen)
    return CompletionRequest(typed.path, "python", before + typed.after, len(before), context=context)
