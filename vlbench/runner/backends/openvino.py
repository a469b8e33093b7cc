"""The backend `openvino`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import openvino
import torch
from torch import Tensor

from vlbench.errors import InputError
from vlbench.runner.backends import QUANTISED
from vlbench.runner.conversion import PreparedWorkload, Target, Workload
from vlbench.runner.exporting import Exported
from vlbench.runner.programs import Execute, prepare_programs
from vlbench.runner.signature import Shapes

HINTS = {"bf16": "bf16"}  # the precision of all others but for what is quantised: fp32
DYNAMIC_GROUP = 128  # values of an activation that share a range in dynamic quantisation


class OpenVinoBackend:
    """OpenVINO's CPU plugin, on models that it converts from PyTorch's programs."""

    def prepare(self, workload: Workload) -> PreparedWorkload:
        """Raises InputError for bf16 on a CPU without instructions for it."""
        runtime = OpenVino(workload.target)
        runtime.check()
        return prepare_programs(workload, runtime)


class OpenVino:
    """Writes and executes OpenVINO's intermediate representation."""

    suffix = ".xml"

    def __init__(self, target: Target) -> None:
        self.precision, self.threads = target.precision, target.threads
        self.core = openvino.Core()

    def check(self) -> None:
        if self.precision == "bf16" and "BF16" not in self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise InputError("--precision bf16: this CPU has no instructions for it; fp32 and int8 work")

    @property
    def options(self) -> dict[str, str | int]:
        """Of a compiled model, as they are recorded."""
        options: dict[str, str | int] = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": "NO",  # a live comparison moves its processes between cores
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS.get(self.precision, "f32"),
        }
        if self.precision == "int8":
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = DYNAMIC_GROUP
        return options

    def write(self, exported: Exported, path: Path) -> None:
        model, signature = openvino.convert_model(exported.program), exported.signature
        model.reshape(
            {
                number: openvino.PartialShape([-1 if index in free else size for index, size in enumerate(shape)])
                for number, (shape, free) in enumerate(zip(signature.shapes, signature.dynamic, strict=True))
            }
        )
        for ports, names in ((model.outputs, signature.outputs), (model.inputs, signature.inputs)):
            for port, name in zip(ports, names, strict=True):
                port.get_tensor().set_names({name})
        if self.precision in QUANTISED:
            model = self._quantised(model, exported.calibration)
        openvino.save_model(model, path, compress_to_fp16=False)

    def _quantised(self, model: openvino.Model, calibration: Sequence[Sequence[Tensor]]) -> openvino.Model:
        try:
            import nncf  # noqa: PLC0415  slow to import, and only int8 needs it
        except ImportError as error:
            raise InputError(f"--precision int8: openvino needs NNCF ({error}); pip install 'vlbench[int8]'") from error
        if self.precision == "int8":
            return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        samples = nncf.Dataset([[tensor.numpy() for tensor in call] for call in calibration])
        return nncf.quantize(model, samples, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(calibration))

    def load(self, path: Path, shapes: Shapes | None) -> Execute:
        model = self.core.read_model(path)
        if shapes is not None:
            model.reshape({index: openvino.PartialShape(list(shape)) for index, shape in enumerate(shapes)})
        request = self.core.compile_model(model, "CPU", self.options).create_infer_request()
        outputs = range(len(model.outputs))

        def execute(tensors: Sequence[Tensor]) -> list[Tensor]:
            values = request.infer([tensor.contiguous().numpy() for tensor in tensors], share_inputs=True)
            return [torch.from_numpy(values[index]) for index in outputs]

        return execute
