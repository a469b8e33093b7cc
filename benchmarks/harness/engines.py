"""A detector's two engines, torchvision's parts and Detectron2's layers: same features, then their time in turn, CPU.

    python -m benchmarks.harness.engines [--model NAME] [--proposals N] [--image-size HxW] [--rounds N] [--threads N]
                                         [--json FILE]

Both run the whole visual embedder on the same weights. Nothing is timed unless the kept boxes agree.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

from vlbench import specs
from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images
from vlbench.architectures.region import RegionEmbedder, Regions
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.specs import catalog
from vlbench.specs.base import Engine, check_engine

from . import interleaved

WARMUP = 1
TOLERANCE = 1e-4
OURS: Engine = "torchvision"
THEIRS: Engine = "detectron2"
ENGINES = (OURS, THEIRS)


class Timed:
    """An embedder with a clock at both ends of each of its steps."""

    def __init__(self, model: VLModel, images: Images) -> None:
        assert isinstance(model.visual, RegionEmbedder)
        self.embedder, self.images = model.visual, images
        self.steps_ms: dict[str, list[float]] = {}
        self.kept: Regions | None = None
        for name, step in model.stages().items():
            if name.startswith("visual."):
                self._clock(name, step)
        assert self.embedder.nms is not None
        self.embedder.nms.register_forward_hook(self._keep)

    def _clock(self, name: str, step: nn.Module) -> None:
        samples = self.steps_ms.setdefault(name, [])
        begun = [0]

        def begin(*_: object) -> None:
            begun[0] = perf_counter_ns()

        def end(*_: object) -> None:
            samples.append((perf_counter_ns() - begun[0]) / 1e6)

        step.register_forward_pre_hook(begin)
        step.register_forward_hook(end)

    def _keep(self, _: nn.Module, __: object, kept: Regions) -> None:
        self.kept = kept

    def __call__(self) -> None:
        self.embedder(self.images)


def model_of(name: str, proposals: int | None) -> specs.ModelSpec:
    """A model of the catalogue, with another number of proposals where one is given."""
    spec = catalog.resolve(name)[0]
    visual = spec.visual
    if not isinstance(spec, specs.ModelSpec) or not isinstance(visual, specs.RegionSpec) or visual.rpn is None:
        raise InputError(f"--model {name}: has no detector that proposes boxes; uniter and visualbert have one")
    rpn = visual.rpn.model_copy(update={"proposals": proposals or visual.rpn.proposals})
    return spec.model_copy(update={"visual": visual.model_copy(update={"rpn": rpn})})


def engines(spec: specs.ModelSpec, images: Images, *, inject_load: bool) -> dict[str, Timed]:
    """Both engines with the same random weights, whose norms are off the identity."""
    models: dict[str, VLModel] = {engine: build(spec.with_engine(engine)).eval() for engine in ENGINES}
    generator = torch.Generator().manual_seed(1)
    state = models[OURS].state_dict()
    for name, values in state.items():
        if name.endswith("running_mean"):
            values.add_(0.05 * torch.randn(values.shape, generator=generator))
        elif name.endswith("running_var"):
            values.mul_(1 + 0.1 * torch.rand(values.shape, generator=generator))
    models[THEIRS].load_state_dict(state)
    for model in models.values():
        network: Any = model.visual.rpn
        network.inject_load = inject_load
    return {engine: Timed(model, images) for engine, model in models.items()}


def differences(found: dict[str, Timed]) -> dict[str, float]:
    """The largest absolute difference in what the engines keep, after one pass of each."""
    kept = []
    for engine in found.values():
        engine()
        assert engine.kept is not None
        kept.append(engine.kept)
    parts: dict[str, Callable[[Regions], Tensor]] = {"features": lambda r: r.features, "boxes": lambda r: r.boxes}
    parts["confidence"] = lambda r: r.confidence
    return {name: float((part(kept[0]) - part(kept[1])).abs().max()) for name, part in parts.items()}


def main() -> int:
    parser = interleaved.arguments("The two engines of a detector.", rounds=8)
    parser.add_argument("--model", default="uniter-base", help="of the catalogue (default %(default)s)")
    parser.add_argument("--proposals", type=interleaved.positive, help="boxes (default: the model's)")
    parser.add_argument("--image-size", type=interleaved.size, default=(576, 960), help="default 576x960")
    options = parser.parse_args()
    try:
        check_engine(THEIRS, options.model)
        spec = model_of(options.model, options.proposals)
    except InputError as error:
        print(error)
        return 2
    if options.threads:
        torch.set_num_threads(options.threads)
    facts = interleaved.machine_facts(torch.get_num_threads(), ["torch", "torchvision", "detectron2"])
    interleaved.print_facts(facts, options.rounds, WARMUP)
    pixels = torch.randn(1, 3, *options.image_size, generator=torch.Generator().manual_seed(0))
    images = Images(pixels=pixels, sizes=(options.image_size,))
    with torch.inference_mode():
        own = differences(engines(spec, images, inject_load=False))
        found = engines(spec, images, inject_load=True)
        for what, apart in {"own proposals": own, "declared proposals": differences(found)}.items():
            print(f"{what}: " + ", ".join(f"{name} differ by {value:.2g}" for name, value in apart.items()))
            if max(apart.values()) > TOLERANCE:
                print(f"MISMATCH: more than {TOLERANCE:g}; nothing is timed")
                return 1
        samples = interleaved.interleave(found, options.rounds, WARMUP)
    report(samples, found, facts | {"model": spec.name, "image": "x".join(map(str, options.image_size))}, options)
    return 0


def report(samples: dict[str, list[float]], found: dict[str, Timed], facts: dict[str, str], options: Any) -> None:
    """Whole passes, then the steps within them."""
    interleaved.print_table(samples, THEIRS)
    ratios, everything = [interleaved.ratio_table(samples, THEIRS)[OURS]], dict(samples)
    for step in found[OURS].steps_ms:
        pair = {f"{name}, {step}": found[name].steps_ms[step][-options.rounds :] for name in ENGINES}
        interleaved.print_table(pair, f"{THEIRS}, {step}")
        ratios.append(interleaved.ratio_table(pair, f"{THEIRS}, {step}")[f"{OURS}, {step}"])
        everything |= pair
    interleaved.write_json(
        options.json, script="engines", facts=facts, samples_ms=everything, ratios=ratios, verdicts={}
    )


if __name__ == "__main__":
    sys.exit(main())
