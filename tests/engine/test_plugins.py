"""Plugin providers: an installed one is tried in a process of its own, whose end does not end ours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.devices import plugins


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty package of a plugin's name, on the import path."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    folder = tmp_path / "onnxruntime_ep_webgpu"
    folder.mkdir()
    return folder


def write(package: Path, library: str) -> None:
    code = f"""
        import os
        def get_ep_name(): return "WebGpuExecutionProvider"
        def get_library_path(): {library}
    """
    (package / "__init__.py").write_text("\n".join(line.strip() for line in code.splitlines()), encoding="utf-8")


def test_a_library_that_does_not_load_says_why(package: Path) -> None:
    broken = package / "library.so"
    broken.write_bytes(b"no library")
    write(package, f"return {str(broken)!r}")
    (failure,) = [failure for label, failure in plugins.tried() if label == "WebGPU"]
    assert failure
    assert "\n" not in failure
    assert len(failure) <= 160


def test_a_plugin_that_ends_its_process_ends_nothing_else(package: Path) -> None:
    write(package, "os._exit(41)")
    assert ("WebGPU", "it ends the process that loads it (exit code 41)") in list(plugins.tried())
