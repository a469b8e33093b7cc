"""Modules as a user writes them, by name, and folders of transformers at tiny sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, PATCH, WORDS = 16, 8, 50


class Fusion(nn.Module):
    """Two towers of a single layer and two layers that read both."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, width, PATCH, PATCH), nn.Flatten(2))
        self.words = nn.Embedding(WORDS, width)
        self.fusion = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.unused = nn.Linear(width, width)
        self.head = nn.Linear(width, 5)

    def forward(self, pixels: Tensor, ids: Tensor) -> dict[str, list[Tensor]]:
        joint = torch.cat((self.words(ids), self.encoder(pixels).transpose(1, 2)), dim=1)
        for layer in self.fusion:
            joint = layer(joint)
        return {"logits": [self.head(joint[:, 0])]}


def make(width: int = WIDTH) -> Fusion:
    print("a factory that prints")
    return Fusion(width)


def inputs(batch: int = 1) -> tuple[Tensor, Tensor]:
    return torch.ones(batch, 3, 32, 32), torch.ones(batch, 6, dtype=torch.long)


def make_with_inputs() -> tuple[Fusion, tuple[Tensor, Tensor]]:
    return Fusion(), inputs()


def raises() -> nn.Module:
    raise FileNotFoundError("no checkpoint\nhere")


def leaves() -> nn.Module:
    raise SystemExit(3)


def needs(width: int) -> nn.Module:
    return Fusion(width)


def gives_nothing() -> None:
    """It forgot its return."""


class Words(nn.Module):
    """It gives no tensor."""

    def forward(self, x: Tensor) -> str:
        return "a word"


class Pair(nn.Module):
    """A parameter of its own, and no module within it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor, *, twice: bool = False) -> Tensor:
        return x * self.scale * (2 if twice else 1)


NOT_A_FUNCTION = 3
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
VISION = SIZES | {"image_size": 32, "patch_size": 8}
WIDE = {"hidden_size": 192, "num_hidden_layers": 6, "intermediate_size": 768, "image_size": 64}
TEXT = SIZES | {"vocab_size": 99, "bos_token_id": 97, "eos_token_id": 98, "pad_token_id": 1}


def save_folder(kind: str, folder: Path, *, wide: bool = False) -> Path:
    """Writes a tiny model of transformers with `save_pretrained`; a `wide` one takes milliseconds."""
    import transformers as hf  # noqa: PLC0415  slow to import

    makers = {
        "vit": lambda: hf.ViTForImageClassification(hf.ViTConfig(**VISION | (WIDE if wide else {}))),
        "bert": lambda: hf.BertForSequenceClassification(hf.BertConfig(**SIZES, vocab_size=99)),
        "clip": lambda: hf.CLIPModel(hf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)),
        "vilt": lambda: hf.ViltForQuestionAnswering(hf.ViltConfig(**VISION, vocab_size=99)),
        "t5": lambda: hf.T5ForConditionalGeneration(
            hf.T5Config(vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
        ),
        "wav2vec": lambda: hf.Wav2Vec2Model(hf.Wav2Vec2Config(**SIZES, conv_dim=[8] * 7)),
    }
    path = folder / kind
    makers[kind]().save_pretrained(path)
    return path
