"""Real VS Code with the packaged extension, in a browser without a window, and the real server on a real project."""

import contextlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.model_folders.locations import CACHE_VARIABLE
from tests.editors.waiting import eventually, seconds_at_rest

pytest.importorskip("playwright.sync_api", reason="playwright is missing: run `pip install -e '.[dev]'`")
Image = pytest.importorskip("PIL.Image", reason="pillow is missing: run `pip install -e '.[dev]'`")

from tests.editors.unfinished import AFTER, BEFORE, MISSING, PLACE, TYPED, make_project  # noqa: E402
from tests.editors.vscode_driver import (  # noqa: E402 (needs playwright)
    PATIENT,
    PICTURES,
    VSCODE,
    Host,
    Window,
    accepted,
    answered,
    begin,
    opened,
    picture_of_failure,
    since,
    the_server,
)

pytestmark = [pytest.mark.slow]

INLINE_COMPLETION = "textDocument/inlineCompletion"


@pytest.fixture(scope="module")
def host(vsix: Path, tmp_path_factory: pytest.TempPathFactory, model_cache: Path, browser: Any) -> Iterator[Host]:
    """VS Code of a user who has `mellum-lsp` on the PATH and a model."""
    environment = {CACHE_VARIABLE: str(model_cache)}
    host = Host(VSCODE, vsix, tmp_path_factory.mktemp("home"), environment, machine=PATIENT)
    yield host
    host.close()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with one real file, in which a function has lost its body."""
    return make_project(tmp_path_factory.mktemp("workspace") / "project").parent


@pytest.fixture(scope="module")
def window(host: Host, browser: Any, project: Path) -> Iterator[Window]:
    """A window on the project, with the model loaded."""
    context = browser.new_context(viewport={"width": 1000, "height": 640})
    window = Window(context.new_page(), host.address(folder=str(project)))
    try:
        window.says("Mellum is ready")
        yield window
    except BaseException:
        picture_of_failure(window)
        raise
    context.close()


@pytest.fixture(autouse=True)
def keep_a_picture(request: pytest.FixtureRequest) -> Iterator[None]:
    """Where a test fails, keep what was on the screen."""
    failed_before = request.session.testsfailed
    yield
    if request.session.testsfailed > failed_before and "window" in request.fixturenames:
        picture_of_failure(request.getfixturevalue("window"), request.node.name)
        print("The last messages:", *request.getfixturevalue("host").notes()[-30:], sep="\n")


@pytest.fixture
def file(request: pytest.FixtureRequest, window: Window, project: Path) -> Iterator[Path]:
    """A file of the test's own, open, with the cursor above what is missing.

    Nothing of it is left afterwards, neither in the editor nor in the index: where one test has written half a line,
    the model says in the next that half a line is a whole one.
    """
    file = project / f"{request.node.name.removeprefix('test_')[:40]}.py"
    file.write_text(BEFORE + AFTER, encoding="utf-8", newline="\r\n" if "crlf" in file.name else "\n")
    window.open(file, PLACE)
    yield file
    window.throw_away(file)
    file.unlink()


def test_grey_text_appears_after_the_cursor(window: Window, file: Path) -> None:
    """The line reads on in grey, and the file itself is as it was typed."""
    grey = begin(window)
    assert window.look().line.startswith(f"    {TYPED}Wrapper(")
    window.save()
    assert file.read_text(encoding="utf-8") == f"{BEFORE}    {TYPED}\n{AFTER}", grey
    PICTURES.mkdir(parents=True, exist_ok=True)
    window.page.screenshot(path=PICTURES / "vscode.png")


def test_tab_accepts_exactly_the_grey_text(window: Window, host: Host, file: Path) -> None:
    """Tab puts the grey text after the cursor, the server hears of it, and undo takes it back."""
    grey, told = begin(window), len(host.notes())
    window.press("Tab")
    eventually(lambda: window.look().typed == f"    {TYPED}{grey}".split("\n")[-1], "the accepted text")
    eventually(lambda: accepted(host, told), "the report of the acceptance")
    window.press("Escape")
    window.save()
    # VS Code has closed the bracket of what was accepted or not, but nothing of the text is there twice
    written = file.read_text(encoding="utf-8").removeprefix(BEFORE)
    assert written.startswith(f"    {TYPED}{grey}")
    window.press("Control+z")
    eventually(lambda: window.look().typed == f"    {TYPED}", "the text as it was typed")


def test_a_word_then_the_rest_of_the_line(window: Window, host: Host, file: Path) -> None:
    """Ctrl+Right accepts a word, Ctrl+Alt+Right the line; the server hears of it, and undo takes back one by one."""
    grey, told = begin(window).split("\n")[0], len(host.notes())
    word = re.match(r"\w+", grey)
    assert word is not None
    line = window.look().line
    window.press("Control+ArrowRight")
    eventually(lambda: window.look().typed == f"    {TYPED}{word[0]}", "the accepted word")
    eventually(lambda: accepted(host, told), "the report of the acceptance")
    eventually(lambda: window.look().line.startswith(line), "the rest in grey")
    line = window.look().line
    window.press("Control+Alt+ArrowRight")
    eventually(lambda: window.look().typed == line, "the accepted line")
    window.press("Control+z")
    eventually(lambda: window.look().typed == f"    {TYPED}{word[0]}", "the line taken back")


def test_typing_it_through_keeps_it(window: Window, file: Path) -> None:
    """While what it says is typed, no frame is without the rest of it."""
    grey = begin(window).split("\n")[0]
    line = window.look().line
    window.watch()
    word = grey.split("(")[0]
    window.write(word, 120)
    eventually(lambda: window.look().typed == f"    {TYPED}{word}", "the typed word")
    shown = [note["typed"] + note["grey"].split("\n")[0] for note in window.watched() if "typed" in note]
    assert [one for one in shown if not one.startswith(line)] == []


def test_something_else_takes_it_away(window: Window, file: Path) -> None:
    """No grey text from before stays at what does not agree with it."""
    grey = begin(window)
    window.write("#")
    eventually(lambda: window.look().typed.endswith("#") and grey[1:] not in window.look().grey, "the end of it")


def test_an_auto_closed_bracket_is_not_doubled(window: Window, file: Path) -> None:
    """VS Code closes the bracket that is typed; the accepted text closes it again, and one of the two is left."""
    begin(window, "w = TextWrapper(")
    window.press("Tab")
    eventually(lambda: window.look().typed.endswith("**kwargs)"), "the accepted text")
    assert window.look().typed == "    w = TextWrapper(width=width, **kwargs)"


def test_an_emoji_before_the_cursor_moves_nothing(window: Window, file: Path) -> None:
    """Characters that are two units long in UTF-16 are counted as the editor counts them."""
    grey = begin(window, "'🙂🙂'; w = Text")
    window.press("Tab")
    eventually(lambda: window.look().typed.startswith(f"    '🙂🙂'; w = Text{grey.split(chr(10))[0]}"), "the text")


def test_crlf_stays_crlf(window: Window, file: Path) -> None:
    """In a file with CR LF every line still ends so, after several lines were accepted."""
    begin(window)
    window.press("Tab")
    window.write("", 0)
    eventually(lambda: "Wrapper" in window.look().typed or "return" in window.look().typed, "the accepted text")
    window.press("Escape", "End", "Enter")
    window.save()
    content = file.read_bytes()
    assert content.count(b"\n") == content.count(b"\r\n") >= BEFORE.count("\n") + 2


def test_the_selected_item_of_the_menu_is_gone_on_from(window: Window, host: Host, file: Path, project: Path) -> None:
    """With VS Code's own menu open, the grey text goes on from its selected item."""
    own = project / ".vscode" / "settings.json"
    own.parent.mkdir(exist_ok=True)
    own.write_text(json.dumps({"editor.wordBasedSuggestions": "currentDocument"}))
    try:
        told = len(host.notes())

        def is_selected() -> bool:
            contexts = [note.get("context") or {} for note in since(host, told)]
            return any((one.get("selectedCompletionInfo") or {}).get("text") == "TextWrapper" for one in contexts)

        def is_asked_for() -> bool:
            window.press("Escape", "Control+Space")  # again and again: VS Code takes a while to read the settings
            with contextlib.suppress(AssertionError):
                return eventually(is_selected, "it", seconds=10)
            return False

        window.press("Enter")
        window.write("w = TextWr", 100)
        eventually(is_asked_for, "a request with the selected item", seconds=180)
        eventually(lambda: window.look().grey.startswith("apper("), "grey text that goes on from it")
    finally:
        window.press("Escape")
        own.unlink()


def test_untitled_documents(window: Window, host: Host) -> None:
    """A document that is in no file is completed, too."""
    window.press("Control+Alt+n")
    window.page.wait_for_selector(".tab.active[data-resource-name^=Untitled]")
    told = len(host.notes())
    window.write("def add(first, second):\n    return first", 30)
    window.command("Mellum: Suggest Now")
    asked = eventually(lambda: [note for note in since(host, told) if note.get("method") == INLINE_COMPLETION], "it")
    assert all(note["uri"].startswith("untitled:") for note in asked)
    window.grey()


def test_the_diff_editor(window: Window, file: Path) -> None:
    """What is changed is completed in the diff editor, too."""
    begin(window)
    window.command("File: Compare Active File with Saved")
    window.page.wait_for_selector(".monaco-diff-editor .modified-in-monaco-diff-editor .view-line")
    window.page.locator(
        ".monaco-diff-editor .editor.modified .view-line", has_text=re.compile(r"w\s=\sText$")
    ).first.click()
    window.press("End")
    window.write("W")
    eventually(lambda: window.look().grey.startswith("rapper("), "grey text")


def test_cells_of_a_notebook(window: Window, host: Host, project: Path) -> None:
    """A cell of a notebook is completed like a file."""
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": ["total = 0\n"]}
    notebook = {"cells": [cell], "metadata": {"language_info": {"name": "python"}}, "nbformat": 4, "nbformat_minor": 5}
    file = project / "notebook.ipynb"
    file.write_text(json.dumps(notebook))
    window._pick("Control+p", str(file))
    window.page.locator(".notebookOverlay .cell .monaco-editor .view-line").first.click()
    told = len(host.notes())
    window.press("Control+End")
    window.write("for number in range(10):\n    total ", 30)

    def asked() -> bool:
        return any(
            note.get("method") == INLINE_COMPLETION and note["uri"].startswith("vscode-notebook-cell:")
            for note in since(host, told)
        )

    eventually(asked, "a request for the cell")
    window.command("Mellum: Suggest Now")
    window.grey()


def test_folders_of_a_workspace(host: Host, browser: Any, tmp_path: Path) -> None:
    """A workspace of several folders: each file is completed."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text(BEFORE + AFTER, encoding="utf-8")
    workspace = tmp_path / "both.code-workspace"
    workspace.write_text(json.dumps({"folders": [{"path": "one"}, {"path": "two"}]}))
    with opened(browser, host, workspace=str(workspace)) as window:
        window.says("Mellum is ready")
        for name in ("one", "two"):
            window.open(tmp_path / name / f"{name}.py", PLACE)
            begin(window)
            window.press("Tab")  # half a line would be a whole one in the next file
            eventually(lambda: window.look().typed.endswith(")"), "the accepted text")


def test_a_second_window_on_the_same_project(
    window: Window, host: Host, browser: Any, file: Path, project: Path
) -> None:
    """Two windows share the project and its index; both show grey text."""
    with opened(browser, host, folder=str(project)) as second:
        second.says("Mellum is ready")
        other = project / "textwrap.py"
        second.open(other, PLACE)
        begin(second)
        window.page.bring_to_front()
        begin(window)


@contextlib.contextmanager
def switched_off(window: Window) -> Iterator[None]:
    """Suggestions are off meanwhile, and on again afterwards, whatever happens."""
    window.command("Mellum: Switch Suggestions On or Off")
    try:
        window.says("is off")
        yield
    finally:
        window.command("Mellum: Switch Suggestions On or Off")


def test_switched_off_it_computes_nothing(window: Window, host: Host, file: Path) -> None:
    """Off stops all inference: while keys are typed, the server's CPU time hardly grows; on brings grey text back."""
    server = the_server(host)
    begin(window)
    with switched_off(window):
        eventually(lambda: not window.look().grey, "the end of the grey text")
        told, before = len(host.notes()), seconds_at_rest(server)
        window.press("Enter")
        window.write(MISSING.strip(), 30)
        eventually(lambda: window.look().typed.strip() == MISSING.split("\n")[1].strip(), "the typed text")
        eventually(lambda: answered(since(host, told)), "answers to all requests")
        assert seconds_at_rest(server) - before < 0.5
        assert all(note.get("items", 0) == 0 for note in since(host, told))
    window.says("Mellum is ready")
    window.press("Enter")
    begin(window)


def test_what_was_typed_too_early_is_completed(window: Window, host: Host, file: Path) -> None:
    """Where the server was asked before it had a model, it is asked again once it has, without another key."""
    with switched_off(window):
        told = len(host.notes())
        window.press("Enter")
        window.write(TYPED)
        eventually(lambda: window.look().typed.endswith(TYPED) and answered(since(host, told)), "empty answers")
        assert not window.look().grey
    window.grey()


def test_switched_off_for_one_language(window: Window, file: Path) -> None:
    """The switch for the language says so in the status, and its second use takes it back."""
    window.command("Mellum: Switch Suggestions On or Off for This Language")
    assert "switched off for python" in window.says("is off")
    window.command("Mellum: Switch Suggestions On or Off for This Language")
    eventually(lambda: "is off" not in window.status(), "suggestions for the language")
    begin(window)


def test_the_menu_says_how_things_are(window: Window, file: Path) -> None:
    """A click on the status bar's item shows what can be done."""
    begin(window)
    window.page.locator('[id="mellum-lsp.mellum-lsp.mellum.status"] a').click()
    rows = window.page.locator(".quick-input-widget .monaco-list-row")
    rows.first.wait_for(state="visible")
    text = " ".join(rows.all_text_contents())
    window.press("Escape")
    for part in ("Switch suggestions off", "for python", "Suggest now", "context", "model", "statistics", "log"):
        assert part in text


def test_the_context_of_the_last_suggestion(window: Window, file: Path) -> None:
    """The prompt is shown in a document of its own."""
    begin(window)
    window.save()
    window.command("Mellum: Show the Context of the Last Suggestion")
    lines = window.page.locator(".monaco-editor.focused .view-line")
    eventually(
        lambda: "What the model gets at" in " ".join(lines.all_text_contents()).replace("\xa0", " "), "the prompt"
    )


def test_a_moving_picture(window: Window, file: Path) -> None:
    """Type and accept, and keep what a person sees; the extension's README shows it."""
    frames: list[Any] = []

    def take(milliseconds: int) -> None:
        drawn = window.page.screenshot(clip={"x": 300, "y": 180, "width": 700, "height": 300})
        picture = Image.open(io.BytesIO(drawn)).convert("RGB").quantize(48)
        picture.info["duration"] = milliseconds
        frames.append(picture)

    window.press("Enter")
    take(600)
    for character in TYPED:
        window.write(character, 0)
        take(150)
    window.grey()
    take(1200)
    window.press("Tab")
    eventually(lambda: not window.look().grey, "the accepted text")
    take(800)
    window.press("Enter")
    window.grey()
    take(1200)
    window.press("Tab")
    eventually(lambda: "return" in window.look().typed and not window.look().grey, "the accepted text")
    take(2000)
    PICTURES.mkdir(parents=True, exist_ok=True)
    durations = [frame.info["duration"] for frame in frames]
    moving = PICTURES / "vscode.gif"
    frames[0].save(moving, save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=True)
    assert moving.stat().st_size < 500_000


def test_a_killed_server_comes_back(window: Window, host: Host, file: Path) -> None:
    """The editor says that the server has ended, and there is grey text again without a hand on it."""
    begin(window)
    servers = host.servers()
    servers[0].kill()
    eventually(lambda: "ended unexpectedly" in window.messages(), "a message")
    eventually(lambda: set(host.servers()) - set(servers), "another server")
    window.says("Mellum is ready")
    window.open(file, PLACE)
    begin(window)
