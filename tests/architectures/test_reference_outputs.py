"""Outputs of the reference implementations, from their own runs with their own weights (shared/data).

The weights come through the mappings that load published checkpoints.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoint_examples import changed, written
from examples import images_of, regions_of
from torch import Tensor

from vlbench.architectures.build import build
from vlbench.architectures.interfaces import Images, Joint, Text, Tokens, join
from vlbench.architectures.vl_model import VLModel
from vlbench.specs.catalog import catalog


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
    def _under(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
        return {key.removeprefix(part): value for key, value in tensors.items() if key.startswith(part)}

    def model(self, name: str, folder: Path, *, vocabulary: str = "vocab_size", **changes: object) -> VLModel:
        """A model of the catalogue in the sizes of the reference, with its weights; in eval mode."""
        spec = catalog()[name].tiny()
        width = self.config["hidden_size"]
        sizes = {
            "text.vocabulary": self.config[vocabulary],
            "text.positions": self.config["max_position_embeddings"],
            "text.width": width,
            "interaction.layers": self.config["num_hidden_layers"],
            "interaction.width": width,
            "interaction.heads": self.config["num_attention_heads"],
            "interaction.mlp_width": self.config["intermediate_size"],
            "weights": written(folder / "weights.safetensors", self.weights),
        }
        if "answers" in changes:
            spec = spec.for_task("answers", changes.pop("answers"))
        return build(changed(spec, sizes | {path.replace("__", "."): value for path, value in changes.items()})).eval()


@torch.no_grad()
def test_vilt_vqa_logits_equal_the_reference(reference_data: Path, tmp_path: Path) -> None:
    reference = Reference(reference_data / "reference_outputs", "vilt_vqa")
    config, inputs = reference.config, reference.inputs
    side = config["image_size"] // config["patch_size"]
    grid = {"visual__patch_size": config["patch_size"], "visual__position_grid": (side, side)}
    model = reference.model("vilt-b32", tmp_path, answers=config["num_labels"], **grid)
    assert not inputs["token_type_ids"].any()
    sizes = [(int(mask[:, 0].sum()), int(mask[0].sum())) for mask in inputs["pixel_mask"]]
    words = Text(ids=inputs["input_ids"], mask=inputs["attention_mask"].bool())
    logits = model(words, Images(pixels=inputs["pixel_values"], sizes=tuple(sizes)))
    torch.testing.assert_close(logits, reference.outputs["logits"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_uniter_hidden_states_and_pooled_output_equal_the_reference(reference_data: Path, tmp_path: Path) -> None:
    """UNITER gathers the real tokens to the left of each row; we keep text and image apart and mask the rest."""
    reference = Reference(reference_data / "reference_outputs", "uniter_base")
    inputs, outputs = reference.inputs, reference.outputs
    channels = {"visual__projection__inputs": reference.config["img_dim"]}
    model = reference.model("uniter-base", tmp_path, vocabulary="vocab_size_or_config_json_file", **channels)
    length, regions = inputs["input_ids"].shape[1], inputs["img_feat"].shape[1]
    position, gathered_real = inputs["gather_index"], inputs["attn_masks"].bool()
    real = torch.zeros(len(position), length + regions).scatter_add(1, position, inputs["attn_masks"].float()).bool()
    words = model.text(Text(ids=inputs["input_ids"], mask=real[:, :length]))
    seen = model.visual.projection.embed(inputs["img_feat"], inputs["img_pos_feat"])
    joint: Joint = model.interaction(words, Tokens(values=seen, mask=real[:, length:]))
    values = join(joint.text, joint.image).values
    gathered = values.gather(1, position[..., None].expand(-1, -1, values.shape[2]))
    hidden = outputs["last_hidden_state"]
    torch.testing.assert_close(gathered[gathered_real], hidden[gathered_real], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.head.pooler(joint.text), outputs["pooled"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_visual_bert_hidden_states_and_pooled_output_equal_the_reference(reference_data: Path, tmp_path: Path) -> None:
    reference = Reference(reference_data / "reference_outputs", "visualbert_base")
    inputs, outputs = reference.inputs, reference.outputs
    assert not inputs["token_type_ids"].any()
    assert inputs["visual_token_type_ids"].all()
    channels = {"visual__projection__inputs": reference.config["visual_embedding_dim"]}
    model = reference.model("visualbert", tmp_path, **channels)
    words = model.text(Text(ids=inputs["input_ids"], mask=inputs["attention_mask"].bool()))
    features = inputs["visual_embeds"]
    regions = regions_of(features, features[..., :4], inputs["visual_attention_mask"].bool())
    joint = model.interaction(words, model.visual.projection(regions, images_of(*[(8, 8)] * len(features))))
    together = join(joint.text, joint.image)
    hidden = outputs["last_hidden_state"]
    torch.testing.assert_close(together.values[together.mask], hidden[together.mask], atol=1e-5, rtol=0)
    torch.testing.assert_close(model.head.pooler(joint.text), outputs["pooler_output"], atol=1e-5, rtol=0)
