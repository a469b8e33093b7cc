"""What a page presumes of the folder that its commands run in: photos, data sets, results, repositories, models."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import yaml
from PIL import Image

from tests.architectures.modules_of_others import save_folder
from tests.docs.workshop import ROOT, Workshop
from tests.helpers import tiny, write_yaml
from tests.regression.live.made_up import Repository
from tests.report.written import converted, folder_of, line
from tests.tasks import data_sets
from vlbench.specs.catalog import catalog

PUBLISHED = ROOT / "results"
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] is it red ? what color a cat on mat there are dogs .".split()


def photos(shop: Workshop) -> None:
    for name in ("cat.jpg", "photo.jpg"):
        Image.linear_gradient("L").convert("RGB").resize((120, 80)).save(shop.folder / name)


def data(shop: Workshop) -> None:
    """The data sets, and predictions for two of them."""
    data_sets.easy_vqa(shop.folder / "easy_vqa")
    data_sets.vqav2(shop.folder / "vqa")
    data_sets.nlvr2(shop.folder / "nlvr2")
    data_sets.karpathy(shop.folder / "flickr30k")
    labels = [json.loads(line) for line in (shop.folder / "nlvr2" / "dev.json").read_text().splitlines()]
    (shop.folder / "dev.csv").write_text("".join(f"{one['identifier']},True\n" for one in labels))
    answers = [{"question_id": 100 + number, "answer": "yes"} for number in range(12)]
    data_sets.write_json(shop.folder / "results.json", answers)


def my_model(shop: Workshop) -> None:
    """Tiny models of a user's own, under the names that pages give them."""
    for path in ("my_model.yaml", "small.yaml", "path/to/it.yaml", "path/to/mine.yaml"):
        write_named(shop.folder / path, "vilt-b32")
    for name in ("pixelbert-r50", "uniter-base"):
        write_named(shop.folder / f"{name}.yaml", name)


def write_named(path: Path, model: str) -> None:
    write_yaml(path, tiny(model, name=path.stem, aliases=()).model_dump(mode="json", exclude_none=True))


MINE = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 16, 16)

    def forward(self, x):
        return self.patches(x).flatten(1)

def make():
    return Net()
"""


def own_module(shop: Workshop) -> None:
    """A module of a user's own, its YAML file, and a folder of transformers."""
    (shop.folder / "mine.py").write_text(MINE)
    inputs = {"x": {"shape": [3, 32, 32]}}
    write_yaml(shop.folder / "mine.yaml", {"name": "mine", "source": "mine", "module": "mine:make", "inputs": inputs})
    save_folder("clip", shop.folder).rename(shop.folder / "tiny-clip")


def models_of_the_page(shop: Workshop) -> None:
    """Those that docs/add-an-architecture.md spells out."""
    for name, text in models_spelt_out():
        (shop.folder / f"{name}.yaml").write_text(text)


def models_spelt_out() -> list[tuple[str, str]]:
    page = (ROOT / "docs" / "add-an-architecture.md").read_text(encoding="utf-8")
    texts = re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    return [(yaml.safe_load(text)["name"], text) for text in texts]


def suite_of_the_page(shop: Workshop) -> None:
    """The suite that docs/reproduce.md spells out, as a file of a user's own."""
    text = spelt_out("reproduce.md", "name: depth ")
    (shop.folder / "my_suite.yaml").write_text(text.replace("name: depth", "name: my_suite"))


def spelt_out(page: str, begins: str) -> str:
    """The YAML block of a page of docs/ that begins so."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"^```yaml\n({begins}.*?)^```", text, re.DOTALL | re.MULTILINE)
    return found


def checkpoint(shop: Workshop) -> None:
    """Weights of the small catalogue's ViLT, with their answers and their words, as vlbench writes them."""
    from vlbench.architectures.build import build  # noqa: PLC0415
    from vlbench.architectures.checkpoints.native import save_model  # noqa: PLC0415

    answers = ("red", "blue", "yes", "no")
    spec = catalog()["vilt-b32"].tiny()
    for name, head in (("my_checkpoint", "answers"), ("vilt-vqa", "answers"), ("vilt-nlvr2", "pairs")):
        folder = shop.folder / name
        wanted = spec.for_task(head)
        if head == "answers":
            heads = wanted.head.model_copy(update={"answers": len(answers)})
            wanted = wanted.model_copy(update={"head": heads})
            labels = {"id2label": dict(enumerate(answers))}
            data_sets.write_json(folder / "config.json", labels)
        save_model(folder / "model.safetensors", build(wanted), wanted)
        (folder / "vocab.txt").write_text("\n".join(WORDS))


def results(shop: Workshop) -> None:
    """Published results where a page has the reader's own."""
    for name in ("first", "before", "after", "today"):
        copy(PUBLISHED / "epyc-2-cores", shop.folder / "results" / name)
    copy(PUBLISHED / "epyc-2-cores" / "models", shop.folder / "results" / "mine")
    copy(PUBLISHED / "epyc-2-cores" / "shapes", shop.folder / "results" / "trained")
    folder_of(shop.folder / "results" / "runtimes", line("vilt-b32"), converted("vilt-b32", "openvino", "int8"))
    for name in ("BASE", "HEAD", "DIR"):
        copy(PUBLISHED / "epyc-2-cores", shop.folder / name)


def published(shop: Workshop) -> None:
    shutil.copytree(PUBLISHED, shop.folder / "results", ignore=shutil.ignore_patterns("local"), dirs_exist_ok=True)


def copy(source: Path, target: Path) -> None:
    """The files of a folder, without those of folders below."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.is_file():
            shutil.copy(path, target)


def thresholds(shop: Workshop) -> None:
    """The file that docs/compare.md spells out."""
    (shop.folder / "thresholds.yaml").write_text(spelt_out("compare.md", "default:"))


def thresholds_of_ci(shop: Workshop) -> None:
    """That of docs/ci.md, for the made-up project."""
    (shop.folder / "thresholds.yaml").write_text(spelt_out("ci.md", "default:").replace("bench:", "mine:"))


def unfinished(shop: Workshop) -> None:
    """A run that was stopped before its first restart ended."""
    folder = shop.folder / "results" / "local" / "20260131-235959-host"
    folder.mkdir(parents=True)
    (folder / "cells.unfinished.jsonl").touch()


def repository(shop: Workshop) -> None:
    """A project with a function to time, two commits of it, and what CI has: an origin, a tag."""
    made = Repository(shop.folder)
    made.write("bench.py", "def speed():\n    return sum(number**0.5 for number in range(2000))\n")
    _history(made)


def vlbench_repository(shop: Workshop) -> None:
    """The small vlbench under version control."""
    made = Repository(shop.folder)
    shutil.copytree(shop.small, shop.folder, dirs_exist_ok=True)
    made.write(".gitignore", "__pycache__\n")
    _history(made)
    made.git("branch", "slow")


def _history(made: Repository) -> None:
    made.commit("Start")
    made.git("tag", "-a", "v1.0", "-m", "v1.0")
    made.git("update-ref", "refs/remotes/origin/main", made.commit("Next"))


def made_up_repository(shop: Workshop) -> None:
    """A project whose vlbench makes up its speeds: `bench:speed` does not change."""
    made = Repository(shop.folder)
    made.plan("Start")
    made.git("tag", "-a", "v1.0", "-m", "v1.0")
    made.git("update-ref", "refs/remotes/origin/main", made.plan("Next"))


def slower_repository(shop: Workshop) -> None:
    """The same, but its second of three commits made `bench:speed` slower."""
    made = Repository(shop.folder)
    made.plan("Start")
    made.git("tag", "-a", "v1.0", "-m", "v1.0")
    made.plan("The culprit", speed=2)
    made.plan("Last", speed=2)


def trained(shop: Workshop) -> None:
    """What `vlbench train --models vilt --out results/mine` leaves, after 32 samples."""
    kept = shop.kept / "trained"
    if not kept.exists():
        options = "--budget 32 --batch 16 --workers 0 --threads 1 --no-latency --out results/mine".split()
        called = shop.vlbench("train", "--models", "vilt", *options)
        assert called.returncode == 0, called.stderr
        shutil.copytree(shop.folder / "results", kept)
    shutil.copytree(kept, shop.folder / "results", dirs_exist_ok=True)
    shutil.copytree(kept / "mine" / "vilt-b32-tiny", shop.folder / "my_checkpoint", dirs_exist_ok=True)
    model = yaml.safe_load((kept / "mine" / "vilt-b32-tiny" / "model.yaml").read_text())
    (shop.folder / "my_model.yaml").write_text(yaml.safe_dump(model | {"weights": "random"}))


def scenes(shop: Workshop) -> None:
    called = shop.vlbench(*"export shapes --split test --scenes 6 --out scenes".split())
    assert called.returncode == 0, called.stderr


PLACES: dict[str, Callable[[Workshop], None]] = {
    function.__name__: function
    for function in (
        photos,
        data,
        my_model,
        own_module,
        models_of_the_page,
        suite_of_the_page,
        checkpoint,
        results,
        published,
        thresholds,
        thresholds_of_ci,
        unfinished,
        repository,
        vlbench_repository,
        made_up_repository,
        slower_repository,
        trained,
        scenes,
    )
}
