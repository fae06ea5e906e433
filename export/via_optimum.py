"""A model folder around a graph of standard operators, which optimum writes (extra `export`).

For decoders that this exporter does not write itself. Weights stay float32, and the engine copies keys and values from
step to step, so that it is slower and larger than a graph of our own; its suggestions are the same.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from engine.model_folders.leftovers import NEW
from engine.model_folders.manifest import FORMAT, GRAPH_FILE, Manifest, ModelError
from engine.runtime.session import Model
from export.architecture import LONGEST_CONTEXT, ExportError
from export.config import check_decoder, read_config
from export.folder.atomic_folder import beside, check_replaceable, check_room, put_in_place
from export.make import RECIPE, complete_folder, naming_full_disks
from export.prompt_style import StyleChoice, prepare
from export.sources import Checkpoint, Progress
from export.sources.files.safetensors_file import SafetensorsFile
from export.sources.folder import shards_of
from export.verify import verify_against
from syntax.children import run_python

_INSTALL = "--via optimum needs optimum, transformers and torch; run: pip install 'mellum-lsp[export]'"
_ROOM = 3  # times the weights: they are converted to float32 and written twice
_STATE = "past_key_values."
_TRIED = 24  # tokens
_CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx")


def export_via_optimum(
    checkpoint: Checkpoint, target: Path, *, style: StyleChoice, command: str, progress: Progress, name: str
) -> Manifest:
    """Write the model folder `target`. Raises ExportError; leaves nothing half done."""
    for module in ("optimum.exporters.onnx", "transformers", "torch"):
        if importlib.util.find_spec(module.split(".")[0]) is None:
            raise ExportError(_INSTALL)
    config = read_config(checkpoint.folder / "config.json")
    architecture = check_decoder(config)
    shards = shards_of(checkpoint.folder)  # safetensors: without any, transformers would open a pickle
    check_replaceable(target)
    check_room(target, _ROOM * sum(shard.stat().st_size for shard in shards))
    with naming_full_disks(target), beside(target) as temporary:
        progress("optimum writes the graph", 0.0)
        _run_optimum(checkpoint.folder, temporary / "optimum")
        folder = temporary / NEW
        folder.mkdir()
        for path in (temporary / "optimum").glob(f"{GRAPH_FILE}*"):
            shutil.move(path, folder / path.name)
        shape = _shape_of(folder / GRAPH_FILE)
        tokenizer, prompt = prepare(checkpoint.tokenizer(), shape.vocabulary, style, checkpoint.description)
        progress("Finishing", 0.5)
        manifest = Manifest(
            format=FORMAT,
            name=name,
            architecture=architecture,
            parameters=_parameters(shards),
            layers=shape.layers,
            heads=_first(config, ("num_attention_heads", "n_head"), shape.kv_heads),
            kv_heads=shape.kv_heads,
            head_size=shape.head_size,
            hidden=_first(config, ("hidden_size", "n_embd"), shape.kv_heads * shape.head_size),
            vocabulary=shape.vocabulary,
            context=min(_first(config, _CONTEXT_KEYS, 2048), LONGEST_CONTEXT),
            kv_bytes_per_token=2 * 4 * shape.layers * shape.kv_heads * shape.head_size,
            quantization="fp32",
            quantization_errors={},
            prompt=prompt,
            source=checkpoint.description,
            license=checkpoint.license,
            recipe=RECIPE,
            command=command,
            files={},
            revision=checkpoint.revision,
        )
        _try(folder, manifest)
        manifest = complete_folder(folder, tokenizer, manifest)
        put_in_place(folder, target)
    progress("Finishing", 1.0)
    return manifest


def verify_with_transformers(folder: Path, checkpoint: Checkpoint) -> Manifest:
    """Compare the graph with the published model in transformers, float32; see `export.verify`."""
    from export.reference import reference_logits

    return verify_against(folder, lambda tokens: reference_logits(checkpoint.folder, tokens))


def _run_optimum(checkpoint: Path, folder: Path) -> None:
    """Run optimum in a process of its own: it prints many warnings, and needs the model's size in memory."""
    done = run_python("export.reference", str(checkpoint.absolute()), str(folder.absolute()))
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        reason = said[-1] if said else f"it ended with {done.returncode}"
        raise ExportError(f"optimum cannot export this model ({reason:.200}); choose another one")


@dataclass(frozen=True, slots=True)
class _Shape:
    """The facts about a graph that the engine needs."""

    layers: int
    kv_heads: int
    head_size: int
    vocabulary: int


def _shape_of(path: Path) -> _Shape:
    """Read the graph's inputs and outputs. Raises ExportError where the engine could not fill them."""
    graph = onnx.load(str(path), load_external_data=False).graph
    inputs = {value.name: [axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in graph.input}
    states = {name: shape for name, shape in inputs.items() if name.startswith(_STATE)}
    keys = [shape for name, shape in states.items() if name.endswith(".key")]
    strange = sorted(inputs.keys() - states.keys() - {"input_ids", "attention_mask", "position_ids"})
    alike = {tuple(shape[1::2]) for shape in states.values() if len(shape) == 4}
    logits = next((value for value in graph.output if value.name == "logits"), None)
    if strange or len(keys) * 2 != len(states) or len(alike) != 1 or logits is None:
        what = f"the input {strange[0]!r}" if strange else "its keys and values"
        raise ExportError(f"The engine cannot run the graph that optimum wrote ({what}); choose another model")
    ((kv_heads, head_size),) = alike
    vocabulary = logits.type.tensor_type.shape.dim[-1].dim_value
    if not (kv_heads and head_size and vocabulary):
        raise ExportError("The graph that optimum wrote leaves the shape of its states open; choose another model")
    return _Shape(len(keys), kv_heads, head_size, vocabulary)


def _parameters(shards: list[Path]) -> int:
    """Count the published weights."""
    count = 0
    for path in shards:
        with closing(SafetensorsFile(path)) as file:
            count += sum(prod(tensor.shape) for tensor in file.tensors.values())
    return count


def _try(folder: Path, manifest: Manifest) -> None:
    """Run the graph as the engine does: in parts, and after a rewound state, it must give the same logits."""
    tokens = np.random.default_rng(1).integers(0, manifest.vocabulary, _TRIED).tolist()
    try:
        model = Model(folder, manifest)
        slot = model.new_slot(_TRIED)
        whole = model.run(slot, tokens, [_TRIED - 1])
        slot.keep(_TRIED // 2)
        continued = model.run(slot, tokens[_TRIED // 2 :], [_TRIED // 2 - 1])
    except (ModelError, RuntimeError, ValueError, KeyError) as error:
        raise ExportError(f"The engine cannot run the graph that optimum wrote ({error!s:.200})") from error
    if not np.allclose(whole, continued, atol=1e-2):
        raise ExportError("The graph that optimum wrote cannot go on from a cached state; choose another model")


def _first(config: Mapping[str, Any], keys: tuple[str, ...], default: int) -> int:
    """The first of some numbers that the configuration has."""
    return next((config[key] for key in keys if isinstance(config.get(key), int)), default)
