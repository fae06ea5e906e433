"""Which files may teach: permissive, written by hand, seen once, and without secrets or addresses of people."""

from __future__ import annotations

import re

PERMISSIVE = frozenset(
    {"MIT", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "PSF-2.0", "0BSD", "Unlicense", "Zlib"}
)

_HEAD = 3000  # code points of a file in which a licence or a generator names itself
_OTHER_LICENCE = re.compile(
    r"\b(?:[AL]?GPL|GNU (?:Affero |Lesser )?General Public|Mozilla Public|MPL[- ]\d|CC-BY|Creative Commons|EUPL|"
    r"Eclipse Public|All rights reserved\W+(?:proprietary|confidential))",
    re.IGNORECASE,
)
_SPDX = re.compile(r"SPDX-License-Identifier:\s*\(?([\w.-]+)")
_GENERATED = re.compile(
    r"@generated|generated (?:by|from|with|automatically)|auto-?generated|do not (?:edit|modify)", re.IGNORECASE
)
_SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{30,}|\bxox[abpr]-[\w-]{20,}|\bsk-\w{32,}|"
    r"\bAIza[\w-]{35}"
)
_IN_KEYS = ("-----BEGIN", "AKIA", "AIza", "xox", "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_")
"""Each key has one of these; a search for them takes a tenth of the time."""
_VALUE = re.compile(r"[:=]\s*[\"'][A-Za-z0-9+/]{24,}[\"']")
_NAMED_SECRET = re.compile(r"(?:password|secret|token|api_?key)\w*[\"']?\s*$", re.IGNORECASE)
_NAME = 80  # code points before a value in which its name stands
_AT = re.compile(r"[\w.+-]@(?!example\.)[\w-]+\.")
_ADDRESS = re.compile(r"\b[\w.+-]+@(?!example\.)[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|de|io|uk|fr|dev|me|eu)\b")
_COMPILED = re.compile(
    r"sourceMappingURL=|__esModule|_interopRequire|_asyncToGenerator|regeneratorRuntime|"
    r"\b__(?:awaiter|decorate|extends|importDefault|createBinding|classPrivateFieldGet)\b|_jsxs?\)?\(|__PURE__"
)
_BUILT_LANGUAGES = frozenset({"javascript", "javascriptreact"})
_FEWEST_LINES, _LONGEST_LINE, _LONGEST_AVERAGE = 20, 400, 80
_LEAST_CODE = 20  # code points of a line that can tell a copy
_MOST_SEEN = 0.5  # share of such lines that were seen in other files


class LeftOut(ValueError):
    """A file may not teach; the text says why in a few words."""


def cleaned(data: bytes, language: str, *, any_licence: bool = False) -> str:
    """Decode a file and take addresses out. Raises LeftOut where it may not teach."""
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise LeftOut("not in UTF-8") from error
    lines = text.split("\n")
    head = text[:_HEAD]
    if len(lines) < _FEWEST_LINES:
        raise LeftOut("too short")
    if max(map(len, lines)) > _LONGEST_LINE or len(text) > _LONGEST_AVERAGE * len(lines):
        raise LeftOut("long lines")
    if _GENERATED.search(head) or (language in _BUILT_LANGUAGES and _COMPILED.search(text)):
        raise LeftOut("generated")
    if not any_licence and not _is_permissive(head):
        raise LeftOut("not permissive")
    if _holds_secret(text):
        raise LeftOut("a secret")
    return _ADDRESS.sub("someone@example.com", text) if _AT.search(text) else text


def _holds_secret(text: str) -> bool:
    """Whether a key stands there, or a long value whose name says that it is one."""
    if any(part in text for part in _IN_KEYS) and _SECRET.search(text):
        return True
    return any(
        _NAMED_SECRET.search(text, max(found.start() - _NAME, 0), found.start()) for found in _VALUE.finditer(text)
    )


def _is_permissive(head: str) -> bool:
    spdx = _SPDX.search(head)
    return not _OTHER_LICENCE.search(head) and (spdx is None or spdx[1] in PERMISSIVE)


class Duplicates:
    """The lines that were seen: a file that mostly repeats them is a copy."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def has(self, text: str) -> bool:
        """Whether a text repeats what came before it; else its lines count as seen from now on."""
        lines = {hash(line.strip()) for line in text.split("\n") if len(line.strip()) >= _LEAST_CODE}
        if not lines or len(lines & self._seen) > _MOST_SEEN * len(lines):
            return True
        self._seen |= lines
        return False
