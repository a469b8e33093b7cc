"""Reads the tensors of a checkpoint: safetensors, PyTorch's own files, a folder, a hub, or a plain pickle (`.pkl`) as
Detectron and its successors write it."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from vlbench.architectures.checkpoints.pickles import DAMAGED, read_arrays, read_tensors, unreadable
from vlbench.errors import InputError, quoted
from vlbench.specs.weights import shards, weights_file

# Before every name: by DataParallel, torch.compile, Lightning, and classes that hold the model or its average.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "ema.", "ema_model.", "averaged_model.")
# No part of the model: what AveragedModel counts, and what a loss keeps, such as the weights of classes.
BESIDE = ("n_averaged", "criterion.", "loss.", "loss_fn.", "loss_func.", "loss_function.")
OLD_NORMS = {"gamma": "weight", "beta": "bias"}  # of a LayerNorm, as TensorFlow and the first BERTs name them
# The last words of names that only quantised checkpoints have: bitsandbytes, GPTQ, AWQ, PyTorch, 8-bit floats.
QUANTISED = {
    *("SCB", "absmax", "quant_map", "nested_absmax", "bitsandbytes__nf4", "bitsandbytes__fp4", "qweight", "qzeros"),
    *("g_idx", "_packed_params", "zero_point", "weight_scale", "weight_scale_inv", "weight_packed"),
}


def read_state(source: str) -> dict[str, Tensor]:
    """Tensors by name, on the CPU, of a file, of a folder as transformers writes it, or of `hub:OWNER/NAME`.

    A prefix that all names share, as DataParallel, torch.compile and Lightning add it, is left out.

    Raises InputError where there is none, it is damaged or quantised, it would run code, or the hub cannot be reached.
    """
    return _read(source, values=True)


def read_layout(source: str) -> dict[str, Tensor]:
    """As `read_state`, for names and shapes: the values are read only if the file's format requires it.

    The tensors are on the meta device, or mapped to the file. Damaged values are not found.
    """
    return _read(source, values=False)


def _read(source: str, *, values: bool) -> dict[str, Tensor]:
    path = weights_file(source)
    paths = [path.parent / name for name in shards(path)] if path.name.endswith(".index.json") else [path]
    state = {key: tensor for shard in paths for key, tensor in _read_file(shard, values=values).items()}
    for name, tensor in state.items():
        if not name.isprintable():
            raise InputError(f"weights {source}: {quoted(name)} is no name of a tensor; damaged, fetch it again")
        if tensor.is_quantized or name.rpartition(".")[2] in QUANTISED:
            raise InputError(f"weights {source}: quantised, as {name[:80]} shows; the checkpoint in float32 works")
    return plain_names(state)


def read_metadata(source: str) -> dict[str, str]:
    """The metadata of a safetensors file; empty for any other. Raises InputError if it is damaged."""
    path = weights_file(source)
    if path.suffix != ".safetensors":
        return {}
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, *DAMAGED) as error:
        raise unreadable(path, error) from error


def plain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without a prefix of all names, and with the scale and shift of every LayerNorm as PyTorch has it."""
    prefix: str | None = ""
    while prefix is not None:
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        state = {name: tensor for name, tensor in state.items() if not name.startswith(BESIDE)}
        prefix = next((known for known in PREFIXES if state and all(name.startswith(known) for name in state)), None)
    return {_of_norm(name, state): tensor for name, tensor in state.items()}


def _of_norm(name: str, state: dict[str, Tensor]) -> str:
    parent, _, last = name.rpartition(".")
    pair = all(f"{parent}.{old}" in state for old in OLD_NORMS)  # a scale of layers has a gamma alone
    return f"{parent}.{OLD_NORMS[last]}" if pair and last in OLD_NORMS else name


def _read_file(path: Path, *, values: bool) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)  # maps the file, and reads values only when they are used
    if path.suffix == ".pkl":
        return read_arrays(path)
    return read_tensors(path, values=values)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load_file  # noqa: PLC0415

    try:
        return load_file(path)
    except (SafetensorError, OSError, *DAMAGED) as error:
        raise unreadable(path, error) from error
