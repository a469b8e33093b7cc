"""RoI pooling of large batches. torchvision's CUDA kernels count outputs and index inputs in 32 bits: from 2**31
outputs on nothing is launched, and the output stays zero. Here a kernel with a lower limit stands in for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align, roi_pool

from tests.helpers import each_model, others_slow, tiny
from vlbench.architectures import roi_heads
from vlbench.architectures.build import build
from vlbench.architectures.count import blank_batch
from vlbench.architectures.detector import spread_boxes
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import RegionEmbedder
from vlbench.specs import RegionSpec
from vlbench.specs.catalog import catalog

POOLINGS = {"roi_align": roi_align, "roi_pool": roi_pool}
INDEXED = 2**31  # what an int counts
PIXELS = (128, 192)
REGION_MODELS = [name for name, spec in catalog().items() if isinstance(spec.visual, RegionSpec)]
DETECTORS = ["uniter-base", "vinvl-base", "visualbert"]  # C4 with max pooling, C4 with bilinear pooling, a pyramid


def replace_kernels(monkeypatch: pytest.MonkeyPatch, kernel: Callable[..., Callable[..., Tensor]]) -> None:
    for name, pooling in POOLINGS.items():
        monkeypatch.setattr(roi_heads, name, kernel(pooling))


def limited(limit: int) -> Callable[..., Callable[..., Tensor]]:
    """Kernels that leave zeros where they would count `limit` outputs, or index as many inputs, as those of CUDA do."""

    def of(pooling: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def kernel(features_BCHW: Tensor, boxes_R5: Tensor, *rest: object, **more: object) -> Tensor:
            pooled = pooling(features_BCHW, boxes_R5, *rest, **more)
            return pooled * 0 if max(pooled.numel(), features_BCHW.numel()) >= limit else pooled

        return kernel

    return of


def embedder_of(name: str) -> RegionEmbedder:
    visual = build(tiny(name)).visual.eval()
    assert isinstance(visual, RegionEmbedder)
    return visual


def photo() -> Tensor:
    return torch.randn(1, 3, *PIXELS, generator=torch.Generator().manual_seed(0))


def same_images(count: int) -> Images:
    return Images(pixels=photo().expand(count, -1, -1, -1).contiguous(), sizes=(PIXELS,) * count)


@pytest.fixture(params=["outputs", "inputs"])
def small_kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that one image of a tiny detector fits into, and six do not: by their outputs, or by their inputs."""
    sizes: list[tuple[int, int]] = []

    def recording(pooling: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def kernel(features_BCHW: Tensor, boxes_R5: Tensor, *rest: object, **more: object) -> Tensor:
            pooled = pooling(features_BCHW, boxes_R5, *rest, **more)
            sizes.append((pooled.numel(), features_BCHW.numel()))
            return pooled

        return kernel

    name = request.node.callspec.params["name"]
    monkeypatch.setattr(roi_heads, "AT_ONCE_ON_CPU", 10**6)
    with monkeypatch.context() as patched, torch.inference_mode():
        replace_kernels(patched, recording)
        embedder_of(name)(same_images(1))
    limit = 2 * max(map(max, sizes)) if request.param == "outputs" else 2 * max(inputs for _, inputs in sizes)
    monkeypatch.setattr(roi_heads, "MOST_VALUES", limit // 2, raising=False)
    replace_kernels(monkeypatch, limited(limit))


@torch.inference_mode()
@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize("name", DETECTORS)
def test_each_image_of_a_batch_is_seen_as_it_is_alone(name: str) -> None:
    embedder = embedder_of(name)
    alone, together = embedder.regions(same_images(1)), embedder.regions(same_images(6))
    assert alone.features.abs().max() > 0.01
    for features_RC, boxes_R4 in zip(together.features, together.boxes, strict=True):
        torch.testing.assert_close(features_RC, alone.features[0], atol=1e-5, rtol=0)
        assert torch.equal(boxes_R4, alone.boxes[0])


@pytest.mark.usefixtures("small_kernels")
@pytest.mark.parametrize("name", others_slow(DETECTORS))
def test_gradients_flow_through_every_part(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    head = embedder_of(name).roi_head
    generator, boxes = torch.Generator().manual_seed(1), [spread_boxes(7, *PIXELS), spread_boxes(12, *PIXELS)] * 3
    channels = head.mlp[0].in_features // head.pool_size**2 if hasattr(head, "mlp") else head.res5[0].conv1.in_channels
    strides = [4, 8, 16, 32, 64] if hasattr(head, "mlp") else [16]
    maps = [torch.randn(6, channels, 128 // side, 192 // side, generator=generator) for side in strides]

    def gradients() -> list[Tensor]:
        leaves = [some.clone().requires_grad_() for some in maps]
        head.pooled_features(leaves, boxes).square().sum().backward()
        return [leaf.grad for leaf in leaves if leaf.grad is not None]

    in_parts = gradients()
    with monkeypatch.context() as patched:
        patched.setattr(roi_heads, "MOST_VALUES", 2**30, raising=False)
        replace_kernels(patched, lambda pooling: pooling)
        at_once = gradients()
    assert in_parts[0].flatten(1).abs().amax(1).min() > 0
    for ours, expected in zip(in_parts, at_once, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-3 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize(
    ("name", "batch"),
    [*each_model((name, 48) for name in REGION_MODELS), pytest.param("scan", 1000, marks=pytest.mark.slow)],
)
def test_no_call_of_a_batch_reaches_the_limit(name: str, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the meta device, which pools as a GPU does."""
    pooled_boxes, spec = [], catalog()[name]

    def checking(pooling: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def kernel(features_BCHW: Tensor, boxes_R5: Tensor, *rest: object, **more: object) -> Tensor:
            pooled = pooling(features_BCHW, boxes_R5, *rest, **more)
            assert max(pooled.numel(), features_BCHW.numel()) < INDEXED
            pooled_boxes.append(len(boxes_R5))
            return pooled

        return kernel

    replace_kernels(monkeypatch, checking)
    with torch.device("meta"):
        visual = build(spec).visual.eval()
        visual(blank_batch(spec, batch)[1])
    rpn, grid = spec.visual.rpn, spec.visual.grid_boxes
    assert sum(pooled_boxes) == batch * (rpn.proposals if rpn else grid[0] * grid[1])
    assert max(pooled_boxes) <= 1024


@pytest.mark.parametrize("boxes", [0, 1, 1023, 1024, 1025])
def test_the_edges_of_a_part(boxes: int) -> None:
    sizes: list[int] = []

    def pool(features_BCHW: Tensor, part_R5: Tensor) -> Tensor:
        sizes.append(len(part_R5))
        return features_BCHW.new_empty(len(part_R5), features_BCHW.shape[1], 7, 7)

    pooled = roi_heads.pool_in_parts(
        pool, torch.empty(1, 3, 8, 8, device="meta"), torch.empty(boxes, 5, device="meta"), 7
    )
    assert tuple(pooled.shape) == (boxes, 3, 7, 7)
    assert sizes == ([1024, 1] if boxes == 1025 else [boxes])


def test_a_box_of_more_outputs_than_a_part_holds_is_pooled_alone() -> None:
    assert roi_heads.boxes_at_once(torch.empty(1, 65_536, 1, 1, device="meta"), 256) == 1
