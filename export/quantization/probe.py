"""A probe of this machine: whether sums of products of uint8 and int8 saturate.

Without VNNI, x86 adds pairs of products of an unsigned and a signed byte in 16 bits, which saturate.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from engine.devices.onnx_runtime import onnxruntime


def int8_sums_saturate() -> bool:
    """Whether products of uint8 and int8 are wrong here, so that weights have to be unsigned, too."""
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
