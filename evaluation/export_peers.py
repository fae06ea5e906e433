"""Other exporters on the same weights, for the table of `evaluation.export`: optimum's and onnxruntime-genai's.

Each runs in an interpreter of its own, since they want different versions of transformers. Our engine loads their
graphs with copied states to measure the loss; the speed is measured in the way of their makers.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from engine.model_folders.manifest import GRAPH_FILE
from syntax.children import child_environment

PEERS = {
    "optimum": ("optimum's exporter", "fp32"),
    "genai": ("onnxruntime-genai's builder", "int4"),
}

_OPTIMUM = """
import sys
from optimum.exporters.onnx import main_export
main_export(sys.argv[1], sys.argv[2], task="text-generation-with-past", do_validation=False)
"""

_RATES = {
    "optimum": """
import sys, json, time, statistics, torch
from optimum.onnxruntime import ORTModelForCausalLM
model = ORTModelForCausalLM.from_pretrained(sys.argv[1])
prompt, steps, rounds = map(int, sys.argv[2:])
prefill, decode = [], []
for _ in range(rounds):
    started = time.perf_counter()
    tokens = torch.arange(100, 100 + prompt)[None]
    answer = model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=True)
    prefill.append(time.perf_counter() - started)
    for step in range(steps):
        started = time.perf_counter()
        answer = model(input_ids=torch.tensor([[100 + step]]), past_key_values=answer.past_key_values, use_cache=True,
                       attention_mask=torch.ones(1, prompt + step + 1, dtype=torch.long))
        decode.append(time.perf_counter() - started)
print(json.dumps([prompt / statistics.median(prefill), statistics.median(decode)]))
""",
    "genai": """
import sys, json, time, statistics
import onnxruntime_genai as genai
model = genai.Model(sys.argv[1])
prompt, steps, rounds = map(int, sys.argv[2:])
prefill, decode = [], []
for _ in range(rounds):
    options = genai.GeneratorParams(model)
    options.set_search_options(max_length=prompt + steps + 1, do_sample=False)
    generator = genai.Generator(model, options)
    started = time.perf_counter()
    generator.append_tokens(list(range(100, 100 + prompt)))
    prefill.append(time.perf_counter() - started)
    for step in range(steps):
        started = time.perf_counter()
        generator.append_tokens([100 + step])
        decode.append(time.perf_counter() - started)
print(json.dumps([prompt / statistics.median(prefill), statistics.median(decode)]))
""",
}


@dataclass(frozen=True, slots=True)
class PeerExport:
    """What a peer's export took."""

    seconds: float
    processor: float
    peak: int
    """Bytes of anonymous memory."""
    size: int
    """Bytes of the graph and its data."""


def export_with_peer(peer: str, python: Path, checkpoint: Path, folder: Path) -> PeerExport:
    """Run a peer's exporter in its own interpreter. Raises CalledProcessError; what it said is beside the folder."""
    if peer == "optimum":
        arguments = ["-c", _OPTIMUM, str(checkpoint), str(folder)]
    else:
        arguments = ["-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(folder)]
        arguments += ["-p", "int4", "-e", "cpu", "-c", f"{folder}-cache"]
    started = time.perf_counter()
    with Path(f"{folder}.log").open("w") as said:
        process = subprocess.Popen([str(python), "-P", *arguments], stdout=said, stderr=said, env=child_environment())
    watched, peak, processor = psutil.Process(process.pid), 0, 0.0
    while process.poll() is None:
        peak = max(peak, anonymous_memory(process.pid))
        with suppress(psutil.NoSuchProcess):
            processor = sum(watched.cpu_times()[:2])
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    if process.returncode:
        print(Path(f"{folder}.log").read_text()[-2000:], file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, f"the export with {peer}")
    return PeerExport(seconds, processor, peak, sum(file.stat().st_size for file in folder.glob(f"{GRAPH_FILE}*")))


def rates_of_peer(peer: str, python: Path, folder: Path, prompt: int, steps: int, rounds: int) -> tuple[float, float]:
    """Tokens a second in prefill, and seconds a token in decoding, run by the peer's own library."""
    command = [str(python), "-P", "-c", _RATES[peer], str(folder), str(prompt), str(steps), str(rounds)]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)
    prefill, decode = json.loads(done.stdout.splitlines()[-1])
    return prefill, decode


def anonymous_memory(process: int | str) -> int:
    """Read `RssAnon` of a process, in bytes: resident memory without the pages of mapped files."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0  # it has ended
    return int(status.split("RssAnon:")[1].split()[0]) * 1024 if "RssAnon:" in status else 0
