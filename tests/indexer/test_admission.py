"""Who may be seen: asked of real folders with real ignore files, and of the index that stands on the answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer import Admission, Index, database_of, index_now, why_not_root
from syntax import Cursor, DocumentId, identify

TEXT = "def alike(first, second):\n    return first + second\n"
ASKING = "total = alike(first, second)\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace folder with one file."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "main.py").write_text(ASKING)
    return root


@pytest.fixture
def index(root: Path) -> Iterator[Index]:
    """Open documents of that folder, which is not indexed."""
    index = Index()
    index.open_folder(root)
    yield index
    index.close()


def helped(index: Index, asking: DocumentId, word: str = "alike", text: str = ASKING) -> tuple[bool, bool]:
    """Whether other documents' snippets, and their texts near by, hold a word: as a request asks."""
    index.refresh()
    snippets = index.context_for(Cursor(asking, "python", text, 0), within=30)
    near = index.neighbours(Cursor(asking, "python", text, 0))
    return any(word in one.text for one in snippets), any(word in one.text for one in near)


SEEN, HIDDEN = (True, True), (False, False)


def test_an_ignore_file_counts_as_soon_as_it_is_written_and_until_it_is_removed(index: Index, root: Path) -> None:
    main, private = (DocumentId.in_folder(root, path) for path in ("main.py", "deep/private.py"))
    index.update(main, "python", ASKING)
    index.update(private, "python", TEXT)  # not saved: its name decides
    assert helped(index, main) == SEEN
    for name in (".aiignore", ".gitignore", "deep/.aiignore"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("private*.py\n")
        assert helped(index, main) == HIDDEN
        (root / name).write_text("other.py\n")
        assert helped(index, main) == SEEN
        (root / name).write_text("private.py\n")
        assert helped(index, main) == HIDDEN
        (root / name).unlink()
        assert helped(index, main) == SEEN


def test_a_choice_made_before_a_rule_does_not_outlive_it(index: Index, root: Path) -> None:
    main, private = (DocumentId.in_folder(root, path) for path in ("main.py", "private.py"))
    index.update(private, "python", TEXT)
    assert index.context_for(Cursor(main, "python", ASKING, 0), within=30)
    generation = index.admission.generation
    (root / ".aiignore").write_text("private.py\n")
    index.admission.refresh()
    assert index.admission.generation != generation
    assert index.context_for(Cursor(main, "python", ASKING, 0), within=30) == []


def test_files_of_the_index_follow_the_rules_of_now_though_it_was_made_before(root: Path, tmp_path: Path) -> None:
    (root / "private.py").write_text(TEXT)
    index_now(root, database_of(root, tmp_path / "cache"), lambda message: None)
    index = Index(tmp_path / "cache")
    index.open_folder(root, watched=False)
    main = DocumentId.in_folder(root, "main.py")
    assert helped(index, main) == SEEN
    (root / ".aiignore").write_text("private.py\n")  # which no indexer process has seen
    assert helped(index, main) == HIDDEN
    (root / ".aiignore").unlink()
    assert helped(index, main) == SEEN
    index.close()


def test_a_folder_that_goes_takes_its_documents_with_it(index: Index, root: Path, tmp_path: Path) -> None:
    main, other = DocumentId.in_folder(root, "main.py"), DocumentId.in_folder(root, "other.py")
    index.update(other, "python", TEXT)
    assert helped(index, main) == SEEN
    index.close_folder(root)
    assert helped(index, main) == HIDDEN
    index.open_folder(root)
    assert helped(index, main) == SEEN


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///elsewhere/x.py", HIDDEN),
        ("untitled:Untitled-1", SEEN),
        ("untitled:.env", HIDDEN),
        ("vscode-notebook-cell:New.ipynb#W0", SEEN),
        ("{root}/../elsewhere/x.py", HIDDEN),
        ("{root}/new.py", SEEN),
        ("{root}/.env.py", HIDDEN),
        ("{root}/node_modules/x.py", HIDDEN),
        ("untitled:{path}/new.py", SEEN),
        ("untitled:{path}/private.py", HIDDEN),
        ("vscode-notebook-cell:{path}/book.ipynb#W0", SEEN),
        ("vscode-notebook-cell:{path}/private.ipynb#W0", HIDDEN),
        ("vscode-notebook-cell:/elsewhere/book.ipynb#W0", HIDDEN),
        ("git:{path}/new.py?ref", HIDDEN),
        ("output:log", HIDDEN),
        ("{root}/link.py", HIDDEN),
    ],
)
def test_which_documents_help_a_file_of_the_workspace(
    index: Index, root: Path, uri: str, expected: tuple[bool, bool]
) -> None:
    (root / ".aiignore").write_text("private.*\n")
    (root / "link.py").symlink_to(root / "private.py")
    document = identify(uri.format(root=root.as_uri(), path=root.as_posix()), [root])
    index.update(document, "python", TEXT)
    assert helped(index, DocumentId.in_folder(root, "main.py")) == expected


def test_a_scratch_document_with_a_secret_helps_no_document(index: Index, root: Path) -> None:
    index.update(DocumentId.scratch("Untitled-1"), "python", f'{TEXT}token = "AKIAIOSFODNN7EXAMPLE"\n')
    assert helped(index, DocumentId.in_folder(root, "main.py")) == HIDDEN


@pytest.mark.parametrize("place", ["/elsewhere/book.ipynb", "{root}/book.ipynb", "New.ipynb"])
def test_cells_of_a_notebook_help_each_other_and_go_one_by_one(index: Index, root: Path, place: str) -> None:
    notebook = f"vscode-notebook-cell:{place.format(root=root.as_posix())}"
    cells = [identify(f"{notebook}#W{number}sZmlsZQ%3D%3D", [root]) for number in range(3)]
    for number, cell in enumerate(cells):
        index.update(cell, "python", TEXT.replace("alike", f"alike_{number}"))
    text = "alike_0(alike_1(alike_2(first, second)))\n"
    for number in (0, 1):
        assert helped(index, cells[2], f"alike_{number}", text) == SEEN
    index.forget(cells[0])
    assert helped(index, cells[2], "alike_0", text) == HIDDEN
    assert helped(index, cells[2], "alike_1", text) == SEEN


def test_documents_of_one_path_in_two_folders_neither_hide_nor_close_each_other(tmp_path: Path) -> None:
    cache, roots = tmp_path / "cache", [tmp_path / name for name in "abc"]
    index = Index(cache)
    for root in roots:
        root.mkdir()
        (root / "main.py").write_text(f"from helpers import zorb_{root.name}\n")
        (root / "helpers.py").write_text(f"def zorb_{root.name}(value):\n    return value\n")
        index_now(root, database_of(root, cache), lambda message: None)
        index.open_folder(root, watched=False)

    def heard(root: Path) -> tuple[list[str], list[str]]:
        """Which helpers are in the context of a folder's main file, the best last, and near it, the nearest first."""
        text = f"from helpers import zorb_{root.name}\n\nprint(zorb"
        cursor = Cursor(DocumentId.in_folder(root, "main.py"), "python", text, len(text))
        index.refresh()
        snippets = index.context_for(cursor, within=30)
        assert all(one.text.rstrip() not in text for one in snippets)
        near = [one.text for one in index.neighbours(cursor) if one.path == "helpers.py"]
        return [f"{one.path}: {one.text}" for one in snippets if "zorb" in one.text], near

    for root in roots:
        snippets, near = heard(root)
        assert snippets[-1].startswith(f"helpers.py: def zorb_{root.name}(value):")
        assert near[0] == f"def zorb_{root.name}(value):\n    return value\n"
        assert len(near) == 3
        others = {f"{other.name}/{name}" for other in roots if other != root for name in ("helpers.py", "main.py")}
        assert {one.partition(": ")[0] for one in snippets[:-1]} <= others
    for root in roots:
        index.update(
            DocumentId.in_folder(root, "helpers.py"), "python", f"def zorb_{root.name}(opened):\n    return opened\n"
        )
    for root in roots:
        assert heard(root)[1][0] == f"def zorb_{root.name}(opened):\n    return opened\n"
    index.forget(DocumentId.in_folder(roots[0], "helpers.py"))
    assert "def zorb_a(value):\n    return value\n" in heard(roots[0])[1]
    for root in roots[1:]:
        assert heard(root)[1][0] == f"def zorb_{root.name}(opened):\n    return opened\n"
    index.close_folder(roots[0])
    assert heard(roots[1])[1][0] == "def zorb_b(opened):\n    return opened\n"
    assert not any("zorb_a" in text for text in heard(roots[2])[1])
    index.close()


def test_a_folder_in_a_folder_is_read_once(tmp_path: Path) -> None:
    cache, outer = tmp_path / "cache", tmp_path / "outer"
    inner = outer / "plugins" / "one"
    inner.mkdir(parents=True)
    (inner / "helpers.py").write_text(TEXT)
    (outer / "main.py").write_text(ASKING)
    index = Index(cache)
    for root in (outer, inner):
        index_now(root, database_of(root, cache), lambda message: None)
        index.open_folder(root, watched=False)
    main, helpers = DocumentId.in_folder(outer, "main.py"), DocumentId.in_folder(inner, "helpers.py")
    found = index.neighbours(Cursor(main, "python", ASKING, 0))
    assert [one.document for one in found] == [helpers]
    assert [one.document for one in index.context_for(Cursor(main, "python", ASKING, 0), within=30)] == [helpers]
    assert "alike" not in "".join(
        one.text for one in index.neighbours(Cursor(helpers, "python", "x = 1\n", 0)) if one.path != "main.py"
    )
    index.close()


def test_a_closed_document_leaves_nothing(index: Index, root: Path) -> None:
    for number in range(20):
        one = DocumentId.in_folder(root, f"m{number}.py")
        index.update(one, "python", TEXT)
        index.refresh()
        index.context_for(Cursor(one, "python", TEXT, 0), within=30)
        index.forget(one)
    index.context_for(Cursor(DocumentId.in_folder(root, "main.py"), "python", ASKING, 0), within=30)
    opened = index._opened
    tables = (opened._documents, opened.parsed, opened._kept, opened._by_key, opened._numbers, index._plans._plans)
    assert sum(map(len, tables)) <= 2  # what the last one that asked has of its own


def test_what_may_be_completed(root: Path, tmp_path: Path) -> None:
    admission = Admission()
    admission.use_folders([root])
    (root / ".gitignore").write_text("local_*\nbuild/\n")
    (root / ".aiignore").write_text("private*\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".aiignore").write_text("private*\n")
    (outside / ".gitignore").write_text("local_*\n")

    def why_not(file: Path) -> str | None:
        return admission.why_not_completed(identify(file.as_uri(), [root]))

    for name in ("main.py", "README.md", "notes.txt", "package-lock.json", "node_modules/x.js", "Makefile", "new"):
        assert why_not(root / name) is None
    for name in ("local_x.py", "build/x.py", "private.md", "deep/private/x.txt", ".env", "deep/id_rsa"):
        assert why_not(root / name) is not None
    assert "line 1: private*" in (why_not(outside / "private.py") or "")
    assert why_not(outside / "local_x.py") is None  # what git ignores elsewhere may be a library
    assert why_not(outside / ".env") is not None
    assert admission.why_not_completed(DocumentId.scratch("Untitled-1")) is None


@pytest.mark.skipif(os.name == "nt", reason="a link wants a privilege there")
def test_what_a_link_is_called_counts_too_for_what_is_completed(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "settings").write_text("A = 1\n")
    (root / ".aiignore").write_text("private*\nhidden/\n")
    (root / ".gitignore").write_text("installed\n")
    (tmp_path / "project").symlink_to(root)
    (root / "plain.py").symlink_to(outside / "settings")
    (root / "hidden").symlink_to(outside)
    (root / "installed").symlink_to(outside)
    for name in ("private.py", ".env", "id_rsa"):
        (root / name).symlink_to(outside / "settings")
    admission = Admission()
    admission.use_folders([root])

    def why_not(opened: Path) -> str | None:
        return admission.why_not_completed(identify(opened.as_uri(), [root]), opened)

    for folder in (root, tmp_path / "project", root / ".." / "project"):
        for name in ("private.py", "hidden/settings", ".env", "id_rsa", "hidden/../private.py/"):
            assert why_not(folder / name) is not None
        for name in ("plain.py", "main.py", "installed/settings"):
            assert why_not(folder / name) is None
    assert why_not(outside / "settings") is None


def test_what_cannot_be_judged_is_refused(root: Path) -> None:
    admission = Admission()
    admission.use_folders([root])
    (root / ".aiignore").write_bytes(b"#" * 5_000_000)  # longer than is read
    assert "cannot be read" in (admission.why_not_read(root, "main.py") or "")
    assert "cannot be read" in (admission.why_not_completed(DocumentId.in_folder(root, "main.py")) or "")
    (root / ".aiignore").unlink()
    admission.refresh()
    assert admission.why_not_read(root, "main.py") is None
    long = identify(f"file:///{'x' * 5000}/y.py", [root])
    admission.refresh()
    assert not admission.may_help(long, DocumentId.in_folder(root, "main.py"))


def test_nothing_helps_before_the_folders_are_known(root: Path) -> None:
    admission, main, other = Admission(), *(DocumentId.in_folder(root, path) for path in ("main.py", "other.py"))
    assert not admission.may_help(other, main)
    assert admission.why_not_read(root, "other.py") is not None
    admission.use_folders([root])
    assert admission.may_help(other, main)
    assert not admission.may_help(main, main)


def test_homes_and_what_they_lie_in_are_never_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "homes" / "real"
    (home / "work").mkdir(parents=True)
    link = tmp_path / "lnk"
    link.symlink_to(home)
    for told in (home, link, Path(f"{home}/")):
        monkeypatch.setenv("HOME", str(told))
        monkeypatch.setenv("USERPROFILE", str(told))
        for root in (home, link, home.parent, tmp_path, Path(home.anchor), home / "work" / "..", Path(f"{link}/")):
            assert why_not_root(root) is not None
            index = Index(tmp_path / "cache")
            assert not index.open_folder(root)
            index.close()
        assert why_not_root(home / "work") is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users without a name are POSIX's")
def test_an_unknown_user_without_a_home_is_no_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(RuntimeError):
        Path.home()
    assert why_not_root(root) is None
    assert why_not_root(Path(root.anchor)) is not None


@pytest.mark.parametrize("name", [".ssh/config", ".kube/config", ".docker/config.json", ".config/gh/hosts.yml"])
@pytest.mark.parametrize("opened", ["nothing", "its folder", "the folder above"])
def test_a_secret_is_known_by_its_folder_whichever_folder_is_open(tmp_path: Path, name: str, opened: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True)
    file.write_text("x: 1\n")
    roots = {"nothing": [], "its folder": [file.parent], "the folder above": [tmp_path]}[opened]
    admission = Admission()
    admission.use_folders(roots)
    secret = identify(file.as_uri(), roots)
    assert "often hold secrets" in (admission.why_not_completed(secret) or "")
    assert admission.why_not_shown(secret) is not None
    if opened == "its folder":
        assert "often hold secrets" in (admission.why_not_read(file.parent, file.name) or "")
