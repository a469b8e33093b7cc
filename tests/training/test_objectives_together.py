"""ViLT and UNITER overfit one batch with all objectives of their papers together, so the parts fit each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vlbench.architectures.build import build
from vlbench.architectures.initialise import initialise_random
from vlbench.architectures.interfaces import Images, Joint, RegionFeatures, Text
from vlbench.architectures.patch import PatchEmbedder
from vlbench.architectures.region import RegionEmbedder
from vlbench.architectures.vl_model import VLModel
from vlbench.specs.catalog import catalog
from vlbench.training import losses, masking, objective_heads, pairing
from vlbench.training.transport import alignment_loss, without_ends, without_first

BATCH, LENGTH, CLASSES, STEPS = 6, 8, 5, 30
Inputs = Images | RegionFeatures


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


pytestmark = pytest.mark.usefixtures("one_thread")


class Pretraining(nn.Module):
    """A model with all heads that its image tokens allow; `forward` gives each objective's loss on a fixed batch."""

    def __init__(self, name: str) -> None:
        super().__init__()
        spec = catalog()[name].tiny()
        model = build(spec)
        assert isinstance(model, VLModel)
        assert model.text is not None
        self.model = model.eval()
        pieces = model.text.words.num_embeddings
        special = torch.arange(pieces) < 5
        self.vocabulary = masking.Vocabulary(special=special, continues=torch.zeros_like(special), mask_id=4)
        width, eps = model.text.words.embedding_dim, 1e-12
        self.words = objective_heads.MaskedWords(width=width, words=model.text.words, layer_norm_eps=eps)
        self.levels = objective_heads.MaskedPatchLevels(width=width, layer_norm_eps=eps)
        if isinstance(model.visual, RegionEmbedder):
            projection = model.visual.projection
            self.hide = objective_heads.RegionMask(features=projection.inputs)
            self.features = objective_heads.MaskedRegionFeatures(
                width=width, features=projection.inputs, projection=projection, layer_norm_eps=eps
            )
            self.classes = objective_heads.MaskedRegionClasses(width=width, classes=CLASSES, layer_norm_eps=eps)
        ids = torch.randint(5, pieces, (BATCH, LENGTH), generator=seeded())
        ids[:, 0], ids[:, -1] = 2, 3
        self.text = Text(ids=ids, mask=None)
        side = 2 * model.visual.patch.stride[0] if isinstance(model.visual, PatchEmbedder) else 0
        self.pixels = torch.randn(BATCH, 3, side, side, generator=seeded(1))
        others = [module for name, module in self.named_children() if name != "model"]
        initialise_random(nn.ModuleList(others), 0)

    def images(self) -> Inputs:
        if not isinstance(self.model.visual, RegionEmbedder):
            return Images(pixels=self.pixels, sizes=((self.pixels.shape[2], self.pixels.shape[3]),) * BATCH)
        features = torch.randn(BATCH, 4, self.model.visual.projection.inputs, generator=seeded(2))
        boxes = torch.tensor([[0.0, 0.0, 30.0, 30.0]]).expand(BATCH, 4, 4) + torch.arange(4)[None, :, None]
        return RegionFeatures(features=features, boxes=boxes, sizes=((64, 64),) * BATCH, mask=None)

    def joint(self, ids: Tensor, images: Inputs) -> Joint:
        assert self.model.text is not None
        text = self.model.text(Text(ids=ids, mask=self.text.mask))
        return self.model.interaction(text, self.model.visual(images))

    def forward(self) -> dict[str, Tensor]:
        images = self.images()
        by_objective = {"itm": self.matching(images)}
        hidden = masking.mask_words(self.text, self.vocabulary, generator=seeded(3), share=0.4, at_least_one=True)
        logits = self.words(self.joint(hidden.ids, images), hidden.chosen)
        by_objective["mlm"] = losses.masked_words_loss(logits, hidden.target_ids)
        if isinstance(images, RegionFeatures):
            return by_objective | self.regions(images)
        return by_objective | self.patches(images)

    def matching(self, images: Inputs) -> Tensor:
        pairs = pairing.replace_images(torch.arange(BATCH), generator=seeded(4))
        if isinstance(images, RegionFeatures):
            shown: Inputs = pairing.reordered_regions(images, pairs.order)
        else:
            shown = pairing.reordered_images(images, pairs.order)
        joint = self.joint(self.text.ids, shown)
        assert joint.text is not None
        assert self.model.head is not None
        aligned = alignment_loss(without_ends(joint.text), without_first(joint.image), pairs.matches)
        return losses.matching_loss(self.model.head(joint), pairs.matches) + 0.1 * aligned

    def patches(self, images: Images) -> dict[str, Tensor]:
        assert isinstance(self.model.visual, PatchEmbedder)
        size = self.model.visual.patch.stride[0]
        real = masking.real_patches(images, size)
        chosen = masking.mask_image_tokens(real, generator=seeded(5), share=0.5, at_least_one=True)
        joint = self.joint(self.text.ids, masking.with_masked_patches(images, chosen, size))
        levels = losses.patch_levels(images, size, mean=torch.full((3,), 0.5), std=torch.full((3,), 0.5))[chosen]
        return {"mpp": losses.patch_levels_loss(self.levels(joint, chosen), levels)}

    def regions(self, images: RegionFeatures) -> dict[str, Tensor]:
        real = torch.ones(images.features.shape[:2], dtype=torch.bool)
        chosen = masking.mask_image_tokens(real, generator=seeded(5), share=0.4, at_least_one=True)
        joint = self.joint(self.text.ids, self.hide(images, chosen))
        distribution = torch.randn(*real.shape, CLASSES, generator=seeded(6)).mul(3).softmax(dim=2)[chosen]
        return {
            "mrfr": losses.region_features_loss(self.features(joint, chosen), images.features[chosen]),
            "mrc": losses.region_classes_loss(self.classes(joint, chosen), distribution),
            "mrc-kl": losses.region_distribution_loss(self.classes(joint, chosen), distribution),
        }


OF_FAMILY = {
    "vilt-b32": {"itm", "mlm", "mpp"},
    "uniter-base": {"itm", "mlm", "mrfr", "mrc", "mrc-kl"},
}


@pytest.mark.parametrize("name", OF_FAMILY)
def test_every_objective_of_a_batch_falls(name: str) -> None:
    part = Pretraining(name)
    optimizer = torch.optim.AdamW(part.parameters(), lr=3e-3, weight_decay=0.01)
    before = {kind: loss.item() for kind, loss in part().items()}
    assert set(before) == OF_FAMILY[name]
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.stack(list(part().values())).sum().backward()
        optimizer.step()
    after = {kind: loss.item() for kind, loss in part().items()}
    for kind in before:
        assert after[kind] < 0.9 * before[kind], (before, after)
    assert after["mlm"] < 0.6 * before["mlm"]
