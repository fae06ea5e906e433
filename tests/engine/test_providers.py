"""Execution providers: the first that computes is used, the others are explained in a sentence, nothing is printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from engine import Engine
from engine.devices.onnx_runtime import onnxruntime
from engine.devices.providers import available, captured_output, open_session, order, try_provider
from engine.model_folders.locations import DEFAULT_MODEL
from engine.runtime.session import Model
from evaluation.harness.client import serving
from export.graph.decoder import write_graph
from tests.export.small import LLAMA, RandomSource

ABSENT = "directml" if sys.platform != "win32" else "coreml"
CUDA_LIBRARY = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
# By operator: the class that computes it for float16 in ONNX Runtime's CUDA library, as C++ spells the type's name.
KERNELS = {
    "Cast": b"4cuda4CastINS_9MLFloat16EEE",
    "FusedMatMul": b"4cuda6MatMulINS_9MLFloat16EEE",
    "Gather": b"4cuda6GatherE",
    "GroupQueryAttention": b"7contrib4cuda19GroupQueryAttentionINS_9MLFloat16E",
    "LogSoftmax": b"4cuda7SoftmaxIfEE",
    "MatMulNBits": b"7contrib4cuda11MatMulNBitsINS_9MLFloat16EEE",
    "Mul": b"4cuda3MulINS_9MLFloat16EEE",
    "QuickGelu": b"7contrib4cuda9QuickGeluINS_9MLFloat16EEE",
    "SimplifiedLayerNormalization": b"4cuda9LayerNormINS_9MLFloat16Ef",
    "SkipSimplifiedLayerNormalization": b"7contrib4cuda13SkipLayerNormINS_9MLFloat16ELb1EEE",
    "Split": b"4cuda8Split_18E",
    "TopK": b"4cuda4TopKILb0EEE",
}


def test_a_graph_of_the_cpu_is_tried_nowhere_else_unless_asked() -> None:
    assert order("auto", for_gpu=False) == ("cpu",)
    assert order("auto", for_gpu=True) == ("cuda", "cpu")
    assert order("tensorrt", for_gpu=True) == ("tensorrt", "cuda", "cpu")
    assert order("openvino", for_gpu=False) == ("openvino", "cpu")
    assert order("cpu", for_gpu=True) == ("cpu",)


def test_the_cpu_computes_and_what_is_not_built_in_says_so() -> None:
    assert "cpu" in available()
    assert ABSENT not in available()
    assert try_provider("cpu").failure == ""
    assert try_provider(ABSENT).failure == "this build of ONNX Runtime does not have it"


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_trying_a_provider_prints_nothing_and_gives_the_reason_in_a_few_words(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    attempt = try_provider(name)
    assert capfd.readouterr() == ("", "")
    assert "\n" not in attempt.failure
    assert len(attempt.failure) <= 160
    if name in available() and attempt.failure:
        assert attempt.output, "the log and doctor have nothing to show"


def test_what_native_code_and_print_say_is_captured_in_full(capfd: pytest.CaptureFixture[str]) -> None:
    with captured_output() as said:
        print("from Python")
        os.write(2, b"from a library\n")
    print("afterwards")
    os.write(2, b"and here\n")
    assert said == ["from Python\n", "from a library\n"]
    assert capfd.readouterr() == ("afterwards\n", "and here\n")


def test_a_provider_that_does_not_work_is_replaced_by_the_cpu(engine: Engine, model_cache: Path) -> None:
    folder = model_cache / "models" / DEFAULT_MODEL
    model = Model(folder, engine.manifest, threads=1, provider=ABSENT)
    assert model.providers == ("CPUExecutionProvider",)
    assert model.opened.fell_back
    assert "so the model runs on the CPU; to mend it, " in model.opened.reason
    tokens = [100, 200, 300]
    expected = engine._model.run(engine._model.new_slot(8), tokens, [2])
    assert np.array_equal(model.run(model.new_slot(8), tokens, [2]), expected)


async def test_the_server_says_in_its_status_which_provider_it_could_not_use(model_cache: Path) -> None:
    async with serving(model_cache) as server:
        await server.client.initialize(initializationOptions={"provider": ABSENT})
        status = await server.client.state("ready", "failed")
        assert status["message"].startswith(f"{DEFAULT_MODEL} is ready: ")
        assert "does not work here" in status["message"]
        assert "\n" not in status["message"]
        assert status["model"]["providers"] == ["CPUExecutionProvider"]
    assert server.stderr == b""


@pytest.fixture(params=["fp16", "int4"])
def cuda_graph(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A graph for CUDA, of a small random model."""
    write_graph(RandomSource(LLAMA), tmp_path, format=request.param, target="cuda", on_tensor=lambda name, error: None)
    return tmp_path / "model.onnx"


def test_a_graph_for_cuda_runs_there_or_falls_back_with_the_reason(cuda_graph: Path) -> None:
    opened = open_session(cuda_graph, onnxruntime.SessionOptions(), for_gpu=True)
    failure = try_provider("cuda").failure
    assert opened.fell_back == bool(failure)
    assert opened.device == ("cpu" if failure else "cuda")
    assert failure in opened.reason


def test_the_runtime_infers_every_shape_in_a_graph_for_cuda(cuda_graph: Path) -> None:
    model = onnx.load(str(cuda_graph), load_external_data=False)
    declared = {value.name for value in model.graph.output}
    inner = [name for node in model.graph.node for name in node.output if name and name not in declared]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)  # without a type: it has to be found
    everything = cuda_graph.with_name("everything.onnx")
    everything.write_bytes(model.SerializeToString())
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.strict_shape_type_inference", "1")
    session = onnxruntime.InferenceSession(str(everything), options, providers=["CPUExecutionProvider"])
    found = {value.name: (value.type, value.shape) for value in session.get_outputs()}
    assert found["logits"] == ("tensor(float)", [1, "wanted", LLAMA.vocabulary])
    assert found["layer0.attended"] == ("tensor(float16)", [1, "tokens", LLAMA.hidden])
    assert found.pop("log_probabilities") == ("tensor(float)", [1, "wanted", LLAMA.vocabulary])
    assert found["likeliest_tokens"] == ("tensor(int64)", [1, "wanted", 1])
    layers = [found[name] for name in inner if name in found]
    assert not [one for one in layers if one[0] != "tensor(float16)" or len(one[1]) != 3]


@pytest.mark.skipif(not CUDA_LIBRARY.is_file(), reason="the GPU build of ONNX Runtime for Linux alone has its kernels")
def test_cuda_has_a_kernel_for_every_operator_of_a_graph_for_it(cuda_graph: Path) -> None:
    library = CUDA_LIBRARY.read_bytes()
    operators = {node.op_type for node in onnx.load(str(cuda_graph), load_external_data=False).graph.node}
    assert not [name for name in operators if KERNELS[name] not in library]
