"""The settings as two editors show them: the customs of Emacs, and a section of Neovim's help.

Both are text that `lsp_server.configuration.schema` writes into files; what a setting is comes from its schema alone.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

_EMACS = """\
;;; mellum-settings.el --- What the server of Mellum can be told  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0

;;; Commentary:

;; Made by `python -m lsp_server.configuration.schema --write' from the schema of
;; the server.  What has its default value here is not sent.

;;; Code:

(defgroup mellum nil
  "Grey text from a local code model."
  :group 'convenience
  :prefix "mellum-"
  :link '(url-link "https://github.com/mellum-lsp/mellum-lsp"))

(defgroup mellum-server nil
  "Settings of the language server mellum-lsp."
  :group 'mellum
  :prefix "mellum-")

(defvar mellum--settings-hook nil "Run after Customize has changed a setting.")

(defun mellum--set (symbol value)
  "Give the setting SYMBOL its VALUE, and tell the server, if there is one."
  (set-default symbol value)
  (run-hooks 'mellum--settings-hook))

@CUSTOMS@

(defconst mellum--settings
  '(@TABLE@)
  "Each setting as (SYMBOL KEY TYPE DEFAULT): KEY and TYPE are the server's.")

(provide 'mellum-settings)
;;; mellum-settings.el ends here
"""
_EMACS_WIDTH = 76

_HELP_TITLE, _HELP_TAG, _HELP_NEXT = "SETTINGS OF THE SERVER", "*mellum-settings*", "OTHER PLUGINS"
_HELP_ABOUT = "They go into `server.settings.mellum` of |mellum-setup|. Each with its default:"
_HELP_WIDTH, _HELP_INDENT = 78, 4


def emacs_customs(properties: Mapping[str, Any]) -> str:
    """Return the Emacs Lisp file that defines a custom for each property of the schema."""
    table = [f"({_symbol(name)} :{name} {_kind(one)} {_lisp(one['default'])})" for name, one in properties.items()]
    customs = [_custom(name, one) for name, one in properties.items()]
    return _EMACS.replace("@CUSTOMS@", "\n\n".join(customs)).replace("@TABLE@", "\n    ".join(table))


def neovim_help(text: str, properties: Mapping[str, Any]) -> str:
    """Return the help page with the section of the settings written anew; ValueError if it has no place for it."""
    before, title, rest = text.partition(f"\n{_HELP_TITLE} ")
    _, following, after = rest.partition(f"\n{_HELP_NEXT} ")
    if not title or not following:
        raise ValueError(f"Neovim's help has no section {_HELP_TITLE!r} before {_HELP_NEXT!r}: write both headings.")
    parts = [f"\n{_HELP_TITLE}{_HELP_TAG.rjust(_HELP_WIDTH - len(_HELP_TITLE))}\n\n{_HELP_ABOUT}\n"]
    for name, one in properties.items():
        described = re.sub(r"\b[Nn]ull\b", "nil", one["description"] + _choices(one))
        described = re.sub(r"`(\{[^`]*\})`", lambda found: f"`{_lua(json.loads(found[1]))}`", described)
        parts.append(f"\n{name} = {_lua(one['default'])}\n{_filled(described, _HELP_WIDTH, ' ' * _HELP_INDENT)}\n")
    return before + "".join(parts) + following + after


def _custom(name: str, value: Mapping[str, Any]) -> str:
    # A symbol in quotes is `like this' there; two spaces end a sentence.
    described = re.sub(r"`(\{[^`]*\})`", lambda found: _alist(json.loads(found[1])), value["description"])
    described = re.sub(r"`([^`]*)`", r"`\1'", described)
    described = re.sub(r"\. (?=\S)(?![^()]*\))", ".  ", described)
    described = re.sub(r"\b[Nn]ull\b|\bfalse\b", "nil", described)
    described = described.replace("\\", "\\\\").replace('"', '\\"')
    # Emacs takes a parenthesis at the beginning of a line for one of code.
    described = re.sub(r"^\(", r"\\\\(", _filled(described, _EMACS_WIDTH), flags=re.MULTILINE)
    return (
        f"(defcustom {_symbol(name)} {_lisp(value['default'])}\n"
        f'  "The setting `{name}\' of the server.\n{described}"\n'
        f"  :type '{_widget(value)}\n"
        f"  :initialize #'custom-initialize-default\n"
        f"  :set #'mellum--set\n"
        f"  :group 'mellum-server)"
    )


def _symbol(name: str) -> str:
    """Return the Lisp name of a setting: `maxTokens` is `mellum-max-tokens`, `remote.url` is `mellum-remote-url`."""
    return "mellum-" + re.sub(r"[A-Z]", lambda letter: f"-{letter[0].lower()}", name.replace(".", "-"))


def _kind(value: Mapping[str, Any]) -> str:
    kinds = value["type"]
    return str(kinds[0] if isinstance(kinds, list) else kinds)


def _widget(value: Mapping[str, Any]) -> str:
    """Return the `:type` with which Customize edits a property."""
    choices = [f"(const {json.dumps(choice)})" for choice in value.get("enum", []) if choice is not None]
    items = [f"(const {json.dumps(choice)})" for choice in value.get("items", {}).get("enum", [])]
    widgets = {
        "boolean": "boolean",
        "integer": "natnum",
        "number": "number",
        "string": " ".join(choices) or "string",
        "array": f"(set {' '.join(items)})" if items else "(repeat string)",
    }
    if _kind(value) == "object":
        return f"(alist :key-type string :value-type {_widget(value['additionalProperties'])})"
    widget = widgets[_kind(value)]
    if isinstance(value["type"], list):
        return f'(choice (const :tag "Default" nil) {widget})'
    return f"(choice {widget})" if choices else widget


def _lisp(value: object) -> str:
    if value is None or value is False or value == [] or value == {}:
        return "nil"
    return "t" if value is True else json.dumps(value)


def _alist(value: Mapping[str, object]) -> str:
    return "(" + " ".join(f"({json.dumps(key)} . {json.dumps(one)})" for key, one in value.items()) + ")"


def _lua(value: object) -> str:
    if value is None:
        return "nil"
    if isinstance(value, dict) and value:
        return "{ " + ", ".join(f"{key} = {_lua(one)}" for key, one in value.items()) + " }"
    return "{}" if value == [] else json.dumps(value)


def _choices(value: Mapping[str, Any]) -> str:
    choices = value.get("enum") or value.get("items", {}).get("enum") or []
    listed = ", ".join(f"`{choice}`" for choice in choices if choice is not None)
    return f" One of {listed}." if listed else ""


def _filled(text: str, width: int, indent: str = "") -> str:
    lines = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)
