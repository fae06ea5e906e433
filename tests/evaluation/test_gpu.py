"""`evaluation.gpu`: pieces are joined to the same bytes, and a run with small models on the CPU takes every step."""

from __future__ import annotations

import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from evaluation.gpu.calls import calls, size_of_checkout, table
from evaluation.gpu.fatbin import blank_other_cards
from evaluation.gpu.packing import PIECES, PackingError, install, pack_wheels, unpack
from evaluation.gpu.steps import STEPS

HOUSE = Path(__file__).parents[2]
LABELS = {step.label(part) for step in STEPS for part in step.parts}


def quiet(what: str) -> None:
    """Say nothing."""


def fatbin(*codes: tuple[int, bytes]) -> bytes:
    """A container of CUDA's machine code: for each entry the compute capability and the code."""
    entries = b"".join(
        struct.pack("<HHIQIIHHI", 2, 0x101, 64, len(code), 0, 64, 0, 0, architecture) + bytes(32) + code
        for architecture, code in codes
    )
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries


def wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel that pip installs."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode()
    about = {"METADATA": metadata, "WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in {
            **files,
            **{f"{name}-1.0.dist-info/{key}": value for key, value in about.items()},
        }.items():
            archive.writestr(file, content)
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A folder with the pieces of two wheels, one of them with kernels for several cards."""
    wheels, folder = tmp_path / "wheels", tmp_path / "packed"
    wheels.mkdir()
    folder.mkdir()
    provider = b"code before" + fatbin((80, b"a" * 64), (90, b"h" * 64)) + b"code after"
    large = {
        "onnxruntime/__init__.py": os.urandom(3_000_000),
        "onnxruntime/capi/libonnxruntime_providers_cuda.so": provider,
    }
    made = [
        wheel(wheels, "onnxruntime_gpu", large),
        wheel(wheels, "surely_not_here", {"surely_not_here.py": b"ONE = 1"}),
    ]
    pieces = pack_wheels(made, folder, capability="9.0", megabytes=1, say=quiet)
    assert len(pieces) > 3
    assert max(piece.stat().st_size for piece in pieces) <= 1_000_000
    return folder


def test_wheels_arrive_whole_and_are_installed(packed: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "evaluation.gpu", "--unpack", str(packed), "--target", str(site), "--only-install"]
    for said in ("Installing 2 of 2 wheels", "Unpacked 2 wheels"):  # the second time, all is there
        done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1].startswith(said)
    assert (site / "surely_not_here.py").read_bytes() == b"ONE = 1"
    assert (site / "onnxruntime/__init__.py").stat().st_size == 3_000_000
    kernels = (site / "onnxruntime/capi/libonnxruntime_providers_cuda.so").read_bytes()
    assert b"h" * 64 in kernels
    assert b"a" * 64 not in kernels
    assert kernels.startswith(b"code before")
    assert kernels.endswith(b"code after")


def test_a_piece_that_is_missing_or_damaged_is_named(packed: Path, tmp_path: Path) -> None:
    (packed / "piece.1").rename(tmp_path / "elsewhere")
    with pytest.raises(PackingError, match=r"lacks piece\.1; carry what is missing"):
        unpack(packed, packed / "wheels", say=quiet)
    (packed / "piece.1").write_bytes((tmp_path / "elsewhere").read_bytes()[::-1])
    with pytest.raises(PackingError, match=r"piece\.1 is not the piece that was packed"):
        unpack(packed, packed / "wheels", say=quiet)
    (packed / PIECES).unlink()
    with pytest.raises(PackingError, match=r"carry it along"):
        unpack(packed, packed / "wheels", say=quiet)


def test_a_folder_without_the_runtime_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackingError, match="no wheel of onnxruntime-gpu"):
        install(tmp_path, tmp_path / "site", say=quiet)


def test_kernels_that_have_no_twin_for_the_card_stay(tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    only_new = fatbin((120, b"n" * 40))
    library.write_bytes(only_new + fatbin((75, b"t" * 40), (90, b"h" * 48), (120, b"n" * 16)) + only_new[:20])
    assert blank_other_cards(library, "9.0") == 56
    assert library.read_bytes().count(b"n") == 40
    assert blank_other_cards(library, "8.6") == 0


def run(out: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "evaluation.gpu", "--dry-run", "--out", str(out), *more]
    return subprocess.Popen(command, cwd=HOUSE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_a_dry_run_takes_every_step(tmp_path: Path) -> None:
    running = run(tmp_path, "--seconds", "500")
    said, _ = running.communicate(timeout=550)
    assert running.returncode == 0, said
    results = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    findings = results["findings"]
    assert {one["step"] for one in findings} - {"models"} == LABELS
    assert not [one for one in findings if one["passed"] is False]
    whats = {one["what"] for one in findings}
    assert {"server start to ready", "typing: time to suggestion p50", "jump: time to suggestion p50"} <= whats
    table = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| default fp16 | tokens that a slot of another size takes over from one | 64 | at least 64 | yes |" in table


def test_without_time_each_step_says_so(tmp_path: Path) -> None:
    running = run(tmp_path, "--seconds", "3")
    said, _ = running.communicate(timeout=120)
    findings = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["findings"]
    assert {one["step"] for one in findings} >= LABELS, said
    assert [one for one in findings if one["what"] == "not measured" and "s were left" in one["value"]]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process may answer")
def test_what_is_done_when_it_is_stopped_counts(tmp_path: Path) -> None:
    running = run(tmp_path)
    assert running.stdout is not None
    for line in running.stdout:
        if "arithmetic" in line:
            break
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    findings = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["findings"]
    assert [one for one in findings if one["step"] == "the card" and one["what"] == "name"]
    assert [one for one in findings if one["step"] == "stopped"]


def test_calls_carry_each_piece_once_and_fit_the_time_of_a_lent_card(tmp_path: Path) -> None:
    folders = tmp_path / "gpu", tmp_path / "card"
    for folder, name, sizes in zip(folders, ("pieces", "sha256"), ((50, 50, 50, 46), (50, 50, 32)), strict=True):
        folder.mkdir()
        pieces = {f"piece.{index}": size for index, size in enumerate(sizes)}
        (folder / PIECES).write_text(json.dumps({name: pieces}), encoding="utf-8")
        for piece, size in pieces.items():
            with (folder / piece).open("wb") as file:
                file.truncate(size * 1_000_000)
    checkout = size_of_checkout()
    planned = list(calls(*folders, checkout=checkout))
    carried = [path for call in planned for path in call.carried if path.name != PIECES]
    assert sorted(carried) == sorted(path for folder in folders for path in folder.glob("piece.*"))
    assert all(sum(path.stat().st_size for path in call.carried) + checkout < 64 << 20 for call in planned)
    assert sum(call.seconds for call in planned) < 900
    assert max(call.limit for call in planned) <= 600
    assert f"{len(planned)}. " in table(planned, checkout)
    assert [call.command.split()[2] for call in planned] == [*["keep"] * 3, "measure", *["keep"] * 3, "report", "train"]


@pytest.mark.skipif(sys.platform != "linux", reason="the script is for a machine with Linux")
def test_the_script_collects_pieces_measures_in_the_background_and_reports(packed: Path, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    pieces = sorted(packed.glob("piece.*"))
    for index, piece in enumerate(pieces):
        carried = checkout / "build" / "gpu"
        shutil.rmtree(carried, ignore_errors=True)
        carried.mkdir(parents=True)
        shutil.copy(packed / PIECES, carried)
        shutil.copy(piece, carried)
        call = ("measure", "60") if index == len(pieces) - 1 else ("keep",)
        assert on_card(checkout, *call, MEASURE_MORE="--only-install").returncode == 0
    reported = on_card(checkout, "report")
    assert reported.returncode == 0, reported.stderr
    assert "Installing 2 of 2 wheels" in reported.stdout
    assert "ended with 0" in (checkout / "out" / "measured.log").read_text(encoding="utf-8")


def on_card(checkout: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the script as the machine with the card does, with what the checkout carries."""
    (checkout / "out").mkdir(exist_ok=True)
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    own = {"PATH": path, "PYTHONPATH": str(HOUSE), "OUT": str(checkout / "out"), "CARD_PLACE": str(checkout / "place")}
    command = ["sh", str(HOUSE / "evaluation" / "gpu" / "on_card.sh"), *arguments]
    return subprocess.run(command, cwd=checkout, env={**os.environ, **own, **more}, capture_output=True, text=True)
