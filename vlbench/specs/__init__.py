"""What a model is made of, as data: one frozen schema a part, read from `models/*.yaml`.

A part's fields are the keyword-only arguments of the class in `vlbench.architectures` that it builds. Nothing here
imports torch, so that the command line can list and check models at once.
"""

from vlbench.specs.base import RANDOM, Part, Size
from vlbench.specs.detector import (
    C4HeadSpec,
    FeaturePyramidSpec,
    FpnHeadSpec,
    RegionProposalSpec,
    RegionSelectionSpec,
    ResNetSpec,
)
from vlbench.specs.heads import (
    AttentivePairSpec,
    ImageTextMatchingSpec,
    LinearAnswersSpec,
    LinearPairSpec,
    PairClassifierSpec,
    PooledFeatureSpec,
    PooledProductSpec,
    ProductAnswersSpec,
    RankingSpec,
    TaskHeads,
    TaskKind,
    TogetherPairSpec,
    VisualQuestionAnsweringSpec,
)
from vlbench.specs.huggingface import AnySpec, HuggingFaceSpec, schema_of
from vlbench.specs.interaction import (
    CoAttentionSpec,
    CrossModalitySpec,
    DotProductSpec,
    SingleStreamSpec,
    StackedCrossAttentionSpec,
)
from vlbench.specs.model import Input, ModelSpec, Table6
from vlbench.specs.resizing import CentreCrop, ExactResize, ShorterSide
from vlbench.specs.text import BertEmbeddingsSpec, GruSpec, TextTransformerSpec
from vlbench.specs.visual import (
    ClipResNetSpec,
    GridSpec,
    MeanFeatureSpec,
    PatchSpec,
    RegionProjectionSpec,
    RegionSpec,
    VisionTransformerSpec,
)

__all__ = [
    "RANDOM",
    "AnySpec",
    "AttentivePairSpec",
    "BertEmbeddingsSpec",
    "C4HeadSpec",
    "CentreCrop",
    "ClipResNetSpec",
    "CoAttentionSpec",
    "CrossModalitySpec",
    "DotProductSpec",
    "ExactResize",
    "FeaturePyramidSpec",
    "FpnHeadSpec",
    "GridSpec",
    "GruSpec",
    "HuggingFaceSpec",
    "ImageTextMatchingSpec",
    "Input",
    "LinearAnswersSpec",
    "LinearPairSpec",
    "MeanFeatureSpec",
    "ModelSpec",
    "PairClassifierSpec",
    "Part",
    "PatchSpec",
    "PooledFeatureSpec",
    "PooledProductSpec",
    "ProductAnswersSpec",
    "RankingSpec",
    "RegionProjectionSpec",
    "RegionProposalSpec",
    "RegionSelectionSpec",
    "RegionSpec",
    "ResNetSpec",
    "ShorterSide",
    "SingleStreamSpec",
    "Size",
    "StackedCrossAttentionSpec",
    "Table6",
    "TaskHeads",
    "TaskKind",
    "TextTransformerSpec",
    "TogetherPairSpec",
    "VisionTransformerSpec",
    "VisualQuestionAnsweringSpec",
    "schema_of",
]
