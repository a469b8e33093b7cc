"""The ResNet tower of CLIP: three stem convolutions, anti-aliased strides, attention pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck

from vlbench.architectures.blocks import CrossAttention, attention_bias
from vlbench.architectures.interfaces import Images, Tokens, VisualEmbedder, grid_mask, mean_of_real
from vlbench.architectures.patch import grid_positions
from vlbench.architectures.resnet import initialise_convolutions
from vlbench.specs import ClipResNetSpec

WIDTH = 64  # of the stem, and of res2's inner convolutions


class AntiAliasedBottleneck(Bottleneck):
    """A bottleneck that averages where others stride: before its last convolution and that of its shortcut.

    Args:
        inputs: channels that come in.
        width: of the inner convolutions; 4 x `width` channels go out.
        stride: side of the averaged windows.
    """

    def __init__(self, *, inputs: int, width: int, stride: int) -> None:
        shortcut = None
        if stride > 1 or inputs != width * self.expansion:
            shortcut = nn.Sequential(
                window_mean(stride),
                nn.Conv2d(inputs, width * self.expansion, kernel_size=1, bias=False),
                nn.BatchNorm2d(width * self.expansion),
            )
        super().__init__(inputs, width, downsample=shortcut)
        self.pool = window_mean(stride)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(x)))
        inner = self.pool(self.relu(self.bn2(self.conv2(inner))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.bn3(self.conv3(inner)) + shortcut)


def window_mean(side: int) -> nn.Module:
    """The mean over windows that do not overlap."""
    return nn.AvgPool2d(side) if side > 1 else nn.Identity()


class ClipTrunk(nn.Module):
    """Stem and res2 to res5 (CLIP, section 2.4, after He et al. 2019 and Zhang 2019).

    Args:
        blocks: bottlenecks of each stage.
    """

    def __init__(self, *, blocks: Sequence[int]) -> None:
        super().__init__()
        half = WIDTH // 2
        convolutions = [
            nn.Sequential(
                nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            )
            for inputs, outputs, stride in ((3, half, 2), (half, half, 1), (half, WIDTH, 1))
        ]
        self.stem = nn.Sequential(*convolutions, nn.AvgPool2d(2))
        self.channels = WIDTH
        self.stages = nn.ModuleList(
            self._stage(WIDTH * 2**index, count, stride=2 if index else 1) for index, count in enumerate(blocks)
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _stage(self, width: int, count: int, *, stride: int) -> nn.Sequential:
        stage = []
        for index in range(count):
            stage.append(AntiAliasedBottleneck(inputs=self.channels, width=width, stride=1 if index else stride))
            self.channels = width * AntiAliasedBottleneck.expansion
        return nn.Sequential(*stage)

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """(B, channels, H / 32, W / 32), rounded down."""
        features = self.stem(pixels_B3HW.contiguous(memory_format=torch.channels_last))
        for stage in self.stages:
            features = stage(features)
        return features

    def initialise_random(self, generator: torch.Generator) -> None:
        for part in (self.stem, *self.stages):
            initialise_convolutions(part, generator)


class AttentionPool(nn.Module):
    """One attention whose query is the mean of the feature map (CLIP, section 2.4).

    The released code also queries with every cell and drops those results; here the mean is the only query, with the
    same result.

    Args:
        spec: of the embedder.
        inputs: channels of the feature map.
    """

    def __init__(self, spec: ClipResNetSpec, *, inputs: int) -> None:
        super().__init__()
        rows, columns = self.position_grid = spec.position_grid
        self.positions = nn.Parameter(torch.zeros(1, 1 + rows * columns, inputs))
        self.attention = CrossAttention(
            width=inputs,
            source_width=inputs,
            inner_width=inputs,
            heads=spec.heads,
            dropout=0.0,
            output_width=spec.width,
        )

    def forward(self, features_BCHW: Tensor, images: Images) -> Tokens:
        grid = (features_BCHW.shape[2], features_BCHW.shape[3])
        mask = grid_mask(images, *grid)
        cells_BLC = features_BCHW.flatten(2).transpose(1, 2)
        mean_B1C = mean_of_real(Tokens(values=cells_BLC, mask=mask))[:, None] + self.positions[:, :1]
        cells_BLC = cells_BLC + grid_positions(self.positions[:, 1:], self.position_grid, images, grid)
        bias = attention_bias(None if mask is None else F.pad(mask, (1, 0), value=True), cells_BLC.dtype)
        pooled = self.attention(mean_B1C, torch.cat((mean_B1C, cells_BLC), dim=1), bias)
        return Tokens(values=pooled, mask=None)

    def initialise_random(self, generator: torch.Generator) -> None:
        deviation = self.positions.shape[2] ** -0.5
        self.positions.normal_(0, deviation, generator=generator)
        for layer in (self.attention.query, self.attention.key_value, self.attention.out):
            layer.weight.normal_(0, deviation, generator=generator)


class ClipResNet(VisualEmbedder):
    """The trunk and its attention pooling (CLIP, section 2.4)."""

    steps = ("backbone", "projection")

    def __init__(self, spec: ClipResNetSpec) -> None:
        super().__init__()
        self.backbone = ClipTrunk(blocks=spec.blocks)
        self.projection = AttentionPool(spec, inputs=self.backbone.channels)

    def forward(self, images: Images) -> Tokens:
        return self.projection(self.backbone(images.pixels), images)
