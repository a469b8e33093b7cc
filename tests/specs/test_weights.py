"""`--weights` finds each model and file before anything is measured, and says in one line what it does not find."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from vlbench.errors import InputError
from vlbench.specs.catalog import catalog
from vlbench.specs.weights import find_weights, weights_file, with_weights

VILT, UNITER = (catalog()[name] for name in ("vilt-b32", "uniter-base"))


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "m=1.pt"
    path.write_bytes(b"")
    return str(path)


def test_names_and_aliases_get_weights_and_the_visual_part_its_own(file: str) -> None:
    vilt, uniter = with_weights([VILT, UNITER], [f"vilt={file}", f"uniter.visual={file}"])
    assert (vilt.weights, vilt.visual.weights) == (file, "random")
    assert (uniter.weights, uniter.visual.weights) == ("random", file)
    (both,) = with_weights([UNITER], [f"uniter-base={file}", f"uniter-base.visual={file}"])
    assert (both.weights, both.visual.weights) == (file, file)
    assert both.weights_label == f"{file}, visual: {file}"
    assert with_weights([VILT], []) == [VILT]


def test_random_can_be_asked_for(file: str) -> None:
    (spec,) = with_weights([VILT.model_copy(update={"weights": file})], ["vilt=random"])
    assert spec == VILT


REFUSED = {
    "no source": ("vilt", "not MODEL=SOURCE; --weights vilt=vilt_vqa.ckpt works"),
    "empty source": ("vilt=", "not MODEL=SOURCE"),
    "no model": ("=x.pt", "not MODEL=SOURCE"),
    "misspelt": ("vlit=x.pt", "'vlit' is not one of the selected models; did you mean vilt?"),
    "another part": ("vilt.text=x.pt", "'vilt.text' is not one of the selected models"),
    "missing": ("vilt=/nope", "/nope: no such file or folder; hub:OWNER/NAME names one on the Hugging Face hub"),
    "a long name": (f"vilt={'x' * 5000}", "...: no such file or folder"),
    "a user that is unknown": ("vilt=~nobody-at-all/x.pt", "~nobody-at-all/x.pt: no such file or folder"),
    "a name of no file": ("vilt=a\0b", "no such file or folder"),
    "no hub name": ("vilt=hub:a b/c", "hub:a b/c: not a valid name on the hub; hub:dandelin/vilt-b32-mlm is one"),
}


@pytest.mark.parametrize(("given", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_found_is_told_in_one_line(given: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        with_weights([VILT, UNITER], [given])
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_are_given_once(file: str) -> None:
    with pytest.raises(InputError, match="vilt-b32 has weights already; give them once"):
        with_weights([VILT], [f"vilt={file}", f"vilt-b32={file}"])


def test_a_model_files_own_weights_are_looked_for_too() -> None:
    with pytest.raises(InputError, match="weights /nope: no such file"):
        find_weights(VILT.model_copy(update={"weights": "/nope"}))
    with pytest.raises(InputError, match="weights /nope: no such file"):
        find_weights(UNITER.model_copy(update={"visual": UNITER.visual.model_copy(update={"weights": "/nope"})}))
    find_weights(UNITER)


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of a hub that no request leaves for."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_hub_that_cannot_be_reached_is_told_in_one_line(hub_cache: Path) -> None:
    with pytest.raises(InputError) as caught:
        weights_file("hub:dandelin/vilt-b32-mlm")
    message = str(caught.value)
    assert message.startswith("weights hub:dandelin/vilt-b32-mlm: cannot be reached (")
    assert message.endswith("); fetch it elsewhere and name its folder")
    assert "\n" not in message


def cached(cache: Path, *names: str) -> Path:
    """A snapshot as the hub's own library keeps it."""
    model = cache / "models--owner--name"
    snapshot = model / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    for name in names:
        (snapshot / name).write_text("{}")
    return snapshot


def test_what_was_fetched_once_needs_no_hub(hub_cache: Path) -> None:
    snapshot = cached(hub_cache, "config.json", "model.safetensors")
    assert weights_file("hub:owner/name") == snapshot / "model.safetensors"


def test_a_fetch_that_was_cut_off_is_no_whole_one(hub_cache: Path) -> None:
    snapshot = cached(hub_cache, "config.json")
    with pytest.raises(InputError, match=r"hub:owner/name: cannot be reached|holds no model\.safetensors"):
        weights_file("hub:owner/name")
    index = snapshot / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "one.safetensors"}}')
    with pytest.raises(InputError, match=r"cannot be reached|one\.safetensors is missing"):
        weights_file("hub:owner/name")
    (snapshot / "one.safetensors").write_text("")
    assert weights_file("hub:owner/name") == index
