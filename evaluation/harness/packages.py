"""Pinned packages that the benchmarks work on or compare with: fetched with pip, checked by hash, kept in the cache."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from engine.model_folders.locations import cache_folder
from syntax.children import run_python


def folder() -> Path:
    """Where the benchmarks keep what they have fetched and built."""
    return cache_folder() / "evaluation"


def fetched(requirement: str, sha256: str, kind: Literal["wheel", "source"] = "wheel") -> Path:
    """A package's file. Raises RuntimeError where it cannot be had, or is not the one that was pinned."""
    name = requirement.partition("==")[0]  # what a source is built with may well be wheels: to build CMake takes long
    ending, only = (".whl", "--only-binary=:all:") if kind == "wheel" else (".tar.gz", f"--no-binary={name}")
    pattern = f"{requirement.replace('-', '_').replace('==', '-')}*{ending}"
    if not (file := next(folder().glob(pattern), None)):
        options = ["--no-deps", only, "--no-input", "--disable-pip-version-check", "--quiet"]
        done = run_python("pip", "download", *options, "--dest", str(folder().absolute()), requirement)
        if not (file := next(folder().glob(pattern), None)):
            reason = " ".join(done.stderr.strip().splitlines()[-1:])
            raise RuntimeError(f"pip could not download {requirement} ({reason}); check the network, and try again")
    with file.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != sha256:
            raise RuntimeError(f"{file} is not the file of {requirement} (its sha256 differs); delete it and try again")
    return file
