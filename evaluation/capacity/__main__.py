"""How many developers one GPU serves: `python -m evaluation.capacity COMMAND`.

    trace FILE    record a trace: type functions key by key with the model in use, and keep every prompt (minutes)
    prefix TRACE  the share of prompt tokens that a prefix cache of 16-token blocks hits, by layout of the prompt
    sent TRACE    the requests that typing sends, with times, tokens, hits and what was cancelled, as lines of JSON
    table TRACE   developers a GPU at p90 <= 500 ms, and p90 for 10 to 5,000 developers on 1 to 32 GPUs, simulated
    check TRACE   the simulation beside llama.cpp's server on this machine, with 1, 4 and 16 typists (five minutes)

`--rates` names a JSON file of a server's rates, or `h100` or `l40s`: these two are estimated from data sheets, not
measured. What is simulated and what is left out: docs/team.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from evaluation.capacity import rates as known_rates
from evaluation.capacity import trace as traces
from evaluation.capacity.simulation import Conditions

COMMANDS = ("trace", "prefix", "sent", "table", "check")


def main() -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("trace", type=Path, metavar="TRACE", help="the file of the trace")
    parser.add_argument("--functions", type=int, default=4, help="trace: how many of each package; default: 4")
    parser.add_argument("--prompt-tokens", type=int, default=2048, help="of the longest prompt; default: 2048")
    parser.add_argument("--latency", type=float, default=0.15, help="prefix, sent: seconds to an answer; default: 0.15")
    parser.add_argument("--rates", default="h100", help="table: a JSON file or a name; default: h100")
    parser.add_argument("--typing", type=float, default=0.2, help="table: share of the time; default: 0.2")
    parser.add_argument("--network", type=float, default=0.02, help="table: seconds of a round trip; default: 0.02")
    parser.add_argument("--seconds", type=float, default=90.0, help="table, check: how long; default: 90")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="check: also write the figures there")
    given = parser.parse_args()
    try:
        _run(given)
    except (OSError, ValueError, RuntimeError) as error:
        sys.exit(f"{error}")


def _run(given: argparse.Namespace) -> None:
    if given.command == "trace":
        from evaluation.capacity.recording import record
        from evaluation.harness.functions import functions

        traces.write(record(functions(given.functions), given.prompt_tokens, _say), given.trace)
        _say(traces.summary(traces.read(given.trace)))
        return
    trace = traces.read(given.trace)
    if given.command == "sent":
        from evaluation.capacity.prefix import lines_of_requests

        for line in lines_of_requests(trace, given.latency):
            _say(json.dumps(line))
    elif given.command == "prefix":
        _prefix(trace, given)
    elif given.command == "table":
        from evaluation.capacity.table import report

        conditions = Conditions(typing=given.typing, network=given.network, seconds=given.seconds, seed=given.seed)
        report(trace, known_rates.read(given.rates), conditions, _say)
    else:
        from evaluation.capacity.check import check

        found = asyncio.run(check(trace, seconds=given.seconds, seed=given.seed, say=_say))
        if given.json:
            given.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")


def _prefix(trace: list[traces.Typed], given: argparse.Namespace) -> None:
    from engine.model_folders.locations import find_model
    from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
    from engine.prompt.layout import Budget
    from engine.prompt.tokenizer import Tokenizer
    from evaluation.capacity.layouts import layouts
    from evaluation.capacity.prefix import table

    model = find_model()
    known = layouts(Tokenizer(model / TOKENIZER_FILE), read_manifest(model).prompt, Budget(given.prompt_tokens))
    cache = known_rates.read(given.rates).cache_tokens
    _say(traces.summary(trace))
    _say(f"Here: prompts of {given.prompt_tokens} tokens at most, answers after {given.latency:g} s\n")
    table(trace, dict(known), latency=given.latency, cache=cache, say=_say)


def _say(what: str) -> None:
    print(what, flush=True)


if __name__ == "__main__":
    main()
