"""What this machine can do: whether CUDA works, and whether sums of products of uint8 and int8 saturate.

Without VNNI, x86 adds pairs of products of an unsigned and a signed byte in 16 bits, which saturate.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper


def int8_sums_saturate() -> bool:
    """Whether products of uint8 and int8 come out wrong here, so that weights have to be unsigned, too."""
    size = 64
    value = helper.make_tensor_value_info
    node = helper.make_node("MatMulInteger", ["a", "b"], ["sum"])
    graph = helper.make_graph(
        [node],
        "probe",
        [value("a", TensorProto.UINT8, [1, size]), value("b", TensorProto.INT8, [size, size])],
        [value("sum", TensorProto.INT32, [1, size])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    activations, weights = np.full((1, size), 255, np.uint8), np.full((size, size), 127, np.int8)
    (sums,) = session.run(None, {"a": activations, "b": weights})
    return int(sums[0, 0]) != size * 255 * 127


def cuda_works() -> bool:
    """Whether a graph really runs on CUDA here: being listed means only that it was compiled in.

    Asked of a process of its own, since native libraries that cannot be loaded print to the terminal.
    """
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return False
    done = subprocess.run([sys.executable, "-c", _TRY_CUDA], capture_output=True, text=True, check=False)
    return "CUDAExecutionProvider" in done.stdout


_TRY_CUDA = """
import onnxruntime
from onnx import TensorProto, helper
value = helper.make_tensor_value_info
node = helper.make_node("Add", ["a", "a"], ["sum"])
graph = helper.make_graph([node], "probe", [value("a", TensorProto.FLOAT, [1])], [value("sum", TensorProto.FLOAT, [1])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CUDAExecutionProvider"])
print(session.get_providers())
"""
