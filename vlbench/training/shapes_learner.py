"""Trains a model on the generated world: the model with the heads of its objectives, and their losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vlbench.architectures.heads import ImageTextMatching
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interfaces import Images, Joint, RegionFeatures, Text, Tokens
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.evaluation.inputs import text_to
from vlbench.specs import ImageTextMatchingSpec, ModelSpec
from vlbench.tasks.shapes.items import VOCABULARY
from vlbench.tasks.wordpiece import WordPiece
from vlbench.training import losses, masking, pairing
from vlbench.training.learner import Losses
from vlbench.training.objective_heads import (
    MaskedPatchLevels,
    MaskedRegionClasses,
    MaskedRegionFeatures,
    MaskedWords,
    RegionMask,
)
from vlbench.training.recipe import Recipe
from vlbench.training.samples import TrainingSamples, normalised
from vlbench.training.transport import alignment_loss, without_ends, without_first

LAYER_NORM_EPS = 1e-12
VisualInput = Images | RegionFeatures


class Pretraining(nn.Module):
    """A model with the heads that its recipe's objectives need.

    Args:
        model: with the head that answers questions.
        spec: of the model.
        recipe: names the objectives.
    """

    def __init__(self, model: VLModel, spec: ModelSpec, recipe: Recipe) -> None:
        super().__init__()
        assert model.text is not None
        self.model = model
        objectives = recipe.shares_for(spec.family)
        words = model.text.words
        assert isinstance(words, nn.Embedding)
        text_width, image_width = spec.interaction.stream_widths  # type: ignore[union-attr]
        heads: dict[str, nn.Module] = {}
        if "itm" in objectives:
            heads["itm"] = ImageTextMatching(ImageTextMatchingSpec(kind="itm", width=text_width))
        if "mlm" in objectives:
            heads["mlm"] = MaskedWords(width=text_width, words=words, layer_norm_eps=LAYER_NORM_EPS)
        if "mpp" in objectives:
            heads["mpp"] = MaskedPatchLevels(width=image_width, layer_norm_eps=LAYER_NORM_EPS)
        if {"mrfr", "mrc", "mrc-kl"} & set(objectives):
            assert isinstance(model.visual, RegionEmbedder)
            heads |= _region_heads(model.visual, image_width, set(objectives))
        self.heads = nn.ModuleDict(heads)
        initialise_random(self.heads, spec.seed)

    def joint(self, text: Text, images: VisualInput) -> Joint:
        assert self.model.text is not None
        return self.model.interaction(self.model.text(text), self.model.visual(images))  # type: ignore[no-any-return]


def _region_heads(visual: RegionEmbedder, width: int, objectives: set[str]) -> dict[str, nn.Module]:
    features = visual.projection.inputs
    heads: dict[str, nn.Module] = {"region_mask": RegionMask(features=features)}
    if "mrfr" in objectives:
        heads["mrfr"] = MaskedRegionFeatures(
            width=width, features=features, projection=visual.projection, layer_norm_eps=LAYER_NORM_EPS
        )
    for name in [name for name in ("mrc", "mrc-kl") if name in objectives]:
        classes = visual.roi_head.classes + 1
        heads[name] = MaskedRegionClasses(width=width, classes=classes, layer_norm_eps=LAYER_NORM_EPS)
    return heads


class ShapesLearner:
    """Trains a model on samples of the generated world, one objective per step.

    Args:
        model: on its device. The detector of a region model is already trained and frozen.
        spec: of the model.
        recipe: names the objectives and how they are trained.
        true_boxes: a region model reads the true boxes of the things instead of its detector's.
    """

    def __init__(self, model: VLModel, spec: ModelSpec, recipe: Recipe, *, true_boxes: bool = False) -> None:
        self.module = Pretraining(model, spec, recipe)
        self.module.to(next(model.parameters()).device)
        self.spec, self.recipe, self.true_boxes = spec, recipe, true_boxes
        self.vocabulary = masking.Vocabulary.of(WordPiece(VOCABULARY).pieces)

    @property
    def device(self) -> torch.device:
        return next(self.module.parameters()).device

    def _copied(self, values: Tensor) -> Tensor:
        """On the device, while the program goes on if they are in pinned memory."""
        return values.to(self.device, non_blocking=True)

    def losses(self, batch: TrainingSamples, generator: torch.Generator) -> Losses:
        objective = self.recipe.objective_for(self.spec.family, batch.draw)
        images = self.visual_input(batch)
        if objective == "vqa":
            return self._answers(batch, images)
        if objective == "itm":
            return self._matching(batch, images, generator)
        if objective == "mlm":
            return self._masked_words(batch, images, generator)
        return self._masked_image(objective, batch, images, generator)

    def visual_input(self, batch: TrainingSamples) -> VisualInput:
        """Normalised images, or for a region model the regions of its frozen detector."""
        images = normalised(self._copied(batch.pixels), self.spec)
        boxes = [self._copied(boxes_T4) for boxes_T4 in batch.boxes] if self.true_boxes else None
        return self.module.model.visual.training_input(images, boxes=boxes)

    def _answers(self, batch: TrainingSamples, images: VisualInput) -> Losses:
        joint = self.module.joint(text_to(batch.questions, self.device), images)
        assert self.module.model.head is not None
        logits_BA = self.module.model.head(joint)
        answers_B = self._copied(batch.answers)
        loss = losses.answers_loss(logits_BA, answers_B)
        correct = (logits_BA.argmax(dim=1) == answers_B).sum()
        return Losses(total=loss, parts={"vqa": loss.detach()}, correct=correct, questions=len(answers_B))

    def _matching(self, batch: TrainingSamples, images: VisualInput, generator: torch.Generator) -> Losses:
        identity_B = torch.arange(len(batch.answers))
        pairs = pairing.replace_images(identity_B, generator=generator, exact=self.spec.family == "patch")
        shown: VisualInput = (
            pairing.reordered_regions(images, pairs.order)
            if isinstance(images, RegionFeatures)
            else pairing.reordered_images(images, pairs.order)
        )
        joint = self.module.joint(text_to(batch.captions, self.device), shown)
        matches_B = self._copied(pairs.matches)
        loss = losses.matching_loss(self.module.heads["itm"](joint), matches_B)
        if not self.recipe.alignment:
            return Losses(total=loss, parts={"itm": loss.detach()})
        alignment = alignment_loss(*self._aligned(joint), matches_B)
        parts = {"itm": loss.detach(), "wpa": alignment.detach()}
        return Losses(total=loss + self.recipe.alignment * alignment, parts=parts)

    def _aligned(self, joint: Joint) -> tuple[Tokens, Tokens]:
        """The tokens that alignment compares: UNITER's code takes all, ViLT's none of [CLS], [SEP] and class token."""
        assert joint.text is not None
        if self.spec.family == "region":
            return joint.text, joint.image
        return without_ends(joint.text), without_first(joint.image, self.module.model.visual.special_tokens)

    def _masked_words(self, batch: TrainingSamples, images: VisualInput, generator: torch.Generator) -> Losses:
        masked = self._masked_captions(batch, generator)
        if not self.recipe.conditional:
            images, _ = self._with_masked_parts(images, generator)
        text = text_to(Text(ids=masked.ids, mask=batch.captions.mask), self.device)
        joint = self.module.joint(text, images)
        logits_NV = self.module.heads["mlm"](joint, self._copied(masked.chosen))
        loss = losses.masked_words_loss(logits_NV, self._copied(masked.target_ids))
        return Losses(total=loss, parts={"mlm": loss.detach()})

    def _masked_captions(self, batch: TrainingSamples, generator: torch.Generator) -> masking.MaskedText:
        return masking.mask_words(
            batch.captions,
            self.vocabulary,
            generator=generator,
            whole_words=self.recipe.whole_words,
            at_least_one=True,
        )

    def _masked_image(
        self, objective: str, batch: TrainingSamples, images: VisualInput, generator: torch.Generator
    ) -> Losses:
        text = batch.captions
        if not self.recipe.conditional:
            text = Text(ids=self._masked_captions(batch, generator).ids, mask=text.mask)
        shown, masked_BR = self._with_masked_parts(images, generator)
        assert masked_BR is not None
        joint = self.module.joint(text_to(text, self.device), shown)
        predicted = self.module.heads[objective](joint, masked_BR)
        loss = self._masked_image_loss(objective, predicted, images, masked_BR)
        return Losses(total=loss, parts={objective: loss.detach()})

    def _with_masked_parts(self, images: VisualInput, generator: torch.Generator) -> tuple[VisualInput, Tensor | None]:
        """Chooses 15% of the regions or patches, says which, and masks them; the pixels of a CNN stay as they are.

        Of the chosen patches a fifth stays visible, as in ViLT's code (`mask_tokens`); regions are all masked.
        """
        visual = self.module.model.visual
        if isinstance(images, RegionFeatures):
            real = images.mask if images.mask is not None else torch.ones_like(images.boxes[..., 0], dtype=torch.bool)
            masked_BR = masking.mask_image_tokens(real, generator=generator, at_least_one=True)
            if "region_mask" in self.module.heads:
                return self.module.heads["region_mask"](images, masked_BR), masked_BR
            return masking.with_masked_regions(images, masked_BR), masked_BR
        if visual.maskable == "patches":
            real = masking.real_patches(images, visual.patch_size)
            masked_BP = masking.mask_image_tokens(real, generator=generator, at_least_one=True)
            hidden_BP = masked_BP & masking.mask_image_tokens(real, generator=generator, share=masking.TO_MASK)
            return masking.with_masked_patches(images, hidden_BP, visual.patch_size), masked_BP
        return images, None

    def _masked_image_loss(self, objective: str, predicted: Tensor, images: VisualInput, masked_BR: Tensor) -> Tensor:
        visual = self.module.model.visual
        if isinstance(images, Images):
            mean, std = (
                torch.tensor(values, device=predicted.device) for values in (self.spec.input.mean, self.spec.input.std)
            )
            levels = losses.patch_levels(images, visual.patch_size, mean=mean, std=std)
            return losses.patch_levels_loss(predicted, levels[masked_BR])
        if objective == "mrfr":
            return losses.region_features_loss(predicted, images.features[masked_BR])
        assert isinstance(visual, RegionEmbedder)
        distribution = losses.class_distribution(visual.roi_head, images.features[masked_BR])
        loss = losses.region_classes_loss if objective == "mrc" else losses.region_distribution_loss
        return loss(predicted, distribution)
