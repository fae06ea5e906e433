"""`mellum-lsp models`: lists, verifies, removes and chooses models that are on this machine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from engine.model_folders.locations import (
    DEFAULT_MODEL,
    choose_model,
    chosen_model,
    find_model,
    mend_models,
    models_folder,
)
from engine.model_folders.manifest import MANIFEST_FILE, Manifest, ModelError, check_files, read_manifest
from lsp_server.cli.commands.models.fitting import fit_command
from lsp_server.cli.commands.models.get import get
from lsp_server.cli.commands.models.recommend import recommend
from lsp_server.cli.console import err, failure, out

app = typer.Typer(help="Recommend, get, list, verify, remove and choose models.", no_args_is_help=False)
app.command(name="recommend")(recommend)
app.command(name="get")(get)
app.command(name="fit")(fit_command)

_Name = Annotated[str, typer.Argument(help="A model's name.")]
_NameOrFolder = Annotated[str, typer.Argument(help="A model's name or folder.")]


@dataclass(frozen=True, slots=True)
class _Listed:
    """A folder among the models."""

    name: str
    manifest: Manifest | None
    problem: str
    megabytes: float


@app.callback(invoke_without_command=True)
def models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON array, for tools.")] = False,
) -> None:
    """List the models on this machine; the one in use has a star."""
    if context.invoked_subcommand is not None:
        return
    listed, chosen = _listed(), chosen_model()
    if as_json:
        print(json.dumps([_as_json(model, chosen) for model in listed], ensure_ascii=False))
        return
    if not listed:
        err.print("There are no models yet. Run: mellum-lsp setup")
        return
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in ("", "name", "parameters", "format", "size", "prompt", "licence", "source"):
        right = column in ("parameters", "size")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "source", overflow="fold")
    for model in listed:
        star, size = "*" if model.name == chosen else "", f"{model.megabytes:,.0f} MB"
        if model.manifest is None:
            table.add_row(star, Text(model.name), "", "", size, "", "", Text(model.problem, style="red"))
            continue
        manifest = model.manifest
        table.add_row(
            star,
            Text(model.name),
            f"{manifest.parameters / 1e6:,.0f} M",
            manifest.quantization,
            size,
            manifest.prompt.style,
            Text(manifest.license),
            Text(f"{manifest.source} {(manifest.revision or '')[:12]}".strip()),
        )
    out.print(table)
    if chosen not in {model.name for model in listed}:
        out.print(Text(f"In use: {chosen}"))


@app.command()
def verify(name: _NameOrFolder) -> None:
    """Compare a model's files with what was written when it was exported; exit code 1 where they differ."""
    try:
        folder = find_model(name)
        manifest = read_manifest(folder)
        check_files(folder, manifest)
    except ModelError as error:
        raise failure(str(error)) from error
    out.print(Text(f"✓ {manifest.name}: all {len(manifest.files)} files are as they were exported."))


@app.command()
def remove(name: _Name) -> None:
    """Delete a model from this machine."""
    from export.folder.atomic_folder import lock_for, remove_model

    mend_models(always=True)
    folder = models_folder() / name
    if Path(name).name != name or not (folder / MANIFEST_FILE).is_file():
        raise failure(f"There is no model {name!r} in {models_folder()}")
    with lock_for(folder, lambda: err.print("Another mellum-lsp is writing this model; waiting for it to finish.")):
        was_chosen = chosen_model() == name and name != DEFAULT_MODEL
        if was_chosen:
            choose_model(DEFAULT_MODEL)  # first: if this process ends here, the chosen model exists
        try:
            remove_model(folder)
        except OSError as error:
            raise failure(f"{folder} cannot be removed ({error}); close the editors that use it") from error
    if was_chosen:
        out.print(Text(f"Removed {name}; the default model {DEFAULT_MODEL} is in use again."))
    else:
        out.print(Text(f"Removed {name}."))


@app.command()
def use(name: _NameOrFolder) -> None:
    """Choose the model that servers use whose settings name none; those that run take it at their next request."""
    if not name:
        raise typer.BadParameter("the name is empty; mellum-lsp models shows those that are there")
    try:
        if name != DEFAULT_MODEL:  # the default model may be chosen before it is set up
            folder = find_model(name)
            read_manifest(folder)
            name = folder.name if folder.parent == models_folder() else str(folder.resolve())
    except ModelError as error:
        raise failure(str(error), code=2) from error
    choose_model(name)
    out.print(Text(f"{name} is in use; servers that run take it at their next request."))


def _listed() -> list[_Listed]:
    """All folders of models, readable or not."""
    if not models_folder().is_dir():
        return []
    mend_models(always=True)
    found = []
    for folder in sorted(models_folder().iterdir()):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        manifest, problem = None, ""
        try:
            manifest = read_manifest(folder)
        except ModelError as error:
            problem = str(error)
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        found.append(_Listed(folder.name, manifest, problem, size / 1e6))
    return found


def _as_json(model: _Listed, chosen: str) -> dict[str, object]:
    fields: dict[str, object] = {"name": model.name, "in_use": model.name == chosen, "megabytes": model.megabytes}
    if model.manifest is None:
        return {**fields, "problem": model.problem}
    manifest = model.manifest
    names = ("architecture", "parameters", "quantization", "context", "license", "source", "revision", "command")
    return {**fields, "style": manifest.prompt.style, **{name: getattr(manifest, name) for name in names}}
