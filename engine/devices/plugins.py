"""Execution providers that are packages beside ONNX Runtime: which are installed, and whether they compute.

Each is tried in a process of its own, for what it loads may end a process. No session of ours runs on one yet.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator

import numpy as np

from engine.devices.onnx_runtime import onnxruntime
from engine.devices.providers import captured_output, sum_graph
from syntax.children import start_python

_KNOWN = {
    "onnxruntime_ep_webgpu": "WebGPU",
    "onnxruntime_ep_openvino": "OpenVINO",
    "onnxruntime_ep_nv_tensorrt_rtx": "TensorRT RTX",
    "onnxruntime_ep_mlx": "MLX",
}
_PATIENCE = 60.0
_LONGEST_FAILURE = 160


def tried() -> Iterator[tuple[str, str]]:
    """Each plugin that is installed, by its name in a sentence, and why it does not compute; empty where it does."""
    for package, label in _KNOWN.items():
        if importlib.util.find_spec(package) is not None:
            yield label, _failure_of(package)


def _failure_of(package: str) -> str:
    child = start_python(
        "engine.devices.plugins",
        package,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        said, _ = child.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return f"it does not answer within {_PATIENCE:.0f} s"
    try:
        return str(json.loads(said.splitlines()[-1]))
    except (IndexError, ValueError):
        return f"it ends the process that loads it (exit code {child.returncode})"


def _try(package: str) -> str:
    """Register a plugin and let it compute a sum; returns why it does not, or nothing."""
    plugin = importlib.import_module(package)
    name = plugin.get_ep_name()
    with captured_output():
        try:
            onnxruntime.register_execution_provider_library(name, plugin.get_library_path())
            devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name == name]
            if not devices:
                return "it finds no device"
            options = onnxruntime.SessionOptions()
            options.add_provider_for_devices(devices[:1], {})
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            session = onnxruntime.InferenceSession(sum_graph(), options)
            (total,) = session.run(None, {"a": np.ones(1, np.float32)})
            return "" if total.tolist() == [2.0] else f"it computes 1 + 1 = {total.tolist()}"
        except Exception as error:  # the runtime's own exception classes share no base
            problem = str(error) or type(error).__name__
    return problem.strip().splitlines()[0][-_LONGEST_FAILURE:]


if __name__ == "__main__":
    print(json.dumps(_try(sys.argv[1])), flush=True)
