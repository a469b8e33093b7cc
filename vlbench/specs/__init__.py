"""What a model is made of, as data: one frozen schema a part, read from `models/*.yaml`.

A part's fields are the keyword-only arguments of the class in `vlbench.architectures` that it builds. Nothing here
imports torch, so that the command line can list and check models at once.
"""

from vlbench.specs.base import RANDOM, Part, Size
from vlbench.specs.detector import C4Head, FeaturePyramid, FpnHead, RegionProposal, RegionSelection, ResNet
from vlbench.specs.heads import (
    AttentivePair,
    ImageTextMatching,
    LinearAnswers,
    LinearPair,
    PairClassifier,
    PooledFeature,
    PooledProduct,
    ProductAnswers,
    Ranking,
    TaskHeads,
    TaskKind,
    TogetherPair,
    VisualQuestionAnswering,
)
from vlbench.specs.huggingface import AnySpec, HuggingFaceSpec, schema_of
from vlbench.specs.interaction import CoAttention, CrossModality, DotProduct, SingleStream, StackedCrossAttention
from vlbench.specs.model import Input, ModelSpec, Table6
from vlbench.specs.resizing import CentreCrop, ExactResize, ShorterSide
from vlbench.specs.text import BertEmbeddings, Gru, TextTransformer
from vlbench.specs.visual import ClipResNet, Grid, MeanFeature, Patch, Region, RegionProjection, VisionTransformer

__all__ = [
    "RANDOM",
    "AnySpec",
    "AttentivePair",
    "BertEmbeddings",
    "C4Head",
    "CentreCrop",
    "ClipResNet",
    "CoAttention",
    "CrossModality",
    "DotProduct",
    "ExactResize",
    "FeaturePyramid",
    "FpnHead",
    "Grid",
    "Gru",
    "HuggingFaceSpec",
    "ImageTextMatching",
    "Input",
    "LinearAnswers",
    "LinearPair",
    "MeanFeature",
    "ModelSpec",
    "PairClassifier",
    "Part",
    "Patch",
    "PooledFeature",
    "PooledProduct",
    "ProductAnswers",
    "Ranking",
    "Region",
    "RegionProjection",
    "RegionProposal",
    "RegionSelection",
    "ResNet",
    "ShorterSide",
    "SingleStream",
    "Size",
    "StackedCrossAttention",
    "Table6",
    "TaskHeads",
    "TaskKind",
    "TextTransformer",
    "TogetherPair",
    "VisionTransformer",
    "VisualQuestionAnswering",
    "schema_of",
]
