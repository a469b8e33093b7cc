"""Damaged checkpoints of every form are one line each: no traceback, no hang, no memory that a file only declares."""

from __future__ import annotations

import io
import json
import pickle
import random
import resource
import struct
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import safetensors.torch
import torch
from checkpoint_examples import small
from torch import Tensor

from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.loading import DETECTOR, family_of
from vlbench.architectures.checkpoints.native import saved_spec
from vlbench.architectures.checkpoints.reading import read_layout, read_state
from vlbench.architectures.checkpoints.rules import mapped
from vlbench.errors import InputError

CASES = 2000
MOST_SECONDS, MOST_MIB = 5, 600  # for one file, and for all of them together
SPEC = small("visualbert", "answers", interaction__layers=1)

Damage = Callable[[bytes, random.Random], bytes]


def flipped(content: bytes, chance: random.Random) -> bytes:
    """A few other bytes, half of them near the beginning, where headers lie."""
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 8)):
        end = len(damaged) if chance.random() < 0.5 else min(len(damaged), 600)
        damaged[chance.randrange(end)] = chance.choice((0, 255, 127, chance.randrange(256)))
    return bytes(damaged)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def repeated(content: bytes, chance: random.Random) -> bytes:
    """A piece of it a second time, or left out."""
    first, second = sorted(chance.randrange(len(content)) for _ in range(2))
    second = min(second, first + 200)
    return content[:second] + content[chance.choice((first, second)) + chance.randint(0, 8) :]


def other_header(content: bytes, chance: random.Random) -> bytes:
    """A safetensors file whose header says something else of one tensor, names it twice, or leaves it out."""
    size = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + size])
    name = chance.choice([key for key in header if key != "__metadata__"])
    key = chance.choice(("dtype", "shape", "data_offsets", None))
    if key is None:
        header.pop(name)
    else:
        values = (
            "I32",
            "I32",
            "BOOL",
            "F64",
            "F8_E4M3",
            "X",
            [],
            [0],
            [2**62, 2**62],
            [-1],
            [1.5],
            None,
            [0, 2**50],
            {},
            "",
        )
        header[name][key] = chance.choice(values)
    text = json.dumps(header)
    if chance.random() < 0.2:
        text = text.replace("{", f'{{"{name}": {json.dumps(header.get(name))}, ', 1)
    changed = text.encode()
    length = chance.choice((len(changed), len(changed), len(changed), 0, 2**40, 2**64 - 1))
    return struct.pack("<Q", length) + changed + content[8 + size :]


def other_record(content: bytes, chance: random.Random) -> bytes:
    """A zip, whole as such, with one damaged record: mostly the pickle, whose sizes and types become others."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(written, "w") as again:
        names = archive.namelist()
        victim = names[0] if chance.random() < 0.8 else chance.choice(names)
        for name in names:
            record = archive.read(name)
            if name == victim and record:
                record = chance.choice((flipped, flipped, other_words, repeated, cut))(record, chance)
            again.writestr(name, record)
    return written.getvalue()


def other_words(content: bytes, chance: random.Random) -> bytes:
    """A pickle with another type of storage, an opcode, or a number of a memo or a size in place of one of its own."""
    pairs = (
        (b"FloatStorage", chance.choice((b"CharStorage", b"BoolStorage", b"HalfStorage", b"FooStorage"))),
        (b"_rebuild_tensor_v2", chance.choice((b"_rebuild_parameter", b"_rebuild_sparse_tensor"))),
        (b"K\x01", b"J" + struct.pack("<i", chance.choice((-1, 2**31 - 1, 0)))),
        (b"q\x05", b"r" + struct.pack("<I", 2**32 - 1)),
        (b"\x89", b"\x88"),
        (b"X", b"\x8e" + struct.pack("<Q", 2 ** chance.randint(20, 63))),
    )
    before, after = chance.choice(pairs)
    return content.replace(before, after, chance.choice((1, -1)))


def originals(folder: Path) -> dict[str, tuple[bytes, tuple[Damage, ...]]]:
    """A whole checkpoint in each form, and how it is damaged."""
    state = theirs()
    safetensors.torch.save_file(state, folder / "m.safetensors", metadata={"format": "pt"})
    torch.save({"state_dict": state, "epoch": 3}, folder / "m.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    anyhow = (flipped, cut, repeated)
    return {
        "m.safetensors": ((folder / "m.safetensors").read_bytes(), (*anyhow, other_header, other_header, other_header)),
        "m.pt": ((folder / "m.pt").read_bytes(), (*anyhow, other_record, other_record, other_record)),
        "old.pt": ((folder / "old.pt").read_bytes(), (*anyhow, other_words)),
        "m.pkl": (pickle.dumps({"model": arrays}, protocol=2), (*anyhow, other_words)),
    }


def theirs() -> dict[str, Tensor]:
    """A checkpoint of small tensors under published names."""
    from transformers import VisualBertConfig, VisualBertForQuestionAnswering  # noqa: PLC0415

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 80}
    config = VisualBertConfig(**sizes, vocab_size=60, max_position_embeddings=40, visual_embedding_dim=20, num_labels=7)
    return {name: tensor.contiguous() for name, tensor in VisualBertForQuestionAnswering(config).state_dict().items()}


def load(path: Path, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All that is read of a checkpoint before a model is filled."""
    source = str(path)
    assert saved_spec(source) is None
    read_layout(source)
    state = read_state(source)
    return mapped(family_of(state, expected, SPEC, source=source, weights=path), state, expected, source=source)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damaged_checkpoints_raise_input_errors_alone(tmp_path: Path) -> None:
    chance = random.Random(18)
    expected = {name: tensor for name, tensor in build(SPEC).state_dict().items() if not name.startswith(DETECTOR)}
    forms = list(originals(tmp_path).items())
    for name, (content, _) in forms:
        (tmp_path / name).write_bytes(content)
        assert load(tmp_path / name, expected).keys() == expected.keys()
    before, refused = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, list[str]()
    for index in range(CASES):
        name, (content, damages) = forms[index % len(forms)]
        damage = chance.choice(damages)
        path = tmp_path / f"damaged{Path(name).suffix}"
        path.write_bytes(damage(content, chance))
        started = time.monotonic()
        try:
            load(path, expected)
        except InputError as error:
            refused.append(str(error))
        except BaseException as error:
            raise AssertionError(f"case {index}: {damage.__name__} of {name}: {error!r}") from error
        assert time.monotonic() - started < MOST_SECONDS, f"case {index}: {damage.__name__} of {name}"
    assert len(refused) > CASES / 2  # the others are damaged in values of tensors, which can be any
    assert all(message.isprintable() for message in refused)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < MOST_MIB
