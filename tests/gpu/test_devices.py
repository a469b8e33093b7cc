"""Names of devices, and which GPU a process sees."""

from __future__ import annotations

import pytest

from vlbench.errors import InputError
from vlbench.runner.devices import check_device, check_l2, resolve_device, visible_gpu

MIG = "MIG-5c2f8a10-aaaa"


@pytest.mark.parametrize(
    ("name", "visible", "shown"),
    [
        ("auto", "1", {}),
        ("cpu", None, {}),
        ("cuda", "GPU-a,GPU-b", {}),
        ("cuda:0", None, {"CUDA_VISIBLE_DEVICES": "0"}),
        ("cuda:1", None, {"CUDA_VISIBLE_DEVICES": "1"}),
        ("cuda:01", None, {"CUDA_VISIBLE_DEVICES": "1"}),
        ("cuda:1", "3,2", {"CUDA_VISIBLE_DEVICES": "2"}),
        ("cuda:1", " GPU-a , GPU-b ", {"CUDA_VISIBLE_DEVICES": "GPU-b"}),
        ("cuda:0", MIG, {"CUDA_VISIBLE_DEVICES": MIG}),
    ],
)
def test_a_number_counts_among_the_visible_gpus(
    monkeypatch: pytest.MonkeyPatch, name: str, visible: str | None, shown: dict[str, str]
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpu(name) == shown


@pytest.mark.parametrize("visible", ["", "GPU-a", "0"])
def test_a_number_beyond_them_is_one_line(monkeypatch: pytest.MonkeyPatch, visible: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(InputError, match=r"--device cuda:1: CUDA_VISIBLE_DEVICES is '.*', which has no GPU of this"):
        visible_gpu("cuda:1")


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "cuda:", "cuda:x", "cuda:-1", "cuda:1,2", "cuda:1 ", "cuda:٣", "mps"]
)
def test_what_is_no_device_is_one_line(name: str) -> None:
    with pytest.raises(InputError, match="no such device; auto, cpu, cuda, or cuda:1 for the second GPU works"):
        check_device(name)


def test_only_a_gpu_has_a_cold_cache() -> None:
    for l2, device in (("warm", "cpu"), ("warm", "cuda"), ("cold", "cuda")):
        check_l2(l2, device)
    with pytest.raises(InputError, match="--l2 cold: empties the cache of a GPU"):
        check_l2("cold", "cpu")


def test_where_a_device_computes() -> None:
    assert [resolve_device(name, has_gpu=True) for name in ("auto", "cpu", "cuda", "cuda:3")] == [
        *("cuda", "cpu", "cuda", "cuda")
    ]
    assert [resolve_device(name, has_gpu=False) for name in ("auto", "cpu")] == ["cpu", "cpu"]
    with pytest.raises(InputError, match="--device cuda: PyTorch sees no GPU here; --device cpu works"):
        resolve_device("cuda", has_gpu=False)
    with pytest.raises(InputError, match="--device cuda:7: PyTorch sees no such GPU here; nvidia-smi -L lists"):
        resolve_device("cuda:7", has_gpu=False)
