"""`mellum-lsp models fit NAME`: fits n-grams and calibration to real code, as `export` and `models get` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from engine.fitting import Fit, Place, fit
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import Manifest, ModelError, read_manifest
from indexer import texts_of, why_not_root
from lsp_server.cli.console import err, failure
from lsp_server.cli.progress_bar import progress_bar
from syntax import has_grammar, language_of

Progress = Callable[[str, float], None]
Workspace = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Fit the model to the code of this project instead of Python's standard library.",
        exists=True,
        file_okay=False,
    ),
]
NoFit = Annotated[bool, typer.Option("--no-fit", help="Leave n-grams off and probabilities as the model states them.")]

_SECONDS = 240.0
_SEED = 5


def fit_command(
    name: Annotated[str, typer.Argument(help="A model's name or folder.")],
    workspace: Workspace = None,
    seconds: Annotated[float, typer.Option(min=1.0, help="About how long it may take.")] = _SECONDS,
) -> None:
    """Fit a model to real code: how n-grams of a project are mixed in, and how far its probabilities can be trusted.

    Every model that this program exports was fitted; again, to your own code, it may become a little better there.
    """
    try:
        folder = find_model(name)
        with progress_bar() as progress:
            done = fit_model(folder, workspace, progress, seconds=seconds)
    except ModelError as error:
        raise failure(str(error)) from error
    err.print(Text(said(read_manifest(folder), done)), soft_wrap=True)


def fit_model(folder: Path, workspace: Path | None, progress: Progress, *, seconds: float = _SECONDS) -> Fit:
    """Fit the model in a folder, and write what was found to its manifest. Takes minutes; raises ModelError."""
    from export.default_model import default_ngrams

    progress("Fitting n-grams", 0.0)
    source = "Python's standard library" if workspace is None else "a workspace"
    try:
        return fit(
            folder, _places(workspace), source=source, known=default_ngrams(), seconds=seconds, progress=progress
        )
    except ValueError as error:
        raise ModelError(f"{error}: {workspace or source}") from error


def needs_fit(manifest: Manifest) -> bool:
    """Whether a new model is to be fitted: random weights have nothing to fit, and an adapter may bring its numbers.

    On a processor, a model for a card would take too long.
    """
    return manifest.ngrams is None and not manifest.source.startswith("random weights") and not manifest.is_for_gpu


def said(manifest: Manifest, done: Fit) -> str:
    """What a fit has found, as a sentence."""
    return (
        f"{manifest.name} is fitted to {manifest.fitted}: n-grams make what really follows {done.gained:.2f} nats a "
        f"token likelier, and its probabilities are taken to the power of {done.calibration:g}."
    )


def _places(workspace: Path | None) -> Iterator[Place]:
    """Places of the standard library, or of a workspace's files that its index would read. Raises ValueError."""
    from export.real_code import CodeFile, places_in, standard_library

    if workspace is None:
        yield from places_in(standard_library(_SEED), _SEED)
        return
    if (reason := why_not_root(workspace)) is not None:
        raise ModelError(f"{reason}, which is never read; name the folder of a project")
    files = [
        CodeFile(workspace.name, path, language_of(path), text)
        for path, text in texts_of(workspace)
        if has_grammar(language_of(path))
    ]
    yield from places_in(files, _SEED)
