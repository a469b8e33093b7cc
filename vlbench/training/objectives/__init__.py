"""The objectives of the papers: what is hidden or exchanged, and what a wrong guess costs."""

from vlbench.training.objectives.answers import answers_loss, soft_answers_loss
from vlbench.training.objectives.hinges import max_of_hinges, sum_of_hinges
from vlbench.training.objectives.masking import (
    MaskedPair,
    MaskedText,
    Vocabulary,
    mask_pair,
    mask_places,
    mask_words,
)
from vlbench.training.objectives.matching import (
    Pairing,
    in_order,
    matching_loss,
    regions_in_order,
    replace_images,
)
from vlbench.training.objectives.patches import (
    patch_colours,
    patch_colours_loss,
    real_patches,
    with_masked_patches,
)
from vlbench.training.objectives.regions import (
    class_distribution,
    region_classes_loss,
    region_distribution_loss,
    region_features_loss,
    with_masked_regions,
)
from vlbench.training.objectives.words import masked_words_loss

__all__ = [
    "MaskedPair",
    "MaskedText",
    "Pairing",
    "Vocabulary",
    "answers_loss",
    "class_distribution",
    "in_order",
    "mask_pair",
    "mask_places",
    "mask_words",
    "masked_words_loss",
    "matching_loss",
    "max_of_hinges",
    "patch_colours",
    "patch_colours_loss",
    "real_patches",
    "region_classes_loss",
    "region_distribution_loss",
    "region_features_loss",
    "regions_in_order",
    "replace_images",
    "soft_answers_loss",
    "sum_of_hinges",
    "with_masked_patches",
    "with_masked_regions",
]
