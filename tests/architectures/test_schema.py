"""A part's schema and the class that it builds have the same arguments."""

from __future__ import annotations

import inspect

import pytest
from torch import nn

from vlbench import specs
from vlbench.architectures import (
    clip,
    clip_resnet,
    detector,
    dual_stream,
    grid,
    heads,
    interaction,
    pair_heads,
    patch,
    region,
    resnet,
    roi_heads,
    similarity,
    text,
)
from vlbench.specs.base import NO_ARGUMENTS

FROM_THE_PARENT = {"inputs", "strides", "stride_of_features", "stride_in", "every_stage", "bias", "image_types"}

PARTS: dict[type[specs.Part], type[nn.Module]] = {
    specs.BertEmbeddingsSpec: text.BertEmbeddings,
    specs.GruSpec: text.Gru,
    specs.TextTransformerSpec: clip.TextTransformer,
    specs.PatchSpec: patch.PatchEmbedder,
    specs.VisionTransformerSpec: clip.VisionTransformer,
    specs.ClipResNetSpec: clip_resnet.ClipResNet,
    specs.ResNetSpec: resnet.ResNetTrunk,
    specs.RegionProposalSpec: detector.RegionProposalNetwork,
    specs.FeaturePyramidSpec: roi_heads.FeaturePyramid,
    specs.C4HeadSpec: roi_heads.C4RoIHead,
    specs.FpnHeadSpec: roi_heads.FpnRoIHead,
    specs.RegionSelectionSpec: region.RegionSelection,
    specs.RegionProjectionSpec: region.RegionProjection,
    specs.SingleStreamSpec: interaction.SingleStream,
    specs.CoAttentionSpec: dual_stream.CoAttention,
    specs.CrossModalitySpec: dual_stream.CrossModality,
    specs.DotProductSpec: similarity.DotProduct,
    specs.StackedCrossAttentionSpec: similarity.StackedCrossAttention,
    specs.PooledFeatureSpec: heads.PooledFeature,
    specs.ImageTextMatchingSpec: heads.ImageTextMatching,
    specs.PooledProductSpec: heads.PooledProduct,
    specs.RankingSpec: heads.Ranking,
    specs.VisualQuestionAnsweringSpec: heads.VisualQuestionAnswering,
    specs.LinearAnswersSpec: heads.LinearAnswers,
    specs.ProductAnswersSpec: heads.ProductAnswers,
    specs.PairClassifierSpec: pair_heads.PairClassifier,
    specs.LinearPairSpec: pair_heads.LinearPair,
    specs.AttentivePairSpec: pair_heads.AttentivePair,
    specs.TogetherPairSpec: pair_heads.TogetherPair,
}


@pytest.mark.parametrize(("schema", "part"), PARTS.items(), ids=lambda kind: kind.__name__)
def test_a_parts_arguments_are_its_schemas_fields(schema: type[specs.Part], part: type[nn.Module]) -> None:
    parameters = inspect.signature(part).parameters
    fields = set(schema.model_fields) - NO_ARGUMENTS
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters.values())
    assert fields <= set(parameters)
    assert set(parameters) - fields <= FROM_THE_PARENT


@pytest.mark.parametrize(
    ("schema", "projection"), [(specs.GridSpec, grid.PixelProjection), (specs.MeanFeatureSpec, grid.MeanProjection)]
)
def test_a_grids_own_fields_are_its_projections_arguments(schema: type[specs.Part], projection: type) -> None:
    fields = set(schema.model_fields) - NO_ARGUMENTS - {"backbone", "projection_inputs"}
    assert set(inspect.signature(projection).parameters) - {"inputs"} == fields


def test_a_regions_fields_are_its_embedders_arguments() -> None:
    assert set(inspect.signature(region.RegionEmbedder).parameters) == set(specs.RegionSpec.model_fields) - NO_ARGUMENTS


def subclasses(kind: type) -> set[type]:
    """All the way down."""
    return {kind for child in kind.__subclasses__() for kind in (child, *subclasses(child))}


def test_every_part_of_the_schema_is_checked() -> None:
    combined = {specs.GridSpec, specs.MeanFeatureSpec, specs.RegionSpec, specs.Input, specs.Table6, specs.ModelSpec}
    combined |= {specs.ExactResize, specs.ShorterSide, specs.CentreCrop, specs.TaskHeads}
    bases = {kind for kind in subclasses(specs.Part) if kind.__subclasses__()}
    foreign = {kind for kind in subclasses(specs.Part) if kind.__module__.startswith("vlbench.specs.huggingface")}
    assert set(PARTS) == subclasses(specs.Part) - combined - bases - foreign
