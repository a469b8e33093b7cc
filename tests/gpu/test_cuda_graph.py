"""The backend `cuda-graph`: what it records, and what it refuses."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.gpu.fake_cuda import Clock, FakeCuda, install
from vlbench.architectures.interfaces import Images
from vlbench.errors import InputError
from vlbench.measuring import latency, launch
from vlbench.measuring.latency import PassTimer
from vlbench.measuring.launch import measure_launch
from vlbench.runner.backends import load_backend
from vlbench.runner.conversion import Target, Workload

IMAGES = Images(pixels=torch.zeros(1, 3, 8, 8), sizes=((8, 8),))


class ManyKernels(torch.nn.Module):
    """Twenty kernels of 0.1 ms, each of which the host launches in 0.5 ms."""

    def __init__(self, cuda: FakeCuda) -> None:
        super().__init__()
        self.cuda, self.passes = cuda, 0

    def forward(self, text: None, images: Images) -> torch.Tensor:
        self.passes += 1
        for _ in range(20):
            self.cuda.launch(0.5, 0.1)
        return torch.full((1, 2), 7.0)


def workload(model: torch.nn.Module, device: str = "cuda") -> Workload:
    return Workload(
        model=model,  # type: ignore[arg-type]
        inputs=(None, IMAGES),
        forward=partial(model, None, IMAGES),
        device=torch.device(device),
        stages={"all": model},
        convertible={},
        target=Target(folder=Path(os.devnull)),
    )


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    clock = Clock()
    monkeypatch.setattr(latency, "time", clock)
    monkeypatch.setattr(launch, "time", clock)
    return install(monkeypatch, clock)


def test_a_replay_computes_the_same_without_the_host(cuda: FakeCuda) -> None:
    model = ManyKernels(cuda)
    eager = measure_launch(lambda: model(None, IMAGES))
    assert eager.gpu_busy_share == pytest.approx(0.2, rel=0.05)
    prepared = load_backend("cuda-graph").prepare(workload(model))
    passes = model.passes
    assert prepared.stages == {}
    assert torch.equal(prepared.forward(), torch.full((1, 2), 7.0))
    graph = measure_launch(prepared.forward)
    assert graph.gpu_busy_share == pytest.approx(1, rel=0.02)
    assert graph.wall_ms == pytest.approx(2.0, rel=0.02)
    assert PassTimer(prepared.forward, {}, torch.device("cuda")).end_to_end(0, least=2) == pytest.approx(
        [2.0] * 2, 0.02
    )
    assert model.passes == passes, "a replay never calls the model"


def test_a_cpu_is_refused() -> None:
    with pytest.raises(InputError, match="--backend cuda-graph: needs a GPU"):
        load_backend("cuda-graph").prepare(workload(torch.nn.Identity(), "cpu"))


class AsksTheHost(ManyKernels):
    def forward(self, text: None, images: Images) -> torch.Tensor:
        if self.cuda.recording is not None:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nCompile with ...")
        return super().forward(text, images)


class TooLarge(ManyKernels):
    def forward(self, text: None, images: Images) -> torch.Tensor:
        if self.cuda.recording is not None:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().forward(text, images)


def test_a_model_that_asks_the_host_is_refused_in_one_line(cuda: FakeCuda) -> None:
    with pytest.raises(
        InputError, match=r"asks the host \(CUDA error: operation not permitted .* capturing\); --backend"
    ):
        load_backend("cuda-graph").prepare(workload(AsksTheHost(cuda)))


def test_running_out_of_memory_stays_that(cuda: FakeCuda) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        load_backend("cuda-graph").prepare(workload(TooLarge(cuda)))
