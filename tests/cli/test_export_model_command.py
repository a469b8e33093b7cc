"""`vlbench export model`: the files compute what eager PyTorch computes, at other sizes as well, without vlbench."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
import torch

from tests.command_line import vlbench
from tests.helpers import others_slow, tiny, write_tiny
from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, Text
from vlbench.errors import InputError, WorkerError
from vlbench.runner import worker_client
from vlbench.runner.deployment import deploy, new_folder
from vlbench.runner.plan import RunSettings

SUFFIXES = {"onnxruntime": (".onnx",), "openvino": (".bin", ".xml")}
ADDED = ("README.md", "example.npz", "run.py")
SETTINGS = RunSettings(device="cpu", threads=1, backend="onnxruntime", scope="model")


def exported(folder: Path, model: str, *options: object, code: int = 0) -> Path:
    """The folder that the command wrote."""
    out = folder / "out"
    done = vlbench("export", "model", write_tiny(folder, model), "-o", out, "--threads", 1, *options)
    assert done.returncode == code, done.stderr
    return out


def run_script(folder: Path) -> subprocess.CompletedProcess[str]:
    """run.py from another folder, where vlbench cannot be imported from."""
    script = [sys.executable, "-I", str(folder / "run.py")]
    return subprocess.run(script, cwd="/", capture_output=True, text=True, check=False)


def executed(folder: Path, backend: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if backend == "onnxruntime":
        session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        (output,) = session.run(None, arrays)
        return output
    model = openvino.Core().compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return model(arrays)[0]


def eager(model: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    """What a model gives that is built anew, as its weights come from the seed of its file."""
    ids, mask, pixels = (torch.from_numpy(arrays[name]) for name in ("ids", "mask", "pixels"))
    images = Images(pixels=pixels, sizes=(tuple(pixels.shape[2:]),) * len(pixels))
    with torch.inference_mode():
        output: Any = build(tiny(model)).eval()(Text(ids=ids, mask=mask), images)
    return output.numpy()


@pytest.mark.parametrize(
    ("model", "output", "backend"),
    others_slow(
        [
            ("vilt-b32", "logits", "onnxruntime"),
            ("clip-vit-b32", "scores", "openvino"),
            ("vilt-b32", "logits", "openvino"),
            ("clip-vit-b32", "scores", "onnxruntime"),
        ],
        first=2,
    ),
)
def test_a_whole_model_runs_without_vlbench_and_at_other_sizes(
    tmp_path: Path, model: str, output: str, backend: str
) -> None:
    folder = exported(tmp_path, model, "--backend", backend)
    files = [f"model{suffix}" for suffix in SUFFIXES[backend]]
    assert sorted(path.name for path in folder.iterdir()) == sorted([*ADDED, *files])
    done = run_script(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("largest difference: ")
    example = np.load(folder / "example.npz")
    assert list(example) == ["model/ids", "model/mask", "model/pixels", f"model/{output}"]
    generator = np.random.default_rng(0)
    spec = tiny(model)
    ids = generator.integers(1, 100, (5, 7))
    ids[:, -1] = spec.text.vocabulary - 1  # CLIP reads at the end of the text
    arrays = {
        "ids": ids,
        "mask": np.ones((5, 7), bool),
        "pixels": generator.standard_normal((5, 3, *spec.input.image_size), np.float32),
    }
    np.testing.assert_allclose(executed(folder, backend, arrays), eager(model, arrays), rtol=1e-4, atol=1e-5)


def test_the_script_ends_with_1_where_an_output_is_another(tmp_path: Path) -> None:
    folder = exported(tmp_path, "vit-b32")
    arrays = dict(np.load(folder / "example.npz"))
    arrays["model/features"] = arrays["model/features"] + 1
    np.savez(folder / "example.npz", **arrays)
    assert run_script(folder).returncode == 1


def test_the_readme_says_what_the_files_read(tmp_path: Path) -> None:
    text = (exported(tmp_path, "vilt-b32", "--text-tokens", 6, "--batch", 2) / "README.md").read_text()
    lines = text.splitlines()
    assert lines[0] == f"# vilt-b32-tiny for onnxruntime {onnxruntime.__version__}"
    assert "| `ids` | input | int64 | batch x tokens |" in lines
    assert "| `pixels` | input | float32 | batch x 3 x 128 x 192 |" in lines
    assert "| `logits` | output of the example | float32 | 2 x 2 |" in lines
    assert "- Weights: random: the latency is valid, the accuracy is not" in lines
    assert "6 ids" in text
    assert "mean [0.5, 0.5, 0.5]" in text


@pytest.mark.slow
def test_a_detector_stays_in_pytorch_and_each_other_part_has_a_file(tmp_path: Path) -> None:
    folder = exported(tmp_path, "uniter-base")
    names = {path.stem for path in folder.glob("*.onnx")}
    assert {"text", "visual.backbone", "visual.rpn", "interaction", "head"} <= names
    assert "visual.nms" not in names
    assert "- visual.nms: selects regions by their scores" in (folder / "README.md").read_text()
    done = run_script(folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "int8-static"])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_quantised_model_runs_without_vlbench(tmp_path: Path, backend: str, precision: str) -> None:
    done = run_script(exported(tmp_path, "vilt-b32", "--backend", backend, "--precision", precision))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vlit", "-o", "out"), "did you mean"),
        (("vilt,clip", "-o", "out"), "vilt,clip: names 2 models; one at a time works"),
        (
            ("vilt", "--backend", "eager", "-o", "out"),
            "--backend eager: writes no files; onnxruntime or openvino works",
        ),
        (("vilt", "--backend", "compile", "-o", "out"), "--backend compile: writes no files"),
        (("vilt", "--backend", "cuda-graph", "-o", "out"), "--backend cuda-graph: writes no files"),
        (("vilt", "--backend", "onnx", "-o", "out"), "--backend onnx: no such backend; did you mean"),
        (("vilt", "--precision", "fp16", "-o", "out"), "--precision fp16: onnxruntime does not compute in it on cpu"),
        (("vilt", "-o", "full"), "-o full: is not empty; name a new folder"),
        (("vilt", "-o", "file"), "-o file: cannot be written (File exists); name another folder"),
        (("vilt", "-o", "file/out"), "-o file/out: cannot be written (Not a directory); name another folder"),
        (("uniter", "--scope", "model", "-o", "out"), "--scope model: visual."),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    (tmp_path / "file").touch()
    arguments = tuple(str(write_tiny(tmp_path, "uniter-base")) if word == "uniter" else word for word in arguments)
    done = vlbench("export", "model", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]


def test_results_are_exported_as_before(tmp_path: Path) -> None:
    done = vlbench("export", tmp_path, "--backend", "openvino")
    assert done.returncode == 2
    assert "`vlbench export model`" in done.stderr
    assert vlbench("export", "./model", cwd=tmp_path).stderr.startswith("vlbench: model: ")


WORKER = "from vlbench.runner.worker import main\n"
FAULTS = {
    "a runtime that computes something else": (
        "from vlbench.runner import equality\nequality.TOLERANCES['fp32'] = 0.0\n",
        WorkerError,
        r"^vilt-b32-tiny: the output differs from eager PyTorch's by .*; nothing is written$",
    ),
    "a missing runtime": (
        "import sys\nsys.modules['onnxruntime'] = None\n",
        InputError,
        r"^--backend onnxruntime: cannot be imported .* pip install 'vlbench\[onnx\]' installs it",
    ),
    "a runtime that crashes": (
        "import os\nfrom vlbench.runner import deploy\ndeploy.load_backend = lambda name: os.abort()\n",
        WorkerError,
        r"^the worker killed by signal 6 without a result",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_runtime_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    code, kind, message = FAULTS[fault]
    monkeypatch.setattr(worker_client, "WORKER", [sys.executable, "-c", f"{code}{WORKER}main()"])
    with pytest.raises(kind, match=message):
        deploy(tiny("vilt-b32"), SETTINGS, tmp_path / "new" / "out")
    assert not (tmp_path / "new" / "out").exists()


def test_an_empty_folder_stays_empty_where_nothing_is_written(tmp_path: Path) -> None:
    def write_half() -> None:
        with new_folder(tmp_path) as unfinished:
            (unfinished / "model.onnx").touch()
            raise RuntimeError("a disk that is full")

    with pytest.raises(RuntimeError, match="a disk that is full"):
        write_half()
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path) as unfinished:
        (unfinished / "model.onnx").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
