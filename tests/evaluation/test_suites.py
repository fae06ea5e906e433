"""Published suites: HumanEval-Infilling made from its package, and files of SAFIM's and RepoBench's layout."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from engine import Engine
from evaluation.harness.sandbox import passes
from evaluation.infilling import drawn, filled, holes
from evaluation.suites import repobench, safim, scored, tasks


def test_the_holes_are_those_of_the_paper_and_the_truth_fills_them() -> None:
    counts = Counter(hole.kind for hole in holes())
    assert counts["single"] == 1033  # as published
    for hole in (*drawn("single", 6, seed=2), *drawn("multi", 6, seed=2)):
        assert passes(hole.before + hole.truth + hole.after + hole.tests), hole.name
        assert not passes(hole.before + "return undefined_name" + hole.after + hole.tests), hole.name


def test_a_model_fills_holes(engine: Engine) -> None:
    chosen = drawn("single", 8, seed=3)
    written = [filled(engine, hole) for hole in chosen]
    assert sum(bool(text.strip()) for text in written) >= 6
    assert all("\n" not in text.strip("\n") or len(text) < 400 for text in written)


def test_files_of_published_layouts_are_read_and_scored(engine: Engine, tmp_path: Path) -> None:
    infill = {
        "task_id": "api_1",
        "lang": "python",
        "prompt": "import json\n\n\ndef load(path):\n    with open(path) as file:\n        return {{completion}}\n\n\n",
        "ground_truth": "json.load(file)",
    }
    line = {
        "repo_name": "shop",
        "file_path": "shop/cart.py",
        "context": [
            {"identifier": "Money", "path": "shop/money.py", "snippet": "class Money:\n    pass\n"},
            {"identifier": "Tax", "path": "shop/tax.py", "snippet": "def tax(amount):\n    return amount\n"},
        ],
        "import_statement": "from shop.money import Money\nfrom shop.tax import tax",
        "cropped_code": "def total(prices):\n    amount = sum(prices)",
        "next_line": "    return amount + tax(amount)",
        "gold_snippet_index": 0,
    }
    (tmp_path / "safim.jsonl").write_text(json.dumps(infill) + "\n", encoding="utf-8")
    (tmp_path / "repobench.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    chosen = [
        *tasks(tmp_path / "safim.jsonl", safim, 10, seed=1),
        *tasks(tmp_path / "repobench.jsonl", repobench, 10, seed=1),
    ]
    assert [snippet.path for snippet in chosen[1].request.context] == ["shop/tax.py", "shop/money.py"]
    assert chosen[0].request.text[chosen[0].request.offset :].startswith("\n")
    groups = {group: similarity for group, _, similarity in scored(engine, chosen)}
    assert set(groups) == {"SAFIM python", "RepoBench python"}
    assert groups["SAFIM python"] > 0.5
    with pytest.raises(ValueError, match="line 1 is no task"):
        tasks(tmp_path / "safim.jsonl", repobench, 10, seed=1)
