"""The latency that `vlbench run` reports against a bare timing loop around the same module, or the same session of a
runtime, in one process.

    python -m benchmarks.harness.reported_latency [--model NAME] [--backend NAME] [--rounds N] [--threads N]
        [--json FILE]

Each round takes samples as a worker takes them, and one loop of as many passes that only reads the clock; their order
alternates. A runtime executes the whole model; its loop calls the runtime itself with arrays that are made beforehand.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter_ns
from typing import Any

import torch

from vlbench.inputs import read_example
from vlbench.measuring.counters import tensors_of
from vlbench.measuring.latency import PassTimer
from vlbench.measuring.machine import describe_machine
from vlbench.runner.backends import load_backend
from vlbench.runner.cells import Cell
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.workload import build_workload
from vlbench.specs.catalog import resolve

from . import interleaved

SECONDS_A_ROUND = 1.0
REPORTED, BARE = "reported", "bare loop"


def bare_loop(forward: Callable[[], object], passes: int) -> float:
    """Median ms of a loop with nothing in it but the pass and the clock."""
    samples = []
    with torch.inference_mode():
        for _ in range(passes):
            start = perf_counter_ns()
            forward()
            samples.append((perf_counter_ns() - start) / 1e6)
    return median(samples)


def onnxruntime_pass(file: Path, arrays: Sequence[Any], threads: int) -> Callable[[], object]:
    """A call of a session of its own."""
    import onnxruntime  # noqa: PLC0415  an extra

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {value.name: array for value, array in zip(session.get_inputs(), arrays, strict=True)}
    return lambda: session.run(None, feed)


def openvino_pass(file: Path, arrays: Sequence[Any], threads: int) -> Callable[[], object]:
    """A call of a request of its own, on a model of the arrays' shapes."""
    import openvino  # noqa: PLC0415  an extra

    model = openvino.Core().read_model(file)
    model.reshape({index: openvino.PartialShape(list(array.shape)) for index, array in enumerate(arrays)})
    options = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    return lambda: request.infer(list(arrays), share_inputs=True)


BARE_PASSES = {"onnxruntime": (".onnx", onnxruntime_pass), "openvino": (".xml", openvino_pass)}


def passes_of(cell: Cell, folder: Path) -> tuple[PassTimer, Callable[[], object]]:
    """What times a pass as a worker does, and a bare pass."""
    with torch.no_grad():
        workload = build_workload(cell, folder)
        prepared = load_backend(cell.backend).prepare(workload)
    timer = PassTimer(prepared.forward, dict(prepared.stages), torch.device("cpu"))
    if cell.backend not in BARE_PASSES:
        return timer, workload.forward
    suffix, bare_pass = BARE_PASSES[cell.backend]
    (file,) = folder.glob(f"*{suffix}")
    return timer, bare_pass(file, [tensor.numpy() for tensor in tensors_of(workload.inputs)], cell.threads)


def main() -> int:
    parser = interleaved.arguments("Reported latency against a bare timing loop.", rounds=40)
    parser.add_argument("--model", default="vilt", help="a model of the catalogue (default %(default)s)")
    parser.add_argument("--backend", default="eager", choices=("eager", *BARE_PASSES), help="(default %(default)s)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    threads = torch.get_num_threads()
    facts = interleaved.machine_facts(threads, ("torch", *({options.backend} & {*BARE_PASSES})))
    interleaved.print_facts(facts, options.rounds, 1)

    machine = describe_machine(threads=threads, gpu=None)
    settings = RunSettings(threads=threads, backend=options.backend, scope="model")
    (cell,) = expand(resolve(options.model), read_example(None, None), settings, machine)
    with TemporaryDirectory() as folder:
        timer, forward = passes_of(cell, Path(folder))

    samples: dict[str, list[float]] = {REPORTED: [], BARE: []}
    passes = 0
    for number in range(options.rounds + 1):  # the first warms up
        for name in (REPORTED, BARE) if number % 2 == 0 else (BARE, REPORTED):
            if name == BARE:
                value = bare_loop(forward, passes)
            else:
                reported = timer.end_to_end(SECONDS_A_ROUND)
                passes, value = len(reported), median(reported)
            if number:
                samples[name].append(value)
    interleaved.print_table(samples, BARE)
    ratio = interleaved.ratio_table(samples, BARE)[REPORTED]
    low, high = ratio.low or 0.0, ratio.high or float("inf")
    verdict = "met" if low >= 0.99 and high <= 1.01 else "unknown: too few rounds or too much noise"
    if low > 1.01 or high < 0.99:
        verdict = "missed"
    print(f"bar: within 1% of the bare loop: {verdict} ({ratio.text()})")
    interleaved.write_json(
        options.json,
        script="reported_latency",
        facts=facts,
        samples_ms=samples,
        ratios=[ratio],
        verdicts={"within 1% of the bare loop": verdict},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
