"""docs/keystroke.md names files, settings and constants that exist, and counts what it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lsp_server.configuration.schema import schema

HOUSE = Path(__file__).parent.parent
PAGE = (HOUSE / "docs" / "keystroke.md").read_text(encoding="utf-8")
FILE = re.compile(r"`((?:lsp_server|engine|indexer|syntax|tests)/[\w/]+\.py)`")
CONSTANT = re.compile(r"\| `(_[A-Z_]+)` of `([\w/.]+)` \| ([\d.]+)")


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}", 1)[1].split("\n## ", 1)[0]


@pytest.mark.parametrize("name", sorted(set(FILE.findall(PAGE))))
def test_a_file_of_the_page_exists(name: str) -> None:
    assert (HOUSE / name).is_file()


@pytest.mark.parametrize(("name", "file", "value"), CONSTANT.findall(PAGE), ids=lambda part: str(part))
def test_a_constant_of_the_page_has_its_value(name: str, file: str, value: str) -> None:
    assert re.search(rf"^{name} = {re.escape(value)}\b", (HOUSE / file).read_text(encoding="utf-8"), re.MULTILINE)


def test_the_page_lists_all_settings() -> None:
    listed = re.findall(r"^\| `([a-z][\w.]+)` \|", section("What an operator may turn"), re.MULTILINE)
    assert sorted(listed) == sorted(schema()["properties"])


def test_the_page_counts_files_and_rooms_of_a_request() -> None:
    way = section("The request").partition("Trim:")[0]
    files = set(FILE.findall(way))
    rooms = {Path(file).parent for file in files}
    assert f"passes {len(rooms)} rooms (folders) and {len(files)} files" in PAGE
