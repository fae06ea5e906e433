"""What looks like a secret, by its file's name or by its text: such a file never reaches a prompt.

The list is meant to be short and explainable: names that hold keys by convention, tokens that announce themselves, and
assignments of random text to a name that says what it is. Each answer is a sentence that names what was found.
"""

from __future__ import annotations

import fnmatch
import math
import re
from collections import Counter

_NAMES = (
    *(
        ".env",
        ".env.*",
        "*.env",
        ".envrc",
        ".netrc",
        "_netrc",
        ".npmrc",
        ".pypirc",
        ".pgpass",
        ".htpasswd",
        ".dockercfg",
    ),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk", "*.asc", "*.gpg"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*"),
    *("credentials", "credentials.json", "credentials.y*ml", "secrets.json", "secrets.y*ml", "secrets.toml"),
    *("service-account*.json", "*.tfvars", "*.tfstate", "*.tfstate.backup", "kubeconfig"),
)
_ANY_NAME = re.compile("|".join(f"({fnmatch.translate(pattern)})" for pattern in _NAMES))
_HARMLESS = (".env.example", ".env.sample", ".env.template", ".env.dist")
_KEY = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY")
_TOKENS = {
    "an AWS access key": re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a GitHub token": re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{60,})"),
    "a GitLab token": re.compile(r"\bglpat-[\w-]{20,}"),
    "a Slack token": re.compile(r"\bxox[abposr]-[\w-]{20,}"),
    "a Google API key": re.compile(r"\bAIza[\w-]{35}\b"),
    "a Stripe key": re.compile(r"\b[rs]k_live_[A-Za-z0-9]{20,}"),
}
_HINTS = (
    "PRIVATE KEY",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xox",
    "AIza",
    "k_live_",
)
_RANDOM = re.compile(r"""["']([A-Za-z0-9+/=_.!@#$%^&*-]{20,200})["']""")
_NAMED_SECRET = re.compile(
    r"""(?i)(password|passwd|secret|token|api_?key|access_?key|private_?key|credentials?)["']?\s*[:=]\s*$"""
)
_NAME_WITHIN = 40  # code points before the quote
_MOST_ORDERLY = 4.0
"""Bits a character. English in 30 characters has 3.4 to 3.9, as has `snake_case`; random base64 has 4.3 to 4.9."""


def secret_name(name: str) -> str | None:
    """Why a file of this name is taken for a secret; None if it is not."""
    lowered = name.lower()
    if lowered in _HARMLESS:
        return None
    found = _ANY_NAME.match(lowered)
    return f"{_NAMES[(found.lastindex or 1) - 1]} files often hold secrets" if found is not None else None


def secret_in(text: str) -> str | None:
    """Why a text is taken for one with a secret in it; None if it is not."""
    found: tuple[str, int] | None = None
    if any(hint in text for hint in _HINTS):
        for what, pattern in ({"a private key": _KEY} | _TOKENS).items():
            if (match := pattern.search(text)) is not None:
                found = what, match.start()
                break
    if found is None:
        for match in _RANDOM.finditer(text):
            name = _NAMED_SECRET.search(text[max(match.start() - _NAME_WITHIN, 0) : match.start()])
            if name is None or not any(character.isdigit() for character in match[1]):
                continue
            if (bits := entropy(match[1])) >= _MOST_ORDERLY:
                found = f"random text assigned to a {name[1].lower()} ({bits:.1f} bits a character)", match.start()
                break
    if found is None:
        return None
    return f"line {text.count(chr(10), 0, found[1]) + 1} has what looks like a secret: {found[0]}"


def entropy(text: str) -> float:
    """Shannon entropy of a text's characters, in bits a character."""
    counts = Counter(text).values()
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts)
