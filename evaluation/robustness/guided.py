"""Texts that atheris chooses, guided by the lines of the engine's rules that they reach: without grammars, for speed.

As `python -m evaluation.robustness.guided` it is the process that atheris runs in.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from evaluation.robustness.campaign import Campaign
from syntax.children import start_python

_LANGUAGES = ("plaintext", "scss", "less")  # which have no grammar, but the rules of braces and of indentation


def run_guided(campaign: Campaign) -> None:
    """Run atheris until the limits; what it finds is kept as the bytes that found it."""
    with tempfile.TemporaryDirectory() as folder:
        given = [f"-max_total_time={max(int(campaign.seconds_left), 1)}", f"-artifact_prefix={folder}/"]
        given += [
            f"-seed={next(iter(campaign.rounds())).seed}",
            "-max_len=2000",
            "-timeout=100",
            "-print_final_stats=1",
        ]
        pipe = subprocess.PIPE
        with start_python(__name__, *given, stdout=subprocess.DEVNULL, stderr=pipe) as process:
            assert process.stderr is not None
            said = process.stderr.read().decode("utf-8", "replace")
        runs = re.search(r"number_of_executed_units:\s*(\d+)", said) or re.search(r"Done (\d+) runs", said)
        campaign.tried["guided"] += int(runs[1]) if runs else 0
        for file in sorted(Path(folder).iterdir()):
            campaign.found_by_bytes("guided", said[-800:], file.read_bytes())
        if process.returncode and not campaign.findings:
            campaign.say(f"guided: atheris ended with {process.returncode}: {said[-500:]}")


def try_bytes(data: bytes) -> None:
    """Split bytes into a document and a generated text, and raise for what is wrong about them."""
    from evaluation.robustness.rules import rules_hold

    language = _LANGUAGES[data[0] % len(_LANGUAGES)] if data else "plaintext"
    prefix, _, rest = data[1:].decode("utf-8", "replace").partition("\x1f")
    suffix, _, generated = rest.partition("\x1f")
    for what in rules_hold(prefix, suffix, language, generated, random.Random(1)):
        raise AssertionError(what)


def _main() -> None:
    import atheris

    machinery: Any = atheris
    with machinery.instrument_imports(include=["engine", "syntax"]):
        import engine.ending.block_policy
        import engine.ending.closers
        import engine.ending.trim
        import syntax
    del engine, syntax
    try_bytes(b"")  # loads what the first text would wait for
    machinery.Setup(sys.argv, try_bytes)
    machinery.Fuzz()


if __name__ == "__main__":
    _main()
