"""Published suites from files on your disk: `python -m evaluation.suites MODEL --safim FILE --repobench FILE`.

The files are JSON lines, one task each, as the data sets' own authors publish them (a parquet file becomes one with
`pandas.read_parquet(FILE).to_json(OUT, orient="records", lines=True)`):

SAFIM (Gong et al. 2024, arXiv 2403.04814): `prompt` with a `{{completion}}` in it, `ground_truth`, `lang`. What is
compared is the text without its whitespace, as SAFIM does for API calls; its programs are not run here.
RepoBench (Liu et al. 2023, arXiv 2306.03091): `context` (a list of `path` and `snippet`), `import_statement`,
`cropped_code`, `next_line`, `file_path`; with `gold_snippet_index`, the one snippet that is needed comes nearest.

Prints exact match and edit similarity of `--tasks` tasks, by language or by file.
"""

from __future__ import annotations

import argparse
import difflib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import CompletionRequest, ContextSnippet, Engine
from engine.model_folders.locations import find_model

_HOLE = "{{completion}}"
_SAFIM_LANGUAGES = {"python": "python", "java": "java", "cpp": "cpp", "csharp": "csharp"}
_REPOBENCH_LANGUAGES = {".py": "python", ".java": "java"}


@dataclass(frozen=True, slots=True)
class Task:
    """A request, and what is wanted."""

    group: str
    request: CompletionRequest
    truth: str


def safim(line: dict[str, Any]) -> Task:
    """Read a task of SAFIM. Raises KeyError or ValueError where the line is none."""
    before, after = line["prompt"].split(_HOLE)
    language = _SAFIM_LANGUAGES[line["lang"]]
    request = CompletionRequest(
        f"task.{language}", language, before + after, len(before), explicit=True, max_tokens=256
    )
    return Task(f"SAFIM {line['lang']}", request, line["ground_truth"])


def repobench(line: dict[str, Any]) -> Task:
    """Read a task of RepoBench. Raises KeyError where the line is none."""
    snippets = [ContextSnippet(one["path"], one["snippet"]) for one in line["context"]]
    gold = line.get("gold_snippet_index", -1)
    if 0 <= gold < len(snippets):
        snippets.append(snippets.pop(gold))
    text = f"{line['import_statement']}\n{line['cropped_code']}\n"
    language = _REPOBENCH_LANGUAGES[Path(line["file_path"]).suffix]
    request = CompletionRequest(line["file_path"], language, text, len(text), tuple(snippets), explicit=True)
    return Task(f"RepoBench {language}", request, line["next_line"])


def tasks(file: Path, read: Callable[[dict[str, Any]], Task], count: int, seed: int) -> list[Task]:
    """Draw tasks of a file. Raises ValueError that names the line which is no task."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found.append(read(json.loads(line)))
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{file}, line {number} is no task of this suite ({error!r})") from error
    return random.Random(seed).sample(found, min(count, len(found)))


def scored(engine: Engine, chosen: list[Task]) -> Iterator[tuple[str, bool, float]]:
    """Of each task: its group, whether the text is the wanted one, and how similar it is."""
    for task in chosen:
        text = engine.complete(task.request).text
        if "\n" not in task.truth.strip():
            text = text.strip().partition("\n")[0]
        exact = "".join(text.split()) == "".join(task.truth.split())
        similarity = difflib.SequenceMatcher(None, text.strip(), task.truth.strip(), autojunk=False).ratio()
        yield task.group, exact, similarity


def main() -> None:
    """Run each suite that is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", help="a model folder or a model's name; without one, the chosen model")
    parser.add_argument("--safim", type=Path, help="a file of SAFIM tasks")
    parser.add_argument("--repobench", type=Path, help="a file of RepoBench tasks")
    parser.add_argument("--tasks", type=int, default=500, help="of each suite")
    parser.add_argument("--prompt-tokens", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.safim and not arguments.repobench:
        parser.error("give a file with --safim or --repobench")
    model = arguments.model
    folder = find_model(model)
    engine = Engine.load(folder, prompt_tokens=arguments.prompt_tokens)
    groups: dict[str, list[tuple[bool, float]]] = defaultdict(list)
    for file, read in ((arguments.safim, safim), (arguments.repobench, repobench)):
        if file is not None:
            for group, exact, similarity in scored(engine, tasks(file, read, arguments.tasks, arguments.seed)):
                groups[group].append((exact, similarity))
    for group, both in sorted(groups.items()):
        exact, similarity = (sum(column) / len(both) for column in zip(*both, strict=True))
        print(f"{group}, {len(both)} tasks: exact match {exact:.1%}, edit similarity {similarity:.3f}")


if __name__ == "__main__":
    main()
