"""The backend `onnxruntime`."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from torch import Tensor

from vlbench.runner.conversion import PreparedWorkload, Target, Workload
from vlbench.runner.exporting import Exported
from vlbench.runner.programs import Execute, prepare_programs
from vlbench.runner.signature import Shapes

LINEAR = ("MatMul", "Gemm")  # of which dynamic quantisation makes integer products; ONNX Runtime's convolutions lose
INPUTS = ".inputs.json"
ERRORS = 3  # the least severe messages that are printed
CALIBRATED = (*LINEAR, "Conv")


class OnnxRuntimeBackend:
    """ONNX Runtime's CPU provider, on models that PyTorch's exporter writes."""

    def prepare(self, workload: Workload) -> PreparedWorkload:
        return prepare_programs(workload, OnnxRuntime(workload.target))


class OnnxRuntime:
    """Writes and executes ONNX files."""

    suffix = ".onnx"

    def __init__(self, target: Target) -> None:
        self.precision, self.threads = target.precision, target.threads
        onnxruntime.set_default_logger_severity(ERRORS)  # also of sessions that calibrate

    @property
    def options(self) -> dict[str, str | int]:
        """Of a session, as they are recorded. A pool of so many threads binds none of them to a core, and threads that
        have no work sleep: they would slow what is measured beside."""
        return {
            "intra_op_num_threads": self.threads,
            "inter_op_num_threads": 1,
            "enable_cpu_mem_arena": True,
            "session.force_spinning_stop": "1",
        }

    def write(self, exported: Exported, path: Path) -> None:
        plain = path if self.precision == "fp32" else path.with_suffix(".fp32.onnx")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            exported.program,
            dynamo=True,
            verbose=False,
            input_names=exported.signature.inputs,
            output_names=exported.signature.outputs,
        )
        assert program is not None
        program.save(plain)
        shapes = {value.name: [str(size) for size in value.shape or ()] for value in program.model.graph.inputs}
        path.with_suffix(INPUTS).write_text(json.dumps(shapes))
        if self.precision != "fp32":
            self._quantise(plain, path, exported.calibration)
            for file in plain.parent.glob(f"{plain.name}*"):
                file.unlink()

    def _quantise(self, plain: Path, path: Path, calibration: Sequence[Sequence[Tensor]]) -> None:
        from onnxruntime import quantization  # noqa: PLC0415  it imports onnx, which is slow

        logging.getLogger().addFilter(_is_no_advice)
        int8 = quantization.QuantType.QInt8
        if self.precision == "int8":
            quantization.quantize_dynamic(
                plain, path, weight_type=int8, per_channel=True, op_types_to_quantize=list(LINEAR)
            )
            return
        quantization.quantize_static(
            plain,
            path,
            _Calibration(list(_inputs_of(path)), calibration),
            weight_type=int8,
            per_channel=True,
            op_types_to_quantize=list(CALIBRATED),
        )

    def load(self, path: Path, shapes: Shapes | None) -> Execute:
        inputs = _inputs_of(path)
        session, names = _session(path, self.options, inputs, shapes), list(inputs)

        def execute(tensors: Sequence[Tensor]) -> list[Tensor]:
            given = {name: tensor.numpy() for name, tensor in zip(names, tensors, strict=True)}
            return [torch.from_numpy(values) for values in session.run(None, given)]

        return execute


def _inputs_of(path: Path) -> dict[str, list[str]]:
    """The inputs of a file, and their sizes: numbers, or names of dimensions that may have any size."""
    inputs: dict[str, list[str]] = json.loads(path.with_suffix(INPUTS).read_text())
    return inputs


def _session(
    path: Path, options: dict[str, Any], inputs: dict[str, list[str]], shapes: Shapes | None
) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = ERRORS
    for name, value in options.items():
        if "." in name:
            settings.add_session_config_entry(name, value)
        else:
            setattr(settings, name, value)
    for sizes, shape in zip(inputs.values(), shapes or (), strict=False):
        for name, size in zip(sizes, shape, strict=True):
            if not name.isdecimal():
                settings.add_free_dimension_override_by_name(name, size)
    return onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])


class _Calibration:
    """Feeds calls to ONNX Runtime's calibration, which asks until it gets None."""

    def __init__(self, names: Sequence[str], calls: Sequence[Sequence[Tensor]]) -> None:
        self.feeds = iter([dict(zip(names, (tensor.numpy() for tensor in call), strict=True)) for call in calls])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.feeds, None)


def _is_no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing" not in record.getMessage()
