"""Any model of timm as a visual embedder: its feature map, its tokens, or its pooled feature."""

from __future__ import annotations

import copy
import re
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vlbench.architectures.grid import PixelProjection
from vlbench.architectures.initialise import on_meta
from vlbench.architectures.interfaces import (
    Images,
    TokenBoxes,
    Tokens,
    VisualEmbedder,
    cell_boxes,
    grid_mask,
    grid_sizes,
)
from vlbench.errors import LONGEST_REASON, InputError, SpecError, first_line, nearest, shortened
from vlbench.specs import TimmSpec

OLDEST = (1, 0, 22)  # older ones cannot be built on the meta device
ANY_SIZE = {"dynamic_img_size": True}  # positions are interpolated for images of other sizes
REFUSALS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def create(spec: TimmSpec, **options: Any) -> nn.Module:
    """The timm model, without its classifier unless `options` say so, for images of any size where it can be.

    Raises SpecError for a timm that is too old, a name that it lacks, or arguments that it refuses.
    """
    if tuple(map(int, re.findall(r"\d+", timm.__version__)[:3])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise SpecError(f"visual.kind: timm {timm.__version__} is too old; pip install 'timm>={oldest}' brings one")
    if not timm.is_model(spec.model):
        close = nearest(spec.model.partition(".")[0], timm.list_models(), amount=3)
        raise SpecError(f"visual.model: timm {timm.__version__} has no model {spec.model!r}; {close}")
    arguments: dict[str, Any] = {"num_classes": 0, **spec.model_args, **options}
    try:
        try:
            return timm.create_model(spec.model, **ANY_SIZE | arguments)
        except TypeError as error:
            if "dynamic_img_size" not in str(error):
                raise
            return timm.create_model(spec.model, **arguments)
    except REFUSALS as error:
        raise SpecError(f"visual.model_args: timm cannot build {spec.model} with them ({reason_of(error)})") from error


def reason_of(error: BaseException) -> str:
    """What an error of timm says, in one short line."""
    return shortened(first_line(error), LONGEST_REASON)


class TimmTrunk(nn.Module):
    """A timm model without its classifier and what lies behind the features that are read.

    Raises SpecError, in one line, where the model has no such features.

    Attributes:
        channels: of the features.
        stride: of the feature map or the tokens, in pixels; 0 for a pooled feature.
        prefix: how many class and register tokens come first.
    """

    def __init__(self, spec: TimmSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model: Any = create(spec)
        self.channels: int
        self.prefix: int = 0
        self.stride: int = 0
        if not hasattr(self.model, "prune_intermediate_layers"):
            raise SpecError(f"visual.features: timm {timm.__version__} gives none of {spec.model}; another model works")
        self._check_patches()
        if spec.features == "pooled":
            pooled: Any = self.model
            self.channels = getattr(pooled, "head_hidden_size", None) or pooled.num_features
            return
        self.stage = self._keep_blocks() if spec.features == "tokens" else self._keep_stages()
        kept: dict[str, Any] = self.model.feature_info[self.stage]  # type: ignore[assignment,index]
        self.channels, self.stride = kept["num_chs"], kept["reduction"]
        classifier = self.model.pretrained_cfg.get("classifier")  # type: ignore[operator,union-attr]
        head = classifier.partition(".")[0] if isinstance(classifier, str) else ""
        if head and hasattr(self.model, head):  # a norm may be left of it
            setattr(self.model, head, nn.Identity())

    def _check_patches(self) -> None:
        """Raises SpecError where the file's patch is not the model's."""
        cut = hasattr(self.model, "num_prefix_tokens") and hasattr(self.model, "blocks")
        side = self.model.feature_info[-1]["reduction"] if cut else None
        if self.spec.features == "tokens" and side is None:
            raise SpecError(f"visual.features: {self.spec.model} is no transformer over patches; features: map works")
        if self.spec.patch_size != side and (self.spec.patch_size or self.spec.features != "map"):
            fits = f"its patch_size is {side}" if side else "it has no patches; leave patch_size out"
            raise SpecError(f"visual.patch_size: {self.spec.patch_size} does not fit timm's {self.spec.model}; {fits}")

    def _keep_stages(self) -> int:
        """Cuts the model behind the stage, and gives its index."""
        stages = len(self.model.feature_info)
        stage = stages - 1 if self.spec.stage is None else self.spec.stage
        self._check_stage(stage, stages - 1)
        self.model.prune_intermediate_layers([stage], prune_norm=True, prune_head=True)
        return stage

    def _keep_blocks(self) -> int:
        """Cuts the model behind the last block that runs, and gives the index of one that is left."""
        blocks = len(self.model.blocks)
        count = blocks if self.spec.stage is None else self.spec.stage
        self._check_stage(count, blocks)
        last = max(count, 1) - 1
        self.model.prune_intermediate_layers([last], prune_norm=self.spec.stage is not None, prune_head=True)
        self.model.blocks = self.model.blocks[:count]
        self.prefix = self.model.num_prefix_tokens
        return last

    def _check_stage(self, stage: int, most: int) -> None:
        if stage > most:
            raise SpecError(f"visual.stage: timm's {self.spec.model} has no stage {stage}; 0 to {most} work")

    def forward(self, pixels_B3HW: Tensor) -> Tensor:
        """The map (B, C, H, W), the tokens (B, prefix + patches, C) or the pooled feature (B, C).

        Raises InputError for images of a size that the model cannot read.
        """
        try:
            return self._features(pixels_B3HW)
        except (AssertionError, RuntimeError) as error:
            reason = error if on_meta(self) else self._refusal(pixels_B3HW)
            if reason is None:
                raise
            raise InputError(self._misfit(pixels_B3HW, reason_of(reason))) from error

    def _features(self, pixels_B3HW: Tensor) -> Tensor:
        if self.spec.features == "pooled":
            return self.model(pixels_B3HW)  # type: ignore[no-any-return]
        if self.spec.features == "map":
            maps = self.model.forward_intermediates(pixels_B3HW, indices=[self.stage], intermediates_only=True)
            return maps[0]  # type: ignore[no-any-return]
        tokens_BLC: Tensor = self.model.forward_features(pixels_B3HW)
        cells = (pixels_B3HW.shape[2] // self.stride) * (pixels_B3HW.shape[3] // self.stride)
        if tokens_BLC.dim() != 3 or tokens_BLC.shape[1] != self.prefix + cells:
            raise InputError(f"visual.features: the tokens of timm's {self.spec.model} are not its patches alone")
        return tokens_BLC

    def _refusal(self, pixels_B3HW: Tensor) -> Exception | None:
        """Why images of this size cannot be read, if it is the size."""
        try:
            copy.deepcopy(self).to("meta")._features(torch.empty_like(pixels_B3HW, device="meta"))
        except (AssertionError, RuntimeError) as error:
            return error
        return None

    def _misfit(self, pixels_B3HW: Tensor, reason: str) -> str:
        height, width = pixels_B3HW.shape[2:]
        return (
            f"image size {height}x{width} does not fit timm's {self.spec.model} ({reason}); where it has an img_size, "
            f"visual.model_args: {{img_size: [{height}, {width}]}} may"
        )

    def initialise_random(self, generator: torch.Generator) -> None:
        """timm's initialisation, under a seed that the generator gives."""
        seed = int(torch.randint(2**62, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            fresh = TimmTrunk(self.spec)
        self.load_state_dict(fresh.state_dict())


class TokenProjection(nn.Linear):
    """A linear layer whose random weights keep the scale of what they read."""

    def initialise_random(self, generator: torch.Generator) -> None:
        self.weight.normal_(0, self.in_features**-0.5, generator=generator)


class TimmEmbedder(VisualEmbedder):
    """A timm model and a projection; an instance is of the subclass for the features that its spec names."""

    steps = ("backbone", "projection")

    backbone: TimmTrunk

    def __new__(cls, spec: TimmSpec) -> TimmEmbedder:
        return super().__new__({"map": TimmMap, "tokens": TimmTokens, "pooled": TimmPooled}[spec.features])

    def __getnewargs__(self) -> tuple[TimmSpec]:
        return (self.backbone.spec,)  # for copies


class TimmMap(TimmEmbedder):
    """Every pixel of a feature map is a token, as in Pixel-BERT (section 3.2)."""

    box_source = "projection"

    def __init__(self, spec: TimmSpec) -> None:
        super().__init__()
        self.pool_size = spec.pool_size
        self.backbone = TimmTrunk(spec)
        self.projection = PixelProjection(spec, inputs=self.backbone.channels)

    def forward(self, images: Images) -> Tokens:
        features_BCHW = self.backbone(images.pixels)
        if min(features_BCHW.shape[2:]) < self.pool_size:
            height, width = images.pixels.shape[2:]
            least = self.backbone.stride * self.pool_size
            raise InputError(f"image size {height}x{width} leaves no pixel; each side needs {least} at least")
        return self.projection(features_BCHW, images)  # type: ignore[no-any-return]

    def token_boxes(self, features_BCHW: Tensor, images: Images) -> TokenBoxes:  # type: ignore[override]
        height, width = features_BCHW.shape[-2:]
        (grid, *_) = grid_sizes(images, height // self.pool_size, width // self.pool_size)
        return cell_boxes(grid, self.backbone.stride * self.pool_size, images.sizes[0])


class TimmTokens(TimmEmbedder):
    """The tokens of a transformer over patches; of a padded batch each image is embedded alone."""

    ignores_padding = True
    maskable = "patches"
    box_source = ""

    def __init__(self, spec: TimmSpec) -> None:
        super().__init__()
        self.backbone = PaddedTokens(spec)
        self.special_tokens, self.patch_size = self.backbone.prefix, self.backbone.stride
        if self.backbone.channels != spec.width:
            self.projection = TokenProjection(self.backbone.channels, spec.width)

    def forward(self, images: Images) -> Tokens:
        tokens: Tokens = self.backbone(images)
        if hasattr(self, "projection"):
            return Tokens(values=self.projection(tokens.values), mask=tokens.mask)
        return tokens

    def learned_positions(self) -> nn.Parameter | None:
        positions = getattr(self.backbone.model, "pos_embed", None)
        return positions if isinstance(positions, nn.Parameter) else None

    def token_boxes(self, images: Images) -> TokenBoxes:  # type: ignore[override]
        height, width = images.pixels.shape[-2:]
        (grid, *_) = grid_sizes(images, height // self.patch_size, width // self.patch_size)
        return cell_boxes(grid, self.patch_size, images.sizes[0])


class TimmPooled(TimmEmbedder):
    """The pooled feature, projected without a bias, is the only token, as in OpenCLIP; padding is cut off."""

    ignores_padding = True

    def __init__(self, spec: TimmSpec) -> None:
        super().__init__()
        self.backbone = UnpaddedFeature(spec)
        self.projection = TokenProjection(self.backbone.channels, spec.width, bias=False)

    def forward(self, images: Images) -> Tokens:
        return Tokens(values=self.projection(self.backbone(images))[:, None], mask=None)


class PaddedTokens(TimmTrunk):
    """The tokens of a batch, where padding lies as in the grid of patches over it."""

    def forward(self, images: Images) -> Tokens:  # type: ignore[override]
        embed = super().forward
        if not images.padded:
            return Tokens(values=embed(images.pixels), mask=None)
        rows, columns = (side // self.stride for side in images.pixels.shape[2:])
        parts = [self._padded(embed(pixels), pixels, rows, columns) for pixels in without_padding(images)]
        mask = grid_mask(images, rows, columns)
        assert mask is not None
        return Tokens(values=torch.cat(parts), mask=F.pad(mask, (self.prefix, 0), value=True))

    def _padded(self, tokens_1LC: Tensor, pixels: Tensor, rows: int, columns: int) -> Tensor:
        height, width = (side // self.stride for side in pixels.shape[2:])
        grid_1HWC = tokens_1LC[:, self.prefix :].unflatten(1, (height, width))
        grid_1HWC = F.pad(grid_1HWC, (0, 0, 0, columns - width, 0, rows - height))
        return torch.cat((tokens_1LC[:, : self.prefix], grid_1HWC.flatten(1, 2)), dim=1)


class UnpaddedFeature(TimmTrunk):
    """The pooled features of a batch, each without its padding."""

    def forward(self, images: Images) -> Tensor:  # type: ignore[override]
        if not images.padded:
            return super().forward(images.pixels)
        embed = super().forward
        return torch.cat([embed(pixels) for pixels in without_padding(images)])


def without_padding(images: Images) -> list[Tensor]:
    """The pixels of each image, (1, 3, height, width)."""
    return [images.pixels[row : row + 1, :, :height, :width] for row, (height, width) in enumerate(images.sizes)]
