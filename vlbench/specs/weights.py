"""Where weights come from: nowhere (`random`), a path, or the Hugging Face hub; found before anything is measured."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from vlbench.errors import InputError
from vlbench.specs import RANDOM, AnySpec, HuggingFaceSpec
from vlbench.specs.catalog import index_by_name, unknown_model

HUB = "hub:"
INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")  # of a checkpoint in several shards
WEIGHTS = (
    "model.safetensors",
    INDICES[0],
    "pytorch_model.bin",
    INDICES[1],
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".pkl")


def with_weights(specs: Sequence[AnySpec], given: Sequence[str]) -> list[AnySpec]:
    """The models with the weights that `--weights` gives them, each as MODEL=SOURCE or MODEL.visual=SOURCE.

    MODEL is a name or an alias of one of them. Raises InputError, in one line, where it is none, something is given
    twice, or there is no such source.
    """
    found = list(specs)
    seen: set[tuple[int, bool]] = set()
    for one in given:
        name, equals, source = one.partition("=")
        if not equals or not name or not source:
            raise InputError(f"--weights {one}: not MODEL=SOURCE; --weights vilt=vilt_vqa.ckpt works")
        place, visual = _model_of(one, name, found)
        if (place, visual) in seen:
            raise InputError(f"--weights {one}: {name} has weights already; give them once")
        seen.add((place, visual))
        _find(source)
        spec = found[place]
        if not visual:
            found[place] = spec.model_copy(update={"weights": source})
        elif isinstance(spec, HuggingFaceSpec):
            raise InputError(f"--weights {one}: its parts are one checkpoint's; --weights {spec.name}=SOURCE works")
        else:
            seen_with = spec.visual.model_copy(update={"weights": source})
            found[place] = spec.model_copy(update={"visual": seen_with})
    return found


def _model_of(option: str, name: str, specs: Sequence[AnySpec]) -> tuple[int, bool]:
    """Which of the models a name means, and whether its visual part alone."""
    words = index_by_name(specs)
    if name in words:
        return words[name], False
    if name.endswith(".visual") and name.removesuffix(".visual") in words:
        return words[name.removesuffix(".visual")], True
    raise unknown_model(f"--weights {option}", name, words)


def find_weights(spec: AnySpec) -> None:
    """Fetches what is on a hub. Raises InputError where a source of the spec's weights does not exist."""
    for source in (spec.weights, spec.visual.weights):
        _find(source)


def _find(source: str) -> None:
    if source != RANDOM:
        weights_file(source)


def weights_file(source: str) -> Path:
    """The file of tensors, or of an index of shards, that a source means. Raises InputError where there is none."""
    path = located(source)
    if path.is_dir():
        found = _file_in(path)
        if found is None:
            raise InputError(f"weights {source}: the folder holds no {' or '.join(WEIGHTS)}")
        path = found
    if path.name.endswith(".index.json"):
        missing = [name for name in shards(path) if not (path.parent / name).is_file()]
        if missing:
            raise InputError(f"weights {source}: the shard {missing[0]} is missing")
    elif path.suffix not in SUFFIXES:
        raise InputError(f"weights {source}: none of {', '.join(SUFFIXES)}, nor a folder with {WEIGHTS[0]}")
    return path


def located(source: str) -> Path:
    """Where a source lies on disk, once fetched: a file, or a folder. Raises InputError where there is none."""
    if source.startswith(HUB):
        return _fetched(source.removeprefix(HUB))
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f"weights {source}: no such file or folder; hub:OWNER/NAME names one on the Hugging Face hub")
    return path


def shards(index: Path) -> list[str]:
    """The files that an index names. Raises InputError where it is no index."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"weights {index}: no index of shards") from error


def _file_in(folder: Path) -> Path | None:
    return next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)


def _fetched(name: str) -> Path:
    """The folder of a model on the hub; what was fetched once is not asked for again, so that it stays the same."""
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
        raise InputError(f"weights hub:{name}: no name of the hub's; hub:dandelin/vilt-b32-mlm is one") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
        raise InputError(
            f"weights hub:{name}: cannot be reached ({why}); fetch it elsewhere and name its folder"
        ) from error


def _is_whole(folder: Path) -> bool:
    found = _file_in(folder)
    if found is None or found.name not in INDICES:
        return found is not None
    return all((folder / name).is_file() for name in shards(found))


def _downloaded(name: str) -> Path:
    """Only one form of the tensors: a model on the hub often has several."""
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
        except LocalEntryNotFoundError:  # the hub does not answer, which says nothing of the file
            raise
        except EntryNotFoundError:
            continue
    raise InputError(f"weights hub:{name}: holds no {' or '.join(WEIGHTS)}")
