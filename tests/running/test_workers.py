"""What a worker refuses to call a measurement, and what becomes of a worker that misbehaves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vlbench.architectures.model import VLModel, build
from vlbench.architectures.tokens import Images, Text
from vlbench.catalog import catalog
from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.measure.machine import describe_machine
from vlbench.running import runner
from vlbench.running.cells import Cell
from vlbench.running.runner import Settings, expand, run_cells
from vlbench.running.worker import prepare_batch, why_invalid

MACHINE = describe_machine(threads=1, gpu=None)


def tiny_cell(name: str = "uniter-base", **settings: object) -> Cell:
    (cell,) = expand([catalog()[name].tiny()], read_example(None, None), Settings(threads=1, **settings), MACHINE)
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
        ("import time; time.sleep(60)", "timeout: the worker said nothing for 2 s"),
        ("import os; os.close(0); import time; time.sleep(.3)", "without a result"),
        ('print(\'{"failed": "out of memory: x"}\')', "out of memory: x"),
    ],
    ids=["silent", "exit 3", "segfault", "garbage", "hangs", "closes its input", "says so"],
)
def test_a_worker_that_misbehaves_is_a_failed_cell_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, reason: str
) -> None:
    monkeypatch.setattr(runner, "WORKER", [sys.executable, "-c", script])
    monkeypatch.setattr(runner, "SILENCE_SECONDS", 1.5)
    cell = tiny_cell(budget_seconds=0.5)
    results = list(run_cells([cell, cell], MACHINE))
    assert [result.status for result in results] == ["failed", "failed"]
    assert all(reason in (result.error or "") for result in results)
    assert all(result.cell_hash == cell.hash() for result in results)


def test_cells_are_told_apart_by_what_decides_their_result(tmp_path: Path) -> None:
    cell = tiny_cell()
    assert cell.hash() == tiny_cell(budget_seconds=1).hash()
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
    assert expand(specs, example, Settings(threads=1), MACHINE)[0].device == "cpu"
    assert expand(specs, example, Settings(threads=1), with_gpu)[0].device == "cuda"
    assert expand(specs, example, Settings(threads=1, device="cpu"), with_gpu)[0].device == "cpu"
    with pytest.raises(InputError, match="no GPU"):
        expand(specs, example, Settings(threads=1, device="cuda"), MACHINE)
