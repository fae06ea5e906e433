"""`mellum-lsp export --via optimum`: architectures that our own exporter does not write, exported as a user does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from engine import CompletionRequest, Engine
from engine.model_folders.locations import CACHE_VARIABLE
from engine.model_folders.manifest import read_manifest
from engine.runtime.session import Model
from export.reference import TOLERANCE, compare
from export.sources.random_weights import synthetic_tokenizer
from tests.export.small_models import PLAIN, random_weights, write_folder

has_optimum = importlib.util.find_spec("optimum") is not None
needs_optimum = pytest.mark.skipif(
    not has_optimum, reason="needs torch, transformers and optimum, which `.ci/run` installs with the extra `export`"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # those of torch, transformers and optimum are not ours to mend


# Under which `optimum` is not installed, whether it is or not.
WITHOUT_OPTIMUM = "import sys; sys.modules['optimum'] = None; from lsp_server.cli.app import main; main()"


def export(
    *arguments: str, cache: Path, monkeypatch: pytest.MonkeyPatch, start: tuple[str, str] = ("-m", "lsp_server.cli")
) -> subprocess.CompletedProcess[str]:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache))
    command = [sys.executable, *start, "export", "--no-fit", *arguments, "--via", "optimum"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def phi(tmp_path: Path) -> Path:
    """A small model of a class that is none of ours, as published: safetensors, configuration, tokenizer."""
    import torch
    from transformers import PhiConfig, PhiForCausalLM

    torch.manual_seed(1)
    shape = {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    folder = tmp_path / "phi-small"
    config = PhiConfig(**shape, vocab_size=320, max_position_embeddings=512, partial_rotary_factor=0.5)
    PhiForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    synthetic_tokenizer(320).save(str(folder / "tokenizer.json"))
    return folder


@needs_optimum
def test_another_architecture_is_exported_verified_and_completes(
    phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    done = export(str(phi), "--verify", cache=tmp_path / "cache", monkeypatch=monkeypatch)
    assert done.returncode == 0, done.stderr
    assert "it loses 0.0000 nats a token and agrees on 100.0% of the tokens" in done.stderr.replace("-0.0000", "0.0000")
    folder = tmp_path / "cache" / "models" / "phi-small-optimum"
    manifest = read_manifest(folder)
    assert (manifest.architecture, manifest.layers, manifest.kv_heads, manifest.head_size) == (
        "PhiForCausalLM",
        2,
        4,
        16,
    )
    published = AutoModelForCausalLM.from_pretrained(phi).eval()
    assert manifest.parameters == sum(weights.numel() for weights in published.parameters())
    tokens = np.random.default_rng(5).integers(0, 320, 64).tolist()
    likeness = compare(Model(folder, manifest), published, tokens, greedy=256)
    assert likeness.largest_difference < TOLERANCE
    assert likeness.same_greedy_tokens == 256
    text = "def area(width, height):\n    return "
    request = CompletionRequest("shapes.py", "python", text, len(text), (), explicit=True, max_tokens=8)
    assert Engine.load(folder).complete(request).tokens


@needs_optimum
def test_what_optimum_cannot_export_is_one_sentence(phi: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = phi / "config.json"
    config.write_text(config.read_text().replace('"phi"', '"no-such-kind"'))
    done = export(str(phi), cache=tmp_path / "cache", monkeypatch=monkeypatch)
    assert done.returncode == 1
    assert "optimum cannot export this model (" in done.stderr
    assert "no-such-kind" in done.stderr
    assert done.stderr.strip().count("\n") == 0
    left = [path.name for path in (tmp_path / "cache" / "models").iterdir()]
    assert left == [".phi-small-optimum.lock"], "nothing half done is left"


def test_without_the_extra_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "model", PLAIN, random_weights(PLAIN))
    done = export(str(folder), cache=tmp_path / "cache", monkeypatch=monkeypatch, start=("-c", WITHOUT_OPTIMUM))
    assert done.returncode == 1
    assert "run: pip install 'mellum-lsp[export]'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["random:mellum-4b"], "random:mellum-4b is no folder of safetensors, which --via optimum needs"),
        (["MODEL", "--format", "int8"], "optimum's graph is float32 for the CPU; leave --target and --format out"),
        (["MODEL", "--adapter", "MODEL"], "--via optimum merges no adapter"),
    ],
)
def test_what_it_cannot_do_is_said(
    arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "model", PLAIN, random_weights(PLAIN))
    given = [str(folder) if argument == "MODEL" else argument for argument in arguments]
    done = export(*given, cache=tmp_path / "cache", monkeypatch=monkeypatch)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert Tokenizer.from_file(str(folder / "tokenizer.json")), "the source is untouched"
