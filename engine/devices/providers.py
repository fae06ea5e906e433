"""Which execution provider runs a graph: the first in order that computes on this machine, found out by trying it.

Being listed by ONNX Runtime means only that a provider was compiled in. What its libraries print when they do not load
is captured: the status says one sentence, the log and `mellum-lsp doctor --json` have the rest.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engine.devices import cuda
from engine.devices.onnx_runtime import onnxruntime

Provider = Literal["auto", "cpu", "cuda", "tensorrt", "directml", "coreml", "openvino"]


@dataclass(frozen=True, slots=True)
class _Known:
    """A provider's name in ONNX Runtime and in sentences, and what to do where it does not work."""

    full: str
    label: str
    mend: str


_KNOWN: dict[str, _Known] = {
    "tensorrt": _Known("TensorrtExecutionProvider", "TensorRT", "install the libraries of CUDA 13 and TensorRT"),
    "cuda": _Known("CUDAExecutionProvider", "CUDA", "run: pip install 'onnxruntime-gpu[cuda,cudnn]'"),
    "directml": _Known("DmlExecutionProvider", "DirectML", "install onnxruntime-directml in place of onnxruntime"),
    "openvino": _Known("OpenVINOExecutionProvider", "OpenVINO", "install onnxruntime-openvino in place of onnxruntime"),
    "coreml": _Known("CoreMLExecutionProvider", "CoreML", "use macOS, which alone has it"),
    "cpu": _Known("CPUExecutionProvider", "the CPU", "run: pip install --force-reinstall onnxruntime"),
}
_FREE_MEMORY = "close what else uses the card's memory, or export the model with --format int4"
_ON_CUDA = ("CUDAExecutionProvider", "TensorrtExecutionProvider")
_FAILURE = re.compile(r"with error: (.+?)(?:: No such file or directory)?\s*$|(CUDA failure [^;\n]*)", re.MULTILINE)
_LONGEST_FAILURE = 160
_OUT_OF_MEMORY = re.compile(r"out of memory|failed to allocate memory|bad allocation|bad_alloc", re.IGNORECASE)
_OPTIONS: dict[str, dict[str, str]] = {
    # memory as it is asked for: the default doubles what it takes each time, up to twice what a model needs
    "cuda": {"arena_extend_strategy": "kSameAsRequested"},
}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """How trying a provider ended."""

    name: str
    failure: str = ""
    """Why it does not work, in a few words; empty where it does."""
    output: str = ""
    """Everything that its libraries printed."""

    @property
    def label(self) -> str:
        """Its name in a sentence."""
        return _KNOWN[self.name].label


@dataclass(frozen=True, slots=True)
class Opened:
    """A session, and why it runs where it runs."""

    session: onnxruntime.InferenceSession
    reason: str
    fell_back: bool
    """Whether a provider that was to be used does not work; `reason` then says which, and the mend."""

    @property
    def device(self) -> str:
        """Where keys and values belong, in ONNX Runtime's words."""
        return "cuda" if self.session.get_providers()[0] in _ON_CUDA else "cpu"


def order(provider: Provider, *, for_gpu: bool) -> tuple[str, ...]:
    """What to try, in order. A graph of the CPU is not tried on CUDA: its operators have no kernels there."""
    if provider == "auto":
        return ("cuda", "cpu") if for_gpu else ("cpu",)
    if provider == "tensorrt":
        return ("tensorrt", "cuda", "cpu")
    return (provider, "cpu") if provider != "cpu" else ("cpu",)


def open_session(
    graph: Path, options: onnxruntime.SessionOptions, *, provider: Provider = "auto", for_gpu: bool = False
) -> Opened:
    """Load a graph on the first provider that works. `for_gpu`: it is written for CUDA.

    Raises what ONNX Runtime raises where not even the CPU can load it.
    """
    names = order(provider, for_gpu=for_gpu)
    failed: list[Attempt] = []
    for index, name in enumerate(names[:-1]):
        attempt = try_provider(name)
        if not attempt.failure:
            with captured_output() as said:
                try:
                    session = _session(str(graph), options, names[index:])
                except Exception as error:  # the runtime's own exception classes share no base
                    session, attempt = None, Attempt(name, str(error))
            if session is not None and session.get_providers()[0] == _KNOWN[name].full:
                if _KNOWN[name].full in _ON_CUDA:
                    _take_memory_as_asked()
                return Opened(session, _reason(provider, failed, name), bool(failed))
            attempt = Attempt(name, _failure("".join(said), attempt.failure), "".join(said))
        log.info("%s does not work here:\n%s", attempt.label, attempt.output)
        failed.append(attempt)
    session = _session(str(graph), options, names[-1:])
    return Opened(session, _reason(provider, failed, names[-1]), bool(failed))


def try_provider(name: str) -> Attempt:
    """Let a provider compute a sum on its own, without help from the CPU's kernels."""
    if _KNOWN[name].full not in onnxruntime.get_available_providers():
        return Attempt(name, "this build of ONNX Runtime does not have it")
    options = onnxruntime.SessionOptions()
    if name != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    problem = ""
    with captured_output() as said:
        try:
            if _KNOWN[name].full in _ON_CUDA:
                cuda.load_libraries()
            (total,) = _session(sum_graph(), options, (name,)).run(None, {"a": np.ones(1, np.float32)})
            problem = "" if total.tolist() == [2.0] else f"it computes 1 + 1 = {total.tolist()}"
        except Exception as error:  # the runtime's own exception classes share no base
            problem = str(error) or type(error).__name__
    output = "".join(said)
    return Attempt(name, _failure(output, problem) if problem else "", output)


def is_out_of_memory(error: BaseException | str) -> bool:
    """Whether what ONNX Runtime raised says that memory was missing, the card's or the machine's."""
    return _OUT_OF_MEMORY.search(str(error)) is not None


def available() -> tuple[str, ...]:
    """The providers that ONNX Runtime was built with, of those that are known here."""
    built_in = onnxruntime.get_available_providers()
    return tuple(name for name, known in _KNOWN.items() if known.full in built_in)


@contextlib.contextmanager
def captured_output() -> Iterator[list[str]]:
    """Keep native libraries and `print` off the terminal; the list has what they said when the block has ended."""
    said: list[str] = []
    printed = io.StringIO()
    try:
        saved = os.dup(2)
    except OSError:  # started without a stderr
        with contextlib.redirect_stdout(printed):
            yield said
        said.append(printed.getvalue())
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            try:
                with contextlib.redirect_stdout(printed):
                    yield said
            finally:
                os.dup2(saved, 2)
                file.seek(0)
                said += [printed.getvalue(), file.read().decode(errors="replace")]
    finally:
        os.close(saved)


def _take_memory_as_asked() -> None:
    """The same as in _OPTIONS for what is allocated from Python; only an older interface has it."""
    state = onnxruntime.capi._pybind_state
    with contextlib.suppress(AttributeError), captured_output():
        state.set_arena_extend_strategy(state.ArenaExtendStrategy.kSameAsRequested)


def _session(
    graph: str | bytes, options: onnxruntime.SessionOptions, names: tuple[str, ...]
) -> onnxruntime.InferenceSession:
    """A session on these providers; the runtime's own way of falling back prints and retries, so it is off."""
    providers = [(_KNOWN[name].full, _OPTIONS.get(name, {})) for name in names]
    return onnxruntime.InferenceSession(graph, options, providers=providers, enable_fallback=0)


def sum_graph() -> bytes:
    """A graph that adds its input to itself."""
    from onnx import TensorProto, helper  # half a second to import, and only where there is something to try

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "a"], ["sum"])],
        "probe",
        [value("a", TensorProto.FLOAT, [1])],
        [value("sum", TensorProto.FLOAT, [1])],
    )
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    ).SerializeToString()
    return model


def _failure(output: str, problem: str) -> str:
    """The reason in a few words: what the loader said of a library, else the first line of the error."""
    found = _FAILURE.search(output) or _FAILURE.search(problem)
    reason = next(filter(None, found.groups())) if found else (problem.strip().splitlines() or ["it does not load"])[0]
    return reason[:_LONGEST_FAILURE]


def _reason(provider: Provider, failed: list[Attempt], used: str) -> str:
    if failed:
        said = " and ".join(f"{attempt.label} does not work here ({attempt.failure})" for attempt in failed)
        mend = _FREE_MEMORY if is_out_of_memory(failed[0].failure) else _KNOWN[failed[0].name].mend
        return f"{said}, so the model runs on {_KNOWN[used].label}; to mend it, {mend}"
    if provider != "auto":
        return f"the setting `provider` asks for {_KNOWN[used].label}"
    if used == "cpu":
        return "the graph is written for the CPU; a GPU wants one exported with --target cuda"
    return f"the graph is written for {_KNOWN[used].label}, which works here"
