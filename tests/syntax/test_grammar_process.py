"""The process of the grammars dies, hangs or is stopped: its parent continues, and soon has a new one."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator

import psutil
import pytest

from syntax import Delimiters, GrammarProcess, NotRead
from syntax.parsing.grammar_process import forget

SOON = 30.0
CRASH = "- " * 254  # nested sequences, for whose depth the scanner of tree-sitter-yaml 0.7 has no room
SLOW = "[" * 30_000  # in Lua, a second at least
PARENT = """
import sys
from syntax import GrammarProcess, NotRead
process = GrammarProcess("syntax")
process.ask("before", "lua", "a = 1", within=30)
try:
    process.ask("before", "lua", "[" * 30_000, within=0.001)
except NotRead:
    pass
print(process.process_id, flush=True)
sys.stdin.read()
"""
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


@pytest.fixture
def process() -> Iterator[GrammarProcess]:
    """One that has answered."""
    forget()
    process = GrammarProcess("syntax")
    open_brackets(process, "python")
    yield process
    process.close()
    forget()


def open_brackets(process: GrammarProcess, language: str, text: str = "f(a[", within: float = SOON) -> list[str]:
    """What is open at the end of a text."""
    found: list[str] = process.ask("before", language, text, within=within)["at_cursor"]
    return found


def reads_again(process: GrammarProcess) -> None:
    """Wait until it answers, with a text that it has not seen."""
    deadline = time.monotonic() + SOON
    while True:
        try:
            assert open_brackets(process, "python", f"g{time.monotonic_ns()}({{", within=0.3) == ["(", "{"]
        except NotRead:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


def test_the_log_says_how_long_a_text_is_that_is_too_much_and_nothing_of_it(
    process: GrammarProcess, caplog: pytest.LogCaptureFixture
) -> None:
    text = f"# hunter2\n{CRASH}"
    with pytest.raises(NotRead, match="crashes"):
        open_brackets(process, "yaml", text)
    assert f"A text of {len(text)} characters is read without a grammar: the grammar of yaml crashes" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_text_that_ends_it_is_not_tried_again_nor_is_what_is_typed_in_it(process: GrammarProcess) -> None:
    with pytest.raises(NotRead, match="crashes") as refused:
        open_brackets(process, "yaml", CRASH)
    assert refused.value.has_died
    reads_again(process)
    lives = process.lives
    for typed in range(50):
        with pytest.raises(NotRead):
            open_brackets(process, "yaml", CRASH + "a" * typed)
    assert open_brackets(process, "yaml", "a: [") == ["["]
    assert process.lives == lives


def test_what_takes_too_long_is_not_tried_again(process: GrammarProcess) -> None:
    with pytest.raises(NotRead, match="too long"):
        open_brackets(process, "lua", SLOW)
    reads_again(process)
    started = time.perf_counter()
    with pytest.raises(NotRead):
        open_brackets(process, "lua", SLOW + "a")
    assert time.perf_counter() - started < 1
    assert open_brackets(process, "lua", "f({") == ["(", "{"]


def test_a_language_whose_texts_end_it_again_and_again_rests(process: GrammarProcess) -> None:
    for number in range(3):
        reads_again(process)
        with pytest.raises(NotRead, match="crashes"):
            open_brackets(process, "yaml", f"-{' ' * (number + 1)}" * 254)  # not one like the other
    reads_again(process)
    with pytest.raises(NotRead, match="rests"):
        open_brackets(process, "yaml", "a: [")


@posix
def test_killed_from_outside_it_is_replaced(process: GrammarProcess) -> None:
    assert process.process_id is not None
    os.kill(process.process_id, signal.SIGKILL)
    assert open_brackets(process, "python", "f(") == ["("]  # by the next one
    assert process.lives == 2
    for _ in range(20):  # at any moment of its work
        reader = threading.Thread(target=reads_again, args=[process])
        reader.start()
        if process.process_id is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.process_id, signal.SIGKILL)
        reader.join(SOON)
        assert not reader.is_alive()


@posix
def test_stopped_it_costs_one_deadline_and_is_replaced(process: GrammarProcess) -> None:
    stopped = process.process_id
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    started = time.perf_counter()
    for number in range(20):
        with pytest.raises(NotRead):
            open_brackets(process, "python", f"f{number}(", within=0.1)
    assert time.perf_counter() - started < 1  # not 20 times 0.1 s
    reads_again(process)
    assert not psutil.pid_exists(stopped)
    assert open_brackets(process, "python", "f0(") == ["("]  # the text was not to blame


@posix
def test_one_that_waits_for_the_processor_does_not_hang(
    process: GrammarProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine is no fault of a text: only a child that wants nothing of the processor is given up."""
    child = process._child
    assert child is not None
    monkeypatch.setattr(child, "_hung_after", 0.05)
    with pytest.raises(NotRead):
        open_brackets(process, "lua", SLOW, within=0.1)
    assert psutil.Process(child.process_id).status() == psutil.STATUS_RUNNING
    assert not child.is_hung()
    os.kill(child.process_id, signal.SIGSTOP)
    deadline = time.monotonic() + SOON
    while not child.is_hung():
        assert time.monotonic() < deadline
    reads_again(process)


@posix
def test_one_whose_answer_was_not_fetched_does_not_hang(
    process: GrammarProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a text was read ahead and no question followed, neither the child nor the text is to blame."""
    child = process._child
    assert child is not None
    monkeypatch.setattr(child, "_hung_after", 0.0)
    for _ in range(3):
        process.begin("before", "python", "f(")
        assert select.select([child._pipe._source], [], [], SOON)[0], "no answer"
        while psutil.Process(child.process_id).status() == psutil.STATUS_RUNNING:
            time.sleep(0.01)
        assert open_brackets(process, "python", "f(") == ["("]
    assert process._child is child


def test_a_text_that_is_not_tried_again_keeps_nothing_in_memory(process: GrammarProcess) -> None:
    """What has asked is let go of, such as the engine: an error that is raised again would keep all its callers."""

    class Caller:
        def ask(self) -> None:
            with pytest.raises(NotRead, match="crashes"):
                open_brackets(process, "yaml", CRASH)

    for _ in range(2):
        caller = Caller()
        kept = weakref.ref(caller)
        caller.ask()
        del caller
        gc.collect()
        assert kept() is None


@posix
def test_no_orphan_is_left_where_the_parent_is_killed_while_it_works() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PARENT], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        parent.wait()
        child.wait(SOON)


def test_it_is_there_for_the_next_keystroke_in_another_document() -> None:
    forget()
    Delimiters(CRASH, "yaml")
    deadline = time.monotonic() + SOON
    while Delimiters("x = '''(", "python").at_cursor != ("'''",):  # which only the grammar knows
        assert time.monotonic() < deadline
    forget()


def test_without_a_process_a_text_is_read_by_its_characters() -> None:
    process = GrammarProcess("no_such_module")
    with pytest.raises(NotRead):
        process.ask("before", "python", "f(", within=0.1)
