"""ResNet trunks from torchvision's blocks, for grid features and for detectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from vlbench.specs import C4HeadSpec, ResNetSpec


class FrozenBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm with fixed statistics and a fixed affine map, also while training (He et al. 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> FrozenBatchNorm2d:
        return super().train(False)


class ResNetTrunk(nn.Module):
    """The convolutional part of a bottleneck ResNet or ResNeXt (He et al. 2016; Xie et al. 2017).

    Weights and activations are channels-last: on a CPU its convolutions take about 0.78 of the time.

    Args:
        spec: describes it.
        every_stage: whether it gives the feature map of every stage, not only of the last.
    """

    def __init__(self, spec: ResNetSpec, *, every_stage: bool = False) -> None:
        super().__init__()
        layer = FrozenBatchNorm2d if spec.norm == "frozen" else nn.BatchNorm2d
        self.stem = nn.Sequential(
            nn.Conv2d(3, spec.base_width, kernel_size=7, stride=2, padding=3, bias=False),
            layer(spec.base_width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        self.stages = nn.ModuleList()
        self.channels = spec.base_width
        for index, count in enumerate(spec.blocks):
            stage = bottlenecks(
                count,
                inputs=self.channels,
                inner=spec.base_width * 2**index,
                groups=spec.groups,
                group_width=spec.group_width,
                layer=layer,
            )
            set_stride(stage, stride=2 if index else 1, stride_in=spec.stride_in)
            self.stages.append(stage)
            self.channels = spec.stage_channels[index]
        self.every_stage = every_stage
        self.stride = spec.stride
        for part in (self.stem, *self.stages)[: spec.frozen_stages]:
            freeze(part)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pixels_B3HW: Tensor) -> list[Tensor]:
        """Feature maps, finest first; the last is (B, channels, H / stride, W / stride), rounded up."""
        features = self.stem(pixels_B3HW.contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            features = stage(features)
            if self.every_stage:
                maps.append(features)
        return maps or [features]

    @property
    def pools_as_caffe(self) -> bool:
        """Whether `pool_as_caffe` was called."""
        return bool(self.stem[3].ceil_mode)

    def pool_as_caffe(self) -> None:
        """Makes the stem pool without padding and cut the last window off at the border, as Caffe does."""
        self.stem[3] = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)

    def initialise_random(self, generator: torch.Generator) -> None:
        initialise_convolutions(self.stem, generator)
        for stage in self.stages:
            initialise_convolutions(stage, generator)


def bottlenecks(
    count: int, *, inputs: int, inner: int, groups: int, group_width: int, layer: type[nn.BatchNorm2d]
) -> nn.Sequential:
    """A stage of torchvision's bottlenecks, 4 x `inner` channels out; the first projects its shortcut.

    `groups` groups of `group_width` channels, 1 and 64, make bottlenecks `inner` wide; more make them wider.
    """
    outputs = inner * Bottleneck.expansion
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, kernel_size=1, bias=False), layer(outputs))
    widths = {"groups": groups, "base_width": group_width, "norm_layer": layer}
    first = Bottleneck(inputs, inner, downsample=shortcut, **widths)
    return nn.Sequential(first, *(Bottleneck(outputs, inner, **widths) for _ in range(count - 1)))


def res5(spec: C4HeadSpec, *, inputs: int, stride_in: str) -> nn.Sequential:
    """The last stage of a ResNet alone, with frozen BatchNorm; it gives `spec.channels` channels."""
    stage = bottlenecks(
        spec.blocks,
        inputs=inputs,
        inner=8 * spec.base_width,
        groups=spec.groups,
        group_width=spec.group_width,
        layer=FrozenBatchNorm2d,
    )
    set_stride(stage, stride=spec.stride, stride_in=stride_in)
    for block in stage:
        block.conv2.dilation = block.conv2.padding = (spec.dilation, spec.dilation)  # type: ignore[union-attr]
    return stage.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def set_stride(stage: nn.Module, *, stride: int, stride_in: str) -> None:
    """Puts a stage's stride into the 1x1 or the 3x3 convolution of its first bottleneck."""
    first = stage[0]  # type: ignore[index]
    first.conv1.stride = (stride, stride) if stride_in == "1x1" else (1, 1)
    first.conv2.stride = (stride, stride) if stride_in == "3x3" else (1, 1)
    first.downsample[0].stride = (stride, stride)


def freeze(part: nn.Module) -> None:
    """Takes a part's weights out of training and fixes the statistics of its BatchNorm."""
    part.requires_grad_(False)
    for module in part.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, FrozenBatchNorm2d(child.num_features))


def initialise_convolutions(stage: nn.Module, generator: torch.Generator) -> None:
    """Random weights under which a stage keeps the scale of its input, however deep it is.

    Each convolution keeps the second moment of what it reads; the last norm of a bottleneck scales its branch by
    1/sqrt(bottlenecks), so that the sum of all branches at most e-folds it. With plain He initialisation and frozen
    statistics each bottleneck would double it: 2^33 through a ResNet-101.
    """
    bottlenecks = [block for block in stage.modules() if isinstance(block, Bottleneck)]
    for name, module in stage.named_modules():
        if isinstance(module, nn.Conv2d):
            halved_by_relu = name.endswith(("conv2", "conv3"))
            fan_in = module.weight[0].numel()
            module.weight.normal_(0, (2.0 if halved_by_relu else 1.0) ** 0.5 * fan_in**-0.5, generator=generator)
    for block in bottlenecks:
        block.bn3.weight.fill_(len(bottlenecks) ** -0.5)  # type: ignore[operator]
