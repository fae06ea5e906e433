"""Odd files, folders, links and names in a workspace."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

from evaluation.harness.client import completion, items_of
from evaluation.robustness.faults.session import (
    Wrong,
    answers,
    indexed,
    session,
    without_privileges,
)
from evaluation.robustness.surroundings import SOON, cache_with_model


async def odd_entries(make: Callable[[Path], int], place: Path) -> None:
    """Entries that are there at the start, and the same made while it runs; `make` returns how many are files."""
    root = place / "project"
    root.mkdir()
    files = make(root)
    async with session(place) as (_, client, root):
        await indexed(client, 1 + files)
        (root / "later").mkdir()
        files += make(root / "later")
        (root / "late.py").write_text("late = 1\n")
        await indexed(client, 2 + files)
        await answers(client, root)


def pipes(root: Path) -> int:
    os.mkfifo(root / "pipe.py")
    os.mkfifo(root / ".ignore")
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(root):
        listening.bind("socket.py")
    return 0


def links(root: Path) -> int:
    for name, target in (("self.py", "self.py"), ("one", "two"), ("two", "one"), ("up", ".."), (".gitignore",) * 2):
        (root / name).symlink_to(target)
    return 0


def names(root: Path) -> int:
    (root / os.fsdecode(b"caf\xe9.py")).write_text("x = 1\n")
    (root / os.fsdecode(b"caf\xe9")).mkdir()
    good = ("line\nbreak.py", "tab\t.py", '"quoted".py', "[bold]red.py", "back\\slash.py", "-rf.py", "\U0001f600.py")
    for name in good:
        (root / name).write_text("x = 1\n")
    return len(good)


def codecs(root: Path) -> int:
    codecs = (b"undefined", b"idna", b"hex", b"utf-7", b"no-such-thing", b"..", b"x" * 150)
    for number, codec in enumerate(codecs):
        (root / f"codec{number}.py").write_bytes(b"# -*- coding: " + codec + b" -*-\nx = 'caf\xe9'\n")
    return len(codecs)


def ignore_files(root: Path) -> int:
    (root / ".gitignore").write_bytes(b"\xef\xbb\xbf[z-a]\n[[:alpha:\n\xff\xfe\n" + b"*/" * 5_000 + b"\n!\n\\\n")
    (root / "kept.py").write_text("kept = 1\n")
    return 1


def crashing_texts(root: Path) -> int:
    (root / "deep.py").write_text("[\n" * 20_000)
    (root / "deep.c").write_text("{ a(\n" * 20_000)
    return 2


async def crashes_grammar(place: Path) -> None:
    """A document that ends the process of its grammar, again and again, and the next ones."""
    async with session(place, cache=cache_with_model(place / "cache")) as (_, client, root):
        await client.state("ready")
        for number in range(6):
            uri = f"file:///crash{number}.yaml"
            client.open(uri, f"-{' ' * (number + 1)}" * 254, "yaml")
            items_of(await client.request(*completion(uri, 0, 508), within=SOON))
        if not await answers(client, root):
            raise Wrong("no suggestion afterwards")


async def permissions(place: Path) -> None:
    root = place / "project"
    for name, mode in (("listed", 0o444), ("closed", 0o000), ("entered", 0o111)):
        (root / name).mkdir(parents=True)
        (root / name / "inside.py").write_text("x = 1\n")
        (root / name).chmod(mode)
    (root / "closed.py").write_text("x = 1\n")
    (root / "closed.py").chmod(0)
    async with session(place, wrapped=without_privileges()) as (_, client, root):
        await indexed(client, 1)
        await answers(client, root)
