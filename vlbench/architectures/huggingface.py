"""Any model of transformers behind the interface of `VLModel`; a map says which modules are which stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.huggingface_calls import calling, check_arguments, output_of
from vlbench.architectures.huggingface_stages import Stage, as_stages, find_parts, unnamed
from vlbench.architectures.huggingface_weights import make
from vlbench.architectures.interfaces import Images, RegionFeatures, Text
from vlbench.errors import SpecError
from vlbench.specs import HuggingFaceSpec

MOST_REST = 0.02  # of the MACs, that a stage map may leave to no stage


class HuggingFaceModel(nn.Module):
    """A model of transformers with the interface of a `VLModel`.

    Args:
        spec: the class, its config and weights, the inputs and outputs of its forward pass, and its stages.
        blank: leaves its weights uninitialised.

    Raises SpecError where class, config, weights or stages do not fit.
    """

    def __init__(self, spec: HuggingFaceSpec, *, blank: bool = False) -> None:
        super().__init__()
        self.spec = spec
        self.model = make(spec, blank=blank)
        check_arguments(self.model, spec)
        self.parts = find_parts(self.model, spec.stages, spec.name)
        self.load: dict[str, int] = {}

    def forward(self, text: Text | None, images: Images | RegionFeatures) -> Tensor:
        """Logits of a batch, (B, answers), (B, 2) or (B, 1); ids of words, (B, L), for a model that generates words.

        With `gives: pairs` each text has two images, left then right.
        """
        output = self.output(text, images)
        return output.diagonal()[:, None] if self.spec.gives == "similarity" else output

    def output(self, text: Text | None, images: Images | RegionFeatures) -> Tensor:
        """The output field that counts, unchanged: for `similarity`, scores of every text with every image."""
        if text is None:
            raise ValueError("this model reads text; text is None")
        arguments = {**self._text(text), **self._images(images), **self.spec.options}
        with calling(self.spec, on_meta=text.ids.is_meta):
            result = getattr(self.model, self.spec.call)(**arguments)
        return output_of(result, self.spec, texts=len(text.ids), images=len(images.sizes))

    def encode_text(self, text: Text) -> Tensor:
        """Unit vectors, (B, D), whose products with those of images rank as the scores do; only for `similarity`."""
        return self._encoded("get_text_features", self._text(text))

    def encode_images(self, images: Images | RegionFeatures) -> Tensor:
        """Unit vectors, (B, D); only for `similarity`."""
        return self._encoded("get_image_features", self._images(images) | self.spec.options)

    def _encoded(self, method: str, given: dict[str, Any]) -> Tensor:
        if self.spec.gives != "similarity":
            raise ValueError(f"{self.spec.name} gives {self.spec.gives}: it has no vectors of a text or an image alone")
        output = getattr(self.model, method)(**given)
        return F.normalize(output if isinstance(output, Tensor) else output.pooler_output, dim=1)

    def _text(self, text: Text) -> dict[str, Tensor]:
        names = self.spec.inputs
        given = {names.ids: text.ids}
        if names.mask and (names.mask_needed or text.mask is not None):
            given[names.mask] = torch.ones_like(text.ids) if text.mask is None else text.mask.long()
        return given

    def _images(self, images: Images | RegionFeatures) -> dict[str, Tensor]:
        names = self.spec.inputs
        if isinstance(images, Images):
            if not names.pixels:
                raise ValueError(f"{self.spec.name} reads features of regions, not pixels")
            given = {names.pixels: images.pixels}
            if images.padded:
                if not names.pixel_mask:
                    raise ValueError(f"{self.spec.name} knows no padding; its images must have one size")
                given[names.pixel_mask] = pixel_mask(images)
        else:
            if not names.features:
                raise ValueError(f"{self.spec.name} reads pixels, not features of regions")
            given = {names.features: images.features}
            if names.boxes:
                scale_B4 = [[width, height, width, height] for height, width in images.sizes]
                boxes = images.boxes / images.boxes.new_tensor(scale_B4)[:, None]
                given[names.boxes] = boxes.to(images.features.dtype)
            if names.feature_mask and images.mask is not None:
                given[names.feature_mask] = images.mask.long()
        if self.spec.gives == "pairs":
            given = {name: values.unflatten(0, (-1, 2)) for name, values in given.items()}
        return given

    @property
    def is_dual_encoder(self) -> bool:
        """Whether text and image are only compared, without layers that read both."""
        return self.spec.gives == "similarity"

    @property
    def output_name(self) -> str:
        """What `forward` gives: ids of `words`, `scores`, or `logits`."""
        return {"words": "words", "ranking": "scores", "similarity": "scores"}.get(self.spec.gives, "logits")

    @property
    def detector(self) -> None:
        """It has none."""

    def stages(self) -> dict[str, nn.Module]:
        """Stages and, as `visual.NAME`, steps within the visual embedder, in the order of the forward pass."""
        return dict(self._stages())

    def _stages(self) -> dict[str, Stage]:
        return as_stages(self.parts)

    def declared_load(self, images: Images | RegionFeatures) -> dict[str, int]:
        """Empty: it has no detector."""
        return {}

    def labels(self) -> list[str] | None:
        """The answers in the order of the logits; None if the checkpoint only numbers them."""
        named = dict(getattr(self.model.config, "id2label", None) or {})
        if not named or all(str(label) == f"LABEL_{index}" for index, label in named.items()):
            return None
        return [named[index] for index in range(len(named))]

    def check_rest(self, macs: int, by_stage: dict[str, int]) -> None:
        """Raises SpecError if the stages leave out so much of the MACs that their times would mean little."""
        rest = macs - sum(spent for name, spent in by_stage.items() if "." not in name)
        if rest > MOST_REST * macs:
            raise SpecError(
                f"{self.spec.name}: stages leave {rest / macs:.0%} of the MACs to none; "
                f"{unnamed(self.model, self.parts)!r} is the largest module in none"
            )

    @contextmanager
    def checked_stages(self) -> Iterator[None]:
        """Raises SpecError where a pass runs a stage within another, a step outside of `visual`, or a stage never."""
        running: Counter[str] = Counter()
        ran: set[str] = set()

        def begin(name: str) -> None:
            outer = {other for other in running if running[other] and not name.startswith(f"{other}.")}
            if outer:
                raise SpecError(f"{self.spec.name}: stages.{name} runs within stages.{min(outer)}; name each work once")
            if "." in name and not running["visual"]:
                raise SpecError(f"{self.spec.name}: stages.{name} runs outside of stages.visual, whose step it is")
            running[name] += 1
            ran.add(name)

        stages = self._stages()
        handles = []
        for name, stage in stages.items():
            handles.append(stage.register_forward_pre_hook(lambda *_, name=name: begin(name)))
            handles.append(stage.register_forward_hook(lambda *_, name=name: running.subtract([name])))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        never = [name for name in stages if name not in ran]
        if never:
            raise SpecError(f"{self.spec.name}: stages.{never[0]} is not called in a forward pass; name what is")

    @contextmanager
    def image_tokens(self) -> Iterator[list[int]]:
        """Appends to its list, at each call of a part of the visual stage, how many tokens of an image it gives."""
        lengths: list[int] = []
        single = self.spec.gives == "similarity"
        handles = self._stages()["visual"].register_forward_hook(
            lambda _, __, output: lengths.append(1 if single else _length(output))
        )
        try:
            yield lengths
        finally:
            handles.remove()


def _length(output: Any) -> int:
    """L of a tensor (B, L, D), or of the first tensor within a tuple or an output of transformers."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output.shape[1] if output.dim() == 3 else 1


def pixel_mask(images: Images) -> Tensor:
    """1 for pixels of an image, 0 for padding, (B, H, W) int64."""
    mask_BHW = torch.zeros(len(images.sizes), *images.pixels.shape[-2:], dtype=torch.long)
    for row, (height, width) in zip(mask_BHW, images.sizes, strict=True):
        row[:height, :width] = 1
    return mask_BHW.to(images.pixels.device)


def random_images(
    spec: HuggingFaceSpec, count: int, device: torch.device | str = "cpu", dtype: torch.dtype | None = None
) -> RegionFeatures:
    """Random regions all over the image, from one seed, the same for each example; for measurements."""
    assert spec.features
    height, width = spec.input.image_size
    generator = torch.Generator(device="cpu").manual_seed(0)
    regions, channels = spec.features.regions, spec.features.channels
    features_1RC = torch.rand(1, regions, channels, generator=generator, device="cpu")
    corners_R22 = torch.rand(regions, 2, 2, generator=generator, device="cpu").sort(dim=1).values
    boxes_1R4 = (corners_R22 * torch.tensor([width, height], device="cpu")).flatten(1)[None]
    return RegionFeatures(
        features=features_1RC.repeat(count, 1, 1).to(device, dtype),
        boxes=boxes_1R4.repeat(count, 1, 1).to(device),
        sizes=((height, width),) * count,
        mask=None,
    )
