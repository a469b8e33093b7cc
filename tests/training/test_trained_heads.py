"""Every trained head is saved and used; a head that was not trained answers nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from tests.command_line import kept_workers
from vlbench.architectures.build import build
from vlbench.cli.main import app
from vlbench.errors import InputError
from vlbench.specs.catalog import read_spec
from vlbench.tasks.registry import TASKS
from vlbench.tasks.shapes import items
from vlbench.tasks.shapes.language import ANSWERS
from vlbench.training.checkpoint import CHECKPOINT
from vlbench.training.trained_model import MODEL, WEIGHTS, is_saved, tasks_of

pytestmark = pytest.mark.usefixtures("one_thread")
NAME = "vilt-b32-tiny"


@pytest.fixture(autouse=True)
def _small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "SCENES", {"test": 3, "val": 2, "train": 20})
    monkeypatch.setattr(items, "SEARCHED", {"test": 3, "val": 2, "train": 2})


def train(folder: Path, objectives: str, *, steps: int = 4):
    options = f"--models vilt --objectives {objectives} --budget {steps}steps --batch 4 --workers 0 --threads 1"
    return run(f"train {options} --no-latency --out {folder}")


def run(line: str):
    with kept_workers():
        return CliRunner().invoke(app, line.split())


def tensors_of_checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / NAME / CHECKPOINT, weights_only=True)["module"]


@pytest.mark.parametrize(
    ("objectives", "evaluated", "kinds"),
    [
        ("vqa", "shapes", {"answers": "vqa_linear"}),
        pytest.param("itm", "shapes-retrieval", {"ranking": "itm"}, marks=pytest.mark.slow),
        ("mlm,itm", "shapes-retrieval", {"ranking": "itm"}),
        ("vqa,itm", "shapes", {"answers": "vqa_linear", "ranking": "itm"}),
        ("mlm,mpp", None, {}),
    ],
)
def test_the_trained_heads_are_saved_and_evaluated(
    tmp_path: Path, objectives: str, evaluated: str | None, kinds: dict[str, str]
) -> None:
    done = train(tmp_path, objectives)
    assert done.exit_code == 0, done.output
    spec = read_spec(tmp_path / NAME / MODEL)
    assert {kind: head.kind for kind, head in spec.heads.declared().items()} == kinds
    lines = tmp_path / "evaluations.jsonl"
    tasks = [json.loads(line)["accuracy"]["task"] for line in lines.read_text().splitlines()] if lines.exists() else []
    assert tasks == ([evaluated] if evaluated else [])
    if not kinds:
        assert f"{NAME}: no head for a task was trained, so it has no accuracy" in done.stderr

    trained = tensors_of_checkpoint(tmp_path)
    for kind, prefix in {"answers": "model.head.", "ranking": "heads.itm."}.items():
        if kind not in kinds:
            with pytest.raises(ValueError, match=f"{NAME} has no head for {kind}"):
                spec.for_task(kind)
            continue
        head = {name: tensor for name, tensor in build(spec.for_task(kind)).state_dict().items() if "head." in name}
        assert head
        assert all(torch.equal(tensor, trained[name.replace("head.", prefix)]) for name, tensor in head.items())
    saved = load_file(tmp_path / NAME / WEIGHTS)
    for name in set(objectives.split(",")) - {"vqa", "itm"}:
        kept = {key: tensor for key, tensor in trained.items() if key.startswith(f"heads.{name}.") and key in saved}
        assert kept
        assert all(torch.equal(saved[key], tensor) for key, tensor in kept.items())


def test_the_saved_folder_loads_in_eval_run_and_explain_and_refuses_other_tasks(tmp_path: Path) -> None:
    assert train(tmp_path / "out", "vqa,itm").exit_code == 0
    folder = tmp_path / "out" / NAME
    moved = tmp_path / "moved"
    folder.rename(moved)
    model = f"--models {moved / MODEL} --weights {NAME}={moved}"
    for task in ("shapes", "shapes-retrieval"):
        done = run(f"eval {model} --task {task} --no-latency --threads 1 --format json --out {tmp_path / task}")
        assert done.exit_code == 0, done.output
        (evaluation,) = json.loads(done.stdout)
        assert evaluation["missing_keys"] == []
    refused = run(f"eval {model} --task shapes-pairs --no-latency --out {tmp_path / 'pairs'}")
    assert isinstance(refused.exception, InputError)
    assert str(refused.exception).startswith(f"--task shapes-pairs: {NAME} has no head for pairs")


@pytest.mark.slow
def test_run_and_explain_read_the_saved_folder(tmp_path: Path) -> None:
    for number, objectives in enumerate(("vqa,itm", "itm", "mlm")):
        out = tmp_path / str(number)
        assert train(out, objectives).exit_code == 0
        model = f"--models {out / NAME / MODEL} --weights {NAME}={out / NAME}"
        done = run(f"run {model} --budget 0.1 --restarts 1 --threads 1 --out {out / 'run'}")
        assert done.exit_code == 0, done.output
        Image.new("RGB", (128, 128), "red").save(out / "red.png")
        model = model.replace("--models", "--model")
        done = run(f"explain {model} --image {out / 'red.png'} --text red --threads 1 --out {out / 'explain'}")
        assert done.exit_code == 0, done.output


def test_a_head_whose_objective_no_step_drew_is_not_taken_for_trained(tmp_path: Path) -> None:
    done = train(tmp_path, "mlm:1000000,vqa", steps=1)
    assert done.exit_code == 0, done.output
    spec = read_spec(tmp_path / NAME / MODEL)
    assert tasks_of(spec, TASKS["shapes"]) == []


def test_a_truncated_model_file_is_written_again_from_the_checkpoint(tmp_path: Path) -> None:
    """Cut before its last key, it is still a model file: one with random weights."""
    assert train(tmp_path, "vqa", steps=1).exit_code == 0
    path = tmp_path / NAME / MODEL
    whole = path.read_text()
    path.write_text(whole[: whole.index("weights:")])
    assert read_spec(path).weights == "random"
    again = train(tmp_path, "vqa", steps=1)
    assert again.exit_code == 0, again.output
    assert path.read_text() == whole
    assert [line for line in again.stderr.splitlines() if "is damaged" in line] == [
        f"{NAME}: {tmp_path / NAME}: a file of the model is damaged; all are written again from checkpoint.pt"
    ]


def test_a_training_with_a_damaged_file_counts_as_unfinished(tmp_path: Path) -> None:
    assert train(tmp_path, "vqa", steps=1).exit_code == 0
    folder = tmp_path / NAME
    spec = read_spec(folder / MODEL)
    assert is_saved(spec, ANSWERS, folder)
    for name in (MODEL, "config.json", WEIGHTS, "vocab.txt"):
        path = folder / name
        whole = path.read_bytes()
        for content in (whole[: 2 * len(whole) // 3], b"", b"\xff\xfe\0", None):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
                assert not is_saved(spec, ANSWERS, folder), (name, content)
            else:
                assert not is_saved(spec, ANSWERS, folder), name
                path.mkdir()
                assert not is_saved(spec, ANSWERS, folder), name
                path.rmdir()
                path.touch()
        path.write_bytes(whole)
    assert is_saved(spec, ANSWERS, folder)
