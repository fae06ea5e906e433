"""Whether sums of products of uint8 and int8 are right on this machine.

Without VNNI, x86 adds pairs of such products in 16 bits, which saturate. Weights then have to be unsigned, too, which
the export sees to; a model that was exported on another machine may have signed ones.
"""

from __future__ import annotations

import base64
import functools

import numpy as np

from engine.devices.onnx_runtime import onnxruntime

_SIZE = 64
GRAPH = base64.b64decode(
    "CAoSADplChgKAWEKAWISAWMiDU1hdE11bEludGVnZXISBHN1bXNaFQoBYRIQCg4IAhIKCgMSAW0KAxIBa1oVCgFiEhAKDggDEgoKAxIBawoDEgFu"
    "YhUKAWMSEAoOCAYSCgoDEgFtCgMSAW5CBAoAEBU="
)
"""An ONNX model that is one MatMulInteger, `a` uint8 `[m, k]` times `b` int8 `[k, n]`: the package onnx, which would
write it, takes half a second to import."""


@functools.cache
def int8_sums_saturate() -> bool:
    """Whether products of uint8 and int8 are wrong here. Takes some milliseconds, once."""
    session = onnxruntime.InferenceSession(GRAPH, providers=["CPUExecutionProvider"])
    activations, weights = np.full((1, _SIZE), 255, np.uint8), np.full((_SIZE, _SIZE), 127, np.int8)
    (sums,) = session.run(None, {"a": activations, "b": weights})
    return int(sums[0, 0]) != _SIZE * 255 * 127
