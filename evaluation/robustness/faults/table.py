"""All faults by name, and the campaign that tries them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from evaluation.robustness.campaign import Campaign
from evaluation.robustness.faults.entries import (
    codecs,
    crashes_grammar,
    crashing_texts,
    ignore_files,
    links,
    names,
    odd_entries,
    permissions,
    pipes,
)
from evaluation.robustness.faults.index_files import DAMAGED, DAMAGED_UNSEEN, damaged_at_start, damaged_while_running
from evaluation.robustness.faults.machine import (
    full_disk,
    no_home,
    read_only_cache,
    root_removed,
    shrunken_model,
    small_disk,
    stopped_children,
    watches_run_out,
)
from evaluation.robustness.faults.session import Skipped, Wrong
from evaluation.robustness.surroundings import places

FAULTS: dict[str, Callable[[Path], Coroutine[Any, Any, None]]] = {
    "pipes and sockets": partial(odd_entries, pipes),
    "links": partial(odd_entries, links),
    "names": partial(odd_entries, names),
    "codecs": partial(odd_entries, codecs),
    "ignore files": partial(odd_entries, ignore_files),
    "deep texts": partial(odd_entries, crashing_texts),
    "texts that crash a grammar": crashes_grammar,
    "permissions": permissions,
    "full disk": full_disk,
    "small disk": small_disk,
    "read-only cache": read_only_cache,
    "watches run out": watches_run_out,
    "stopped children": stopped_children,
    "shrunken model": shrunken_model,
    "no home": no_home,
    "root removed": root_removed,
    **{f"index at the start: {name}": partial(damaged_at_start, damage) for name, damage in DAMAGED.items()},
    **{
        f"index while running: {name}": partial(damaged_while_running, damage)
        for name, damage in DAMAGED_UNSEEN.items()
    },
}
"""By name; `--seed` is the number."""


def run(campaign: Campaign) -> None:
    """Try each fault; the seed is its number."""
    faults = list(FAULTS)
    for one in campaign.rounds():
        if (number := one.seed - 1) >= len(faults):
            return
        if faults[number] not in campaign.kinds(faults):
            continue
        campaign.say(faults[number])
        with places() as place:
            place.chmod(0o755)
            try:
                asyncio.run(FAULTS[faults[number]](place))
            except Skipped as why:
                campaign.notes[faults[number]] = f"skipped: {why}"
                continue
            except (Wrong, TimeoutError, ConnectionError, AssertionError, psutil.Error) as error:
                campaign.found(faults[number], f"{type(error).__name__}: {error}"[:1_200], one.seed)
            finally:
                _give_back(place)
        campaign.tried[faults[number]] += 1


def _give_back(place: Path) -> None:
    """Let what was closed be removed."""
    for path in [place, *place.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            with contextlib.suppress(OSError):
                path.chmod(0o755)
