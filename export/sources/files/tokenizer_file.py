"""A model's own `tokenizer.json`, checked to be one."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer

from export.architecture import ExportError


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer, without its truncation and padding. Raises ExportError."""
    if not path.is_file():
        raise ExportError(
            f"{path.parent.name} has no tokenizer.json; save the model's fast tokenizer there "
            "(transformers: tokenizer.save_pretrained)"
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise ExportError(f"{path.name} is not a tokenizer ({error}); get the file again") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
