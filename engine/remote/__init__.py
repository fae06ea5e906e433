"""Tokens from another machine: a server of OpenAI's completions protocol with the face of the local engine.

Prompt, block policy, gate, trim and cache are those of the local engine; only tokens travel. httpx is imported when a
connection is made, and is an optional dependency (`pip install 'mellum-lsp[remote]'`).
"""
