"""Python's syntax trees of the house's own files, for tests that check promises about code."""

from __future__ import annotations

import ast
import gc


def syntax_tree(source: str) -> ast.Module:
    """Parse a module's text.

    Garbage is not collected meanwhile: then another thread may parse as well, at which Python before 3.11.8 raises
    SystemError (python/cpython#106905).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source)
    finally:
        if was_enabled:
            gc.enable()
