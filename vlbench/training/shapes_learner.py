"""A model with the heads of its objectives, as the training loop sees it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlbench.architectures.heads import ImageTextMatching
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interfaces import Images, Joint, RegionFeatures, Text
from vlbench.architectures.patch import PatchEmbedder
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.evaluation.inputs import text_to
from vlbench.specs import ImageTextMatchingSpec, ModelSpec
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training import heads, objectives
from vlbench.training.learner import Losses
from vlbench.training.recipe import Recipe
from vlbench.training.samples import TrainingSamples, normalised
from vlbench.training.transport import alignment_loss, without_ends, without_first

EPSILON = 1e-12
Seen = Images | RegionFeatures


class Pretraining(nn.Module):
    """A model beside the heads that its recipe's objectives need.

    Args:
        model: with the head that answers questions.
        spec: of it.
        recipe: says which objectives are played.
    """

    def __init__(self, model: VLModel, spec: ModelSpec, recipe: Recipe) -> None:
        super().__init__()
        assert model.text is not None
        self.model = model
        played = recipe.played(spec.family)
        words = model.text.words
        assert isinstance(words, nn.Embedding)
        text_width, image_width = spec.interaction.stream_widths  # type: ignore[union-attr]
        made: dict[str, nn.Module] = {}
        if "itm" in played:
            made["itm"] = ImageTextMatching(ImageTextMatchingSpec(kind="itm", width=text_width))
        if "mlm" in played:
            made["mlm"] = heads.MaskedWords(width=text_width, words=words, layer_norm_eps=EPSILON)
        if "mpp" in played:
            made["mpp"] = heads.MaskedPatchColours(width=image_width, layer_norm_eps=EPSILON)
        if isinstance(model.visual, RegionEmbedder):
            made |= self._of_regions(model.visual, image_width, set(played))
        self.heads = nn.ModuleDict(made)
        initialise_random(self.heads, spec.seed)

    def _of_regions(self, visual: RegionEmbedder, width: int, played: set[str]) -> dict[str, nn.Module]:
        made: dict[str, nn.Module] = {}
        inputs = visual.projection.inputs
        if played & {"mrfr", "mrc", "mrc-kl"}:
            made["hide"] = heads.RegionMask(features=inputs)
        if "mrfr" in played:
            made["mrfr"] = heads.MaskedRegionFeatures(
                width=width, features=inputs, projection=visual.projection, layer_norm_eps=EPSILON
            )
        for name in [name for name in ("mrc", "mrc-kl") if name in played]:
            classes = visual.roi_head.classes + 1
            made[name] = heads.MaskedRegionClasses(width=width, classes=classes, layer_norm_eps=EPSILON)
        return made

    def joint(self, text: Text, seen: Seen) -> Joint:
        assert self.model.text is not None
        return self.model.interaction(self.model.text(text), self.model.visual(seen))  # type: ignore[no-any-return]


class ShapesLearner:
    """Trains a model on samples of the generated world, one objective a step.

    Args:
        model: on its device; a region model's detector is trained before and frozen.
        spec: of it.
        recipe: what it is trained for.
        true_boxes: gives a region model the things' own boxes in the place of what its detector finds.
    """

    def __init__(self, model: VLModel, spec: ModelSpec, recipe: Recipe, *, true_boxes: bool = False) -> None:
        self.module = Pretraining(model, spec, recipe)
        self.module.to(next(model.parameters()).device)
        self.spec, self.recipe, self.true_boxes = spec, recipe, true_boxes
        self.vocabulary = objectives.Vocabulary.of(WordPiece(VOCABULARY).pieces)
        self._playing: dict[str, Any] = {
            "vqa": self._answers,
            "itm": self._matching,
            "mlm": self._words,
            "mpp": self._image,
            "mrfr": self._image,
            "mrc": self._image,
            "mrc-kl": self._image,
        }

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def losses(self, batch: TrainingSamples, generator: torch.Generator) -> Losses:
        objective = self.recipe.chosen(self.spec.family, batch.draw)
        return self._playing[objective](objective, batch, self.seen(batch), generator)  # type: ignore[no-any-return]

    def seen(self, batch: TrainingSamples) -> Seen:
        """Normalised images; of a region model what its frozen detector makes of them."""
        images = normalised(batch.pixels.to(self.device, non_blocking=True), self.spec)
        visual = self.module.model.visual
        if not isinstance(visual, RegionEmbedder):
            return images
        boxes = [some.to(self.device) for some in batch.boxes] if self.true_boxes else None
        with torch.no_grad():
            return visual.regions(images, boxes=boxes).precomputed(images.sizes)

    def _answers(self, objective: str, batch: TrainingSamples, seen: Seen, generator: torch.Generator) -> Losses:
        joint = self.module.joint(text_to(batch.questions, self.device), seen)
        assert self.module.model.head is not None
        logits = self.module.model.head(joint)
        wanted = batch.answers.to(self.device)
        loss = objectives.answers_loss(logits, wanted)
        right = (logits.argmax(dim=1) == wanted).sum()
        return Losses(total=loss, parts={objective: loss.detach()}, right=right, asked=len(wanted))

    def _matching(self, objective: str, batch: TrainingSamples, seen: Seen, generator: torch.Generator) -> Losses:
        pairing = objectives.replace_images(torch.arange(len(batch.answers)), generator=generator)
        shown: Seen = (
            objectives.regions_in_order(seen, pairing.order)
            if isinstance(seen, RegionFeatures)
            else objectives.in_order(seen, pairing.order)
        )
        joint = self.module.joint(text_to(batch.captions, self.device), shown)
        matches = pairing.matches.to(self.device)
        loss = objectives.matching_loss(self.module.heads["itm"](joint), matches)
        if not self.recipe.alignment:
            return Losses(total=loss, parts={objective: loss.detach()})
        assert joint.text is not None
        image = without_first(joint.image) if isinstance(self.module.model.visual, PatchEmbedder) else joint.image
        aligned = alignment_loss(without_ends(joint.text), image, matches)
        parts = {objective: loss.detach(), "wpa": aligned.detach()}
        return Losses(total=loss + self.recipe.alignment * aligned, parts=parts)

    def _words(self, objective: str, batch: TrainingSamples, seen: Seen, generator: torch.Generator) -> Losses:
        masked = self._masked(batch, generator)
        if not self.recipe.conditional:
            seen, _ = self._hidden(seen, generator)
        text = text_to(Text(ids=masked.ids, mask=batch.captions.mask), self.device)
        joint = self.module.joint(text, seen)
        logits = self.module.heads["mlm"](joint, masked.chosen.to(self.device))
        loss = objectives.masked_words_loss(logits, masked.wanted.to(self.device))
        return Losses(total=loss, parts={objective: loss.detach()})

    def _masked(self, batch: TrainingSamples, generator: torch.Generator) -> objectives.MaskedText:
        return objectives.mask_words(
            batch.captions,
            self.vocabulary,
            generator=generator,
            whole_words=self.recipe.whole_words,
            at_least_one=True,
        )

    def _hidden(self, seen: Seen, generator: torch.Generator) -> tuple[Seen, Tensor | None]:
        """The image with 15% of its regions or patches hidden, and which; pixels of a CNN stay as they are."""
        visual = self.module.model.visual
        if isinstance(seen, RegionFeatures):
            real = seen.mask if seen.mask is not None else torch.ones_like(seen.boxes[..., 0], dtype=torch.bool)
            hidden = objectives.mask_places(real, generator=generator, at_least_one=True)
            if "hide" in self.module.heads:
                return self.module.heads["hide"](seen, hidden), hidden
            return objectives.with_masked_regions(seen, hidden), hidden
        if isinstance(visual, PatchEmbedder):
            size = visual.patch.stride[0]
            hidden = objectives.mask_places(objectives.real_patches(seen, size), generator=generator, at_least_one=True)
            return objectives.with_masked_patches(seen, hidden, size), hidden
        return seen, None

    def _image(self, objective: str, batch: TrainingSamples, seen: Seen, generator: torch.Generator) -> Losses:
        text = batch.captions
        if not self.recipe.conditional:
            text = Text(ids=self._masked(batch, generator).ids, mask=text.mask)
        shown, hidden = self._hidden(seen, generator)
        assert hidden is not None
        joint = self.module.joint(text_to(text, self.device), shown)
        predicted = self.module.heads[objective](joint, hidden)
        loss = self._image_loss(objective, predicted, seen, hidden)
        return Losses(total=loss, parts={objective: loss.detach()})

    def _image_loss(self, objective: str, predicted: Tensor, seen: Seen, hidden: Tensor) -> Tensor:
        visual = self.module.model.visual
        if isinstance(seen, Images):
            assert isinstance(visual, PatchEmbedder)
            colours = objectives.patch_colours(seen, visual.patch.stride[0])
            return objectives.patch_colours_loss(predicted, colours[hidden])
        if objective == "mrfr":
            return objectives.region_features_loss(predicted, seen.features[hidden])
        assert isinstance(visual, RegionEmbedder)
        distribution = objectives.class_distribution(visual.roi_head, seen.features[hidden])
        loss = objectives.region_classes_loss if objective == "mrc" else objectives.region_distribution_loss
        return loss(predicted, distribution)
