"""`vlbench eval` on the command line: accuracy with blind baselines, files, resuming, and bad input."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.command_line import kept_workers
from tests.helpers import write_tiny
from tests.tasks import data_sets
from vlbench.cli.main import app
from vlbench.errors import InputError
from vlbench.specs.catalog import catalog

QUICK = ("--device", "cpu", "--threads", "1", "--batch", "4")


def evaluate(*arguments: object, latency: bool = False) -> str:
    flags = () if latency else ("--no-latency",)
    with kept_workers():
        found = CliRunner().invoke(app, ["eval", *map(str, arguments), *QUICK, *flags])
    if found.exception and not isinstance(found.exception, SystemExit):
        raise found.exception
    assert found.exit_code == 0, found.output
    return found.stdout


def as_json(*arguments: object, latency: bool = False) -> dict:
    (found,) = json.loads(evaluate(*arguments, "--format", "json", latency=latency))
    return found


def score(*arguments: object) -> dict:
    found = CliRunner().invoke(app, ["score", *map(str, arguments), "--format", "json"], catch_exceptions=False)
    return json.loads(found.stdout)


MADE: dict[str, Callable[[Path], Path]] = {
    "easy-vqa": data_sets.easy_vqa,
    "nlvr": data_sets.nlvr,
    "nlvr2": data_sets.nlvr2,
    "flickr30k": data_sets.karpathy,
}


@pytest.mark.parametrize("task", MADE)
def test_score_confirms_what_eval_reports(tmp_path: Path, task: str) -> None:
    data, out = MADE[task](tmp_path / "data"), tmp_path / "out"
    found = as_json("--models", write_tiny(tmp_path), "--task", task, "--data", data, "--out", out)
    accuracy = found["accuracy"]
    scored = score("--task", task, "--data", data, "--predictions", out / found["predictions"])
    assert scored["metrics"] == accuracy["metrics"]
    assert scored["baselines"] == accuracy["baselines"]
    assert (accuracy["task"], accuracy["value"]) == (task, accuracy["metrics"][0]["value"])
    assert accuracy["majority"] == accuracy["baselines"][0]["value"]
    assert 0 <= accuracy["shuffled_images"] <= 1
    assert found["weights"] == "random"
    assert not list(out.glob("*.unfinished*"))


def test_vqav2_with_named_answers(tmp_path: Path) -> None:
    data = data_sets.vqav2(tmp_path / "data")
    (tmp_path / "answers.txt").write_text("yes\nno\nmaybe\n")
    found = as_json(
        *("--models", write_tiny(tmp_path), "--task", "vqav2", "--data", data, "--answers", tmp_path / "answers.txt"),
        *("--out", tmp_path / "out"),
    )
    predicted = json.loads((tmp_path / "out" / found["predictions"]).read_text())
    assert {one["answer"] for one in predicted} <= {"yes", "no", "maybe"}
    assert [one["question_id"] for one in predicted] == list(range(100, 112))
    assert found["passes"] == 24  # each question with its image and with another


def test_a_split_without_public_answers_is_predicted(tmp_path: Path) -> None:
    data = data_sets.vqav2(tmp_path / "data", split="test-dev2015", annotations=False)
    for image in range(1, 7):
        data_sets.picture(data / "test2015" / f"COCO_test2015_{image:012}.jpg")
    (tmp_path / "answers.txt").write_text("yes\nno\n")
    found = CliRunner().invoke(
        app,
        [
            *("eval", "--models", str(write_tiny(tmp_path)), "--task", "vqav2"),
            *("--split", "test-dev", "--data", str(data)),
            *("--answers", str(tmp_path / "answers.txt"), "--out", str(tmp_path / "out"), "--no-latency", *QUICK),
        ],
        catch_exceptions=False,
    )
    assert found.exit_code == 0
    (written,) = (tmp_path / "out").glob("*.json")
    assert len(json.loads(written.read_text())) == 12
    assert "answers of this split are not public; upload it" in found.stderr
    assert not list((tmp_path / "out").glob("*.unfinished*"))


def test_an_answer_classifier_decides_statements(tmp_path: Path) -> None:
    content = yaml.safe_load(write_tiny(tmp_path).read_text())
    content["head"] = content["heads"]["answers"]
    (tmp_path / "vqa.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "answers.txt").write_text("red\nno\nyes\n")
    command = ("--models", tmp_path / "vqa.yaml", "--task", "nlvr", "--data", data_sets.nlvr(tmp_path / "data"))
    with pytest.raises(InputError, match=r"no head for statement"):
        evaluate(*command, "--out", tmp_path / "out")
    found = as_json(*command, "--answers", tmp_path / "answers.txt", "--out", tmp_path / "out")
    assert found["items"] == 18


def test_finished_evaluations_are_kept(tmp_path: Path) -> None:
    data, out = data_sets.nlvr(tmp_path / "data"), tmp_path / "out"
    command = ("--models", write_tiny(tmp_path), "--task", "nlvr", "--data", data, "--out", out)
    first = as_json(*command)
    assert as_json(*command) == first  # its seconds, too
    assert len((out / "evaluations.jsonl").read_text().splitlines()) == 1
    assert as_json(*command, "--limit", 6)["evaluation_hash"] != first["evaluation_hash"]


def test_a_broken_image_loses_no_prediction(tmp_path: Path) -> None:
    data, out = data_sets.nlvr(tmp_path / "data", statements=4), tmp_path / "out"
    last = data / "dev" / "images" / "4" / "dev-3-0-5.png"
    whole = last.read_bytes()
    last.write_bytes(whole[: len(whole) // 2])
    command = ("--models", write_tiny(tmp_path), "--task", "nlvr", "--data", data, "--no-control")
    with pytest.raises(InputError, match=r"dev-3-0-5.png: .*(damaged|cut off)") as error:
        evaluate(*command, "--out", out)
    assert "\n" not in str(error.value)
    (journal,) = out.glob("*.unfinished.jsonl")
    assert (
        sum(len(json.loads(line)) for line in journal.read_text().splitlines()) == 20
    )  # of six batches, the last has the broken image
    last.write_bytes(whole)
    found = as_json(*command, "--out", out)
    assert found["accuracy"]["n"] == 24
    assert not list(out.glob("*.unfinished*"))
    fresh = as_json(*command, "--out", tmp_path / "fresh")
    assert (tmp_path / "fresh" / fresh["predictions"]).read_text() == (out / found["predictions"]).read_text()


def test_kill_and_resume(tmp_path: Path) -> None:
    data, out = data_sets.nlvr(tmp_path / "data", statements=40), tmp_path / "out"
    command = ("--models", write_tiny(tmp_path), "--task", "nlvr", "--data", data)
    arguments = map(str, ("eval", *command, "--out", out, "--no-latency", *QUICK))
    process = subprocess.Popen([sys.executable, "-m", "vlbench", *arguments], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in out.glob("*.unfinished.jsonl")):
        assert time.monotonic() < deadline, "it wrote no answer"
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.01)
    process.kill()
    process.wait()
    found = as_json(*command, "--out", out, "--resume")
    assert found["accuracy"]["n"] == 240
    alone = as_json(*command, "--out", tmp_path / "alone")
    assert (tmp_path / "alone" / alone["predictions"]).read_text() == (out / found["predictions"]).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["nlvr2", "flickr30k"])
def test_two_processes_give_the_predictions_of_one(tmp_path: Path, task: str) -> None:
    data = MADE[task](tmp_path / "data")
    command = ("--models", write_tiny(tmp_path), "--task", task, "--data", data)
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    evaluate(*command, "--out", alone)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = map(str, (*torchrun, "-m", "vlbench", "eval", *command, "--out", shared, "--no-latency", *QUICK))
    done = subprocess.run(list(words), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    lines = [json.loads((out / "evaluations.jsonl").read_text()) for out in (alone, shared)]
    assert [line["processes"] for line in lines] == [1, 2]
    assert lines[0]["accuracy"] == lines[1]["accuracy"]
    assert lines[0]["predictions"] == lines[1]["predictions"]
    first, second = (out / lines[0]["predictions"] for out in (alone, shared))
    if task == "flickr30k":
        assert np.array_equal(np.load(first), np.load(second))
    else:
        assert first.read_text() == second.read_text()


def test_accuracy_next_to_latency(tmp_path: Path) -> None:
    data, out = data_sets.easy_vqa(tmp_path / "data"), tmp_path / "out"
    command = ("--models", write_tiny(tmp_path), "--task", "easy-vqa", "--data", data, "--out", out, "--budget", 0.5)
    found = as_json(*command, latency=True)
    assert found["cell"]["status"] == "ok"
    assert found["cell"]["latency_ms"]["median"] > 0
    assert found["cell"]["spec_hash"] == found["spec_hash"]
    table = evaluate(*command, latency=True)
    assert "latency ms" in table
    assert "text only" in table
    shown = CliRunner().invoke(app, ["show", str(out), "--format", "json"], catch_exceptions=False)
    (cell,) = json.loads(shown.stdout)
    assert cell["accuracy"] == found["accuracy"]
    assert "easy-vqa test" in CliRunner().invoke(app, ["show", str(out)]).stdout


@pytest.mark.parametrize("output", ["table", "markdown", "latex", "csv"])
def test_formats_of_the_table(tmp_path: Path, output: str) -> None:
    data = data_sets.nlvr2(tmp_path / "data")
    table = evaluate(
        *("--models", write_tiny(tmp_path), "--task", "nlvr2", "--data", data),
        *("--out", tmp_path / "out", "--format", output),
    )
    assert "vilt-b32-tiny" in table
    assert "consistency" in table


@pytest.mark.parametrize(
    ("task", "arguments", "why"),
    [
        ("nlvr", ("--models", "vit-b32"), "has no head for statement"),
        ("easy-vqa", ("--models", "clip-vit-b32"), "has no head for answers"),
        ("vqav2", (), "nothing says which answer each class of vilt-b32-tiny is; --answers FILE"),
        ("nlvr", ("--weights", "vilt-b32-tiny=nowhere.pt"), "nowhere.pt: no such file or folder"),
        ("nlvr", ("--features", "nowhere.tsv"), "nowhere.tsv: no such file"),
        ("nlvr", ("--split", "dev2"), "--split dev2: nlvr has dev, test, hidden, train"),
        ("nlvr", ("--data", "nowhere"), "--data nowhere: no such folder"),
        ("nlvrr", (), "did you mean nlvr"),
        ("nlvr", ("--vocabulary", "nowhere.txt"), "--vocabulary nowhere.txt: no such file"),
        (
            "nlvr",
            ("--answers", "vlit=nowhere.txt"),
            "--answers vlit=nowhere.txt: .vlit. is not one of the selected models",
        ),
        ("flickr30k", ("--split", "train"), "no image of the split 'train'"),
    ],
)
def test_bad_input_is_reported_before_anything_runs(
    tmp_path: Path, task: str, arguments: tuple[str, ...], why: str
) -> None:
    data = (MADE | {"vqav2": data_sets.vqav2}).get(task, data_sets.nlvr)(tmp_path / "data")
    options = {"--models": write_tiny(tmp_path), "--task": task, "--data": data, "--out": tmp_path / "out"}
    options |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    with pytest.raises(InputError, match=why) as error:
        evaluate(*(part for pair in options.items() for part in pair))
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("out/*.jsonl")) or not (tmp_path / "out" / "evaluations.jsonl").read_text()


def test_a_missing_image_is_reported_before_anything_runs(tmp_path: Path) -> None:
    data = data_sets.nlvr(tmp_path / "data")
    (data / "dev" / "images" / "4" / "dev-2-0-5.png").unlink()
    with pytest.raises(InputError, match=r"dev-2-0-5.png: no such image"):
        evaluate("--models", write_tiny(tmp_path), "--task", "nlvr", "--data", data, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    command = ("--models", write_tiny(tmp_path), "--task", "nlvr", "--data", data, "--limit", 12)
    evaluate(*command, "--out", tmp_path / "out")


def asked_of(folder: Path, images: list[str]) -> Path:
    """VQAv2's files about images of COCO's training split; the images do not exist."""
    folder.mkdir()
    asked = [
        {"image_id": int(name[-12:]), "question": "Is there a dog?", "question_id": number}
        for number, name in enumerate(images)
    ]
    answered = [
        one | {"answer_type": "yes/no", "answers": [{"answer": "yes", "answer_id": place} for place in range(1, 11)]}
        for one in asked
    ]
    data_sets.write_json(folder / "v2_OpenEnded_mscoco_train2014_questions.json", {"questions": asked})
    data_sets.write_json(folder / "v2_mscoco_train2014_annotations.json", {"annotations": answered})
    return folder


@pytest.mark.parametrize("name", ["uniter-base", "hf-lxmert-vqa"])
def test_real_regions_replace_images(reference_data: Path, tmp_path: Path, name: str) -> None:
    (regions,) = (reference_data / "region_features").glob("*.tsv")
    images = [line.split("\t", 1)[0] for line in regions.read_text().splitlines()]
    (tmp_path / "answers.txt").write_text("yes\nno\n")
    model = catalog()[name].tiny()
    if name.startswith("hf-"):
        model = catalog()[name].tiny().model_copy(update={"features": catalog()[name].features})
        content = model.model_dump(mode="json", exclude_none=True)
        content["config"]["visual_feat_dim"] = 2048
    else:
        content = model.model_dump(mode="json", exclude_none=True)
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(content))
    command = ("--models", tmp_path / "model.yaml", "--task", "vqav2", "--split", "train")
    command += ("--answers", tmp_path / "answers.txt")
    found = as_json(
        *command, "--data", asked_of(tmp_path / "data", images), "--features", regions, "--out", tmp_path / "out"
    )
    assert (found["region_source"], found["items"]) == ("precomputed", len(images))
    data = asked_of(tmp_path / "more", [*images, "COCO_train2014_000000000001"])
    with pytest.raises(InputError, match=r"no regions of COCO_train2014_000000000001; extract them, or"):
        evaluate(*command, "--data", data, "--features", regions, "--out", tmp_path / "other")
