"""The sources of weights: `random`, a path, or the Hugging Face hub. They are checked before anything is measured."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vlbench.errors import InputError, SpecError, first_line, shortened
from vlbench.files.json_files import read_json
from vlbench.files.text import check_regular
from vlbench.specs import RANDOM, AnySpec, HuggingFaceSpec, ModelSpec, ModuleSpec, TimmSpec
from vlbench.specs.base import PRETRAINED
from vlbench.specs.catalog import index_by_name, unknown_model

HUB = "hub:"
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")  # lists of the shards of a checkpoint
WEIGHTS = (
    "model.safetensors",
    INDICES[0],
    "pytorch_model.bin",
    INDICES[1],
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl")
LONGEST_SOURCE = 160  # signs that a message shows of a source that is not there
MOST_BYTES = 1 << 40  # a file of tensors is mapped, or read tensor by tensor
# How files begin that stand where weights should be, and what to do.
STAND_INS = {
    b"version https://git-lfs.github.com": "a git-lfs pointer, not the weights; run git lfs pull in its folder",
    b"<!doctype": "a web page, not the weights; fetch the file itself",
    b"<html": "a web page, not the weights; fetch the file itself",
    b"<?xml": "an answer of a server, not the weights; fetch the file itself",
    b'{"error"': "an error of a server, not the weights; fetch it again",
}


def with_weights(specs: Sequence[AnySpec], options: Sequence[str]) -> list[AnySpec]:
    """The models with the weights that `--weights` gives them, each as MODEL=SOURCE or MODEL.visual=SOURCE.

    MODEL is the name or an alias of a model. Raises InputError, in one line, where it is neither, a model gets
    weights twice, or the source does not exist.
    """
    weighted = list(specs)
    given: set[tuple[int, bool]] = set()
    for option in options:
        name, equals, source = option.partition("=")
        if not equals or not name or not source:
            raise InputError(f"--weights {option}: not MODEL=SOURCE; --weights vilt=vilt_vqa.ckpt works")
        index, visual = _model_of(option, name, weighted)
        if (index, visual) in given:
            raise InputError(f"--weights {option}: {name} has weights already; give them once")
        given.add((index, visual))
        spec = weighted[index]
        if not is_fetched(spec, source, visual=visual):
            _check_source(source)
        if not visual:
            weighted[index] = spec.model_copy(update={"weights": source})
        elif not isinstance(spec, ModelSpec):
            raise InputError(
                f"--weights {option}: one checkpoint holds all its parts; --weights {spec.name}=SOURCE works"
            )
        else:
            embedder = spec.visual.model_copy(update={"weights": source})
            weighted[index] = spec.model_copy(update={"visual": embedder})
    return weighted


def _model_of(option: str, name: str, specs: Sequence[AnySpec]) -> tuple[int, bool]:
    """The index of the model that a name selects, and whether it selects the visual part alone."""
    indices = index_by_name(specs)
    if name in indices:
        return indices[name], False
    if name.endswith(".visual") and name.removesuffix(".visual") in indices:
        return indices[name.removesuffix(".visual")], True
    raise unknown_model(f"--weights {option}", name, indices)


def find_weights(spec: AnySpec) -> None:
    """Fetches the weights of a model from the hub. Raises InputError where one of its sources does not exist."""
    for source, visual in ((spec.weights, False), (spec.visual.weights, True)):
        if not is_fetched(spec, source, visual=visual):
            _check_source(source)
    config = spec.config if isinstance(spec, HuggingFaceSpec) else None
    if isinstance(config, str) and not config.startswith(HUB):
        check_config_folder(config, f"{spec.name}: ")


def is_fetched(spec: AnySpec, source: str, *, visual: bool) -> bool:
    """Whether timm or open_clip fetches these weights by itself, when the model, or its visual part, is built."""
    fetches = isinstance(spec.visual, TimmSpec) if visual else isinstance(spec, ModuleSpec) and spec.fetches_weights
    return source == PRETRAINED and fetches


def check_config_folder(source: str, where: str) -> None:
    """Raises InputError where a source is no folder as transformers' `save_pretrained` writes it."""
    path = home_expanded(source)
    if path is None:
        raise SpecError(f"{where}{shortened(source, LONGEST_SOURCE)}: no such folder; hub:ID names one on a hub")
    if not (path / "config.json").is_file():
        raise SpecError(f"{where}{source}: no folder with a config.json, as save_pretrained writes it")


def _check_source(source: str) -> None:
    if source != RANDOM:
        weights_file(source)


def weights_file(source: str) -> Path:
    """The file of a source: tensors, or an index of shards. Raises InputError where there is none."""
    path = located(source)
    if path.is_dir():
        file = _file_in(path)
        if file is None:
            raise InputError(f"weights {source}: the folder holds no {' or '.join(WEIGHTS)}")
        path = file
    if path.name.endswith(".index.json"):
        for name in shards(path):
            if not (path.parent / name).exists():
                raise InputError(f"weights {source}: the shard {name} is missing")
            _check_file(path.parent / name)
    elif path.suffix not in SUFFIXES:
        raise InputError(f"weights {source}: neither {', '.join(SUFFIXES)} nor a folder with {WEIGHTS[0]}")
    else:
        _check_file(path)
    return path


def _check_file(path: Path) -> None:
    """Raises InputError where a path is no file that can be read, or holds something that stands in for weights."""
    check_regular(path, option="weights ", most_bytes=MOST_BYTES)
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip().lower()
    except OSError as error:
        raise InputError(f"weights {path}: cannot be read: {error.strerror or error}") from error
    for mark, stand_in in STAND_INS.items():
        if start.startswith(mark):
            raise InputError(f"weights {path}: {stand_in}")


def located(source: str) -> Path:
    """The file or folder of a source, fetched if it is on the hub. Raises InputError where there is none."""
    if source.startswith(HUB):
        return _fetched(source.removeprefix(HUB))
    path = home_expanded(source)
    if path is None:
        where = f"weights {shortened(source, LONGEST_SOURCE)}"
        raise InputError(f"{where}: no such file or folder; hub:OWNER/NAME names one on the Hugging Face hub")
    return path


def home_expanded(source: str) -> Path | None:
    """The path of a file or folder, whose ~ is the home of a user; None where there is none.

    Path.expanduser and Path.exists would fail for unknown users and for names that are too long.
    """
    path = Path(os.path.expanduser(source))
    return path if os.path.exists(path) else None


def shards(index: Path) -> list[str]:
    """The files beside an index that it lists. Raises InputError where it is not an index."""
    content = read_json(index, option="weights ")
    names = content.get("weight_map") if isinstance(content, dict) else None
    files = set(names.values()) if isinstance(names, dict) and all(map(_is_name, names.values())) else set()
    if not files:
        raise InputError(f"weights {index}: not an index of shards, a weight_map of tensors' names to files beside it")
    return sorted(files)


def _is_name(value: object) -> bool:
    """Whether it names a file of weights in the folder of the index, and no other."""
    return isinstance(value, str) and "\0" not in value and Path(value).name == value and Path(value).suffix in SUFFIXES


def _file_in(folder: Path) -> Path | None:
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def _fetched(name: str) -> Path:
    """The folder of a model on the hub. What was fetched once is not fetched again, so that it stays the same."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415  slow to import
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        try:
            folder = Path(snapshot_download(name, local_files_only=True))
            if _is_whole(folder):
                return folder
        except LocalEntryNotFoundError:
            pass
        return _downloaded(name)
    except HFValidationError as error:
        raise InputError(
            f"weights hub:{name}: not a valid name on the hub; hub:dandelin/vilt-b32-mlm is one"
        ) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = first_line(error)[:120]
        raise InputError(
            f"weights hub:{name}: cannot be reached ({reason}); fetch it elsewhere and name its folder"
        ) from error


def _is_whole(folder: Path) -> bool:
    file = _file_in(folder)
    if file is None or file.name not in INDICES:
        return file is not None
    return all((folder / name).is_file() for name in shards(file))


def _downloaded(name: str) -> Path:
    """Downloads a model in one format; on the hub it often has several."""
    from huggingface_hub import hf_hub_download, snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError  # noqa: PLC0415

    folder = Path(snapshot_download(name, allow_patterns=["*.json", "*.txt"]))
    for file in WEIGHTS:
        if file in INDICES and (folder / file).is_file():
            return Path(snapshot_download(name, allow_patterns=["*.json", "*.txt", *shards(folder / file)]))
        if file in INDICES:
            continue
        try:
            hf_hub_download(name, file)
            return folder
        except LocalEntryNotFoundError:  # the hub does not answer; the file may exist
            raise
        except EntryNotFoundError:
            continue
    raise InputError(f"weights hub:{name}: holds no {' or '.join(WEIGHTS)}")
