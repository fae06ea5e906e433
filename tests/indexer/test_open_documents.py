"""Open documents: what a keystroke costs does not depend on how many there are."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from indexer import Index
from syntax import Cursor, DocumentId

FEW, MANY = 20, 400
ASKING = "total = add_them_all("


def steps(function: Callable[[], object]) -> int:
    """How many instructions of Python this thread runs for a call."""
    count, before = 0, sys.gettrace()

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(before)
    return count


def opened(index: Index, root: Path, number: int) -> list[DocumentId]:
    documents = [DocumentId.in_folder(root, f"folder{one % 7}/module_{one}.py") for one in range(number)]
    for one, document in enumerate(documents):
        index.update(document, "python", f"def add_them_all_{one}(numbers):\n    return sum(numbers)\n")
    index.update(DocumentId.in_folder(root, "helper.py"), "python", "def add_them_all(numbers):\n    return 1\n")
    index.refresh()
    return documents


def test_a_keystroke_costs_the_same_however_many_documents_are_open(tmp_path: Path) -> None:
    costs: dict[int, list[int]] = {}
    for number in (FEW, MANY):
        index, root = Index(), tmp_path / str(number)
        root.mkdir()
        index.open_folder(root, indexed=False)
        other = opened(index, root, number)[number // 2]
        asking = DocumentId.in_folder(root, "main.py")

        def keystroke(
            document: DocumentId, text: str, index: Index = index, asking: DocumentId = asking
        ) -> Callable[[], None]:
            def type_and_ask() -> None:
                index.update(document, "python", text)
                index.admission.refresh()
                found = index.context_for(Cursor(asking, "python", ASKING, len(ASKING)), within=30)
                assert "def add_them_all(numbers):" in "".join(one.text for one in found)

            return type_and_ask

        keystroke(asking, ASKING)()  # which chooses
        typed = steps(keystroke(asking, f"{ASKING}n"))
        typed_elsewhere = steps(keystroke(other, "total = 1\n"))
        taken_in = steps(index.refresh)
        costs[number] = [typed, typed_elsewhere, taken_in]
        index.close()
    for few, many in zip(costs[FEW], costs[MANY], strict=True):
        assert many < 1.2 * few, costs


def test_more_documents_than_answers_are_remembered_change_no_permission(tmp_path: Path) -> None:
    index = Index()
    index.open_folder(tmp_path, indexed=False)
    documents = [DocumentId.in_folder(tmp_path, f"module_{one}.py") for one in range(5_000)]
    for document in documents:
        assert index.admission.why_not_shown(document) is None
    before = index.generation
    index.admission.refresh()
    assert index.generation == before
    (tmp_path / ".gitignore").write_text("module_7.py\n")
    index.admission.refresh()
    assert index.generation != before
    assert index.admission.why_not_shown(documents[7]) is not None
    index.close()


def test_opened_documents_are_taken_in_until_time_is_up(tmp_path: Path) -> None:
    index = Index()
    index.open_folder(tmp_path, indexed=False)
    helper, asking = (DocumentId.in_folder(tmp_path, name) for name in ("helper.py", "main.py"))
    index.update(helper, "python", "def add_them_all(numbers):\n    return 1\n")
    assert not index.refresh(within=0)
    assert index.refresh()
    index.update(asking, "python", ASKING)
    assert [one.document for one in index.context_for(Cursor(asking, "python", ASKING, 0), within=30)] == [helper]
    (tmp_path / ".gitignore").write_text("helper.py\n")
    index.refresh()
    assert index.context_for(Cursor(asking, "python", ASKING, 0), within=30) == []
    (tmp_path / ".gitignore").unlink()
    index.refresh()
    assert [one.document for one in index.context_for(Cursor(asking, "python", ASKING, 0), within=30)] == [helper]
    index.close()


def test_names_that_are_no_utf8_hold_up_no_document(tmp_path: Path) -> None:
    index = Index()
    index.open_folder(tmp_path, indexed=False)
    text = "def add_them_all(numbers):\n    return 1\n"
    odd = [("a.\udcff", "plaintext"), ("\udcff", ""), ("a.py", "\ud800"), ("\ud800.\udc00", "\udc00")]
    for name, language in odd:
        for root in (None, tmp_path):
            document = DocumentId(f"file:///{name}", root, name)
            index.update(document, language, text)
            assert index.refresh()
            index.context_for(Cursor(document, language, text, len(text)), within=30)
    helper, asking = (DocumentId.in_folder(tmp_path, name) for name in ("helper.py", "main.py"))
    index.update(helper, "python", text)
    assert index.refresh()
    assert helper in [one.document for one in index.context_for(Cursor(asking, "python", ASKING, 0), within=30)]
    index.close()


def test_a_document_too_large_to_be_indexed_helps_no_other_and_is_not_looked_through(tmp_path: Path) -> None:
    index = Index()
    index.open_folder(tmp_path, indexed=False)
    large, helper, asking = (DocumentId.in_folder(tmp_path, name) for name in ("large.py", "helper.py", "main.py"))
    text = "def add_them_all(numbers):\n    return 1\n"
    index.update(large, "python", text * 30_000)
    index.update(helper, "python", text)
    assert index.refresh()
    assert [one.document for one in index.context_for(Cursor(asking, "python", ASKING, 0), within=30)] == [helper]
    index.update(large, "python", text)
    index.forget(helper)
    assert [large] == [one.document for one in index.context_for(Cursor(asking, "python", ASKING, 0), within=30)]
    index.close()
