"""A writer of ONNX files: it collects nodes in memory, and streams initializers to the data file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from numpy.typing import DTypeLike, NDArray
from onnx import TensorProto, helper

OPSET, IR_VERSION = 21, 10
DATA_FILE = "model.onnx.data"
MICROSOFT = "com.microsoft"

_PAGE, _PAGE_FROM = 65536, 1 << 20  # large tensors start on a page, so that the runtime can map them (Windows: 64 KB)


class GraphWriter:
    """Nodes and initializers of one graph, named after their outputs."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        """Add an initializer once; small ones go into the graph itself, large ones to the data file."""
        if name in self._names:
            return name
        if values.nbytes >= 1024:
            return self.stream(name, values.dtype, values.shape, [values])
        self._names.add(name)
        self._initializers.append(onnx.numpy_helper.from_array(values, name))
        return name

    def stream(self, name: str, dtype: DTypeLike, shape: Sequence[int], blocks: Iterable[NDArray[Any]]) -> str:
        """Add an initializer that is never in memory as a whole: `blocks` follow one another along its first axis."""
        self._names.add(name)
        dtype = np.dtype(dtype)
        length = int(np.prod(shape)) * dtype.itemsize
        self._data.write(b"\0" * (-self._data.tell() % (_PAGE if length >= _PAGE_FROM else 64)))
        offset = self._data.tell()
        for block in blocks:
            self._data.write(np.ascontiguousarray(block, dtype).data)
        assert self._data.tell() == offset + length, f"the blocks of {name} do not fill its shape"
        tensor = TensorProto(name=name, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(dtype)
        for key, value in (("location", DATA_FILE), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self._initializers.append(tensor)
        return name

    def node(
        self, operator: str, inputs: list[str], name: str, *, outputs: list[str] | None = None, **attributes: object
    ) -> str:
        """Add a node; returns the name of its (first) output, which is `name` by default."""
        domain = str(attributes.pop("domain", ""))
        outputs = outputs or [name]
        self._nodes.append(helper.make_node(operator, inputs, outputs, name=name, domain=domain, **attributes))
        return outputs[0]

    def save(self, path: Path, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> None:
        """Write the graph itself; the data file exists already."""
        graph = helper.make_graph(self._nodes, "decoder", inputs, outputs, self._initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="mellum-lsp")
        onnx.save(model, str(path))
