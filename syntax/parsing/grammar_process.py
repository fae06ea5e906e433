"""Grammars at work in a process of their own, which may die, hang or stop: it is replaced, and its parent goes on.

The parent asks about a text and waits no longer than it has time; what is not read by then is read without a grammar.
A text that has ended such a process, or that takes too long, is remembered: neither it nor what is like it is tried
again, so that a keystroke in such a document costs no process. A language whose texts end several processes rests.

Both sides speak JSON, with its length before it. The child never sends what its parent would have to trust.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psutil

from syntax.children import start_python
from syntax.common_start import common_length
from syntax.parsing.alarm import Alarm, be_expendable
from syntax.parsing.pipe import Pipe
from syntax.sentences import shortened

_START_WITHIN = 3.0  # seconds for the first start, of 0.06 s; a replacement has the time of the question that it is for
_SEND_WITHIN = 0.05  # seconds
_HUNG_FACTOR, _HUNG_LEAST = 4.0, 3.0  # of what is allowed, and seconds, after which a child that is silent has stopped
_STARVED_FACTOR = 10.0  # of that, for a child that waits for the processor
_KEPT_TEXTS = 16  # of those that were too much
_ALIKE = 0.75  # of a text that another one has in common with it, at its start and its end
_LONG_ENOUGH = 200  # code points; shorter texts are alike only if they are the same
_DEATHS, _DEATHS_WITHIN = 3, 60.0  # of one language, within so many seconds, before it rests
_REST, _LONGEST_REST = 60.0, 3600.0  # seconds
_FAILED_STARTS = 3
_BY_OTHERS = (-9, -15)  # killed by the user, or by a system that is out of memory, which the text may not have caused

log = logging.getLogger(__name__)


class NotRead(Exception):
    """No grammar has read the text: for now, or never, as `is_final` says; the message is a sentence's end."""

    def __init__(self, reason: str, *, is_final: bool = False, has_died: bool = False) -> None:
        super().__init__(reason)
        self.is_final, self.has_died = is_final, has_died


class _TooMuch:
    """Texts that are too much for their grammars, known to all grammar processes of this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: deque[tuple[str, str, str, bool]] = deque(maxlen=_KEPT_TEXTS)
        """Languages, texts, reasons, and whether a process has died. An error would keep in memory what has asked."""
        self._deaths: dict[str, deque[float]] = {}
        self._rests: dict[str, tuple[float, float]] = {}  # by language: until when, and how long that was
        self._suspects: deque[int] = deque(maxlen=_KEPT_TEXTS)

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            for kept in (self._texts, self._deaths, self._rests, self._suspects):
                kept.clear()

    def check(self, language: str, text: str) -> None:
        """Raise NotRead if this text is not to be tried."""
        with self._lock:
            if self._rests.get(language, (0.0, 0.0))[0] > time.monotonic():
                raise NotRead(f"the grammar of {language} rests after it has crashed several times")
            texts = [kept for kept in self._texts if kept[0] == language]
        for _, other, why, has_died in texts:
            if _is_like(text, other):
                raise NotRead(why, is_final=True, has_died=has_died)

    def add(self, language: str, text: str, why: str, name: str, *, has_died: bool) -> NotRead:
        """Remember a text, and say so once; returns the error to raise."""
        now = time.monotonic()
        with self._lock:
            self._texts.append((language, text, why, has_died))
            if has_died:
                deaths = self._deaths.setdefault(language, deque(maxlen=_DEATHS))
                deaths.append(now)
                if len(deaths) == _DEATHS and now - deaths[0] < _DEATHS_WITHIN:
                    longer = min(max(2 * self._rests.get(language, (0.0, 0.0))[1], _REST), _LONGEST_REST)
                    self._rests[language] = now + longer, longer
                    deaths.clear()
        where = name or f"A text of {len(text):,} characters"  # none of which may be logged
        log.warning("%s", shortened(f"{where} is read without a grammar: {why}."))
        return NotRead(why, is_final=True, has_died=has_died)

    def is_second_time(self, language: str, text: str) -> bool:
        """Whether a process that something else may have ended was reading this text before, too."""
        key = hash((language, text))
        with self._lock:
            if key in self._suspects:
                return True
            self._suspects.append(key)
            return False


_too_much = _TooMuch()
forget = _too_much.forget
"""Try all texts again: for measurements."""


class GrammarProcess:
    """One child, started on first need or by `start`, and replaced when it dies. Thread-safe; asks one at a time."""

    def __init__(self, module: str, *arguments: str) -> None:
        """`module` is run with `arguments` as a program that calls `serve`."""
        self._command = module, *arguments
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._failed_starts = 0
        self._start_after = 0.0
        self.lives = 0
        """How many children have begun to answer. Changes when more can be read than before."""

    def start(self) -> None:
        """Have a child ready, or on its way. Does not wait for it."""
        with self._lock:
            self._begin()

    def begin(self, question: str, language: str, text: str, *more: Any) -> None:
        """Have a question answered that will be asked soon. Does not wait."""
        with contextlib.suppress(NotRead):
            _too_much.check(language, text)
            if self._lock.acquire(blocking=False):
                try:
                    child = self._child
                    if child is not None and child.is_idle:
                        child.send(_Question(question, language, text, more, ""), time.monotonic() + _SEND_WITHIN)
                except (EOFError, OSError):
                    self._lost()
                finally:
                    self._lock.release()

    def ask(self, question: str, language: str, text: str, *more: Any, within: float, name: str = "") -> Any:
        """Ask about a text. `within`: seconds; `name`: of the text, for the user if it is too much.

        Raises NotRead.
        """
        until = time.monotonic() + within
        _too_much.check(language, text)
        if not self._lock.acquire(timeout=within):
            raise NotRead("the grammars are busy with another text")
        try:
            answer = self._answer_to(_Question(question, language, text, more, name), until)
        finally:
            self._lock.release()
        if "answer" in answer:
            return answer["answer"]
        raise _too_much.add(language, text, answer["reason"], name, has_died=False)

    @property
    def process_id(self) -> int | None:
        """Of the child, if there is one."""
        child = self._child
        return None if child is None else child.process_id

    def close(self) -> None:
        """End the child; the next question starts another."""
        with self._lock:
            if self._child is not None:
                self._child.end()
                self._child = None

    def _begin(self) -> None:
        if self._child is not None or time.monotonic() < self._start_after:
            return
        try:
            self._child = _Child(self._command)
        except OSError as error:
            self._has_failed_to_start(f"{error.strerror or error}")

    def _answer_to(self, question: _Question, until: float) -> dict[str, Any]:
        """Ask a child, and the next one where something else has ended the first."""
        while True:
            try:
                child, until = self._ready(until)
                return child.ask(question, until)
            except (EOFError, OSError):
                why = self._lost()
                if why is not None and why[0] in (None, question):
                    raise why[1] from None

    def _ready(self, until: float) -> tuple[_Child, float]:
        """A child that answers, and until when there is time. Raises NotRead, or EOFError where it has died."""
        if self._child is not None and self._child.is_hung():
            self._lost(is_hung=True)
        self._begin()
        child = self._child
        if child is None:
            raise NotRead("its process does not start")
        if not child.is_ready:
            began = time.monotonic()
            child.greet(until if self.lives else max(until, child.started + _START_WITHIN))
            if not self.lives:
                until += time.monotonic() - began  # the first start is no part of the question's time
            self.lives += 1
            self._failed_starts = 0
        return child, until

    def _lost(self, *, is_hung: bool = False) -> tuple[_Question | None, NotRead] | None:
        """Replace a child that has died or hangs; returns which question is to blame, or None and why there is no next.

        None where something else has ended it, for all that is known: then the next one may be asked.
        """
        child, self._child = self._child, None
        assert child is not None
        code = child.end()
        if not child.is_ready:
            self._has_failed_to_start(f"exit code {code}")
            return None, NotRead("its process does not start")
        self._begin()
        question = child.reading
        if question is None:
            return None
        language, text = question.language, question.text
        if (is_hung or code in _BY_OTHERS) and not _too_much.is_second_time(language, text):
            return None
        if is_hung:
            how = f"the grammar of {language} hangs on it"
        elif code == -getattr(signal, "SIGPROF", 0):
            how = f"it takes the grammar of {language} too long"
        else:
            how = f"the grammar of {language} crashes on it"
        return question, _too_much.add(language, text, how, question.name, has_died=True)

    def _has_failed_to_start(self, why: str) -> None:
        self._failed_starts += 1
        if self._failed_starts >= _FAILED_STARTS:
            self._start_after = time.monotonic() + _REST
            if self._failed_starts == _FAILED_STARTS:
                log.warning("The process that reads with grammars does not start (%s): code is read by its lines.", why)


@dataclass(frozen=True, slots=True)
class _Question:
    """What a child is asked."""

    question: str
    language: str
    text: str
    more: tuple[Any, ...]
    name: str = field(compare=False)

    def data(self) -> bytes:
        request = [self.question, self.language, self.text, *self.more]
        return json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")


class _Child:
    """A process, and what it was asked."""

    def __init__(self, command: tuple[str, ...]) -> None:
        pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
        self._process = start_python(*command, expendable=True, stdin=pipe, stdout=pipe, stderr=nothing, bufsize=0)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipe = Pipe(self._process.stdout.fileno(), self._process.stdin.fileno(), self._process.kill)
        self.process_id = self._process.pid
        self.started = self._asked = time.monotonic()
        self.is_ready = False
        self.reading: _Question | None = None
        """What it has not answered yet."""
        self._is_late = False
        self._hung_after = _START_WITHIN

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a question."""
        return self.is_ready and self.reading is None

    def greet(self, until: float) -> None:
        """Wait for its first word, which says how long it may take for a text."""
        try:
            allowed = json.loads(self._pipe.receive(until))
        except TimeoutError:
            raise NotRead("its process is about to start") from None
        self._hung_after = _HUNG_FACTOR * allowed + _HUNG_LEAST
        self.is_ready = True

    def is_hung(self) -> bool:
        """Whether it has been silent for too long, and not because others have the processor.

        It is not silent where its answer was not fetched, as after `begin` where no `ask` followed. What it
        may use of the processor's time is limited from within: see `serve`.
        """
        silent = time.monotonic() - self._asked
        if silent <= self._hung_after or (self.reading is None and self.is_ready) or self._pipe.is_readable():
            return False
        return silent > _STARVED_FACTOR * self._hung_after or not self._wants_to_run()

    def _wants_to_run(self) -> bool:
        try:
            return psutil.Process(self.process_id).status() in (psutil.STATUS_RUNNING, psutil.STATUS_DISK_SLEEP)
        except psutil.Error:
            return False

    def ask(self, question: _Question, until: float) -> dict[str, Any]:
        """Ask, and wait for the answer; one that was asked before it is waited for only if it is not late."""
        if self.reading is not None and self.reading != question:
            self._answer(0.0 if self._is_late else until)
        if self.reading is None:
            self.send(question, until)
        found: dict[str, Any] = json.loads(self._answer(until))
        return found

    def send(self, question: _Question, until: float) -> None:
        """Ask, and do not wait. Raises EOFError where it does not listen."""
        self._asked, self._is_late = time.monotonic(), False
        try:
            self._pipe.send(question.data(), until)
        except TimeoutError:
            self._process.kill()
            raise EOFError from None
        finally:
            self.reading = question

    def _answer(self, until: float) -> bytes:
        try:
            answer = self._pipe.receive(until)
        except TimeoutError:
            self._is_late = True
            raise NotRead("the grammars have no time for it now") from None
        self.reading = None
        return answer

    def end(self) -> int | None:
        """End it, and say with which code it ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.02)  # where it has died by itself, with its own code
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]
        return self._process.returncode


def serve(answer: Callable[..., Any], seconds: float) -> None:
    """Answer questions, in the child process, until there are no more.

    A text may take `seconds` of the processor's time; a grammar that does not notice when they are over is ended by the
    system soon after, so that no child outlives its parent for long.
    """
    from syntax.parsing.grammars import TooSlow, allow

    be_expendable()
    requests, answers = os.dup(0), os.dup(1)
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123 - what a scanner prints is no answer
        os.dup2(nothing.fileno(), 0)
        os.dup2(nothing.fileno(), 1)
    alarm = Alarm(2 * seconds)
    pipe = Pipe(requests, answers, lambda: os._exit(1))
    with contextlib.suppress(EOFError, OSError):
        pipe.send(json.dumps(seconds).encode())
        while True:
            request = json.loads(pipe.receive())
            allow(seconds)
            with alarm:
                try:
                    found = {"answer": answer(*request)}
                except TooSlow:
                    found = {"reason": f"it takes the grammar of {request[1]} too long"}
                except (Exception, MemoryError) as error:
                    # the parent logs the reason, and an error's message may hold text
                    found = {"reason": f"it cannot be read ({type(error).__name__})"}
                data = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
            pipe.send(data)
    sys.exit(0)


def _is_like(text: str, other: str) -> bool:
    if text == other:
        return True
    if len(other) < _LONG_ENOUGH or len(text) < _ALIKE * len(other):
        return False
    start = common_length(text, other)
    end = common_length(text[start:][::-1], other[start:][::-1])
    return start + end >= _ALIKE * len(other)
