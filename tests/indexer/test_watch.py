"""How changes come to be known: told by the system, or looked for where it tells no more. Real limits, real folders."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.sync.watch import Changes, Watcher, is_remote
from tests.indexer.sync_loops import indexed, problems, until, working

pytestmark = pytest.mark.filterwarnings("ignore:Callback with id")  # watchdog's, which the indexer process ignores
_LIMITED = """
import os, sys, time
from pathlib import Path
limit = "/proc/sys/user/max_inotify_watches"
Path(limit).write_text("30")
from watchdog.observers.inotify_c import inotify_add_watch, inotify_init
instance = inotify_init()
if all(inotify_add_watch(instance, str(folder).encode(), 2) >= 0 for folder in Path(sys.argv[1]).iterdir()):
    sys.exit("no limit")  # a sandbox that takes the number and watches without end
os.close(instance)
import indexer.sync.sync_loop
from tests.indexer.sync_loops import indexed, problems, until, working
indexer.sync.sync_loop._LOOK_EVERY = 1.0
root, database = Path(sys.argv[1]), Path(sys.argv[2])
with working(root, database) as said:
    for number in range(80):
        (root / f"d{number}" / "new.py").write_text("new = 1\\n")
    until(lambda: len(indexed(database)) == 160)
    (root / "later" / "deep").mkdir(parents=True)
    (root / "later" / "deep" / "new.py").write_text("new = 1\\n")
    until(lambda: len(indexed(database)) == 161)
    (root / "d79" / "new.py").unlink()
    until(lambda: len(indexed(database)) == 160)
print(*problems(said), sep="\\n")
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for number in range(80):
        (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number}" / "a.py").write_text("a = 1\n")
    return root


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "index" / "root" / "index.sqlite"


@pytest.mark.skipif(sys.platform != "linux", reason="inotify, whose limit is reached here, is Linux's")
def test_where_watches_run_out_below_the_root_all_changes_are_still_seen(root: Path, database: Path) -> None:
    if subprocess.run(["unshare", "-r", "true"], check=False, capture_output=True).returncode:
        pytest.skip("this system lets no user have limits of their own")
    command = ["unshare", "-r", sys.executable, "-c", _LIMITED, str(root), str(database)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    if done.stderr == "no limit\n":
        pytest.skip("this system's limit does not hold")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        f"The system watches no more files (inotify watch limit reached), so {root} is looked through every 1 s; on "
        "Linux, raise fs.inotify.max_user_watches."
    ]


def test_a_root_that_is_removed_or_moved_and_made_again_is_followed(
    root: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.sync.sync_loop._LOOK_EVERY", 0.3)
    with working(root, database) as said:
        shutil.rmtree(root)
        until(lambda: indexed(database) == set())
        root.mkdir()
        (root / "again.py").write_text("again = 1\n")
        until(lambda: indexed(database) == {"again.py"})
        root.rename(root.with_name("moved"))
        until(lambda: indexed(database) == set())
        root.mkdir()
        (root / "third.py").write_text("third = 1\n")
        until(lambda: indexed(database) == {"third.py"})
        (root / "fourth.py").write_text("fourth = 1\n")
        until(lambda: indexed(database) == {"third.py", "fourth.py"})
    assert problems(said) == []


def test_folders_that_are_moved_in_and_made_deep_are_followed(root: Path, database: Path, tmp_path: Path) -> None:
    with working(root, database):
        outside = tmp_path / "outside" / "x" / "y"
        outside.mkdir(parents=True)
        (outside / "inside.py").write_text("inside = 1\n")
        (tmp_path / "outside").rename(root / "moved")
        for number in range(20):
            deep = root / f"n{number}" / "a" / "b" / "c"
            deep.mkdir(parents=True)
            (deep / "new.py").write_text("new = 1\n")
        until(lambda: len(indexed(database)) == 101)
        (root / "moved" / "x" / "y" / "later.py").write_text("later = 1\n")
        (root / "d1").rename(root / "e1")
        (root / "e1" / "after.py").write_text("after = 1\n")
        until(lambda: {"moved/x/y/later.py", "e1/a.py", "e1/after.py"} <= indexed(database))
        until(lambda: "d1/a.py" not in indexed(database))


@pytest.mark.skipif(sys.platform != "linux", reason="the number of threads is watchdog's own on other systems")
def test_a_watcher_that_cannot_start_leaves_nothing_behind(tmp_path: Path) -> None:
    def used() -> tuple[int, int]:
        return len([*Path("/proc/self/fd").iterdir()]), len([*Path("/proc/self/task").iterdir()])

    before = used()
    for _ in range(5):
        with pytest.raises(OSError, match="No such file"):
            Watcher.start(tmp_path / "nowhere", Changes())
    until(lambda: all(now <= then for now, then in zip(used(), before, strict=True)))


@pytest.mark.skipif(sys.platform != "linux", reason="these are folders of Linux")
def test_a_file_system_of_this_machine_is_not_remote(tmp_path: Path) -> None:
    assert not is_remote(tmp_path)
    assert not is_remote(Path("/"))


def test_where_changes_are_made_elsewhere_they_are_looked_for(
    root: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.sync.sync_loop._LOOK_EVERY", 0.3)
    monkeypatch.setattr("indexer.sync.watch.is_remote", lambda folder: True)
    monkeypatch.setattr("indexer.sync.watch._Handler.on_any_event", lambda handler, event: None)
    with working(root, database) as said:
        (root / "new.py").write_text("new = 1\n")
        until(lambda: "new.py" in indexed(database))
        until(lambda: problems(said))
    assert problems(said) == [
        f"{root} lies on a file system that does not tell of all changes, so it is looked through every 0 s."
    ]
