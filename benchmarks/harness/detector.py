"""Our Faster R-CNN against Detectron2's R101-C4: same weights, same image, same boxes, up to the boxes' features, CPU.

    python -m benchmarks.harness.detector [--proposals N] [--image-size HxW] [--rounds N] [--threads N] [--json FILE]

Both run backbone, RPN and RoI head (pooling, res5, mean, class probabilities, box deltas) and end before the
suppression of classes. The RPN does all its work; then the same boxes take the place of what it found.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures.build import build
from vlbench.architectures.detector import RegionProposalNetwork
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.specs import catalog

from . import interleaved

try:
    from .detectron2_peer import Peer
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("detectron2"):
        raise
    absent = True
else:
    absent = False

WARMUP = 1
BAR = 1.0
TOLERANCE = 1e-4  # of the largest value: float32 sums in another order through 33 bottlenecks
MODEL = "uniter-base-table6"
OURS, THEIRS = "vlbench", "detectron2"
PARTS = ("backbone", "rpn", "roi_head")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What both detectors give, where it can be compared number by number."""

    feature_map: Tensor  # (1, 1024, H / 16, W / 16)
    probabilities: Tensor  # (N, classes)
    deltas: Tensor  # (N, 4 * classes)
    features: Tensor  # (N, 2048)
    own_proposals: Tensor  # (M, 4), what the RPN itself found


@dataclass(slots=True, kw_only=True)
class Pass:
    """One detector as three calls, each given what the one before returned; keeps the ms of each part."""

    parts: tuple[Callable[[Any], Any], ...]
    image: Any
    parts_ms: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in PARTS})

    def __call__(self) -> None:
        value = self.image
        for name, part in zip(PARTS, self.parts, strict=True):
            start = perf_counter_ns()
            value = part(value)
            self.parts_ms[name].append((perf_counter_ns() - start) / 1e6)


def our_spec(proposals: int) -> specs.RegionSpec:
    """The detector of ViLT's Table 6 with another number of proposals."""
    visual = catalog.resolve(MODEL)[0].visual
    assert isinstance(visual, specs.RegionSpec)
    assert visual.rpn is not None
    return visual.model_copy(update={"rpn": visual.rpn.model_copy(update={"proposals": proposals})})


def build_ours(visual: specs.RegionSpec) -> RegionEmbedder:
    """A RegionEmbedder with random weights, its frozen norms moved off the identity so that a wrong copy shows."""
    model = build(catalog.resolve(MODEL)[0].model_copy(update={"visual": visual})).eval()
    assert isinstance(model, VLModel)
    generator = torch.Generator().manual_seed(1)
    for module in model.visual.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.bias.add_(0.05 * torch.randn(module.bias.shape, generator=generator))
            module.running_mean.add_(0.05 * torch.randn(module.bias.shape, generator=generator))
            module.running_var.mul_(1 + 0.1 * torch.rand(module.bias.shape, generator=generator))
    assert isinstance(model.visual, RegionEmbedder)
    return model.visual


def our_pass(model: RegionEmbedder, images: Images) -> Pass:
    """RegionEmbedder.forward, cut before the suppression."""

    network = rpn_of(model)

    def rpn(features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        return features, network(features, images).boxes

    return Pass(parts=(model.backbone, rpn, lambda given: model.roi_head(*given)), image=images.pixels)


def rpn_of(model: RegionEmbedder) -> RegionProposalNetwork:
    assert model.rpn is not None
    return model.rpn


def outputs_of_ours(model: RegionEmbedder, images: Images) -> Outputs:
    """One pass; the RPN's own boxes come from a second run of it."""
    features, rpn = model.backbone(images.pixels), rpn_of(model)
    found = model.roi_head(features, rpn(features, images).boxes)
    rpn.inject_load = False
    own = rpn(features, images).boxes[0]
    rpn.inject_load = True
    return Outputs(
        feature_map=features[-1],
        features=found.features[0],
        probabilities=found.scores[0],
        deltas=found.deltas[0],
        own_proposals=own,
    )


def outputs_of_theirs(peer: Peer, images: Images) -> Outputs:
    maps = peer.backbone(images.pixels)
    features, probabilities, deltas = peer.roi_head(peer.rpn(maps))
    return Outputs(
        feature_map=maps["res4"],
        features=features,
        probabilities=probabilities[:, :-1],
        deltas=deltas,
        own_proposals=peer.own_proposals(maps)[0],
    )


def mismatches(ours: Outputs, theirs: Outputs) -> list[str]:
    """Which outputs differ by more than the tolerance, all but the RPN's boxes: near ties may fall either way."""
    wrong = []
    for name in ("feature_map", "features", "probabilities", "deltas"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if mine.shape != other.shape:
            wrong.append(f"{name}: shapes {tuple(mine.shape)} and {tuple(other.shape)}")
            continue
        difference = ((mine - other).abs().max() / other.abs().max()).item()
        if not difference <= TOLERANCE:
            wrong.append(f"{name} by {difference:.2g} of the largest value")
    return wrong


def describe_proposals(ours: Tensor, theirs: Tensor) -> str:
    """How alike the load of the RPN's suppression was."""
    alike = 0
    if len(ours) and len(theirs):
        alike = int((torch.cdist(ours, theirs, p=float("inf")).amin(1) < 0.01).sum())
    return f"the RPNs' own boxes: {len(ours)} and {len(theirs)}, {alike} of them the same to 0.01 pixel"


def main() -> int:
    parser = interleaved.arguments("Our Faster R-CNN against Detectron2's R101-C4.", rounds=12)
    parser.add_argument("--proposals", type=interleaved.positive, default=300, help="boxes (default %(default)s)")
    parser.add_argument("--image-size", type=interleaved.size, default=(600, 1000), help="default 600x1000")
    options = parser.parse_args()
    if absent:
        print("detectron2 is not installed, so there is nothing to compare with; it builds from its source repository")
        return 2
    if options.threads:
        torch.set_num_threads(options.threads)
    facts = interleaved.machine_facts(torch.get_num_threads(), ["torch", "torchvision", "detectron2"])
    interleaved.print_facts(facts, options.rounds, WARMUP)

    visual = our_spec(options.proposals)
    pixels = torch.randn(1, 3, *options.image_size, generator=torch.Generator().manual_seed(0))
    images = Images(pixels=pixels, sizes=(options.image_size,))
    with torch.inference_mode():
        model = build_ours(visual)
        peer = Peer(visual, model, images)
        ours, theirs = outputs_of_ours(model, images), outputs_of_theirs(peer, images)
        wrong = mismatches(ours, theirs)
        if wrong:
            print(f"MISMATCH: {', '.join(wrong)}; nothing is timed")
            return 1
        print(f"feature map, features, probabilities, deltas agree within {TOLERANCE:g} of the largest value")
        print(describe_proposals(ours.own_proposals, theirs.own_proposals))
        passes = {
            OURS: our_pass(model, images),
            THEIRS: Pass(parts=(peer.backbone, peer.rpn, peer.roi_head), image=images.pixels),
        }
        samples = interleaved.interleave(passes, options.rounds, WARMUP)
    load = f"{options.proposals} boxes, image {options.image_size[0]}x{options.image_size[1]}"
    report(samples, passes, facts | {"load": load}, options.json)
    return 0


def report(
    samples: dict[str, list[float]], passes: Mapping[str, Pass], facts: dict[str, str], path: Path | None
) -> None:
    """Whole passes, then their parts, which were taken within the same passes."""
    print(facts["load"])
    interleaved.print_table(samples, THEIRS)
    whole = interleaved.ratio_table(samples, THEIRS)[OURS]
    everything, ratios = dict(samples), [whole]
    rounds = len(samples[OURS])
    for part in PARTS:
        pair = {f"{name}, {part}": passes[name].parts_ms[part][-rounds:] for name in (OURS, THEIRS)}
        interleaved.print_table(pair, f"{THEIRS}, {part}")
        ratios.append(interleaved.ratio_table(pair, f"{THEIRS}, {part}")[f"{OURS}, {part}"])
        everything |= pair
    what = f"{OURS} / {THEIRS}"
    verdict = interleaved.print_bar(what, whole, BAR)
    interleaved.write_json(
        path,
        script="detector",
        facts=facts,
        samples_ms=everything,
        ratios=ratios,
        verdicts={f"{what} <= {BAR}": verdict},
    )


if __name__ == "__main__":
    sys.exit(main())
