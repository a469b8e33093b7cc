"""What is asked of the joint tokens."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from vlbench.specs.base import TINY_WIDTH, Part


class PooledFeature(Part):
    """The image's feature alone: the first token, or the mean of the others (ViT, section 3.1 and appendix D.3)."""

    kind: Literal["pooled_feature"]
    pooling: Literal["cls", "mean"] = "cls"


class ImageTextMatching(Part):
    """Does the text describe the image: pooler, then two classes (UNITER, section 3.2; ViLT, section 3.2)."""

    kind: Literal["itm"]
    width: PositiveInt = 768

    def tiny(self) -> ImageTextMatching:
        return self.model_copy(update={"width": TINY_WIDTH})


class PooledProduct(Part):
    """The same question to two streams: both are pooled and their product is classified (ViLBERT, section 2.2)."""

    kind: Literal["itm_product"]
    text_width: PositiveInt = 768
    image_width: PositiveInt = 1024
    width: PositiveInt = 1024

    def tiny(self) -> PooledProduct:
        return self.model_copy(update=dict.fromkeys(("text_width", "image_width", "width"), TINY_WIDTH))


class VisualQuestionAnswering(Part):
    """Answer classifier: pooler, then a two-layer MLP (ViLT, section 4.2)."""

    kind: Literal["vqa"]
    width: PositiveInt = 768
    answers: PositiveInt = 3129
    layer_norm_eps: PositiveFloat = 1e-5

    def tiny(self) -> VisualQuestionAnswering:
        return self.model_copy(update={"width": TINY_WIDTH, "answers": 11})


HeadPart = Annotated[
    PooledFeature | ImageTextMatching | PooledProduct | VisualQuestionAnswering, Field(discriminator="kind")
]
