"""Grammars: native code that any text may crash or hold up, so it runs in processes that may die."""
