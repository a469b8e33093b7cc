"""A side whose backend converts the model: once for each member, before its first replicate, and compared with eager
PyTorch; and its threads sleep while another member is measured."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers import write_tiny
from tests.regression.live.test_live import QUIET, fake
from tests.runner.made_up import COUNTS, cells
from vlbench.errors import HeadError, WorkerError
from vlbench.regression.compare.outcomes import Thresholds
from vlbench.regression.live.lockstep import Member, convert_member
from vlbench.regression.live.record import BASE, CONTROL, HEAD, LiveComparison
from vlbench.regression.live.run import LiveRequest, compare_live
from vlbench.regression.live.sides import Side
from vlbench.runner.worker_client import SILENCE_SECONDS, Worker

INVALID = {"conversion": {"invalid": "the output of text differs"}}
WAITING_SECONDS = 0.5
AWAKE_SHARE = 0.2  # of the time that a process waits; a single thread that spins takes all of it


def converted(backends: tuple[str, str], **plans: Any) -> LiveComparison:
    """A comparison of made-up workers; `head`, `control` and `base` of `plans` change what each answers."""
    described = {"cell": cells()[0].model_dump(mode="json"), "counts": COUNTS}
    request = LiveRequest(models=["vit-b16"], settings={"threads": 1}, thresholds=Thresholds(), budget_seconds=0.01)
    sides = [
        Side(name=name, label=name, options={"backend": some})
        for name, some in zip((BASE, HEAD), backends, strict=True)
    ]
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(fake(name, QUIET | {"described": described} | plans.get(name, {})))
            for name in (BASE, CONTROL, HEAD)
        }
        return compare_live(request, *sides, workers)


def test_each_member_is_converted_once_into_a_folder_of_its_own() -> None:
    """A made-up worker refuses a folder that exists when it converts, and one that does not when it measures."""
    (workload,) = converted(("onnxruntime", "openvino")).workloads
    assert len(workload.replicates) == 8
    folders = [side.conversion.options["folder"] for side in (workload.base, workload.head) if side.conversion]
    assert len(set(folders)) == 2
    assert not any(Path(str(folder)).exists() for folder in folders)


def test_eager_pytorch_converts_nothing() -> None:
    (workload,) = converted(("eager", "openvino"), base=INVALID, control=INVALID).workloads
    assert workload.base.conversion is None
    assert workload.head.conversion


def test_a_head_that_computes_something_else_is_an_error_of_the_head() -> None:
    with pytest.raises(HeadError, match=r"^head: the output of text differs$"):
        converted(("eager", "openvino"), head=INVALID)


@pytest.mark.parametrize("member", [BASE, CONTROL])
def test_a_base_that_computes_something_else_is_no_regression(member: str) -> None:
    with pytest.raises(WorkerError, match=f"^{member}: the output of text differs$") as raised:
        converted(("openvino", "eager"), **{member: INVALID})
    assert not isinstance(raised.value, HeadError)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_the_threads_of_a_runtime_sleep_while_its_process_waits(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    settings = {"device": "cpu", "threads": 2, "backend": backend}
    workload = {"model": str(write_tiny(tmp_path)), "settings": settings, "folder": str(tmp_path / backend)}
    with Worker(2) as worker:
        conversion = convert_member(Member(name=HEAD, worker=worker, workload=workload))
        worker.send({"action": "serve_blocks", "workload": workload, "warm_up_seconds": 0.1})
        pid = worker.receive(SILENCE_SECONDS)["ready"]["pid"]
        worker.send({"members": [pid]})
        worker.send({"discarded": 0, "end_to_end": 20, "by_stage": 1})
        samples = worker.receive(SILENCE_SECONDS)
        before = cpu_seconds(pid)
        time.sleep(WAITING_SECONDS)
        assert cpu_seconds(pid) - before < AWAKE_SHARE * WAITING_SECONDS
    assert conversion
    assert 2 in conversion.options.values()
    assert len(samples["latency_ms"]) == 20
    assert {"text", "visual.patch", "interaction"} < set(samples["latency_ms_by_stage"])


def cpu_seconds(pid: int) -> float:
    """Of all threads of a process."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
