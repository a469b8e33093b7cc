"""Published weights: every head that they can have is read, and the attention equals that of transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from PIL import Image

from tests.architectures.weights import randomise
from vlbench.architectures.checkpoints.loading import with_whatever_head
from vlbench.evaluation.images import padded_images, preprocessed
from vlbench.explain.look import ExplainSettings, look
from vlbench.inputs import read_example
from vlbench.specs import ModelSpec
from vlbench.specs.catalog import catalog

PIECES = "[PAD] [UNK] [CLS] [SEP] [MASK] a cat sit ##s on the mat".split()
TEXT = "a cat sits on the mat"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
SIZES |= {"vocab_size": len(PIECES), "max_position_embeddings": 40, "image_size": 64, "patch_size": 32}
KINDS = {
    "vqa": transformers.ViltForQuestionAnswering,
    "rank": transformers.ViltForImageAndTextRetrieval,
    "pair": transformers.ViltForImagesAndTextClassification,
}


def tiny_of_published_form(folder: Path) -> ModelSpec:
    content = catalog()["vilt-b32"].tiny().model_dump(mode="json")
    content["text"] |= {"vocabulary": len(PIECES), "positions": 40}
    content["visual"] |= {"position_grid": [2, 2]}
    content["interaction"] |= {"mlp_width": 64}
    content["weights"] = str(folder)
    return ModelSpec.model_validate(content)


@pytest.mark.parametrize("head", KINDS)
def test_attention_is_that_of_transformers(head: str, tmp_path: Path) -> None:
    """transformers shuffles the patches, so only the text's part is compared."""
    more = {"num_images": 2, "modality_type_vocab_size": 3, "num_labels": 2} if head == "pair" else {"num_labels": 9}
    theirs = randomise(KINDS[head](transformers.ViltConfig(**SIZES, **more, attn_implementation="eager")))
    theirs.save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    Image.effect_noise((96, 64), 90).convert("RGB").save(tmp_path / "photo.png")
    spec = tiny_of_published_form(tmp_path)
    assert with_whatever_head(spec).head.kind == head
    explanation = look(spec, read_example(tmp_path / "photo.png", TEXT), ExplainSettings())
    assert explanation.random_parts == ()
    ids = torch.tensor([[2, 5, 6, 7, 8, 9, 10, 11, 3]])
    with torch.no_grad():
        expected_maps = theirs.vilt(
            input_ids=ids,
            pixel_values=padded_images([preprocessed(tmp_path / "photo.png", spec.input)]).pixels,
            output_attentions=True,
        ).attentions
    assert len(explanation.labels) == ids.shape[1]
    for ours, expected in zip(explanation.maps, expected_maps, strict=True):
        ends = ids.shape[1] + 1  # through the image's class token
        close = torch.testing.assert_close
        close(torch.from_numpy(ours.weights[:, :ends, :ends]), expected[0, :, :ends, :ends], atol=1e-5, rtol=0)


def test_random_weights_and_a_head_of_the_same_kind_stay(tmp_path: Path) -> None:
    spec = catalog()["vilt-b32"].tiny()
    assert with_whatever_head(spec) is spec
    theirs = transformers.ViltForQuestionAnswering(transformers.ViltConfig(**SIZES, num_labels=9))
    theirs.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "vilt"
    assert with_whatever_head(tiny_of_published_form(tmp_path)).head.answers == 9
