"""What odd texts cost, by language, shape and size: `python -m evaluation.nesting`.

Every shape is a text that is nested deep, or one long line, or nothing but quotes and the like. Printed for each: the
seconds to find what is open at a cursor in its middle and after text there (what a keystroke needs), and to analyse it
for the index; then the growth, which is the time of the larger text over that of the smaller one. Sizes are in code
points, each twice the one before. A cell says `dies` where the process that asked has ended, and `>20` where it was
ended. `--languages yaml lua` and `--shapes` choose some, `--sizes` others, `--json FILE` keeps the figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from indexer.parsing import analysis
from indexer.parsing.analysis import analyse, parse
from syntax import Delimiters, grammars
from syntax.children import start_python
from syntax.languages import _LANGUAGES
from syntax.parsing.grammar_process import forget

_SIZES = (20_000, 40_000, 80_000)
_WINDOW = 65_536  # code points on each side of the cursor that the engine looks at
_LIMIT = 20.0  # seconds
_REPEATED = {
    "square brackets": "[",
    "round brackets": "(",
    "braces": "{",
    "angle brackets": "<",
    "brackets line by line": "[\n",
    "braces line by line": "{\n",
    "closers": ")]}",
    "calls": "f(a, ",
    "tags": "<div>",
    "sequences": "- ",
    "keys": "a: ",
    "double quotes": '"',
    "single quotes": "'",
    "back quotes": "`",
    "backslashes": "\\",
    "templates": "`${",
    "interpolations": '"#{',
    "comments": "/* ",
    "comment lines": "# a\n",
    "heredocs": "<<A ",
    "substitutions": "$(",
    "unary": "!-",
    "sums": "a+",
    "members": "a.",
    "conditions": "a?b:",
    "keywords": "if else ",
    "arrows": "a=>",
    "imports": "import a;\n",
    "short lines": "a\n",
    "blank lines": "\n",
    "one long line": "word = other + 1; ",
    "one word": "a",
}
_NAMED = {"python": "def f{0}(a):\n    return a\n", "ruby": "def f{0}(a)\n  a\nend\n", "lua": "function f{0}(a)\nend\n"}
_LIKE_C = "class A{0} {{ int f{0}(int a) {{ return a; }} }}\n"


def texts(language: str, size: int) -> Iterator[tuple[str, str]]:
    """Odd texts of a size in code points, by the name of their shape."""
    for name, piece in _REPEATED.items():
        yield name, (piece * (size // len(piece) + 1))[:size]
    for opener, closer in ("()", "[]", "{}"):
        yield f"pairs of {opener}{closer}", opener * (size // 2) + closer * (size // 2)
    yield "functions of blocks", "int f(void)\n" + "{\n" * (size // 4) + "return 1;\n" + "}\n" * (size // 4)
    yield "steps", "".join("    " * depth + "if a:\n" for depth in range(int((size / 2) ** 0.5)))
    definition = _NAMED.get(language, _LIKE_C)
    yield "definitions", "".join(definition.format(number) for number in range(size // len(definition)))
    yield "definitions in a line", "".join(f"class A{number} {{}} " for number in range(size // 14))
    yield "classes in classes", "class A { " * (size // 10)
    chance = random.Random(5)
    yield "mixed", "".join(chance.choices([*_REPEATED.values(), *"()[]{}<>", "\n", "  ", "end ", ":\n"], k=size // 4))


def main(arguments: Sequence[str]) -> None:
    """Measure, each language in a process of its own that is started again when it dies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--languages", nargs="+", default=[row.name for row in _LANGUAGES if row.grammar])
    parser.add_argument("--shapes", nargs="+")
    parser.add_argument("--sizes", nargs="+", type=int, default=_SIZES)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        _serve()
        return
    shapes = options.shapes or [name for name, _ in texts("", 100)]
    print(f"{'language':16}{'shape':24}" + "".join(f"{size:>20,}" for size in options.sizes) + "   growth")
    figures = {}
    for language in options.languages:
        asker = _Asker()
        for shape in shapes:
            cells = [asker.ask(language, shape, size) for size in options.sizes]
            figures[f"{language}, {shape}"] = cells
            growth = [_growth(small, large) for small, large in itertools.pairwise(cells)]
            print(f"{language:16}{shape:24}" + "".join(f"{_cell(cell):>20}" for cell in cells), *growth, flush=True)
        asker.close()
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def _cell(seconds: Sequence[float] | str) -> str:
    return seconds if isinstance(seconds, str) else " ".join(f"{one:8.3f}" for one in seconds)


def _growth(small: Sequence[float] | str, large: Sequence[float] | str) -> str:
    if isinstance(small, str) or isinstance(large, str):
        return "-"
    return "/".join(f"{after / max(before, 0.02):.1f}" for before, after in zip(small, large, strict=True))


class _Asker:
    """A process that measures."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process = start_python(
            "evaluation.nesting", "--serve", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        threading.Thread(target=self._listen, args=(self._process, self._answers), daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes], answers: queue.SimpleQueue[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            answers.put(line.decode())
        answers.put("")

    def ask(self, language: str, shape: str, size: int) -> list[float] | str:
        """Seconds around the cursor and for the index, or what became of the process."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([language, shape, size]).encode() + b"\n")
        self._process.stdin.flush()
        try:
            answer = self._answers.get(timeout=2 * _LIMIT)
        except queue.Empty:
            answer = ""
        if answer:
            seconds: list[float] = json.loads(answer)
            return seconds
        died = self._process.poll() is not None
        self.close()
        self._start()
        return "dies" if died else f">{2 * _LIMIT:.0f}"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def _serve() -> None:
    for line in sys.stdin:
        language, shape, size = json.loads(line)
        text = next(text for name, text in texts(language, size) if name == shape)
        middle = len(text) // 2
        Delimiters("", language)  # the grammar is loaded when a file is opened
        parse("", "a", language)
        started = time.perf_counter()
        Delimiters(text[max(middle - _WINDOW, 0) : middle], language).read(text[middle : middle + 4_000])
        around = time.perf_counter()
        analyse(parse(text, "a", language), "a")
        print(json.dumps([around - started, time.perf_counter() - around]), flush=True)
        forget()
        grammars.close()
        analysis.grammars.close()


if __name__ == "__main__":
    main(sys.argv[1:])
