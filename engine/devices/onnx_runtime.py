"""ONNX Runtime with its telemetry switched off: no other module imports it, in programs and tests.

From 1.29 on it reports to its maker, from Linux and macOS by HTTPS, on Windows by the system's event tracing. The
variable must be set before the first import; the call stops what Windows would trace after it.
"""

from __future__ import annotations

import os

from syntax.children import QUIET

os.environ.update(QUIET)

import onnxruntime  # noqa: TID251

onnxruntime.disable_telemetry_events()

__all__ = ["onnxruntime"]
