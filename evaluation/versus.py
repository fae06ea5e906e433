"""Our server and llama.cpp's, typed with in the same run, function by function: `python -m evaluation.versus`.

The same typist, the same functions, the same weights (llama.cpp's in Q8_0 and Q4_K_M), the same number of threads and
prompts of the same length; each side is used the way its editors use it (`evaluation.harness.sides` and `.llama`).
`--rates` first shows how fast each side reads, writes and verifies. The first run builds llama.cpp, which wants a C++
compiler and the extra `evaluation`. The sides take turns, so that a change of the machine's speed meets all of them;
but a busy machine slows most the side that computes with all cores in step: give it idle ones.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from engine.model_folders.locations import DEFAULT_MODEL, cache_folder, find_model
from engine.model_folders.manifest import TOKENIZER_FILE, read_manifest
from engine.prompt.tokenizer import Tokenizer
from engine.runtime.session import Model
from evaluation.harness import report
from evaluation.harness.functions import functions
from evaluation.harness.llama import LlamaServer, LlamaVim, Weights, llama_server, weights
from evaluation.harness.sides import Side, mellum
from evaluation.typing import add_options, take_turns
from export.default_model import ADAPTER

FORMATS: tuple[Weights, ...] = ("Q8_0", "Q4_K_M")
_ROUNDS, _READ, _WRITTEN, _VERIFIED = 5, 512, 16, 8  # tokens


def main() -> None:
    """Run both sides, then print them side by side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--prompt-tokens", type=int, default=1024, help="longest prompt of each side; default: 1024")
    parser.add_argument("--gguf", type=Path, help="the weights of the model in use; default: the default model's own")
    parser.add_argument("--adapter", type=Path, help="an adapter that was merged into them; default: likewise")
    parser.add_argument("--rates", action="store_true", help="also measure reading, writing and verifying tokens")
    arguments = parser.parse_args()
    manifest = read_manifest(find_model())
    if manifest.name == DEFAULT_MODEL and not arguments.gguf:
        arguments.adapter = arguments.adapter or ADAPTER
    elif not (arguments.gguf or arguments.adapter):
        parser.error(f"llama.cpp needs the same weights as {manifest.name}: give --gguf FILE, --adapter FOLDER or both")
    asyncio.run(_run(arguments))


async def _run(arguments: argparse.Namespace) -> None:
    model = find_model()
    manifest, tokenizer = read_manifest(model), Tokenizer(model / TOKENIZER_FILE)
    async with AsyncExitStack() as running:
        files = running.enter_context(weights(FORMATS, arguments.gguf, arguments.adapter))
        servers = {
            f"llama.cpp {format}": await running.enter_async_context(
                llama_server(file, context=2 * arguments.prompt_tokens + 512)
            )
            for format, file in files.items()
        }
        if arguments.rates:
            text = "".join(function.before + function.text for function in functions(1))
            await rates({"mellum-lsp": model}, tokenizer.encode(text), servers)
        sides: list[Side] = [
            await running.enter_async_context(mellum(cache_folder(), contextTokens=arguments.prompt_tokens)),
            *(
                LlamaVim(name, server, tokenizer, manifest.prompt, arguments.prompt_tokens)
                for name, server in servers.items()
            ),
        ]
        report.give(await take_turns(sides, arguments), arguments)


async def rates(folders: Mapping[str, Path], tokens: list[int], servers: Mapping[str, LlamaServer]) -> None:
    """Print how fast each side reads a prompt, writes after it, and reads a few tokens more, in turns."""
    tokens = tokens[: _READ + _VERIFIED]
    models = {name: Model(folder, read_manifest(folder)) for name, folder in folders.items()}
    slots = {name: model.new_slot(_READ + _WRITTEN) for name, model in models.items()}
    seconds: dict[str, dict[str, list[float]]] = {
        name: {"read": [], "write": [], "verify": []} for name in (*models, *servers)
    }

    def run(name: str, part: list[int], wanted: Sequence[int]) -> float:
        started = time.perf_counter()
        models[name].run(slots[name], part, wanted)
        return time.perf_counter() - started

    for _ in range(_ROUNDS):
        for name, server in servers.items():
            read = await server.complete(tokens[:_READ], 1, cache_prompt=False)
            verified = await server.complete(tokens, 1)
            written = await server.complete(tokens[:_READ], _WRITTEN, ignore_eos=True)
            seconds[name]["read"].append(read.prefill_seconds / read.computed)
            seconds[name]["verify"].append(verified.prefill_seconds * _VERIFIED / verified.computed)
            seconds[name]["write"].append(written.decode_seconds / written.decoded)
        for name, slot in slots.items():
            slot.keep(0)
            seconds[name]["read"].append(run(name, tokens[:_READ], [_READ - 1]) / _READ)
            seconds[name]["verify"].append(run(name, tokens[_READ:], range(_VERIFIED)))
            slot.keep(_READ)
            seconds[name]["write"].append(statistics.fmean(run(name, tokens[:1], [0]) for _ in range(_WRITTEN)))
    for name, of_side in seconds.items():
        read_, write, verify = (statistics.median(of_side[what]) for what in ("read", "write", "verify"))
        print(
            f"{name:20} reads {1 / read_:7.0f} tokens/s, writes one in {1e3 * write:6.2f} ms, "
            f"verifies {_VERIFIED} in {1e3 * verify:6.2f} ms ({verify / write:4.2f} times one)",
            flush=True,
        )


if __name__ == "__main__":
    main()
