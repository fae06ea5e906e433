"""The same weights give the same numbers from every kind of file, whole and in slices of rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from export.architecture import Architecture, ExportError, tensor_shapes
from export.sources import GgufSource, Source, cautions, name_for, open_source
from export.sources.adapter import AdaptedSource
from export.sources.folder import FolderSource, local_checkpoint
from export.sources.random_weights import RandomSource
from export.weights.rope import frequencies
from tests.export.forward import forward, rotary_frequencies
from tests.export.small_models import (
    PLAIN,
    VARIANTS,
    quantized,
    random_weights,
    safetensors_bytes,
    write_folder,
    write_gguf,
)

KINDS = gguf.GGMLQuantizationType
TOKENS = list(range(7, 71))


def assert_same(source: Source, weights: dict[str, np.ndarray]) -> None:
    for name, values in weights.items():
        assert np.array_equal(source.tensor(name), values), name
        for rows in (slice(0, 5), slice(3, 29), slice(17, 64), slice(60, None), slice(9, 9)):
            assert np.array_equal(source.tensor(name, rows), values[rows]), (name, rows)


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_files_give_the_same_numbers(variant: str, tmp_path: Path) -> None:
    architecture = VARIANTS[variant]
    weights = random_weights(architecture)
    folders = [
        FolderSource(local_checkpoint(write_folder(tmp_path / "one", architecture, weights))),
        FolderSource(local_checkpoint(write_folder(tmp_path / "many", architecture, weights, shards=3))),
        FolderSource(local_checkpoint(write_folder(tmp_path / "wide", architecture, weights, dtype="F32"))),
    ]
    files = [
        GgufSource(write_gguf(tmp_path / f"{kind.name}.gguf", architecture, weights, kind=kind))
        for kind in (KINDS.F32, KINDS.BF16)
    ]
    expected = forward(folders[0], TOKENS)
    for source in (*folders, *files):
        with source:
            assert_same(source, weights)
            assert source.license == "apache-2.0"
            assert source.tokenizer().get_vocab_size() == architecture.vocabulary
            if variant != "llama3 rope" or source in folders:
                assert source.architecture == architecture
            assert np.allclose(frequencies(source.architecture), rotary_frequencies(architecture), rtol=1e-6)
            assert np.allclose(forward(source, TOKENS), expected, atol=1e-4)


def test_float16_is_read_as_it_is(tmp_path: Path) -> None:
    weights = random_weights(PLAIN)
    halves = {name: values.astype(np.float16).astype(np.float32) for name, values in weights.items()}
    with FolderSource(local_checkpoint(write_folder(tmp_path / "f16", PLAIN, weights, dtype="F16"))) as source:
        assert_same(source, halves)
    with GgufSource(write_gguf(tmp_path / "f16.gguf", PLAIN, halves, kind=KINDS.F16)) as source:
        assert_same(source, halves)


@pytest.mark.parametrize("kind", [KINDS.Q8_0, KINDS.Q4_0, KINDS.Q4_1])
def test_quantized_gguf_is_what_gguf_itself_makes_of_it(kind: KINDS, tmp_path: Path) -> None:
    weights = random_weights(PLAIN)
    restored = {
        name: gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind) if values.ndim == 2 else values
        for name, values in weights.items()
    }
    with GgufSource(write_gguf(tmp_path / "model.gguf", PLAIN, weights, kind=kind)) as source:
        assert_same(source, restored)


@pytest.mark.parametrize("kind", [KINDS.Q4_K, KINDS.Q6_K])
def test_k_quants_are_read_in_slices(kind: KINDS, tmp_path: Path) -> None:
    architecture = Architecture("LlamaForCausalLM", 1, 256, 512, 4, 4, 64, 320, 512, 10000.0, 1e-6, False)
    weights = random_weights(architecture)
    restored = {
        name: gguf.quants.dequantize(quantized(values, kind), kind)
        for name, values in weights.items()
        if values.ndim == 2 and "q_proj" not in name and "k_proj" not in name
    }
    with GgufSource(write_gguf(tmp_path / "model.gguf", architecture, weights, kind=kind)) as source:
        assert_same(source, restored)
        whole = source.tensor("model.layers.0.self_attn.q_proj.weight")
        assert np.array_equal(source.tensor("model.layers.0.self_attn.q_proj.weight", slice(70, 200)), whole[70:200])


def test_tied_embeddings_are_the_head_as_well(tmp_path: Path) -> None:
    architecture = VARIANTS["grouped and tied"]
    weights = random_weights(architecture)
    for source in (
        FolderSource(local_checkpoint(write_folder(tmp_path / "folder", architecture, weights))),
        GgufSource(write_gguf(tmp_path / "model.gguf", architecture, weights)),
    ):
        with source:
            assert np.array_equal(
                source.tensor("lm_head.weight", slice(9, 99)), weights["model.embed_tokens.weight"][9:99]
            )


def test_the_settings_of_transformers_5_say_the_same(tmp_path: Path) -> None:
    for name in ("llama3 rope", "linear rope", "ungrouped"):
        architecture = VARIANTS[name]
        folder = write_folder(tmp_path / name, architecture, random_weights(architecture))
        config = json.loads((folder / "config.json").read_text())
        scaling = config.pop("rope_scaling", {"rope_type": "default"})
        config["rope_parameters"] = {**scaling, "rope_theta": config.pop("rope_theta")}
        (folder / "config.json").write_text(json.dumps(config))
        with FolderSource(local_checkpoint(folder)) as source:
            assert source.architecture == architecture


def test_random_weights_depend_on_name_and_row_only(tmp_path: Path) -> None:
    source = RandomSource("mellum-4b")
    assert source.architecture.parameters == 4_019_248_128
    some = source.tensor("model.layers.3.mlp.up_proj.weight", slice(200, 900))
    assert np.array_equal(source.tensor("model.layers.3.mlp.up_proj.weight", slice(500, 520)), some[300:320])
    assert not np.array_equal(source.tensor("model.layers.4.mlp.up_proj.weight", slice(200, 900)), some)
    assert some.std() == pytest.approx(3072**-0.5, rel=0.01)
    assert source.tokenizer().get_vocab_size() == 98304
    folder = write_folder(tmp_path / "qwen", VARIANTS["qwen2"], random_weights(VARIANTS["qwen2"]))
    with open_source(f"random:{folder / 'config.json'}") as small:
        assert small.architecture == VARIANTS["qwen2"]
        logits = forward(small, TOKENS)
    assert np.isfinite(logits).all()
    assert 0.3 < logits.std() < 3


def write_adapter(folder: Path, rank: int = 4, **config: object) -> dict[str, np.ndarray]:
    """An adapter on three kinds of matrices; returns its factors."""
    random = np.random.default_rng(2)
    shapes = dict(tensor_shapes(PLAIN))
    modules = ["model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj", "lm_head"]
    factors: dict[str, np.ndarray] = {}
    for module in modules:
        outputs, inputs = shapes[f"{module}.weight"]
        factors[f"{module}.A"] = random.standard_normal((rank, inputs)).astype(np.float32)
        factors[f"{module}.B"] = random.standard_normal((outputs, rank)).astype(np.float32)
    stored = {f"base_model.model.{name[:-2]}.lora_{name[-1]}.weight": values for name, values in factors.items()}
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(safetensors_bytes(stored, "F32"))
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", "fan_in_fan_out": False, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return factors


@pytest.mark.parametrize(("stabilized", "scale"), [(False, 2.0), (True, 4.0)])
def test_an_adapter_is_merged(stabilized: bool, scale: float, tmp_path: Path) -> None:
    factors = write_adapter(tmp_path / "adapter", use_rslora=stabilized)
    weights = random_weights(PLAIN)
    expected = {
        name: values + scale * factors[f"{module}.B"] @ factors[f"{module}.A"] if f"{module}.A" in factors else values
        for name, values in weights.items()
        for module in [name.removesuffix(".weight")]
    }
    folder = write_folder(tmp_path / "base", PLAIN, weights)
    with open_source(str(folder), adapter=tmp_path / "adapter") as source:
        assert source.description == "base with the adapter adapter"
        for name, values in expected.items():
            assert np.allclose(source.tensor(name), values, atol=1e-5)
            assert np.allclose(source.tensor(name, slice(11, 47)), values[11:47], atol=1e-5)
        assert not np.array_equal(source.tensor("lm_head.weight"), weights["lm_head.weight"])


@pytest.mark.parametrize("tied", [False, True])
def test_an_adapter_brings_the_embeddings_of_a_few_tokens(tied: bool, tmp_path: Path) -> None:
    architecture = VARIANTS["grouped and tied"] if tied else PLAIN
    random = np.random.default_rng(3)
    own = random.standard_normal((2, architecture.hidden)).astype(np.float32)
    name = "model.layers.1.self_attn.q_proj"
    stored = {
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": own,
        f"base_model.model.{name}.lora_A.weight": np.zeros((4, architecture.hidden), np.float32),
        f"base_model.model.{name}.lora_B.weight": np.zeros((architecture.query_size, 4), np.float32),
    }
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(safetensors_bytes(stored, "F32"))
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "trainable_token_indices": {"embed_tokens": [9, 5]}}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    weights = random_weights(architecture)
    folder = write_folder(tmp_path / "base", architecture, weights)
    expected = weights["model.embed_tokens.weight"].copy()
    expected[[9, 5]] = own
    with open_source(str(folder), adapter=adapter) as source:
        assert np.array_equal(source.tensor("model.embed_tokens.weight"), expected)
        assert np.array_equal(source.tensor("model.embed_tokens.weight", slice(6, 12)), expected[6:12])
        head = expected if tied else weights["lm_head.weight"]
        assert np.array_equal(source.tensor("lm_head.weight"), head)
    config["trainable_token_indices"] = {"embed_tokens": [9, architecture.vocabulary]}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match="trainable_token_indices"), open_source(str(folder), adapter=adapter):
        pass


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"fan_in_fan_out": True}, "transposed"),
        ({"use_dora": True}, "DoRA"),
        ({"peft_type": "LOHA"}, "only LORA"),
        ({"bias": "all"}, "biases"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"r": 5}, "instead of"),
        ({"r": 0}, "r = 0"),
    ],
)
def test_other_adapters_are_refused(config: dict[str, object], sentence: str, tmp_path: Path) -> None:
    write_adapter(tmp_path / "adapter", **config) if "r" not in config else write_adapter(tmp_path / "adapter")
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    (tmp_path / "adapter/adapter_config.json").write_text(json.dumps(settings | config))
    with FolderSource(local_checkpoint(write_folder(tmp_path / "base", PLAIN, random_weights(PLAIN)))) as base:
        with pytest.raises(ExportError, match=sentence):
            AdaptedSource(base, tmp_path / "adapter")
        tied = VARIANTS["grouped and tied"]
    with (
        FolderSource(local_checkpoint(write_folder(tmp_path / "tied", tied, random_weights(tied)))) as base,
        pytest.raises(ExportError),
    ):
        AdaptedSource(base, tmp_path / "adapter")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("JetBrains/Mellum-4b-sft-python", "mellum-4b-sft-python"),
        ("random:mellum-4b", "mellum-4b"),
        ("weights/Model.Q4_K_M.gguf", "model.q4-k-m"),
        ("../../Größe/", "gr-e"),
    ],
)
def test_a_model_is_named_after_its_source(source: str, name: str) -> None:
    assert name_for(source) == name


def test_a_name_on_the_hub_is_no_folder_of_the_current_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "JetBrains" / "Mellum-4b-base", PLAIN, random_weights(PLAIN))
    monkeypatch.chdir(tmp_path)
    with (
        pytest.raises(ExportError, match=r"for the folder, write \./JetBrains/Mellum-4b-base"),
        open_source("JetBrains/Mellum-4b-base"),
    ):
        pass
    with open_source("./JetBrains/Mellum-4b-base") as source:
        assert source.architecture == PLAIN
    with pytest.raises(ExportError, match="There is no file or folder ~no-such-user/x"), open_source("~no-such-user/x"):
        pass


@pytest.mark.parametrize(("kind", "head_kind"), [("F32", "F32"), ("Q4_0", "Q8_0"), ("Q8_0", "Q4_0")])
def test_a_head_that_repeats_the_embeddings_is_counted_and_read_once(kind: str, head_kind: str, tmp_path: Path) -> None:
    """Converters write both, and quantize them differently."""
    weights = random_weights(PLAIN)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    file = write_gguf(tmp_path / "a.gguf", PLAIN, weights, kind=KINDS[kind], head_kind=KINDS[head_kind])
    with GgufSource(file) as source:
        assert source.architecture == replace(PLAIN, tied_embeddings=True)
        assert source.architecture.parameters == PLAIN.parameters - PLAIN.vocabulary * PLAIN.hidden
        read = [source.tensor(name) for name in ("model.embed_tokens.weight", "lm_head.weight")]
        np.testing.assert_array_equal(*read)
        error = np.abs(read[0] - weights["lm_head.weight"]).max()
        assert error < (1e-9 if kind == "F32" else 0.01), "the one with more bits is read"


def test_a_head_of_its_own_stays_one(tmp_path: Path) -> None:
    with GgufSource(write_gguf(tmp_path / "a.gguf", PLAIN, random_weights(PLAIN))) as source:
        assert source.architecture == PLAIN


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("Qwen2.5 Coder 0.5B Instruct", "F16", ["is tuned to follow instructions"]),
        ("Coder chat", "Q4_0", ["is tuned to follow instructions", r"is quantized already (Q4_0)"]),
        ("Kit", "Q8_0", []),
        ("Edit", "F32", []),
    ],
)
def test_sources_that_could_be_better_are_warned_of(name: str, kind: str, expected: list[str], tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "a.gguf", PLAIN, random_weights(PLAIN), kind=KINDS[kind], name=name)
    with GgufSource(file) as source:
        said = list(cautions(str(file), source))
    assert len(said) == len(expected)
    assert all(part in sentence for part, sentence in zip(expected, said, strict=True))


def test_a_folder_is_warned_of_by_its_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "it" / "Small-Instruct", PLAIN, random_weights(PLAIN))
    with open_source(str(folder)) as source:
        assert len(list(cautions(str(folder), source))) == 1
    base = write_folder(tmp_path / "it" / "Small", PLAIN, random_weights(PLAIN))
    with open_source(str(base)) as source:
        assert not list(cautions(str(base), source))
