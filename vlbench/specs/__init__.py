"""The parts of a model as data: one frozen schema for each, read from `models/*.yaml`.

A class of `vlbench.architectures` is built from each. Nothing here imports torch, so that the command line lists and
checks models at once.
"""

from vlbench.specs.base import RANDOM, CentreCrop, ExactResize, ShorterSide, Spec
from vlbench.specs.bounds import Size
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
from vlbench.specs.module import ModuleSpec
from vlbench.specs.region import RegionProjectionSpec, RegionSpec
from vlbench.specs.text import BertEmbeddingsSpec, GruSpec, TextTransformerSpec
from vlbench.specs.timm import TimmSpec
from vlbench.specs.visual import (
    ClipResNetSpec,
    GridSpec,
    MeanFeatureSpec,
    PatchSpec,
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
    "ModuleSpec",
    "PairClassifierSpec",
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
    "Spec",
    "StackedCrossAttentionSpec",
    "Table6",
    "TaskHeads",
    "TaskKind",
    "TextTransformerSpec",
    "TimmSpec",
    "TogetherPairSpec",
    "VisionTransformerSpec",
    "VisualQuestionAnsweringSpec",
    "schema_of",
]
