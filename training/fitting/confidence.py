"""Calibrates a model's probabilities: `python -m training.fitting.confidence MODEL --sources FOLDER [--out ADAPTER]`.

Text with a stated probability of 0.7 should be right seven times of ten, else the gate shows too little or too much. At
points in functions of packages that are not held out, MODEL writes its likeliest text, which is right up to some token.
The fit finds the one exponent of all tokens' probabilities under which these outcomes are likeliest (power calibration,
the one-parameter form of Platt scaling; Guo et al. 2017, arXiv 1706.04599, scale logits likewise). It is written to
MODEL's manifest, and to the adapter's folder as `calibration.json`, which the next export copies into its manifest.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from engine import Engine
from engine.fitting.answers import PROMPT_TOKENS, answer_of
from engine.fitting.calibration import exponent_of, outcomes, standard_error
from engine.model_folders.locations import find_model
from engine.model_folders.manifest import write_manifest
from export.sources.adapter import CALIBRATION_FILE
from training.data.examples import Teacher
from training.data.points import Neighbourhoods, function_points
from training.data.sources import add_code, code_of


def main() -> None:
    """Ask at many points, and write the exponent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder or a model's name")
    add_code(parser)
    parser.add_argument("--out", type=Path, help="the folder of the adapter that the model was made with")
    parser.add_argument("--points", type=int, default=600)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    files = code_of(arguments, held_out=False)
    folder = find_model(arguments.model)
    engine = Engine.load(folder, threads=arguments.threads, prompt_tokens=PROMPT_TOKENS)
    before = engine.manifest.calibration
    near, answers = Neighbourhoods(code_of(arguments) if arguments.workspace else files), []
    teacher = Teacher(files, engine.tokenizer, engine.manifest.prompt)
    for index, point in enumerate(function_points(files, arguments.points, arguments.seed)):
        print(f"{index + 1} of {arguments.points}   ", end="\r", flush=True)
        snippets = teacher.snippets(point, point.text, point.offset)
        if told := outcomes(point, answer_of(engine, point, near.of(point), snippets)):
            # its probabilities were taken to the power of the calibration until now
            answers.append([dataclasses.replace(one, log_probability=one.log_probability / before) for one in told])
    exponent = round(exponent_of(answers), 3)
    found = {
        "calibration": exponent,
        "standard_error": round(standard_error(answers), 3),
        "points": arguments.points,
        "tokens": sum(map(len, answers)),
    }
    write_manifest(folder, dataclasses.replace(engine.manifest, calibration=exponent))
    if arguments.out:
        (arguments.out / CALIBRATION_FILE).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
