"""One document has one identity, however its URI is spelled and whatever links lead to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from syntax import DocumentId, file_uri, identify, normalized, path_in


@pytest.mark.parametrize(
    "spellings",
    [
        (
            "file:///w/%23a/b%20c.py",
            "file:///w/#a/b c.py",
            "FILE:///w/%23a/b%20c.py",
            "file://localhost/w/%23a/b%20c.py",
        ),
        ("file:///c%3A/w/a.py", "file:///C:/w/a.py", "file:///C%3a/w/a.py", "file:///c:/w/a.py"),
        ("file:///w/m%c3%bcll.py", "file:///w/m%C3%BCll.py", "file:///w/müll.py"),
        ("file:///w/a%3Fb.py", "file:///w/a?b.py"),
        ("file:/w/a.py", "file:///w/a.py"),
        ("vscode-notebook-cell:/w/n.ipynb#W0sZQ%3D%3D", "vscode-notebook-cell:/w/n.ipynb#W0sZQ%3d%3d"),
    ],
)
def test_spellings_of_one_uri_are_one_document(spellings: tuple[str, ...]) -> None:
    assert len({normalized(uri) for uri in spellings}) == 1
    assert len({identify(uri, [Path("/w")]) for uri in spellings}) == 1
    assert all(normalized(normalized(uri)) == normalized(uri) for uri in spellings)


@pytest.mark.parametrize(
    "uris",
    [
        ("file:///w/a%23b.py", "file:///w/a%2523b.py", "file:///w/a.py"),
        ("file:///w/a%FF.py", "file:///w/a%FE.py", "file:///w/a%EF%BF%BD.py"),
        (
            "vscode-notebook-cell:/w/n.ipynb#W0",
            "vscode-notebook-cell:/w/n.ipynb#W1",
            "vscode-notebook-cell:/w/m.ipynb#W0",
        ),
        ("vscode-notebook-cell:One.ipynb?jupyter-notebook#W0", "vscode-notebook-cell:One.ipynb?other#W0"),
        ("untitled:Untitled-1", "untitled:Untitled-2", "buffer:1", "file:///w/Untitled-1"),
        ("git:/w/a.py?%7B%22ref%22%3A%22HEAD%22%7D", "git:/w/a.py?%7B%22ref%22%3A%22~%22%7D", "file:///w/a.py"),
        ("file:///w/a/main.py", "file:///w/b/main.py"),
        ("::: [no uri", "http://[broken", "", "file:///w/\ud800.py"),
    ],
)
def test_different_documents_have_different_identities(uris: tuple[str, ...]) -> None:
    roots = [Path("/w/a"), Path("/w/b"), Path("/w")]
    assert len({identify(uri, roots) for uri in uris}) == len(uris)


@pytest.mark.parametrize("name", ["#work", "a b", "what?.py", "100%.py", "%23", "ü.py", "a&b=c;d.py", "~x'(1).py"])
def test_a_name_survives_the_way_into_a_uri_and_back(name: str) -> None:
    for uri in (file_uri(Path("/w") / name), (Path("/w") / name).as_uri()):
        assert path_in(uri) == Path("/w") / name
        assert identify(uri, [Path("/w")]) == DocumentId.in_folder(Path("/w"), name)


def test_a_file_is_what_the_links_on_its_path_lead_to(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "package").mkdir(parents=True)
    (root / "package" / "real.py").write_text("")
    (tmp_path / "link").symlink_to(root)
    (root / "other.py").symlink_to(root / "package" / "real.py")
    real = identify((root / "package" / "real.py").as_uri(), [root])
    assert real == DocumentId.in_folder(root, "package/real.py")
    for uri in (
        (tmp_path / "link" / "package" / "real.py").as_uri(),
        (root / "other.py").as_uri(),
        f"{root.as_uri()}/package/../package/./real.py",
    ):
        assert identify(uri, [root]) == real
    outside = identify(f"{root.as_uri()}/../elsewhere/x.py", [root])
    assert (outside.root, outside.path) == (None, "x.py")


def test_the_innermost_folder_counts() -> None:
    roots = [Path("/w"), Path("/w/plugins/one"), Path("/w/plugins")]
    assert identify("file:///w/plugins/one/a.py", roots) == DocumentId.in_folder(Path("/w/plugins/one"), "a.py")
    assert identify("file:///workspace/a.py", roots).root is None


def test_what_a_document_is_shows_in_its_uri() -> None:
    def kind(uri: str) -> tuple[bool, bool, bool]:
        one = identify(uri, [Path("/w")])
        return one.is_file, one.is_scratch, one.notebook is not None

    assert kind("file:///w/a.py") == kind("untitled:/w/new.py") == (True, False, False)
    assert kind("untitled:Untitled-1") == kind("buffer:7") == kind("file://") == (False, True, False)
    assert kind("vscode-notebook-cell:/w/n.ipynb#W0") == (False, False, True)
    assert kind("vscode-notebook-cell:New.ipynb#W0") == (False, True, True)
    for uri in ("git:/w/a.py", "output:log", "jdt://contents/rt.jar", "file:///w/%00", "::: [no uri", ""):
        assert kind(uri) == (False, False, False)
    assert identify("untitled:/w/private.py", [Path("/w")]).path == "private.py"
    assert identify("file:///w/a%FF.py", [Path("/w")]).shown == "a?.py"
