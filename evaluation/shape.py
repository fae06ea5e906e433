"""How fast the shape of a large model runs, ours beside llama.cpp's: `python -m evaluation.shape [SHAPE] [--layers N]`.

Random weights, the same on both sides, of some of the shape's layers with its embeddings and head: the ratios depend on
the matrices, and little on their number. Prints how fast each side reads 512 tokens, writes one, and verifies 8. Ours
are int8, and int4 with plain rounding, which is as fast as the recipe (see `evaluation.quality`). The first run builds
llama.cpp, see `evaluation.versus`.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

from evaluation.harness.gguf_weights import gguf_of, shaped
from evaluation.harness.llama import llama_server, weights
from evaluation.harness.packages import fetched
from evaluation.quality import rounded
from evaluation.versus import FORMATS, rates
from export.default_model import WHEEL, WHEEL_SHA256
from export.make import export
from export.sources.random_weights import SHAPES, RandomSource

_TOKENS = [1000 + 7 * index % 40_000 for index in range(1024)]


def main() -> None:
    """Write the weights for both sides, and let them take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", nargs="?", default="mellum-4b", help=f"{', '.join(SHAPES)}, or a config.json")
    parser.add_argument("--layers", type=int, default=8, help="how many of its layers; default: 8")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place, source = Path(temporary), RandomSource(arguments.shape, layers=arguments.layers)
        export(
            source,
            source.tokenizer(),
            place / "int8",
            style="plain",
            command="python -m evaluation.shape",
            progress=lambda what, share: None,
            format="int8",
        )
        folders = {"mellum-lsp int8": place / "int8", "mellum-lsp int4": rounded(source, place, "int8", "int4", "cpu")}
        with gguf_of(fetched(WHEEL, WHEEL_SHA256)) as base:
            shaped(base, source, place / "shape.gguf")
        asyncio.run(_measure(folders, place / "shape.gguf"))


async def _measure(folders: dict[str, Path], gguf: Path) -> None:
    async with AsyncExitStack() as running:
        files = running.enter_context(weights(FORMATS, gguf, None))
        servers = {
            f"llama.cpp {format}": await running.enter_async_context(llama_server(file, context=1024))
            for format, file in files.items()
        }
        await rates(folders, _TOKENS, servers)


if __name__ == "__main__":
    main()
