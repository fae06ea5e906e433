"""The table of known models: `models.toml`, read once and checked."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cattrs

from engine.model_folders.locations import DEFAULT_MODEL
from engine.model_folders.manifest import PromptStyle
from export.architecture import Architecture, ExportError
from export.sources.random_weights import SHAPES


@dataclass(frozen=True, slots=True)
class Quality:
    """What is known of how good a model is."""

    measure: str
    value: str
    source: str
    """Who says so."""


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A published model that can be exported."""

    name: str
    hub: str
    """Its id on the hub; empty for the embedded model."""
    licence: str
    style: PromptStyle
    languages: str
    shape: Architecture
    revision: str | None = None
    """The commit on the hub that the table was written for; None where none is known."""
    only_for: str = ""
    """The LSP language id that it was tuned for alone."""
    download_megabytes: float = 0.0
    quality: tuple[Quality, ...] = ()

    @property
    def is_embedded(self) -> bool:
        """Whether `mellum-lsp setup` makes it."""
        return self.name == DEFAULT_MODEL


@cache
def known_models() -> tuple[KnownModel, ...]:
    """All known models, the most preferred last."""
    listed = tomllib.loads(Path(__file__).with_name("models.toml").read_text(encoding="utf-8"))["model"]
    return tuple(_model(fields) for fields in listed)


def known_model(name: str) -> KnownModel:
    """Find a model by its name or its hub id, in any case. Raises ExportError that names those there are."""
    wanted = name.strip().lower()
    for model in known_models():
        if wanted in (model.name, model.hub.lower()):
            return model
    names = ", ".join(model.name for model in known_models())
    raise ExportError(
        f"No model {name!r:.80} is known here; known are {names}. For another one: mellum-lsp models get OWNER/NAME"
    )


def _model(fields: dict[str, Any]) -> KnownModel:
    shape = SHAPES[fields.pop("shape_of")] if "shape_of" in fields else Architecture(**fields.pop("shape"))
    published = shape.parameters * 2 / 1e6  # 16 bits a parameter, as all of them are published
    quality = tuple(cattrs.structure(one, Quality) for one in fields.pop("quality", ()))
    return KnownModel(**{"download_megabytes": published, **fields}, shape=shape, quality=quality)
