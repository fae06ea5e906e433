"""How much memory the model's states may take: what this process may use, not what the machine has."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from engine.runtime.memory import _limits_of_groups, allowed


@pytest.mark.parametrize(
    ("files", "limits"),
    [
        ({}, []),
        ({"memory.max": "max"}, []),
        ({"memory.max": "2000000000"}, [2_000_000_000]),
        ({"user/shell/memory.max": "3", "user/memory.max": "2", "memory.max": "1"}, [1, 2, 3]),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, [9223372036854771712]),
    ],
    ids=["none", "unlimited", "container", "nested", "first version"],
)
def test_limits_of_groups(files: dict[str, str], limits: list[int], tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("0::/user/shell\n")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert sorted(_limits_of_groups(own, tmp_path)) == limits


def test_there_is_no_more_than_the_machine_has() -> None:
    assert 0 < allowed() <= psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to these limits")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_the_limit_of_a_process_counts(limit: str) -> None:
    code = (
        f"import resource; resource.setrlimit(resource.{limit}, (3_000_000_000,) * 2); "
        "from engine.runtime.memory import allowed; print(allowed())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 0 < int(told) <= 3_000_000_000
