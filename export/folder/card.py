"""The model card: the `README.md` of a model folder."""

from __future__ import annotations

from engine.model_folders.manifest import Manifest

CARD_FILE = "README.md"

_PROMPTS = {
    "mellum": "suffix first, with FIM tokens (Mellum's format)",
    "psm": "prefix, suffix, middle, with FIM tokens",
    "plain": "no suffix: the model continues the prefix",
}


def model_card(manifest: Manifest) -> str:
    """Write a model card, in Markdown with the front matter of the Hugging Face hub."""
    errors = manifest.quantization_errors.values()
    revision = f", revision `{manifest.revision}`" if manifest.revision else ""
    rows = {
        "source": f"{manifest.source}{revision}",
        "licence": manifest.license,
        "architecture": f"{manifest.architecture}, {manifest.layers} layers, hidden size {manifest.hidden}",
        "parameters": f"{manifest.parameters:,}",
        "format": manifest.quantization,
        "largest relative error of a weight matrix": f"{max(errors, default=0.0):.4f}",
        "longest context": f"{manifest.context} tokens, {manifest.kv_bytes_per_token:,} bytes of KV state each",
        "prompt": _PROMPTS[manifest.prompt.style],
        "made by": f"`{manifest.command}`",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    license_line = f"license: {manifest.license}\n" if manifest.license not in ("unknown", "none") else ""
    return f"""---
{license_line}library_name: onnx
tags: [code-completion, mellum-lsp]
---
# {manifest.name}

An ONNX model for mellum-lsp, made on the user's machine from published weights.
The licence of the weights holds for it, too.

| | |
| --- | --- |
{table}

Use it with `mellum-lsp models use {manifest.name}`, or give this folder as the server's setting `model`. The file
`manifest.json` has the error of each matrix and the sha256 of each file; `mellum-lsp models verify` checks them.
"""
