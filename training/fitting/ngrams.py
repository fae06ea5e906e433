"""Fits how n-grams are mixed in: `python -m training.fitting.ngrams MODEL --sources FOLDER [--out ADAPTER]`.

At points in packages that are not held out, MODEL gives the probability of each token that really follows, and the
engine's own look-up counts what followed the last tokens elsewhere. The fit finds the numbers of the mixture
(`engine.decoding.ngrams`) under which the truth is likeliest. They are written to MODEL's manifest, and to the
adapter's folder as `ngrams.json`, which the next export copies into its manifest. Calibrate afterwards: `python -m
training.fitting.confidence`.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from pathlib import Path

from engine.fitting.mixture import Moments, fitted
from engine.fitting.moments import Moment, Observer
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import read_manifest, write_manifest
from export.sources.adapter import NGRAMS_FILE
from training.data.points import Neighbourhoods, function_points, middle_points
from training.data.sources import add_code, code_of

_PROMPTS = (256, 384, 512, 1024)  # tokens, in turn


def main() -> None:
    """Observe many points, and write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or a model's name")
    add_code(parser)
    parser.add_argument("--out", type=Path, help="the folder of the adapter that the model was made with")
    parser.add_argument("--points", type=int, default=400, help="half in functions, half middles")
    parser.add_argument("--held-out", type=int, default=160, help="places of held-out packages, to say what it brings")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    folder = find_model(arguments.model)
    observer = Observer(folder, arguments.threads)
    seen: dict[bool, Moments] = {}
    for held_out, count in ((False, arguments.points), (True, arguments.held_out)):
        files = code_of(arguments, held_out=held_out)
        # packages are held out as a whole, a workspace is not
        neighbourhoods = Neighbourhoods(code_of(arguments) if arguments.workspace else files)
        points = [draw(files, count // 2, arguments.seed) for draw in (function_points, middle_points)]
        found: list[Moment] = []
        for index, (point, tokens) in enumerate(zip(itertools.chain(*points), itertools.cycle(_PROMPTS), strict=False)):
            print(f"{'held-out ' * held_out}place {index + 1} of {count}   ", end="\r", flush=True)
            found += observer.moments(point, neighbourhoods.of(point), tokens)
        seen[held_out] = Moments(found)
    weights = fitted(seen[False])
    numbers = dataclasses.asdict(weights)
    write_manifest(folder, dataclasses.replace(read_manifest(folder), ngrams=weights))
    if arguments.out:
        (arguments.out / NGRAMS_FILE).write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(numbers))
    for held_out, moments in seen.items():
        gained = moments.mean_gain(weights)
        lost = -float(moments.truth.mean())
        print(f"{'held-out' if held_out else 'fitted on'}: {lost:.3f} -> {lost - gained:.3f} nats a token")


if __name__ == "__main__":
    main()
