"""`vlbench run` of classes of transformers, small, as files of a user's own."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
import torch

from tests.command_line import vlbench
from tests.helpers import write_tiny
from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.runner.cells import Cell
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Restart
from vlbench.runner.worker_client import Worker
from vlbench.runner.workload import prepare_batch
from vlbench.specs.catalog import catalog

MEASURED = ("hf-vilt-b32", "hf-lxmert-vqa", "hf-clip-vit-b32", "hf-siglip-b16", "hf-blip-vqa", "hf-bridgetower-base")


def cell_of(name: str, **settings: object) -> Cell:
    machine = describe_machine(threads=1, gpu=None)
    (cell,) = expand([catalog()[name].tiny()], read_example(None, None), RunSettings(threads=1, **settings), machine)
    return cell


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    folder = tmp_path_factory.mktemp("huggingface")
    models = ",".join(str(write_tiny(folder, name)) for name in MEASURED)
    settings = ("--budget", 0.5, "--threads", 1, "--device", "cpu", "--restarts", 2, "--batch", 2)
    process = vlbench("run", "--models", models, *settings, "--out", folder / "out")
    assert process.returncode == 0, process.stderr
    found = [json.loads(line) for line in (folder / "out" / "cells.jsonl").read_text().splitlines()]
    return {line["model"].removesuffix("-tiny"): line for line in found}


@pytest.mark.parametrize("name", MEASURED)
def test_a_class_of_transformers_is_measured_stage_by_stage(name: str, lines: dict[str, dict]) -> None:
    line, spec = lines[name], catalog()[name].tiny()
    assert (line["status"], line["error"], line["batch"], line["family"]) == ("ok", None, 2, spec.family)
    assert line["spec_hash"] == spec.hash()
    assert set(line["latency_ms_by_stage"]) == {"total", "rest", *spec.stages}
    assert set(line["macs_by_stage"]) == set(line["params_by_stage"]) == set(spec.stages)
    stages = {stage: summary["median"] for stage, summary in line["latency_ms_by_stage"].items()}
    assert all(stages[stage] > 0 for stage in spec.stages)
    assert stages["rest"] < 0.6 * stages["total"]
    assert line["params_total"] > 0
    assert line["macs"] > 0
    assert line["peak_memory_bytes"] > 4 * line["params_total"]


@pytest.mark.slow
def test_a_class_is_imported_once_before_processes_are_forked_and_starts_no_thread() -> None:
    with Worker(1) as worker:
        for _ in range(2):
            (message,) = worker.run_job({"action": "restart", "cell": cell_of("hf-vilt-b32").model_dump(mode="json")})
            assert Restart.model_validate(message["restart"]).latency_ms
            assert worker.process
            template = psutil.Process(worker.process.pid)
            assert template.num_threads() == 1, "a process with threads cannot be forked safely"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_of_regions_are_the_same_each_time_and_in_the_precision(precision: str) -> None:
    cell = cell_of("hf-lxmert-vqa", precision=precision, batch=3)
    (text, images), (_, again) = prepare_batch(cell), prepare_batch(cell)
    assert text is not None
    assert images.features.shape == (3, 5, 48)
    assert images.features.dtype == {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    assert torch.equal(images.features, again.features)
    assert torch.equal(images.features[0], images.features[2])
    corners = images.boxes.reshape(3, 5, 2, 2)
    assert (corners[:, :, 0] <= corners[:, :, 1]).all()
    assert (corners >= 0).all()
    assert (corners <= torch.tensor([192, 128])).all()


@pytest.mark.slow
def test_what_only_the_measured_pass_shows_leaves_the_other_models_their_turn(tmp_path: Path) -> None:
    """A mask is given only where a text is padded, which the text that is counted is not."""
    inputs = {"mask": "image_embeds", "pixels": "pixel_values"}
    bad = write_tiny(tmp_path, "hf-vilt-b32", name="bad", inputs=inputs)
    models = f"{bad},{write_tiny(tmp_path, 'hf-lxmert-vqa')}"
    options = ("--text", "a cat", "--restarts", 1, "--budget", 0.5, "--threads", 1, "--device", "cpu")
    process = vlbench("run", "--models", models, *options, "--out", tmp_path / "out")
    assert process.returncode == 1, process.stderr
    assert "Traceback" not in process.stderr
    found = {line["model"]: line for line in map(json.loads, (tmp_path / "out" / "cells.jsonl").open())}
    assert [found[name]["status"] for name in ("bad", "hf-lxmert-vqa-tiny")] == ["failed", "ok"]
    assert "bad: ViltForImageAndTextRetrieval.forward fails: " in found["bad"]["error"]


REFUSED = [
    ({"output": "nosuch"}, "output: ViltForImageAndTextRetrieval gives no tensor 'nosuch'; known: logits"),
    ({"transformers": "ViltForQuestionAnswerin"}, "did you mean ViltForQuestionAnswering?"),
    ({"weights": "/no/such/folder"}, "weights /no/such/folder: no such file or folder"),
]


@pytest.mark.parametrize(("changes", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_what_cannot_be_built_is_one_line_and_exit_code_2(tmp_path: Path, changes: dict, says: str) -> None:
    path = write_tiny(tmp_path, "hf-vilt-b32", **changes)
    process = vlbench("run", "--models", path, "--budget", 0.5, "--threads", 1, "--out", tmp_path / "out")
    assert process.returncode == 2, process.stderr
    (line,) = [line for line in process.stderr.splitlines() if line.startswith("vlbench: ")]
    assert says in line
    assert "Traceback" not in process.stderr
