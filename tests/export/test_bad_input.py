"""A bad source or a bad destination gives one clear sentence, and leaves no partial output."""

from __future__ import annotations

import json
import struct
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.architecture import ExportError
from export.sources import GgufSource, open_source
from export.sources.folder import FolderSource, local_checkpoint
from tests.export.small_models import PLAIN, VARIANTS, random_weights, safetensors_bytes, write_folder, write_gguf
from tests.export.test_architectures import exported

WEIGHTS = random_weights(PLAIN)
SHARD = "model-00002-of-00003.safetensors"


def edit(change: dict[str, object]) -> Callable[[Path], None]:
    """Change values of the configuration."""

    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | change))

    return apply


def header_of(path: Path, change: Callable[[dict[str, dict[str, object]]], None]) -> None:
    """Rewrite a shard's header."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])


def drop(folder: Path) -> None:
    weights = {name: values for name, values in WEIGHTS.items() if name != "model.layers.1.mlp.up_proj.weight"}
    write_folder(folder, PLAIN, weights, shards=3)


def stray(folder: Path) -> None:
    write_folder(folder, PLAIN, WEIGHTS | {"model.layers.0.self_attn.q_norm.weight": np.ones(16, np.float32)}, shards=3)


def pickled(folder: Path) -> None:
    for path in folder.glob("model*"):
        path.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")


def truncate(folder: Path) -> None:
    data = (folder / SHARD).read_bytes()
    (folder / SHARD).write_bytes(data[:-1000])


def write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (truncate, f"{SHARD} is truncated"),
        (lambda folder: (folder / SHARD).write_bytes(b""), "is truncated: it has 0 bytes"),
        (lambda folder: (folder / SHARD).write_bytes(struct.pack("<Q", 1 << 60) + b"{}"), "its header would take"),
        (lambda folder: (folder / SHARD).write_bytes(struct.pack("<Q", 4) + b"{{{{"), "header of .* is damaged"),
        (lambda folder: (folder / SHARD).unlink(), f"The file {SHARD} is missing"),
        (lambda folder: header_of(folder / SHARD, lambda h: h.popitem()), "holes|overlong"),
        (drop, "'model.layers.1.mlp.up_proj.weight' is missing"),
        (stray, "q_norm.* is none of a LlamaForCausalLM"),
        (pickled, "pytorch_model.bin is a pickle"),
        (edit({"vocab_size": 300}), r"has the shape \[320, 64\], and config.json says \[300, 64\]"),
        (edit({"num_hidden_layers": 1}), "is none of a LlamaForCausalLM"),
        (edit({"num_hidden_layers": 3}), "'model.layers.2.input_layernorm.weight' is missing"),
        (edit({"num_hidden_layers": 10**7}), "layers, for which tensors are missing"),
        (edit({"attention_bias": True}), "q_proj.bias' is missing"),
        (write("config.json", "{"), "config.json cannot be read"),
        (write("config.json", "[" * 100000), "config.json cannot be read"),
        (write("config.json", "[]"), "holds no object"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
        (write("tokenizer.json", "{}"), "tokenizer.json is not a tokenizer"),
        (
            write("model.safetensors.index.json", '{"weight_map": {"a": "../../etc/passwd"}}'),
            "no safetensors file of the",
        ),
        (
            write("model.safetensors.index.json", '{"weight_map": {"a": "pytorch_model.bin"}}'),
            "no safetensors file of the",
        ),
        (write("model.safetensors.index.json", '{"weight_map": []}'), "names no files"),
    ],
)
def test_a_damaged_folder_is_one_sentence(damage: Callable[[Path], None], sentence: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", PLAIN, WEIGHTS, shards=3)
    damage(folder)
    with pytest.raises(ExportError, match=sentence) as raised, open_source(str(folder)) as source:
        exported(source, tmp_path / "model")
    assert "\n" not in str(raised.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_shard_that_shrinks_while_it_is_read_is_one_sentence(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", PLAIN, WEIGHTS, shards=3)
    with open_source(str(folder)) as source:
        truncate(folder)
        with pytest.raises(ExportError, match="became shorter"):
            exported(source, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("dtype", ["I64", "F8_E4M3"])
def test_integers_and_floats_of_8_bits_are_refused(dtype: str, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "source", PLAIN, WEIGHTS)
    width = {"I64": 8, "F8_E4M3": 1}[dtype]
    name = "model.layers.0.mlp.up_proj.weight"
    shape = [128, 64]
    rest = safetensors_bytes({key: values for key, values in WEIGHTS.items() if key != name})
    size = int.from_bytes(rest[:8], "little")
    header, data = json.loads(rest[8 : 8 + size]), rest[8 + size :]
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + 128 * 64 * width]}
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data + bytes(128 * 64 * width))
    with pytest.raises(ExportError, match=f"is stored as {dtype}"):
        FolderSource(local_checkpoint(folder))


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("nowhere", "There is no file or folder nowhere"),
        ("", "The source is empty"),
        (" ", "The source is empty"),
        ("weights/model.gguf", "There is no file or folder"),
        ("random:gpt-9", "There is no shape 'gpt-9'"),
        ("a/b/c", "There is no file or folder"),
        ("https://example.org/model", "There is no file or folder"),
    ],
)
def test_what_is_no_source_is_one_sentence(source: str, sentence: str) -> None:
    with pytest.raises(ExportError, match=sentence), open_source(source):
        pass


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "consolidated.00.pth", "model.safetensors"])
def test_a_file_of_another_kind_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ExportError, match=r"pickle|Give the folder"), open_source(str(tmp_path / name)):
        pass


def small_gguf(path: Path, *, family: str = "llama", **numbers: int) -> Path:
    """A GGUF file with a header and one tensor."""
    writer = gguf.GGUFWriter(str(path), family)
    for key, value in numbers.items():
        writer.add_uint32(f"{family}.{key.replace('__', '.')}", value)
    writer.add_tensor("token_embd.weight", np.zeros((320, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_damaged_gguf_is_one_sentence(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "whole.gguf", PLAIN, WEIGHTS).read_bytes()
    damaged = tmp_path / "damaged.gguf"
    for data, sentence in (
        (whole[:-3000], "is truncated"),
        (whole[:300], "does not end within the file"),
        (b"", "does not end within the file"),
        (b"GGUX" + whole[4:], "is no GGUF file"),
        (b"GGUF" + struct.pack("<I", 3)[::-1] + whole[8:], "GGUF version"),
        (whole[:8] + struct.pack("<Q", 1 << 62) + whole[16:], "a count in it is"),
        (whole[:16] + struct.pack("<Q", 1 << 62) + whole[24:], "a count in it is"),
        (whole[:24] + struct.pack("<Q", 1 << 62) + whole[32:], "does not end within the file"),
    ):
        damaged.write_bytes(data)
        with pytest.raises(ExportError, match=sentence):
            GgufSource(damaged)
    for family, numbers, sentence in (
        ("starcoder2", {}, "'starcoder2'.*--via optimum"),
        ("llama", {"expert_count": 8}, "mixture of experts"),
        ("llama", {"attention__sliding_window": 4096}, "sliding windows"),
        ("llama", {}, "has no 'llama.embedding_length'"),
    ):
        with pytest.raises(ExportError, match=sentence):
            GgufSource(small_gguf(damaged, family=family, **numbers))


def outcome(read: Callable[[], object]) -> str:
    """`read` succeeds or says what is wrong, in little time and memory; anything else fails the test."""
    tracemalloc.start()
    started = time.monotonic()
    try:
        read()
        result = "read"
    except ExportError as error:
        result = "refused" if "\n" not in str(error) else "refused in several lines"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert result in ("read", "refused")
    assert peak < 64 << 20
    assert time.monotonic() - started < 5
    return result


def read_whole(path: Path) -> None:
    """Open and read everything, as an export does."""
    with open_source(str(path)) as source:
        for layer in range(source.architecture.layers):
            source.tensor(f"model.layers.{layer}.self_attn.q_proj.weight")
        source.tensor("model.embed_tokens.weight", slice(0, 3))
        source.tokenizer()


_NUMBERS = (0, 1, 9, 1 << 20, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1)


def mutated(data: bytes, header: int, random: np.random.Generator) -> bytes:
    """A file with a few changed bytes, numbers, cuts or repeats in its first `header` bytes."""
    changed = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at = int(random.integers(0, min(header, len(changed))))
        match random.integers(0, 6):
            case 0:
                changed[at] = random.integers(0, 256)
            case 1:
                changed[at : at + 8] = struct.pack("<Q", _NUMBERS[random.integers(0, len(_NUMBERS))])
            case 2:
                changed[at : at + 4] = struct.pack("<I", _NUMBERS[random.integers(0, 5)])
            case 3:
                del changed[at : at + int(random.integers(1, 64))]
            case 4:
                changed[at:at] = changed[at : at + int(random.integers(1, 64))]
            case 5:
                changed[at] = int(random.choice(list(b'0123456789[]{}",:-eE')))
    return bytes(changed)


def test_mutated_gguf_headers_give_sentences_only(tmp_path: Path) -> None:
    random = np.random.default_rng(20251005)
    path = tmp_path / "model.gguf"
    results = []
    for variant in ("grouped and tied", "qwen2", "linear rope"):
        data = write_gguf(path, VARIANTS[variant], random_weights(VARIANTS[variant])).read_bytes()
        header = data.index(b"blk.0.") + 3000
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            path.write_bytes(mutated(data, int(random.choice([200, 1000, header])), random))
            results.append(outcome(lambda: read_whole(path)))
    assert results.count("refused") > 100
    assert "read" in results


def test_mutated_safetensors_headers_give_sentences_only(tmp_path: Path) -> None:
    random = np.random.default_rng(20251006)
    folder = write_folder(tmp_path / "source", PLAIN, WEIGHTS)
    results = []
    for name in ("model.safetensors", "config.json"):
        path = folder / name
        data = path.read_bytes()
        header = 8 + int.from_bytes(data[:8], "little") if name.startswith("model") else len(data)
        deadline = time.monotonic() + 3
        while time.monotonic() < deadline:
            path.write_bytes(mutated(data, int(random.choice([16, header])), random))
            results.append(outcome(lambda: read_whole(folder)))
        path.write_bytes(data)
    assert results.count("refused") > 100
    assert "read" in results


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("whole") / "source", PLAIN, WEIGHTS)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_in_a_header_or_config_gives_a_sentence_only(whole: Path, data: st.DataObject) -> None:
    config = json.loads((whole / "config.json").read_text())
    original = (whole / "model.safetensors").read_bytes()
    try:
        key = data.draw(st.sampled_from([*config, "rope_scaling", "rope_parameters", "layer_types", "auto_map"]))
        (whole / "config.json").write_text(json.dumps({**config, key: data.draw(_JSON)}))
        outcome(lambda: read_whole(whole))
        (whole / "config.json").write_text(json.dumps(config))
        field = data.draw(st.sampled_from(["dtype", "shape", "data_offsets"]))
        value = data.draw(_JSON | st.lists(st.integers(-5, 1 << 50), max_size=3))
        header_of(whole / "model.safetensors", lambda header: header["model.norm.weight"].update({field: value}))
        outcome(lambda: read_whole(whole))
    finally:
        (whole / "config.json").write_text(json.dumps(config))
        (whole / "model.safetensors").write_bytes(original)
