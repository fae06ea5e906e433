"""Campaigns against the whole product: `python -m evaluation.robustness CAMPAIGN`.

    kill        kill -9 of servers, workers, setups, exports and removals at random moments
    messages    mutated messages and bytes, sent to real servers
    documents   mutated documents of all languages, through the grammars, the engine's rules and real servers
    large       documents of ten megabytes, beside their first 20,000 characters: what a keystroke costs
    faults      everything that may be wrong about a machine, a workspace or a cache folder, once
    soak        typing at high speed for a long time: memory, descriptors, threads and processes stay flat

Each round has a seed, printed beside what it finds; `--seed SEED --count 1` repeats it. The default model must be set
up (`mellum-lsp setup`). Ends with exit code 1 if anything was found. README.md beside this file says more.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from evaluation.robustness.campaign import Campaign

_CAMPAIGNS = {"kill": 100, "messages": 10, "documents": 2_000, "large": 100, "faults": 1_000, "soak": 1}
"""By name: how many rounds there are without `--count`."""


def main(arguments: Sequence[str]) -> int:
    """Run one campaign; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.robustness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("campaign", choices=list(_CAMPAIGNS))
    parser.add_argument("--seed", type=int, default=1, help="of the first round; default: 1")
    parser.add_argument("--count", type=int, help="of rounds")
    parser.add_argument("--seconds", type=float, default=600.0, help="after which no round begins; default: 600")
    parser.add_argument("--only", action="append", default=[], metavar="KIND", help="only this kind; may be repeated")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="the default model's, to kill setups")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and findings there")
    given = parser.parse_args(arguments)
    count = _CAMPAIGNS[given.campaign] if given.count is None else given.count
    campaign = Campaign(given.campaign, seed=given.seed, count=count, seconds=given.seconds, only=given.only)
    run: Callable[..., Any] = import_module(f"evaluation.robustness.{given.campaign}").run
    more = {"wheel": given.wheel} if given.campaign == "kill" else {}
    with contextlib.suppress(KeyboardInterrupt):  # what was found until then is told all the same
        run(campaign, **more)
    print(campaign.table())
    if given.json:
        campaign.write(given.json)
    return 1 if campaign.findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
