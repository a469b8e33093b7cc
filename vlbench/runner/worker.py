"""The process that measures. It reads jobs from standard input and answers on standard output, in lines of JSON.

`python -m vlbench.runner.worker` imports PyTorch once and forks a fresh process for each job, so that a restart costs
no import. Before the first model with a ResNet it also imports torchvision. It never computes anything itself, because
a process that is forked from one with threads can hang. Whatever a library prints goes to standard error.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from vlbench.architectures.build import build
from vlbench.architectures.count import count, count_by_module
from vlbench.architectures.registry import preload
from vlbench.errors import InputError, first_line, is_out_of_memory
from vlbench.frozen import Frozen
from vlbench.measuring.gpu import probe
from vlbench.measuring.macs import UnknownOperatorError
from vlbench.runner.backends import EAGER, is_converted
from vlbench.runner.cells import Cell
from vlbench.runner.nms_records import SuppressionCell
from vlbench.runner.peaks import Setting
from vlbench.runner.requests import cell_of, workload_of
from vlbench.runner.restart import instruments_for, measure_restart, measure_suppression
from vlbench.runner.workload import measure_peaks
from vlbench.specs import AnySpec, schema_of
from vlbench.specs.catalog import resolve
from vlbench.specs.module import Overrides, SourceKind, source_kind, split_source
from vlbench.system.child_processes import die_with_parent

Reply = Callable[..., None]

FAILURES = (RuntimeError, MemoryError, UnknownOperatorError)  # PyTorch's out-of-memory is a RuntimeError


def _failures(spec: Mapping[str, Any], *, converted: bool = False) -> tuple[type[Exception], ...]:
    """What may be raised without a fault of vlbench's: by an external module and by what converts a model, anything."""
    return (Exception,) if "module" in spec or converted else FAILURES


def _answer_probe(job: dict[str, Any], reply: Reply) -> None:
    reply(machine=probe(job["threads"]).model_dump(mode="json"))


def _answer_peaks(job: dict[str, Any], reply: Reply) -> None:
    reply(peaks=measure_peaks(Setting(**job["setting"])).model_dump(mode="json", by_alias=True))


def _answer_restart(job: dict[str, Any], reply: Reply) -> None:
    folder = Path(job["folder"]) if "folder" in job else None
    outcome = measure_restart(Cell.model_validate(job["cell"]), folder)
    reply(**({"invalid": outcome} if isinstance(outcome, str) else {"restart": outcome.model_dump(mode="json")}))


def _answer_convert(job: dict[str, Any], reply: Reply) -> None:
    """Converts a model into a folder, where later jobs find it; `invalid` says how it differs from eager PyTorch."""
    from vlbench.runner.convert import convert_cell, why_not_measured  # noqa: PLC0415  few jobs convert

    cell = Cell.model_validate(job["cell"]) if "cell" in job else cell_of(job["workload"])
    conversion = convert_cell(cell, Path(job["folder"]))
    invalid = why_not_measured(conversion)
    reply(conversion=conversion.model_dump(mode="json"), **({"invalid": invalid} if invalid else {}))


def _answer_deploy(job: dict[str, Any], reply: Reply) -> None:
    """Converts a model into files that need its runtime alone; `invalid` says how it differs from eager PyTorch."""
    from vlbench.runner.deploy import deploy_cell  # noqa: PLC0415  few jobs deploy

    outcome = deploy_cell(Cell.model_validate(job["cell"]), Path(job["folder"]))
    reply(**({"invalid": outcome} if isinstance(outcome, str) else {"deployment": outcome.model_dump(mode="json")}))


def _answer_suppress(job: dict[str, Any], reply: Reply) -> None:
    reply(restart=measure_suppression(SuppressionCell.model_validate(job["cell"])).model_dump(mode="json"))


def _answer_fill(job: dict[str, Any], reply: Reply) -> None:
    """Builds a model, which refuses the weights of another."""
    spec: AnySpec = schema_of(job["spec"]).model_validate(job["spec"])
    build(spec)
    reply(filled=spec.name)


def _answer_inspect(job: dict[str, Any], reply: Reply) -> None:
    """Replies with the spec of a module that must be made to be known."""
    from vlbench.architectures.module_inspect import inspect_module  # noqa: PLC0415  it imports transformers

    spec = inspect_module(job["source"], Overrides.model_validate(job["overrides"]))
    reply(spec=spec.model_dump(mode="json", exclude_unset=True))


def _answer_count(job: dict[str, Any], reply: Reply) -> None:
    """Replies with all counts at the end, in the order of the requests. A string is why a model cannot be counted."""
    _count_each(job, reply, lambda spec, request: count(spec, batch=request["batch"], precision=request["precision"]))


def _answer_count_modules(job: dict[str, Any], reply: Reply) -> None:
    """The same, by module and by several counters."""
    counters = job["counters"]
    _count_each(job, reply, lambda spec, request: count_by_module(spec, batch=request["batch"], counters=counters))


def _count_each(job: dict[str, Any], reply: Reply, count_one: Callable[[AnySpec, dict[str, Any]], Frozen]) -> None:
    counts: list[dict[str, Any] | str] = []
    for request in job["jobs"]:
        spec: AnySpec = schema_of(request["spec"]).model_validate(request["spec"])
        reply(phase=spec.name)
        try:
            counts.append(count_one(spec, request).model_dump(mode="json"))
        except InputError:
            raise
        except _failures(request["spec"]) as error:
            counts.append(_reason(error))
    reply(counts=counts)


def _answer_serve_blocks(job: dict[str, Any], reply: Reply) -> None:
    """Prepares a workload and replies with what it is. The first line then names the processes that take turns with
    this one; for each other line it times one block of passes, until the line `end`."""
    workload = workload_of(job["workload"])
    if workload.invalid:
        reply(invalid=workload.invalid)
        return
    timer = workload.timer
    warm_up, steady = timer.warm_up(workload.first_ms, job["warm_up_seconds"])
    ready = {"pass_ms": warm_up[-1], "steady": steady, "peak_memory_bytes": workload.peak_memory_bytes}
    reply(ready=ready | {"device": timer.device.type, "pid": os.getpid()})
    lines = map(json.loads, lines_of(sys.stdin.fileno()))
    instruments = instruments_for(timer.device, members=tuple(next(lines)["members"]))
    timer.throttling, observer = instruments.throttling, instruments.observer
    observer.pause()
    for block in lines:
        if "end" in block:
            reply(interference=asdict(instruments.finish()))
            return
        observer.resume()
        answer = {
            "latency_ms": timer.end_to_end(0, least=block["end_to_end"], discarded=block["discarded"]),
            "latency_ms_by_stage": timer.by_stage(0, least=block["by_stage"]),
        }
        observer.pause()
        reply(**answer)


def _answer_describe(job: dict[str, Any], reply: Reply) -> None:
    """Replies with the cell that a model and its settings mean to this revision of the code, and its counts."""
    cell = cell_of(job["workload"])
    reply(
        cell=cell.model_dump(mode="json"),
        counts=count(cell.spec, batch=cell.batch, precision=cell.precision).model_dump(mode="json"),
        machine=probe(cell.threads).model_dump(mode="json"),
    )


ACTIONS: dict[str, Callable[[dict[str, Any], Reply], None]] = {
    "probe": _answer_probe,
    "peaks": _answer_peaks,
    "restart": _answer_restart,
    "convert": _answer_convert,
    "deploy": _answer_deploy,
    "suppress": _answer_suppress,
    "count": _answer_count,
    "count_modules": _answer_count_modules,
    "fill": _answer_fill,
    "inspect": _answer_inspect,
    "serve_blocks": _answer_serve_blocks,
    "describe": _answer_describe,
}


def main() -> None:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reply = partial(_reply, replies)
    gc.collect()
    for line in lines_of(sys.stdin.fileno()):
        job = json.loads(line)
        for kind in kinds_of(job):
            preload(kind)
        gc.freeze()  # otherwise the collector of a forked process would copy every page that it visits
        child = os.fork()
        if child == 0:
            _run(job, reply)
        _, status = os.waitpid(child, 0)
        reply(ended=os.waitstatus_to_exitcode(status))


def kinds_of(job: Mapping[str, Any]) -> set[str]:
    """The kinds of part in a job's models, engines and classes of transformers included, for `preload`.

    Empty for a name that is no model: the job itself will refuse it.
    """
    if job["action"] == "suppress":
        return {"region"}
    if "cell" in job:
        return _kinds(job["cell"]["spec"])
    if job["action"] == "inspect":
        return LIBRARIES.get(source_kind(split_source(job["source"])[0]), set())
    if job["action"] == "fill":
        return _kinds(job["spec"])
    if "jobs" in job:
        return {kind for request in job["jobs"] for kind in _kinds(request["spec"])}
    workload = job.get("workload", {})
    if "model" not in workload:
        return set()
    engine = workload.get("settings", {}).get("detector") or "torchvision"
    try:
        return {kind for spec in resolve(workload["model"]) for kind in _kinds(spec.model_dump(), engine)}
    except InputError:
        return set()


LIBRARIES: dict[SourceKind, set[str]] = {  # what a module's maker imports; a user's own code is imported in each fork
    "timm": {"module", "timm:create_model"},
    "open_clip": {"module", "open_clip:create_model"},
    "transformers": {"module", "transformers:AutoConfig"},
    "factory": {"module"},
    "saved": {"module"},
}


def _kinds(spec: Mapping[str, Any], engine: str = "torchvision") -> set[str]:
    if "module" in spec:
        return LIBRARIES.get(source_kind(spec["module"]), set())
    if "transformers" in spec:
        return {"transformers", f"transformers:{spec['transformers']}"}
    parts = [part for stage in ("text", "visual", "interaction", "head") if (part := spec.get(stage))]
    return {*(part["kind"] for part in parts), spec["visual"].get("engine", engine), engine} - {"torchvision"}


def _run(job: dict[str, Any], reply: Reply) -> None:
    """Does one job in this forked process, and ends the process."""
    status = 1
    try:
        die_with_parent()
        try:
            ACTIONS[job["action"]](job, reply)
        except InputError as error:
            reply(refused=str(error))
        except _failures(job.get("cell", {}).get("spec", {}), converted=_is_converted(job)) as error:
            reply(failed=_reason(error))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _is_converted(job: Mapping[str, Any]) -> bool:
    settings = job.get("cell") or job.get("workload", {}).get("settings", {})
    return is_converted(settings.get("backend", EAGER), settings.get("precision", "fp32"))


def lines_of(descriptor: int) -> Iterator[str]:
    """The lines of a pipe as they arrive. It never reads ahead, as `sys.stdin` would."""
    pending = b""
    while chunk := os.read(descriptor, 1 << 16):
        *lines, pending = (pending + chunk).split(b"\n")
        yield from (line.decode() for line in lines)


def _reason(error: BaseException) -> str:
    first = first_line(error)
    if is_out_of_memory(error):
        return f"out of memory: {first}"
    return first if isinstance(error, UnknownOperatorError) else f"{type(error).__name__}: {first}"


def _reply(replies: TextIO, **message: Any) -> None:
    replies.write(json.dumps(message) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
