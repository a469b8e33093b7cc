"""Preparing an example is timed beside the pass: what it is of, and what it stays out of."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.helpers import tiny
from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.measuring.machine import describe_machine
from vlbench.runner.aggregate import summarise_cell
from vlbench.runner.cells import Cell
from vlbench.runner.input_stage import LEAST_SAMPLES, time_input, tokenizer_of
from vlbench.runner.plan import RunSettings, expand
from vlbench.runner.records import Restart
from vlbench.runner.restart import measure_restart
from vlbench.specs import AnySpec

MACHINE = describe_machine(threads=1, gpu=None)
NOISE = Image.effect_noise((1500, 1500), 60).convert("RGB")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG that takes some 100 ms to decode."""
    path = tmp_path_factory.mktemp("images") / "large.png"
    NOISE.save(path, compress_level=1)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "small.png"
    NOISE.resize((40, 40)).save(path)
    return path


def cell_of(spec: AnySpec, image: Path, **settings: object) -> Cell:
    chosen = RunSettings(threads=1, device="cpu", restarts=1, budget_seconds=1, **settings)
    (cell,) = expand([spec], read_example(image, "a cat"), chosen, MACHINE)
    return cell


def input_ms(spec: AnySpec, image: Path, **settings: object) -> float:
    samples = time_input(cell_of(spec, image, **settings), 0)
    assert len(samples) == LEAST_SAMPLES
    return min(samples)


def test_a_large_image_takes_longer_and_no_latency_has_it(large: Path, small: Path) -> None:
    quick, cell = input_ms(tiny("vilt-b32"), small), cell_of(tiny("vilt-b32"), large)
    restart = measure_restart(cell)
    assert isinstance(restart, Restart)
    slow = min(restart.input_ms)
    assert slow > 5 * quick
    assert max(restart.latency_ms[0], restart.latency_ms_by_stage["total"][0]) < slow
    assert "input" not in restart.latency_ms_by_stage
    assert restart.interference
    assert restart.interference.wall_seconds <= restart.seconds_by_phase["latency"] + 0.1
    assert restart.seconds_by_phase["input"] >= sum(restart.input_ms) / 1e3 - 0.1
    result = summarise_cell(cell, MACHINE, [restart], None)
    assert result.input_ms
    assert (result.input_ms.median, result.input_ms.n) == (median(restart.input_ms), len(restart.input_ms))


def test_a_restart_of_an_older_version_has_none_and_takes_none_from_others(small: Path) -> None:
    old = Restart.model_validate({"latency_ms": [1], "warm_up": {"n": 1, "steady": True}, "measured_at": "now"})
    new, cell = old.model_copy(update={"input_ms": (3.0, 5.0)}), cell_of(tiny("vit-b16"), small)
    assert summarise_cell(cell, MACHINE, [old], None).input_ms is None
    summary = summarise_cell(cell, MACHINE, [old, new], None).input_ms
    assert summary
    assert summary.by_restart == (4.0,)


def test_it_is_of_one_example_whatever_the_batch(small: Path) -> None:
    """Copies of 150 MB would take longer."""
    assert input_ms(tiny("vit-b16"), small, batch=2000) < 5 * input_ms(tiny("vit-b16"), small)


def test_both_images_of_a_pair_are_read(large: Path) -> None:
    pair = tiny("hf-vilt-b32").for_task("pairs")
    assert input_ms(pair, large) > 1.4 * input_ms(tiny("hf-vilt-b32"), large)


def test_of_a_model_that_reads_features_only_the_text_is_prepared(large: Path) -> None:
    assert input_ms(tiny("hf-lxmert-vqa"), large) < 0.2 * input_ms(tiny("vit-b16"), large)


def test_the_tokenizer_beside_the_weights_makes_the_ids(tmp_path: Path) -> None:
    assert tokenizer_of(tmp_path) is None
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "cat"]))
    from_vocabulary = tokenizer_of(tmp_path)
    assert from_vocabulary
    assert from_vocabulary("a cat") == [2, 4, 5, 3]
    words = Tokenizer(models.WordLevel({"a": 7, "cat": 8}, unk_token="a"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    from_json = tokenizer_of(tmp_path)
    assert from_json
    assert from_json("a cat") == [7, 8]
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"tokenizer\.json: no tokenizer that can be read"):
        tokenizer_of(tmp_path)
