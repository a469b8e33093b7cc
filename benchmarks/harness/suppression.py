"""Per-class suppression in one batch against the papers' loop over classes, on the CPU.

python -m benchmarks.harness.suppression [--boxes N] [--classes N] [--rounds N] [--threads N] [--json FILE]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from vlbench.architectures.detector import spread_boxes
from vlbench.architectures.nms import per_class_batched, per_class_loop

from . import interleaved

WARMUP = 1
BAR = 0.2
IOU = 0.3
IMAGE_SIZE = (600, 1000)
OTHER_COUNTS = (100, 1000)  # printed beside --boxes; the bar is on --boxes alone


def load(boxes: int, classes: int) -> tuple[Tensor, Tensor]:
    """Overlapping boxes of all sizes, and class scores that leave out the background, the last of the softmax."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(boxes, classes + 1, generator=generator).mul(3).softmax(1)[:, :-1]
    return spread_boxes(boxes, *IMAGE_SIZE), scores.contiguous()


def main() -> int:
    parser = interleaved.arguments("Batched per-class suppression against the loop over classes.", rounds=12)
    parser.add_argument(
        "--boxes", type=interleaved.positive, default=300, help="boxes of the bar (default %(default)s)"
    )
    parser.add_argument("--classes", type=interleaved.positive, default=1600, help="default %(default)s")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    facts = interleaved.machine_facts(torch.get_num_threads(), ["torch", "torchvision"])
    interleaved.print_facts(facts, options.rounds, WARMUP)

    counts = [options.boxes, *(count for count in OTHER_COUNTS if count != options.boxes)]
    callables: dict[str, Callable[[], object]] = {}
    with torch.inference_mode():
        for count in counts:
            boxes, scores = load(count, options.classes)
            loop, batched = (method(boxes, scores, IOU) for method in (per_class_loop, per_class_batched))
            if not torch.equal(loop, batched):
                print(f"MISMATCH at {count} boxes: {int((loop != batched).sum())} confidences differ; nothing is timed")
                return 1
            for name, method in (("loop", per_class_loop), ("batched", per_class_batched)):
                callables[f"{name}, {count} boxes"] = partial(method, boxes, scores, IOU)
        print(f"confidences equal bit for bit: {', '.join(map(str, counts))} boxes of {options.classes} classes")
        samples = interleaved.interleave(callables, options.rounds, WARMUP)

    ratios = []
    for count in counts:
        pair = {name: samples[name] for name in (f"loop, {count} boxes", f"batched, {count} boxes")}
        interleaved.print_table(pair, f"loop, {count} boxes")
        ratios.append(interleaved.ratio_table(pair, f"loop, {count} boxes")[f"batched, {count} boxes"])
    what = f"batched / loop at {options.boxes} boxes"
    verdict = interleaved.print_bar(what, ratios[0], BAR)
    interleaved.write_json(
        options.json,
        script="suppression",
        facts=facts | {"classes": str(options.classes), "iou": str(IOU)},
        samples_ms=samples,
        ratios=ratios,
        verdicts={f"{what} <= {BAR}": verdict},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
