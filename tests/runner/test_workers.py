"""What a worker refuses to call a measurement, and what becomes of a worker that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
import torch

from tests.runner.conftest import ended
from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, Text
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError, WorkerError
from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.runner import worker_client
from vlbench.runner.cells import Cell
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Restart, Result
from vlbench.runner.scheduler import measure_rounds
from vlbench.runner.store import Store
from vlbench.runner.worker import kinds_of
from vlbench.runner.worker_client import Worker, probe_machine
from vlbench.runner.workload import prepare_batch, why_invalid
from vlbench.specs.catalog import catalog

MACHINE = describe_machine(threads=1, gpu=None)
KINDS = ("vilt-b32", "uniter-base")
BERT = ("bert_embeddings", "single_stream", "itm")
D2, ENGINE = {"detector": "detectron2"}, {"engine": "detectron2"}


def tiny_cell(name: str = "uniter-base", **settings: object) -> Cell:
    (cell,) = expand([catalog()[name].tiny()], read_example(None, None), RunSettings(threads=1, **settings), MACHINE)
    return cell


def pass_once(model: VLModel, cell: Cell) -> tuple[Text | None, Images, torch.Tensor]:
    text, images = prepare_batch(cell)
    with torch.inference_mode():
        return text, images, model.eval()(text, images)


def test_a_detector_that_carries_its_load_is_valid() -> None:
    cell = tiny_cell()
    model = build(cell.spec)
    _, images, output = pass_once(model, cell)
    assert why_invalid(model, images, output) is None


def test_a_detector_that_explodes_is_invalid_though_its_boxes_are_injected() -> None:
    cell = tiny_cell()
    model = build(cell.spec)
    with torch.no_grad():
        model.visual.backbone.stages[0][0].bn3.weight.fill_(float("inf"))
    _, images, output = pass_once(model, cell)
    assert why_invalid(model, images, output) == "the output is not finite"
    assert "rpn_candidates 0 of 57" in str(why_invalid(model, images, torch.zeros(1)))


def test_a_detector_without_its_proposals_is_invalid() -> None:
    cell = tiny_cell()
    model = build(cell.spec)
    model.visual.rpn.inject_load = False
    model.visual.rpn.nms_iou = 0.0
    with torch.no_grad():
        model.visual.rpn.deltas.bias.fill_(3.0)  # every box covers the whole image
    _, images, output = pass_once(model, cell)
    assert why_invalid(model, images, output) == (
        "the declared load was not met: proposals 1 of 12, nms_pairs 9 of 108, regions 1 of 5"
    )


def test_the_batch_repeats_the_example_and_masks_the_padding() -> None:
    text, images = prepare_batch(tiny_cell("vilt-b32", batch=3))
    assert text is not None
    assert text.mask is not None
    assert images.pixels.shape == (3, 3, 128, 192)
    assert torch.equal(images.pixels[0], images.pixels[2])
    assert text.ids.shape == (3, 20)
    assert text.mask.sum(dim=1).tolist() == [17, 17, 17]
    assert text.ids[0, 17:].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit(0)", "ended with exit status 0 without a result"),
        ("import sys; sys.stderr.write('boom\\n'); sys.exit(3)", "exit status 3 without a result: boom"),
        ("import os; os.kill(os.getpid(), 11)", "killed by signal 11"),
        ("print('hello')", "not JSON: 'hello'"),
        ("print(3)", "not JSON: '3'"),
        ("import time; time.sleep(60)", "timeout: the worker said nothing for 2 s"),
        ("import os; os.close(0); import time; time.sleep(.3)", "without a result"),
        ('print(\'{"failed": "out of memory: x"}\\n{"ended": 0}\')', "out of memory: x"),
        ("print('{\"ended\": -9}')", "killed by signal 9 without a result"),
        ("print('{\"ended\": 0}')", "ended with exit status 0 without a result"),
    ],
    ids=["silent", "exit 3", "segfault", "garbage", "a number", "hangs", "closed", "says so", "killed", "says nothing"],
)
def test_a_worker_that_misbehaves_is_a_failed_cell_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str
) -> None:
    monkeypatch.setattr(worker_client, "WORKER", [sys.executable, "-c", script])
    monkeypatch.setattr("vlbench.runner.scheduler.SILENCE_SECONDS", 1.5)
    monkeypatch.setattr(worker_client, "SILENCE_SECONDS", 2)
    cells = [tiny_cell(budget_seconds=0.5), tiny_cell("vilt-b32", budget_seconds=0.5)]
    with Worker(1) as worker, closing(Store(tmp_path, Result)) as store:
        results = list(measure_rounds(cells, store, MACHINE, worker))
    assert [result.status for result in results] == ["failed", "failed"]
    assert all(reason in (result.error or "") for result in results), results[0].error
    assert [result.cell_hash for result in results] == [cell.hash() for cell in cells]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker(2) as running:
        yield running


def restarted(worker: Worker, cell: Cell) -> Restart:
    (message,) = worker.run_job({"action": "restart", "cell": cell.model_dump(mode="json")})
    return Restart.model_validate(message["restart"])


def test_every_job_has_a_process_of_its_own_which_leaves_nothing_behind(worker: Worker) -> None:
    cell = tiny_cell("vilt-b32", budget_seconds=0.2)
    first = restarted(worker, cell)
    assert worker.process
    template = psutil.Process(worker.process.pid)
    before = template.memory_info().rss
    second = restarted(worker, cell.model_copy(update={"threads": 2}))
    assert template.children() == []
    assert template.num_threads() == 1, "a process with threads cannot be forked safely"
    assert abs(template.memory_info().rss - before) < 2**20
    assert first.peak_memory_bytes
    assert second.peak_memory_bytes == pytest.approx(first.peak_memory_bytes, rel=0.25)


@pytest.mark.slow
def test_torchvision_is_imported_once_and_only_for_models_that_see_with_a_resnet() -> None:
    with Worker(1) as running:
        restarted(running, tiny_cell("vilt-b32", budget_seconds=0.2))
        assert running.process
        template = psutil.Process(running.process.pid)
        assert not has_torchvision(template)
        restarted(running, tiny_cell("pixelbert-r50", budget_seconds=0.2))
        assert has_torchvision(template), "every process forked from it would import torchvision again"
        assert template.num_threads() == 1


def has_torchvision(process: psutil.Process) -> bool:
    return any("torchvision" in mapped.path for mapped in process.memory_maps())


@pytest.mark.parametrize(
    ("job", "kinds"),
    [
        ({"action": "probe", "threads": 1}, set()),
        ({"action": "suppress"}, {"region"}),
        ({"action": "restart", "cell": {"spec": {"visual": {"kind": "grid"}}}}, {"grid"}),
        (
            {"action": "count", "jobs": [{"spec": catalog()[name].model_dump()} for name in KINDS]},
            {"patch", "region", *BERT},
        ),
        ({"action": "describe", "workload": {"model": "uniter"}}, {"region", *BERT}),
        ({"action": "describe", "workload": {"model": "hf-clip"}}, {"transformers", "transformers:CLIPModel"}),
        (
            {"action": "serve_blocks", "workload": {"model": "clip-rn50"}},
            {"text_transformer", "clip_resnet", "dot_product"},
        ),
        ({"action": "serve_blocks", "workload": {"model": "uniter", "settings": D2}}, {"region", "detectron2", *BERT}),
        ({"action": "restart", "cell": {"spec": {"visual": {"kind": "region", **ENGINE}}}}, {"region", "detectron2"}),
        ({"action": "serve_blocks", "workload": {"callable": "package:function"}}, set()),
        ({"action": "serve_blocks", "workload": {"model": "no-such-model"}}, set()),
    ],
)
def test_what_a_job_builds_is_known_before_its_process_is_forked(job: dict, kinds: set[str]) -> None:
    assert kinds_of(job) == kinds


def test_a_process_that_dies_does_not_end_its_worker(worker: Worker) -> None:
    cell = tiny_cell("vilt-b32", budget_seconds=0.2)
    restarted(worker, cell)
    assert worker.process
    pid = worker.process.pid
    worker.send({"action": "restart", "cell": tiny_cell("uniter-base", budget_seconds=600).model_dump(mode="json")})
    child = wait_for_child(pid)
    os.kill(child, signal.SIGSEGV)
    assert worker.receive(30) == {"ended": -signal.SIGSEGV}
    assert restarted(worker, cell).latency_ms
    assert worker.process.pid == pid


def test_an_action_that_there_is_not_ends_with_its_traceback_s_last_line(worker: Worker) -> None:
    with pytest.raises(WorkerError, match=r"exit status 1 without a result: KeyError: 'dance'"):
        list(worker.run_job({"action": "dance"}))


@pytest.mark.slow
def test_a_worker_and_its_process_end_with_the_parent(tmp_path: Path) -> None:
    """kill -9 of the parent, which has no chance to end them."""
    job = {"action": "restart", "cell": tiny_cell(budget_seconds=600).model_dump(mode="json")}
    script = f"""
import json
from vlbench.runner.worker_client import Worker
worker = Worker(1)
worker.send(json.loads({json.dumps(json.dumps(job))}))
print(worker.process.pid, flush=True)
worker.receive(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    template = int(parent.stdout.readline())
    child = wait_for_child(template)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while not (ended(template) and ended(child)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_child(pid: int) -> int:
    deadline = time.monotonic() + 60
    while not (children := psutil.Process(pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return children[0].pid


def test_a_probe_names_the_machine_and_its_threads(worker: Worker) -> None:
    machine = probe_machine(2, worker)
    assert machine.threads == 2
    assert machine.torch == torch.__version__.partition("+")[0] or machine.torch == torch.__version__


def test_cells_are_told_apart_by_what_decides_their_result(tmp_path: Path) -> None:
    cell = tiny_cell()
    assert cell.hash() == tiny_cell(budget_seconds=1, within=0.5, restarts=3).hash()
    others = [
        tiny_cell(batch=2),
        tiny_cell(precision="bf16"),
        tiny_cell(image_size=(64, 64)),
        tiny_cell(text_tokens=30),
        cell.model_copy(update={"threads": 2}),
        cell.model_copy(update={"text": "another"}),
        cell.model_copy(update={"image_sha256": "another"}),
        tiny_cell("uniter-base-table6"),
    ]
    assert len({cell.hash(), *(other.hash() for other in others)}) == 1 + len(others)


def test_auto_takes_the_gpu_where_there_is_one_and_cuda_needs_it() -> None:
    specs, example = [catalog()["vilt-b32"]], read_example(None, None)
    with_gpu = MACHINE.model_copy(update={"gpu": "some GPU"})
    assert expand(specs, example, RunSettings(threads=1), MACHINE)[0].device == "cpu"
    assert expand(specs, example, RunSettings(threads=1), with_gpu)[0].device == "cuda"
    assert expand(specs, example, RunSettings(threads=1, device="cpu"), with_gpu)[0].device == "cpu"
    with pytest.raises(InputError, match="no GPU"):
        expand(specs, example, RunSettings(threads=1, device="cuda"), MACHINE)
