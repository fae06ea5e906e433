"""Secrets assigned to a telling name, in any spelling of the name and of the assignment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from indexer.secrets.rules import ENDINGS, ROOTS, Found, Root
from indexer.secrets.values import is_placeholder, looks_chosen, looks_random

_FEWEST = {"password": 6, "key": 10, "anything": 20}  # characters of a value
_FEWEST_BARE = 8  # of one without quotes
_FEWEST_SPACED = 24  # of a key with spaces in it, such as the salts of WordPress
_LINE_BEFORE = 200  # code points of its line
_BEFORE = 40  # code points of a name before its root
# Between the root of a name and the value. Every repetition is bounded, and most of them never backtrack: the time for
# a name is bounded.
_BETWEEN = r"""(?=  # names within names, and names that are values, are found, too
    (?P<rest> [\w$.-]{0,40}+ )                             # of the name
    (?: \\?["'`] )? [\])}%?!]{0,2}+                         # its quotes, its brackets
    (?:
        [ \t]{0,8}+ (?:
            (?P<annotated> : [ \t]{0,4} [a-z_&*'\[] [\w.\[\]<>&*'|?, \t]{0,60}? = (?![=>]) )
          | (?P<assigned> := | => | ===? | = | !==? | \?= | <- | :- | : (?!:) )
          | (?P<quoted_only> \|\|=? | \?\?=? | \{ | ,(?:[ \t]{0,4}value[ \t]{0,4}[:=])? | \( | \bor\b | -> )
          | (?P<typed> \b[a-z][\w.*&<>\[\]]{0,30}+ [ \t]{1,4} = (?!=) | \[ \w{0,8} \] [ \t]{0,4} = )
        )
      | \s{1,8}+ ["']? (?:\w{1,20}:)? value ["']? [ \t]{0,4} [:=]            # attributes, and lists of names and values
      | ["'`]? , \s{0,20}+ ["']? (?:\w{1,20}:)? value ["']? [ \t]{0,4} [:=]
      | (?P<element> > | </key> \s{0,20}+ <string> )
      | (?P<apart> [ \t]{1,8}+ )
    )
    (?: [ \t]{0,4} [|>][-+\d]{0,2} [ \t]{0,8} \r?\n )?+      # a block of YAML
    \s{0,40}+
    (?: [^\n]{1,100}? (?:\bor\b|\|\||\?\?|\belse\b) [ \t]{0,8} )??        # what is taken before it
    (?: (?:new[ ])? [a-z_&*\[][\w.:&<>\[\]]{0,40}+ !? \( \s{0,8}+ ){0,2}+  # what is called with it
    [\[({]{0,2}+ \s{0,8}+
    (?:
        [a-z$@]{0,2}+ \#? (?:
            "(?:"")?+ (?P<double> (?:[^"\\\n]|\\[^\n]){4,400}+ )
          | '(?:'')?+ (?P<single> (?:[^'\\\n]|\\[^\n]){4,400}+ )
          | ` (?P<back> [^`\n]{4,400}+ )
          | \\["'] (?P<escaped> [^"'\\\n]{4,400}+ )
        )
      | (?P<bare> [^\s"'`<>(){}\[\],;|&\\]{8,400}+ ) (?= [\s"'`<;,&|\\})\]] | \Z )
    )
)"""
_COMMAND = re.compile(r"^\s*(?:(?:ENV|ARG|set(?:x|env)?(?:\s+-\w+)?|export)\s+)?$|\blogin\b.*\s$", re.IGNORECASE)
_DIGIT = re.compile(r"\d")
_IDENTITY = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)  # a UUID
_NAME_BEFORE = re.compile(r"[\w$.-]*$")
_CODE = re.compile(r"[a-z_]\w*(?:(?:\.|::|->|={1,2})[a-z_0-9]\w*)+$", re.IGNORECASE)


@cache
def _pattern(root: str) -> re.Pattern[str]:
    return re.compile(re.escape(root) + _BETWEEN, re.VERBOSE)


def assigned_secrets(text: str, lowered: str) -> Iterator[Found]:
    """Likely secrets under names of secrets. `lowered`: the text in lower case, of the same length."""
    for root in ROOTS:
        if root.root not in lowered:
            continue
        for match in _pattern(root.root).finditer(lowered):
            kind = match.lastgroup or ""
            start, end = match.span(kind)
            strength = _strength(root, text, match)
            if strength is None or not _may_stand(kind, match, text):
                continue
            if _is_secret(text[start:end], strength, is_bare=kind == "bare"):
                yield start, end, f"a value under the name of {root.what}"


def _strength(root: Root, text: str, match: re.Match[str]) -> str | None:
    """The strength of the rule for the whole name; None if it names something else."""
    begin = match.start()
    end = begin + len(root.root)
    goes_on = root.goes_on.match(match.string, end)
    end = goes_on.end() if goes_on is not None else end
    if text[end : end + 1].isalpha() and text[end].islower() == text[end - 1].islower():
        return None  # the root is the start of another word
    name = _NAME_BEFORE.search(match.string, max(begin - _BEFORE, 0), begin)
    before = name[0].rstrip("_-.$") if name is not None else ""
    if root.is_word and end == begin + len(root.root) and text[begin - 1 : begin].isalpha() and text[begin].islower():
        return None  # the root is the end of another word
    if before.endswith(root.not_after) or ENDINGS.search(match["rest"]) is not None:
        return None
    return "key" if root.after and before.endswith(root.after) else root.strength


def _may_stand(kind: str, match: re.Match[str], text: str) -> bool:
    """Whether a value may stand there: without quotes only after an assignment."""
    if kind == "back" and match["apart"] is not None:
        return False  # prose: pass `size=0`
    if (match["quoted_only"] or "").startswith(","):
        begin, end = match.start(), match.start(kind)
        if "\n" in text[begin:end] or _DIGIT.search(match[kind]) is None:
            return False  # the next item of a list
    if kind != "bare":
        return True
    if match["quoted_only"] is not None or match["typed"] is not None or match["annotated"] is not None:
        return False
    if match["apart"] is None:
        return True
    line = text[max(match.start() - _LINE_BEFORE, 0) : match.start()].rpartition("\n")[2]
    name = _NAME_BEFORE.search(line)
    assert name is not None
    return name[0].startswith("-") or _COMMAND.search(line, 0, name.start()) is not None


def _is_secret(value: str, strength: str, *, is_bare: bool) -> bool:
    value = value.strip()
    if len(value) < max(_FEWEST[strength], _FEWEST_BARE if is_bare else 0) or is_placeholder(value):
        return False
    if is_bare and _CODE.match(value) is not None:
        return False
    if strength == "anything" and _IDENTITY.fullmatch(value) is not None:
        return False
    if strength != "password" and " " in value and len(value) < _FEWEST_SPACED:
        return False
    return looks_random(value) or (strength == "password" and looks_chosen(value))
