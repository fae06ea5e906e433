"""How many secrets the index keeps out, and which ordinary files it takes for secrets: `python -m evaluation.secrets`.

Recall: secrets of more than a hundred kinds are generated, planted in files of sixteen kinds, and read as the index
reads them. Prints each kind with what was planted and what was kept out. False positives: every source file of the
standard library and of the installed packages, less their tests, in which something was taken for a secret, with the
reason. `--seed N` repeats a run, `--times N` plants more, `--sources FOLDER` looks at other files instead.
"""

from __future__ import annotations

import argparse
import sysconfig
import time
from pathlib import Path

from evaluation.secrets.corpus import corpus
from evaluation.secrets.measures import recall, sources, taken


def main() -> None:
    """Print recall by kind, and every file that something was taken for a secret in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="repeat a run")
    parser.add_argument("--times", type=int, default=3, help="how often each kind is planted in each language")
    parser.add_argument("--sources", type=Path, nargs="+", help="folders to look for false positives in")
    parser.add_argument("--missed", action="store_true", help="print what came through")
    arguments = parser.parse_args()
    found = recall(list(corpus(arguments.seed, arguments.times)))
    for kind, (count, missed) in sorted(found.items(), key=lambda one: (-len(one[1][1]) / one[1][0], one[0])):
        print(f"{kind:40} {count - len(missed):5} of {count:5}  {(count - len(missed)) / count:6.1%}")
        for one in missed if arguments.missed else []:
            lines = [line for line in one.text.split("\n") if one.secret.split("\n")[0] in line]
            print(f"    {one.name}: {lines[0] if lines else one.secret}")
    planted, through = sum(count for count, _ in found.values()), sum(len(missed) for _, missed in found.values())
    print(f"seed {arguments.seed}: {len(found)} kinds, {planted} planted, {planted - through} kept out", end=", ")
    print(f"{(planted - through) / planted:.2%}")
    paths = sysconfig.get_paths()
    folders = arguments.sources or [Path(paths["stdlib"]), Path(paths["purelib"])]
    files, wrong = taken(sources(folders))
    for file, secret in wrong:
        print(f"{file}: {secret}")
    print(
        f"{len(wrong)} of {files} source files have something that was taken for a secret, "
        f"{len(wrong) / max(files, 1):.3%}"
    )


if __name__ == "__main__":
    main()
