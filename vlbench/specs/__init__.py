"""What a model is made of, as data: one frozen schema a part, read from `models/*.yaml`.

A part's fields are the keyword-only arguments of the class in `vlbench.architectures` that it builds. Nothing here
imports torch, so that the command line can list and check models at once.
"""

from vlbench.specs.base import Part, Size
from vlbench.specs.detector import C4Head, FeaturePyramid, FpnHead, RegionProposal, RegionSelection, ResNet
from vlbench.specs.heads import ImageTextMatching, PooledFeature, PooledProduct, VisualQuestionAnswering
from vlbench.specs.interaction import CoAttention, CrossModality, DotProduct, SingleStream, StackedCrossAttention
from vlbench.specs.model import Input, ModelSpec, Table6
from vlbench.specs.text import BertEmbeddings, Gru, TextTransformer
from vlbench.specs.towers import ClipResNet, MeanFeature, VisionTransformer
from vlbench.specs.visual import Grid, Patch, Region, RegionProjection

__all__ = [
    "BertEmbeddings",
    "C4Head",
    "ClipResNet",
    "CoAttention",
    "CrossModality",
    "DotProduct",
    "FeaturePyramid",
    "FpnHead",
    "Grid",
    "Gru",
    "ImageTextMatching",
    "Input",
    "MeanFeature",
    "ModelSpec",
    "Part",
    "Patch",
    "PooledFeature",
    "PooledProduct",
    "Region",
    "RegionProjection",
    "RegionProposal",
    "RegionSelection",
    "ResNet",
    "SingleStream",
    "Size",
    "StackedCrossAttention",
    "Table6",
    "TextTransformer",
    "VisionTransformer",
    "VisualQuestionAnswering",
]
