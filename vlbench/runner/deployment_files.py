"""What lies beside a converted model: its README, and a script that needs numpy and the runtime alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from string import Template

from vlbench.frozen import Frozen
from vlbench.runner.cells import Cell
from vlbench.runner.records import Conversion
from vlbench.specs import RANDOM, ModuleSpec
from vlbench.specs.model import Input
from vlbench.version import __version__

SUFFIXES = {"onnxruntime": ".onnx", "openvino": ".xml"}
RUNS = {
    "onnxruntime": """
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = $threads


def run(path, arrays):
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    given = {item.name: arrays[item.name] for item in session.get_inputs()}
    return dict(zip(names, session.run(names, given)))
""",
    "openvino": """
options = $options


def run(path, arrays):
    model = openvino.Core().compile_model(path, "CPU", options)
    count = len(model.inputs)
    outputs = model(list(arrays.values())[:count])
    return dict(zip(list(arrays)[count:], outputs.to_tuple()))
""",
}
SCRIPT = Template('''\
"""Runs the example and compares it with the output of PyTorch. It needs numpy and $runtime alone."""

import sys
from pathlib import Path

import numpy as np
import $package
$run


folder, largest = Path(__file__).resolve().parent, 0.0
example = np.load(folder / "example.npz")
for path in sorted(folder.glob("*$suffix")):
    arrays = {key.split("/")[1]: example[key] for key in example if key.startswith(f"{path.stem}/")}
    for name, values in run(path, arrays).items():
        expected = arrays[name].astype(float)
        apart = np.where(values == expected, 0, np.abs(values - expected)).max(initial=0)
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
        largest = np.maximum(largest, apart / (scale or 1))
print(f"largest difference: {largest:.1e} of the largest value, at most $tolerance is allowed")
sys.exit(not largest <= $tolerance)
''')


ANY = "any"  # a dimension of any size that has no name of its kind


class DeployedTensor(Frozen):
    """An input or an output of a file. `sizes` are numbers or, where any size works, the dimension's name."""

    name: str
    dtype: str
    sizes: tuple[str, ...]


class DeployedFile(Frozen):
    """A program in a file; `name`, without suffix, begins the keys of its tensors in example.npz."""

    name: str
    inputs: tuple[DeployedTensor, ...]
    outputs: tuple[DeployedTensor, ...]


class Deployment(Frozen):
    """A folder that was written.

    Attributes:
        files: one for the whole model, or one for each part that was converted.
        conversion: that of which `vlbench run` measures the latency.
        size_bytes: of the converted files.
    """

    files: tuple[DeployedFile, ...]
    conversion: Conversion
    size_bytes: int

    @property
    def dynamic(self) -> list[str]:
        """Names of the input dimensions that may have any size."""
        sizes = (size for file in self.files for tensor in file.inputs for size in tensor.sizes)
        return list(dict.fromkeys(size for size in sizes if not size.isdecimal()))

    @property
    def difference(self) -> str:
        """The largest difference to eager PyTorch, as a reader sees it."""
        equality = self.conversion.equality
        assert equality
        return f"{equality.largest:.1e} of the largest value, at most {equality.tolerance:g} is allowed"


def script(deployment: Deployment, cell: Cell) -> str:
    """run.py: loads the files, runs the example and compares; its exit code is 1 beyond the tolerance."""
    assert deployment.conversion.equality
    run = Template(RUNS[cell.backend]).substitute(
        threads=cell.threads, options=json.dumps(dict(deployment.conversion.options))
    )
    return SCRIPT.substitute(
        runtime=deployment.conversion.runtime,
        package=cell.backend,
        run=run.rstrip(),
        suffix=SUFFIXES[cell.backend],
        tolerance=f"{deployment.conversion.equality.tolerance:g}",
    )


def readme(deployment: Deployment, cell: Cell) -> str:
    """README.md: what the files are, what they read and give, and how to prepare it."""
    return "\n".join([*_summary(deployment, cell), *_tables(deployment, cell), *_preparation(cell), *_rest(deployment)])


def _summary(deployment: Deployment, cell: Cell) -> Iterator[str]:
    conversion = deployment.conversion
    random = ": the latency is valid, the accuracy is not" if cell.spec.weights_label == RANDOM else ""
    yield f"# {cell.name} for {conversion.runtime}\n"
    yield f"- Model: {cell.name} ({cell.spec.source})"
    yield f"- Weights: {cell.spec.weights_label}{random}"
    yield f"- Runtime: {conversion.runtime}, on the CPU"
    yield f"- Precision: {cell.precision}"
    yield f"- Largest difference to eager PyTorch in fp32: {deployment.difference}"
    yield f"- Written by vlbench {__version__}; `vlbench run --scope {cell.scope}` measures the same files\n"
    yield "`python run.py` runs the example of example.npz and compares it with the output of PyTorch.\n"


def _tables(deployment: Deployment, cell: Cell) -> Iterator[str]:
    for file in deployment.files:
        yield f"## {file.name}{SUFFIXES[cell.backend]}\n"
        yield "| tensor | is | type | shape |\n|---|---|---|---|"
        for kind, tensors in (("input", file.inputs), ("output of the example", file.outputs)):
            for tensor in tensors:
                yield f"| `{tensor.name}` | {kind} | {tensor.dtype} | {' x '.join(tensor.sizes) or 'a number'} |"
        yield ""
    words = [f"`{name}`" for name in deployment.dynamic]
    yield (
        f"Any size works where a shape of an input says {' or '.join(words)}.\n" if words else "All sizes are fixed.\n"
    )


def _preparation(cell: Cell) -> Iterator[str]:
    spec = cell.spec
    yield "## Inputs\n"
    inputs = getattr(spec, "input", None)
    if isinstance(inputs, Input) and not (isinstance(spec, ModuleSpec) and not spec.reads_pixels):
        height, width = inputs.image_size
        yield f"- Images: RGB, resized to {height}x{width} pixels (height x width, bicubic), divided by 255,"
        yield f"  minus the mean {list(inputs.mean)}, divided by the standard deviation {list(inputs.std)};"
        yield "  channels first."
        if spec.images == 2:
            yield "  Each text has two images, the left before the right."
    if spec.text:
        text, last = spec.text, spec.text.vocabulary - 1
        begin = "" if text.begin is None else f"{min(text.begin, last - 1)} first, "
        longest = f", {text.positions} at most" if text.positions else ""
        yield f"- Text: ids below {text.vocabulary:,}{longest} ({begin}{min(text.end, last)} last, padded with"
        yield f"  {min(text.padding, last)}); `mask` is true where an id is no padding. The example has"
        yield f"  {spec.input.text_tokens} ids. {_tokenizer(cell)}"
    yield ""


def _tokenizer(cell: Cell) -> str:
    if cell.spec.weights_label == RANDOM:
        return "The weights are random, so the ids of the example are checksums of its words."
    return "The tokenizer is that of the weights: `vocab.txt` or `tokenizer.json` in their folder."


def _rest(deployment: Deployment) -> Iterator[str]:
    conversion = deployment.conversion
    if conversion.eager_stages:
        yield "## What stays in PyTorch\n"
        yield from (f"- {stage}: {reason}" for stage, reason in conversion.eager_stages.items())
        yield "\nThe files compute the other parts; the code around them is the model's own.\n"
    yield "## Options of the runtime\n"
    yield from (f"- {name}: {value}" for name, value in conversion.options.items())
    yield ""
