"""The peer on the same card in the same run: transformers with a static cache and torch.compile, in float16.

Compiling all layers of a large model takes longer than everything else here, and what a layer takes is the same for
each: so a few layers are measured twice, and the time of all follows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from evaluation.gpu.models import LARGE
from evaluation.gpu.records import Recorder, read
from evaluation.gpu.workplace import Missing, Workplace
from export.sources.random_weights import RandomSource

_FEW, _MORE = 2, 8
_STEPS = 30
_GOAL = 1.3


def measure_peer(workplace: Workplace, record: Recorder) -> None:
    """Decode with some layers of the shape, and compare with what was measured of ours."""
    try:
        import torch
        import transformers
    except ImportError as error:
        raise Missing(f"{error.name} is not installed") from error
    if not torch.cuda.is_available() and not workplace.dry:
        raise Missing("torch finds no card")
    record.add(LARGE, "transformers", transformers.__version__)
    title = f"{LARGE} fp16"
    shape = RandomSource(workplace.planned()[title].shape).architecture
    few, more = (1, 2) if workplace.dry else (_FEW, _MORE)
    length = min(workplace.sizes.decode)
    times, compiled = {}, not workplace.dry
    for layers in (few, more):
        started = time.perf_counter()
        try:
            times[layers] = _seconds_a_token(shape, layers, length, compiled=compiled)
        except Exception as error:  # of the compiler, or of what it compiles
            if not compiled:
                raise
            record.add(title, "torch.compile failed", f"{type(error).__name__}: {error}"[:300])
            compiled = False
            times[layers] = _seconds_a_token(shape, layers, length, compiled=False)
        record.add(title, f"transformers, {layers} layers: built and compiled in", time.perf_counter() - started, "s")
    layer = (times[more] - times[few]) / (more - few)
    whole = times[few] + layer * (shape.layers - few)
    what = "transformers, static cache" + (", torch.compile" if compiled else "")
    record.add(title, f"{what}: decode after {length} tokens", whole * 1e3, "ms")
    ours = [one for one in read(workplace.out) if one.subject == title and one.what == f"decode after {length} tokens"]
    if ours and isinstance(ours[-1].value, float):
        record.at_least(
            title, f"{what}, in times of our decode after {length}", whole * 1e3 / ours[-1].value, _GOAL, speed=True
        )


def _seconds_a_token(shape: Any, layers: int, length: int, *, compiled: bool) -> float:
    import torch
    import transformers

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = transformers.LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        max_position_embeddings=shape.context,
        rms_norm_eps=shape.norm_epsilon,
        tie_word_embeddings=shape.tied_embeddings,
    )
    config._attn_implementation = "sdpa"
    torch.set_default_dtype(torch.float16 if device == "cuda" else torch.float32)
    with torch.device(device), torch.no_grad():
        model = transformers.LlamaForCausalLM(config).eval()
        cache = transformers.StaticCache(config=config, max_cache_len=length + 64)
        prompt = torch.randint(0, shape.vocabulary, (1, length))
        positions = torch.arange(length)
        model(prompt, past_key_values=cache, cache_position=positions, position_ids=positions[None], use_cache=True)
        forward: Callable[..., Any] = model.forward
        if compiled:
            forward = torch.compile(forward, mode="reduce-overhead", fullgraph=True)
        token, place = prompt[:, -1:].clone(), torch.tensor([length])
        times = []
        for step in range(_STEPS):
            started = time.perf_counter()
            output = forward(
                token, past_key_values=cache, cache_position=place, position_ids=place[None], use_cache=True
            )
            token = output.logits[:, -1:].argmax(-1).clone()
            place.add_(1)
            if device == "cuda":
                torch.cuda.synchronize()
            if step >= _STEPS // 2:
                times.append(time.perf_counter() - started)
    return statistics.median(times)
