"""From packages to shards: what is left out is named, and the work goes on where it was stopped."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from engine.model_folders.manifest import PromptFormat
from engine.prompt.tokenizer import Tokenizer
from training.data.sources import Package, Report, SourceFile, files_by_package

pytest.importorskip("torch", reason="torch is not installed (extra `train`)")
pytest.importorskip("safetensors", reason="safetensors is not installed (extra `train`)")

from training.card.data.files import SHARD, read_shard
from training.card.data.gathering import gather, write_left_out

HOUSE = Path(__file__).parents[2]


def source(package: str, name: str) -> SourceFile:
    path = HOUSE / "engine" / name
    return SourceFile(package, path.name, "python", path.read_text(encoding="utf-8"), held_out=False)


def shards(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(f"*{SHARD}")}


def test_shards_are_kept_and_made_anew_where_a_package_has_other_files(
    tmp_path: Path, tools: tuple[Tokenizer, PromptFormat]
) -> None:
    said: list[str] = []
    one, two = (
        [source("one", "prompt/layout.py"), source("one", "prompt/tokenizer.py")],
        [source("two", "ending/trim.py")],
    )
    assert gather(iter([one]), tmp_path, *tools, say=said.append)
    first = shards(tmp_path)
    assert gather(iter([one, two]), tmp_path, *tools, say=said.append)
    second = shards(tmp_path)
    assert len(first) == 1
    assert len(second) == 2
    assert first.items() <= second.items()
    assert "2 shards" in said[-1]
    assert gather(iter([one[:1], two]), tmp_path, *tools, say=said.append)
    third = shards(tmp_path)
    assert len(third) == 2
    assert not first.keys() & third.keys()
    assert sorted(file.path for name in third for file in read_shard(tmp_path / name)) == ["layout.py", "trim.py"]


def test_snippets_are_found_by_grammar_and_for_a_part_of_the_files(
    tmp_path: Path, tools: tuple[Tokenizer, PromptFormat]
) -> None:
    paths = sorted((HOUSE / "engine").rglob("*.py"))
    files = [
        SourceFile("engine", str(path.relative_to(HOUSE)), "python", path.read_text(encoding="utf-8"), held_out=False)
        for path in random.Random(0).sample(paths, 16)
    ]
    assert gather(iter([files]), tmp_path, *tools, say=print)
    written = [file for name in shards(tmp_path) for file in read_shard(tmp_path / name)]
    assert sum(bool(file.regions) for file in written) in range(3, 14)
    assert any(region.snippets for file in written for region in file.regions)


def test_a_package_that_no_registry_has_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    said: list[str] = []
    report = Report(said.append)
    wanted = [Package("pypi", "requests", "2.0.0", "Apache-2.0")]
    assert list(files_by_package(tmp_path, wanted, report)) == []
    assert any("requests==2.0.0" in line for line in said)
    write_left_out(tmp_path / "left-out.json", report, said.append)
    assert json.loads((tmp_path / "left-out.json").read_text(encoding="utf-8")) == {"requests": {"not fetched": 1}}
    assert "1 not fetched" in said[-1]
    assert list(tmp_path.iterdir()) == [tmp_path / "left-out.json"]
