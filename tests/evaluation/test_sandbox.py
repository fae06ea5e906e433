"""The sandbox stops what a program of a model must not do."""

from __future__ import annotations

import sys

import pytest

from evaluation.harness.sandbox import passes


def test_a_program_that_ends_by_itself_passes() -> None:
    assert passes("import math\nassert math.gcd(12, 18) == 6\n")
    assert not passes("assert 1 + 1 == 3\n")
    assert not passes("def f(:\n")


@pytest.mark.parametrize(
    "program",
    [
        "while True:\n    pass\n",
        "import socket\nsocket.create_connection(('127.0.0.1', 9))\n",
        "open('left_behind', 'w')\n",
        "import os\nos.system('true')\n",
        "import subprocess, sys\nsubprocess.run([sys.executable, '-c', ''])\n",
        "import os\nos.remove('anything')\n",
    ],
)
def test_accidents_stay_inside(program: str) -> None:
    assert not passes(program, seconds=2)


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="limits of memory are Linux's here")
def test_memory_has_an_end() -> None:
    assert passes("x = bytearray(10 << 20)\n")
    assert not passes("x = bytearray(2 << 30)\n")
