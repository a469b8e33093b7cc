"""Outputs of the reference implementations, from their own runs with their own weights (shared/data)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from examples import images_of, region_projection, regions_of
from torch import Tensor
from weights import Weights, affine, bert_embeddings, bert_layer, stack, under, vilt, visual_bert_projection

from vlbench.architectures import heads, interaction, patch, text
from vlbench.architectures.model import VLModel
from vlbench.architectures.tokens import Images, Joint, Text, Tokens, join


class Reference:
    """One reference run: its configuration, weights, inputs and outputs."""

    def __init__(self, folder: Path, name: str) -> None:
        for path in (folder / f"{name}.json", folder / f"{name}.npz"):
            if not path.is_file():
                pytest.skip(f"{path} is absent")
        self.config = json.loads((folder / f"{name}.json").read_text())
        with np.load(folder / f"{name}.npz") as arrays:
            tensors = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
        self.weights, self.inputs, self.outputs = (self._under(tensors, part) for part in ("w/", "in/", "out/"))

    @staticmethod
    def _under(tensors: Weights, part: str) -> Weights:
        return {key.removeprefix(part): value for key, value in tensors.items() if key.startswith(part)}

    @property
    def sizes(self) -> dict[str, int]:
        return {
            "layers": self.config["num_hidden_layers"],
            "width": self.config["hidden_size"],
            "heads": self.config["num_attention_heads"],
            "mlp_width": self.config["intermediate_size"],
        }

    def text_embedder(self, vocabulary: int) -> text.BertEmbeddings:
        return text.BertEmbeddings(
            vocabulary=vocabulary,
            positions=self.config["max_position_embeddings"],
            segments=self.config["type_vocab_size"],
            width=self.config["hidden_size"],
            dropout=0.1,
            layer_norm_eps=1e-12,
        )


@torch.no_grad()
def test_vilt_vqa_logits_equal_the_reference(reference_data: Path) -> None:
    reference = Reference(reference_data / "reference_outputs", "vilt_vqa")
    config, state, inputs = reference.config, reference.weights, reference.inputs
    width, side = config["hidden_size"], config["image_size"] // config["patch_size"]
    model = VLModel(
        text=reference.text_embedder(config["vocab_size"]),
        visual=patch.PatchEmbedder(
            patch_size=config["patch_size"], width=width, position_grid=(side, side), align_corners=True, dropout=0.0
        ),
        interaction=interaction.SingleStream(
            **reference.sizes, norm="pre", modal_types=True, dropout=0.1, layer_norm_eps=1e-12
        ),
        head=heads.VisualQuestionAnswering(width=width, answers=config["num_labels"], layer_norm_eps=1e-5),
    ).eval()
    head = affine(state, "vilt.pooler.dense", "pooler.dense") | affine(state, "classifier.0", "expand")
    head |= affine(state, "classifier.1", "norm") | affine(state, "classifier.3", "classifier")
    model.load_state_dict(vilt(state, "vilt.", config["num_hidden_layers"]) | under("head", head))
    assert not inputs["token_type_ids"].any()
    sizes = [(int(mask[:, 0].sum()), int(mask[0].sum())) for mask in inputs["pixel_mask"]]
    words = Text(ids=inputs["input_ids"], mask=inputs["attention_mask"].bool())
    logits = model(words, Images(pixels=inputs["pixel_values"], sizes=tuple(sizes)))
    torch.testing.assert_close(logits, reference.outputs["logits"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_uniter_hidden_states_and_pooled_output_equal_the_reference(reference_data: Path) -> None:
    reference = Reference(reference_data / "reference_outputs", "uniter_base")
    inputs, state = reference.inputs, reference.weights
    joint = uniter(reference)
    position, real = inputs["gather_index"], inputs["attn_masks"].bool()
    values = join(joint.text, joint.image).values
    gathered = values.gather(1, position[..., None].expand(-1, -1, values.shape[2]))
    torch.testing.assert_close(gathered[real], reference.outputs["last_hidden_state"][real], atol=1e-5, rtol=0)
    pooler = heads.Pooler(width=reference.config["hidden_size"])
    pooler.load_state_dict(affine(state, "pooler.dense", "dense"))
    torch.testing.assert_close(pooler(joint.text), reference.outputs["pooled"], atol=1e-5, rtol=0)


def uniter(reference: Reference) -> Joint:
    """UNITER gathers the real tokens to the left of each row; we keep text and image apart and mask the rest."""
    inputs = reference.inputs
    real = torch.zeros(len(inputs["input_ids"]), inputs["input_ids"].shape[1] + inputs["img_feat"].shape[1])
    real = real.scatter_add(1, inputs["gather_index"], inputs["attn_masks"].float()).bool()
    length = inputs["input_ids"].shape[1]
    embedder = reference.text_embedder(reference.config["vocab_size_or_config_json_file"]).eval()
    embedder.load_state_dict(bert_embeddings(reference.weights, "embeddings"))
    encoder = interaction.SingleStream(
        **reference.sizes, norm="post", modal_types=False, dropout=0.1, layer_norm_eps=1e-12
    ).eval()
    layers = reference.config["num_hidden_layers"]
    encoder.load_state_dict(stack(reference.weights, "encoder.layer", layers, bert_layer))
    words = embedder(Text(ids=inputs["input_ids"], mask=real[:, :length]))
    return encoder(words, Tokens(values=project_regions(reference), mask=real[:, length:]))


def project_regions(reference: Reference) -> Tensor:
    state, inputs = reference.weights, reference.inputs
    projection = region_projection(width=reference.config["hidden_size"], inputs=reference.config["img_dim"])
    projection.load_state_dict(
        {
            **affine(state, "img_embeddings.img_linear", "feature"),
            **affine(state, "img_embeddings.img_layer_norm", "feature_norm"),
            **affine(state, "img_embeddings.pos_linear", "geometry"),
            **affine(state, "img_embeddings.pos_layer_norm", "geometry_norm"),
            **affine(state, "img_embeddings.LayerNorm", "norm"),
            "segment": state["embeddings.token_type_embeddings.weight"][1],
        }
    )
    return projection.embed(inputs["img_feat"], inputs["img_pos_feat"])


@torch.no_grad()
def test_visual_bert_hidden_states_and_pooled_output_equal_the_reference(reference_data: Path) -> None:
    reference = Reference(reference_data / "reference_outputs", "visualbert_base")
    config, state, inputs = {"type_vocab_size": 2} | reference.config, reference.weights, reference.inputs
    reference.config = config
    assert not inputs["token_type_ids"].any()
    assert inputs["visual_token_type_ids"].all()
    embedder = reference.text_embedder(config["vocab_size"]).eval()
    embedder.load_state_dict(bert_embeddings(state, "embeddings"))
    projection = region_projection(
        width=config["hidden_size"], inputs=config["visual_embedding_dim"], geometry=0, combine="sum"
    )
    projection.load_state_dict(visual_bert_projection(state, ""))
    encoder = interaction.SingleStream(
        **reference.sizes, norm="post", modal_types=False, dropout=0.1, layer_norm_eps=1e-12
    ).eval()
    encoder.load_state_dict(stack(state, "encoder.layer", config["num_hidden_layers"], bert_layer))
    words = embedder(Text(ids=inputs["input_ids"], mask=inputs["attention_mask"].bool()))
    features = inputs["visual_embeds"]
    regions = regions_of(features, features[..., :4], inputs["visual_attention_mask"].bool())
    joint = encoder(words, projection(regions, images_of(*[(8, 8)] * len(features))))
    together = join(joint.text, joint.image)
    hidden = reference.outputs["last_hidden_state"]
    torch.testing.assert_close(together.values[together.mask], hidden[together.mask], atol=1e-5, rtol=0)
    pooler = heads.Pooler(width=config["hidden_size"])
    pooler.load_state_dict(affine(state, "pooler.dense", "dense"))
    torch.testing.assert_close(pooler(joint.text), reference.outputs["pooler_output"], atol=1e-5, rtol=0)
