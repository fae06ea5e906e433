"""Models are replaced and removed whole: processes that are killed between any two steps, and what comes next."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from engine.model_folders.leftovers import recover_all
from engine.model_folders.locations import CACHE_VARIABLE, choose_model, chosen_model, find_model, mend_models
from engine.model_folders.manifest import check_files, read_manifest
from tests.export.small_models import PLAIN, random_weights, write_folder
from tests.lsp_server.test_cli import run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a process is killed with a signal of POSIX")

NAME = "small-int8"
_KILLED = """
import os, signal, sys
from pathlib import Path

steps, most, kind = 0, int(sys.argv.pop(1)), sys.argv.pop(1)

def counted(function):
    def step(*arguments, **options):
        global steps
        steps += 1
        if steps > most:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return step

for name in ("rename", "replace"):
    setattr(Path, name, counted(getattr(Path, name)))
for name in ("fsync", "rmdir", "unlink") if kind == "every" else ():
    setattr(os, name, counted(getattr(os, name)))
from lsp_server.cli.app import main
main()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "small", PLAIN, random_weights(PLAIN))


@pytest.fixture
def cache(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder with one small model in it, which is chosen."""
    cache = tmp_path / "cache"
    assert run("export", str(source), "--target", "cpu", "--no-fit", "--name", NAME, cache=cache).returncode == 0
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    choose_model(NAME)
    return cache


def killed(cache: Path, kind: str, steps: int, *arguments: str) -> bool:
    """Run a command that is killed after some steps on disk; False where it has fewer."""
    command = [sys.executable, "-c", _KILLED, str(steps), kind, *arguments]
    environment = {**os.environ, CACHE_VARIABLE: str(cache)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode == -9


def litter(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.rglob("*") if "~" in path.name}


def each_moment(cache: Path, kind: str, *arguments: str) -> int:
    """Run a command again and again, killed one step later each time; returns how many steps it has."""
    saved, steps = cache.with_name("saved"), 0
    shutil.copytree(cache, saved)
    while killed(cache, kind, steps, *arguments):
        mend_models(always=True)
        assert litter(cache) == set()
        model = cache / "models" / NAME
        if model.exists():
            check_files(model, read_manifest(model))
        else:
            assert "remove" in arguments
            assert chosen_model() != NAME
        steps += 1
        shutil.rmtree(cache)
        shutil.copytree(saved, cache)
    return steps


KINDS = ["rename", pytest.param("every", marks=pytest.mark.slow)]


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_that_is_killed_at_any_step_leaves_the_old_or_the_new_model(
    cache: Path, source: Path, kind: str
) -> None:
    arguments = ("export", str(source), "--target", "cpu", "--no-fit", "--name", NAME, "--style", "psm")
    assert each_moment(cache, kind, *arguments) >= 3
    assert read_manifest(find_model(NAME)).prompt.style == "psm"
    assert litter(cache) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_removal_that_is_killed_at_any_step_removes_all_or_nothing(cache: Path, kind: str) -> None:
    assert each_moment(cache, kind, "models", "remove", NAME) >= 2
    assert json.loads(run("models", "--json", cache=cache).stdout) == []
    assert litter(cache) == set()


@pytest.mark.parametrize("is_new_whole", [True, False])
def test_between_the_two_renames_the_new_model_is_taken_if_it_is_whole(cache: Path, is_new_whole: bool) -> None:
    model, temporary = cache / "models" / NAME, cache / "models" / f".{NAME}~abc"
    shutil.copytree(model, temporary / "new")
    (temporary / "new" / "README.md").write_text("the new one")
    model.rename(temporary / "old")
    if not is_new_whole:
        (temporary / "new" / "manifest.json").write_text("{")
    assert find_model(NAME) == model  # in this process, the leftovers of before have been seen to
    recover_all(cache / "models")
    assert ((model / "README.md").read_text() == "the new one") == is_new_whole
    assert litter(cache) == set()


def test_what_another_process_is_writing_stays(cache: Path) -> None:
    temporary = cache / "models" / f".{NAME}~abc"
    (temporary / "new").mkdir(parents=True)
    with FileLock(cache / "models" / f".{NAME}.lock"):
        recover_all(cache / "models")
        assert temporary.is_dir()
    recover_all(cache / "models")
    assert not temporary.exists()


def test_a_manifest_that_was_not_finished_is_removed(cache: Path) -> None:
    """A fit writes a finished model's manifest again, and may be killed there."""
    unfinished = cache / "models" / NAME / "manifest.json~"
    unfinished.write_text("{")
    with FileLock(cache / "models" / f".{NAME}.lock"):
        recover_all(cache / "models")
        assert unfinished.exists()
    recover_all(cache / "models")
    assert litter(cache) == set()


def test_a_model_elsewhere_is_recovered_when_it_is_asked_for(cache: Path, tmp_path: Path) -> None:
    model, temporary = tmp_path / "elsewhere" / "mine", tmp_path / "elsewhere" / ".mine~abc"
    shutil.copytree(cache / "models" / NAME, temporary / "old")
    assert find_model(str(model)) == model
    assert not temporary.exists()
