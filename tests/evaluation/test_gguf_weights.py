"""llama.cpp gets the model that we run: the adapter is merged into the file, and everything else is the base's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np

from evaluation.harness.gguf_weights import merged, shaped
from export.architecture import tensor_shapes
from export.sources import GgufSource
from export.sources.adapter import AdaptedSource
from export.sources.random_weights import RandomSource
from tests.export.small_models import PLAIN, random_weights, write_gguf
from tests.export.test_sources import write_adapter


def test_the_merged_file_holds_the_adapted_weights_under_the_metadata_of_the_base(tmp_path: Path) -> None:
    base = write_gguf(tmp_path / "base.gguf", PLAIN, random_weights(PLAIN), kind=gguf.GGMLQuantizationType.Q4_1)
    write_adapter(tmp_path / "adapter")
    merged(base, tmp_path / "adapter", tmp_path / "merged.gguf")
    with GgufSource(base) as below, GgufSource(tmp_path / "merged.gguf") as written:
        with AdaptedSource(below, tmp_path / "adapter") as expected:
            for name, _ in tensor_shapes(PLAIN):
                assert np.array_equal(written.tensor(name), expected.tensor(name))
        assert not np.array_equal(written.tensor("lm_head.weight"), below.tensor("lm_head.weight"))
        assert written.architecture == below.architecture
        assert written.tokenizer().to_str() == below.tokenizer().to_str()


def test_the_file_of_a_shape_holds_the_weights_that_we_run_ourselves(tmp_path: Path) -> None:
    base = write_gguf(tmp_path / "base.gguf", PLAIN, random_weights(PLAIN), kind=gguf.GGMLQuantizationType.Q8_0)
    source = RandomSource("smollm2-135m", layers=2)
    shaped(base, source, tmp_path / "shape.gguf")
    with GgufSource(tmp_path / "shape.gguf") as written:
        assert replace(written.architecture, context=0) == replace(source.architecture, context=0)
        for name, _ in tensor_shapes(source.architecture):
            assert np.allclose(written.tensor(name), source.tensor(name), atol=1e-3)
