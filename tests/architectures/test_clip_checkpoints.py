"""CLIP's checkpoints: transformers' and OpenCLIP's random models through our mapping, and every name at full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from safetensors.torch import save_file
from test_clip import images, texts
from test_resnet import randomise_norms
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel
from weights import Weights, randomise, saved

from vlbench import specs
from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.clip import CLIP_FAMILIES
from vlbench.architectures.checkpoints.reading import read_state
from vlbench.architectures.checkpoints.rules import mapped, recognised
from vlbench.architectures.interaction import score_matrix
from vlbench.architectures.vl_model import VLModel
from vlbench.errors import InputError
from vlbench.specs.catalog import catalog

TRANSFORMERS, OPENAI_VIT, OPENAI_RESNET, _ = CLIP_FAMILIES
WIDTH, INNER, HEADS, LAYERS, MLP, PATCH, VOCABULARY, POSITIONS, SIDE = 24, 32, 4, 3, 80, 16, 60, 12, 64
TEXT = {"layers": LAYERS, "inner_width": INNER, "heads": HEADS, "mlp_width": MLP, "width": WIDTH}
BLOCKS = (1, 2, 1, 1)
ATOL = {"atol": 1e-5, "rtol": 0}


def spec_of(visual: specs.Spec, **changes: Any) -> specs.ModelSpec:
    spec = catalog()["clip-vit-b32"]
    words = spec.text.model_copy(update={**TEXT, "vocabulary": VOCABULARY, "positions": POSITIONS, **changes})
    return spec.model_copy(update={"text": words, "visual": visual})


def vit_spec(**changes: Any) -> specs.ModelSpec:
    seen = specs.VisionTransformerSpec(
        kind="vision_transformer", patch_size=PATCH, position_grid=(4, 4), **TEXT, **changes
    )
    return spec_of(seen, **changes)


def vit_of_ours() -> VLModel:
    return build(vit_spec()).eval()


def ours_of(visual: specs.Spec) -> VLModel:
    return build(spec_of(visual)).eval()


def resnet_of_ours() -> VLModel:
    return ours_of(specs.ClipResNetSpec(kind="clip_resnet", blocks=BLOCKS, position_grid=(2, 2), heads=32, width=WIDTH))


def of_transformers() -> CLIPModel:
    tower = {"hidden_size": INNER, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": MLP}
    ends = {"eos_token_id": VOCABULARY - 1, "bos_token_id": 0}
    config = CLIPConfig(
        projection_dim=WIDTH,
        text_config=tower | {"vocab_size": VOCABULARY, "max_position_embeddings": POSITIONS, **ends},
        vision_config=tower | {"image_size": SIDE, "patch_size": PATCH},
    )
    return randomise(CLIPModel(config))


def of_open_clip(vision: CLIPVisionCfg) -> CLIP:
    """OpenAI's code as OpenCLIP keeps it, names included."""
    words = CLIPTextCfg(
        context_length=POSITIONS, vocab_size=VOCABULARY, width=INNER, heads=HEADS, layers=LAYERS, mlp_ratio=MLP / INNER
    )
    return randomise_norms(randomise(CLIP(WIDTH, vision, words, quick_gelu=True)))


def vit_of_open_clip() -> CLIP:
    return of_open_clip(
        CLIPVisionCfg(
            layers=LAYERS,
            width=INNER,
            head_width=INNER // HEADS,
            mlp_ratio=MLP / INNER,
            patch_size=PATCH,
            image_size=SIDE,
        )
    )


@torch.no_grad()
def resnet_of_open_clip() -> CLIP:
    model = of_open_clip(CLIPVisionCfg(layers=BLOCKS, width=64, image_size=SIDE))
    for module in model.visual.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):  # so many channels of `randomise`'s scale would drown all else
            module.weight.normal_(0, module.weight[0].numel() ** -0.5)
    return model


def loaded(model: VLModel, state: Weights) -> VLModel:
    (family,) = recognised(CLIP_FAMILIES, state)
    model.load_state_dict(mapped(family, state, model.state_dict(), source="it"))
    return model


def test_a_folder_as_open_clip_writes_it_is_read(tmp_path: Path) -> None:
    save_file({"logit_scale": torch.tensor(3.0)}, tmp_path / "open_clip_model.safetensors")
    assert read_state(str(tmp_path))["logit_scale"] == 3


@pytest.mark.filterwarnings("ignore::FutureWarning", "error::UserWarning")
def test_openais_own_files_are_programs_and_refused(tmp_path: Path) -> None:
    path = tmp_path / "RN50.pt"
    torch.jit.script(nn.Linear(2, 2)).save(path)
    with pytest.raises(InputError, match=f"weights {path}: refused, a TorchScript archive is a program; .*safetensors"):
        read_state(str(path))
    torch.save({"logit_scale": torch.tensor(3.0)}, path)
    assert read_state(str(path))["logit_scale"] == 3


@torch.no_grad()
def test_transformers_logits(tmp_path: Path) -> None:
    theirs, words, batch = of_transformers(), texts(9, 4, 6), images(3, SIDE, SIDE)
    theirs.save_pretrained(tmp_path)
    state = read_state(str(tmp_path))
    assert list(recognised(CLIP_FAMILIES, state)) == [TRANSFORMERS]
    state["text_model.embeddings.position_ids"] = torch.arange(POSITIONS)[None]  # as older files have it
    state["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    ours = loaded(vit_of_ours(), state)
    expected = theirs(input_ids=words.ids, attention_mask=words.mask.long(), pixel_values=batch.pixels).logits_per_text
    assert expected.std() > 0.1
    torch.testing.assert_close(score_matrix(ours.interaction, ours.text(words), ours.visual(batch)), expected, **ATOL)


OPEN_CLIP = {"ViT": (vit_of_open_clip, vit_of_ours), "ResNet": (resnet_of_open_clip, resnet_of_ours)}


@torch.no_grad()
@pytest.mark.parametrize("half", [False, True], ids=["float", "half"])
@pytest.mark.parametrize(("reference", "of_ours"), OPEN_CLIP.values(), ids=OPEN_CLIP.keys())
def test_logits_under_openais_names(tmp_path: Path, reference: object, of_ours: object, half: bool) -> None:
    """OpenAI's own files are of half precision; they are computed with in the model's."""
    theirs, words, batch = reference(), texts(POSITIONS, 4, 6), images(3, SIDE, SIDE)
    state = theirs.state_dict()
    if half:
        state = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        theirs.load_state_dict(state)
    ours = loaded(of_ours(), saved(state, tmp_path))
    ids = torch.where(words.mask, words.ids, 0)
    image, text, scale = theirs(batch.pixels, ids)
    spread = theirs.encode_image(batch.pixels)
    assert spread.std() > 0.1
    assert_same_direction(ours.visual(batch).values[:, 0], spread, image)
    torch.testing.assert_close(ours.text(words).values[:, 0], theirs.encode_text(ids), **ATOL)
    torch.testing.assert_close(
        score_matrix(ours.interaction, ours.text(words), ours.visual(batch)), scale * text @ image.T, **ATOL
    )


def assert_same_direction(ours: Tensor, theirs: Tensor, unit: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, **ATOL)
    torch.testing.assert_close(F.normalize(ours, dim=1), unit, **ATOL)


FULL_SIZE = {
    "ViT-B-32 under OpenAI's names": ("clip-vit-b32", "ViT-B-32-quickgelu", OPENAI_VIT),
    "RN50 under OpenAI's names": ("clip-rn50", "RN50-quickgelu", OPENAI_RESNET),
}


@pytest.mark.parametrize(("name", "published", "family"), FULL_SIZE.values(), ids=FULL_SIZE.keys())
def test_every_name_of_openais_has_its_place_at_full_size(name: str, published: str, family: object) -> None:
    sizes = open_clip.get_model_config(published)
    with torch.device("meta"):
        wanted = build(catalog()[name]).state_dict()
        state = CLIP(
            sizes["embed_dim"], CLIPVisionCfg(**sizes["vision_cfg"]), CLIPTextCfg(**sizes["text_cfg"])
        ).state_dict()
    state |= {size: torch.empty(()) for size in ("input_resolution", "context_length", "vocab_size")}
    assert list(recognised(CLIP_FAMILIES, state)) == [family]
    assert_all_is_filled(mapped(family, state, wanted, source="it"), wanted)


def test_every_name_of_transformers_has_its_place_at_full_size() -> None:
    with torch.device("meta"):
        wanted, state = build(catalog()["clip-vit-b32"]).state_dict(), CLIPModel(CLIPConfig()).state_dict()
    assert_all_is_filled(mapped(TRANSFORMERS, state, wanted, source="it"), wanted)


def assert_all_is_filled(found: Weights, wanted: Weights) -> None:
    assert found.keys() == {name for name in wanted if not name.endswith("num_batches_tracked")}


REFUSED = {
    "a ViT in place of a ResNet": (
        lambda: (resnet_of_ours(), vit_of_open_clip().state_dict()),
        "CLIP of a ViT under OpenAI's names, but it has nothing for visual.backbone.stem.0.* and holds",
    ),
    "an unknown tensor": (
        lambda: (vit_of_ours(), of_transformers().state_dict() | {"text_model.extra.weight": torch.zeros(1)}),
        "holds text_model.extra.weight, which this model has no place for",
    ),
    "a missing scale": (
        lambda: (
            vit_of_ours(),
            {name: value for name, value in vit_of_open_clip().state_dict().items() if name != "logit_scale"},
        ),
        "has nothing for interaction.log_scale",
    ),
    "another grid": (
        lambda: (
            ours_of(
                specs.VisionTransformerSpec(kind="vision_transformer", patch_size=PATCH, position_grid=(3, 3), **TEXT)
            ),
            of_transformers().state_dict(),
        ),
        "visual.patch.positions is 1x17x32 there and 1x10x32 here; another size of model",
    ),
}


@pytest.mark.parametrize(("case", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused_in_one_line(case: object, message: str) -> None:
    model, state = case()
    (family,) = recognised(CLIP_FAMILIES, state)
    with pytest.raises(InputError, match=f"weights it: .*{message}") as refusal:
        mapped(family, state, model.state_dict(), source="it")
    assert "\n" not in str(refusal.value)
