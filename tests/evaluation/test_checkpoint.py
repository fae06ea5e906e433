"""Other exporters get the same model as ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluation.harness.checkpoint import write_checkpoint
from export.sources import tensor_names
from export.sources.folder import FolderSource, local_checkpoint
from export.sources.random_weights import synthetic_tokenizer
from tests.export.small import LLAMA, RandomSource


def test_a_checkpoint_for_peers_reads_back_as_the_same_model(tmp_path: Path) -> None:
    source, tokenizer = RandomSource(LLAMA), synthetic_tokenizer(LLAMA.vocabulary)
    write_checkpoint(source, tokenizer, tmp_path / "checkpoint")
    with FolderSource(local_checkpoint(tmp_path / "checkpoint")) as read:
        assert read.architecture == source.architecture
        for name in tensor_names(LLAMA):
            assert np.array_equal(read.tensor(name), source.tensor(name))
        assert read.tokenizer().get_vocab() == tokenizer.get_vocab()
