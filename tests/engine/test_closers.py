"""Fresh brackets and quotes, closed by the editor as they are typed: at real places of the standard library."""

from __future__ import annotations

import random
import sysconfig
from pathlib import Path

import pytest

from engine.ending.block_policy import BlockPolicy
from engine.ending.trim import trim
from syntax import Delimiters

STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
CLOSERS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'"}


def suggested(prefix: str, generated: str, suffix: str, language: str, size: int) -> tuple[str, int]:
    """What would be shown of generated text that comes in tokens of `size` characters, and what it replaces."""
    policy = BlockPolicy(prefix=prefix, suffix=suffix, language=language)
    kept = generated
    for length in range(size, len(generated) + size, size):
        if (end := policy.end_of(generated[:length])) is not None:
            kept = generated[:end]
            break
    trimmed = trim(kept, prefix=prefix, suffix=suffix, language=language)
    return trimmed.text, trimmed.replaces


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_closer_is_never_written_twice(size: int) -> None:
    """Type an opener of real code, let the editor close it, and generate what really follows."""
    chance = random.Random(size)
    files = [file for file in sorted(STANDARD_LIBRARY.glob("*.py")) if file.stat().st_size > 5000]
    tried = right = 0
    while tried < 100:
        text = chance.choice(files).read_text(encoding="utf-8", errors="replace")
        place = chance.randrange(500, len(text) - 500)
        opener = min((at for one in CLOSERS if (at := text.find(one, place)) >= 0), default=-1)
        if opener < 0 or len(text) - opener < 500:
            continue
        inside = Delimiters(text[:opener], "python").at_cursor
        opened = Delimiters(text[: opener + 1], "python").at_cursor
        line_end = text.find("\n", opener)
        goes_on = len(Delimiters(text[:line_end], "python").at_cursor) > len(inside)  # over the next lines
        if (
            len(opened) != len(inside) + 1
            or goes_on
            or len(inside) > 1
            or line_end == opener + 1
            or '"""' in text[opener - 2 :][:5]
        ):
            continue
        tried += 1
        prefix, suffix = text[: opener + 1], CLOSERS[text[opener]] + text[line_end:]
        kept, replaces = suggested(prefix, text[opener + 1 : opener + 500], suffix, "python", size)
        line = kept.split("\n")[0] if replaces else kept + suffix.split("\n")[0]
        # what stands on the line now is how the line really begins
        assert text[opener + 1 :].startswith(kept), (kept, text[opener - 40 : line_end])
        right += "".join(text[opener + 1 :].split()).startswith("".join(line.split()))
    assert right >= 98


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("language", "prefix", "generated", "suffix", "kept"),
    [
        ("shellscript", "x=$(ls ", '-l "$a")', ")\n", '-l "$a"'),
        ("shellscript", 'x="$(ls ', '"$a")"', ')"\n', '"$a"'),
        ("shellscript", "x=$((1 + ", "2))", "))\n", "2"),
        ("shellscript", "diff <(", "sort a)", ")\n", "sort a"),
        ("shellscript", "awk '", "{ print $1 }'", "'\n", "{ print $1 }"),
        ("shellscript", 'echo "a\n  b ', 'c"', '"\n', "c"),
        ("shellscript", 'echo "a\n  b ', "it's (c\"", '"\n', "it's (c"),
        ("sql", "select 'a", "bc'", "'\n", "bc"),
        ("sql", "insert into t values ('a', 'it''s", " me');", "');\n", " me"),
        ("csharp", 'var s = @"a\n ', 'b (";', '";\n', "b ("),
        ("scala", 'println(s"Hello $name', ', welcome")', '")\n', ", welcome"),
        ("c", '#define A "', 'x"', '"\n', "x"),
        ("lua", "x = [[a ", "b]]", "]]\n", "b"),
    ],
)
def test_strings_and_brackets_of_other_languages_are_not_closed_twice(
    language: str, prefix: str, generated: str, suffix: str, kept: str, size: int
) -> None:
    assert suggested(prefix, generated, suffix, language, size) == (kept, 0)
