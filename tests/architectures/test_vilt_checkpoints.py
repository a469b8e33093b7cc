"""ViLT's checkpoints: transformers' models and files of the released code's names give the same outputs here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import transformers
from checkpoint_examples import PATCH, THEIRS, VOCABULARY, WIDTH, changed, loaded, pixel_mask, small, words_of, written
from examples import images_of
from torch import Tensor
from weights import randomise

from vlbench.architectures.build import build
from vlbench.architectures.checkpoints.loading import load_weights
from vlbench.architectures.interfaces import Images
from vlbench.errors import InputError

CONFIG = transformers.ViltConfig(**THEIRS, image_size=4 * PATCH, patch_size=PATCH, num_labels=7)
PAIR_CONFIG = transformers.ViltConfig(
    **THEIRS, image_size=4 * PATCH, patch_size=PATCH, num_labels=2, num_images=2, modality_type_vocab_size=3
)
SIZES = [(64, 96), (48, 64)]


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(
    ("task", "kind"),
    [("answers", transformers.ViltForQuestionAnswering), ("ranking", transformers.ViltForImageAndTextRetrieval)],
)
def test_a_folder_of_transformers_gives_its_outputs(tmp_path: Path, task: str, kind: type) -> None:
    reference = randomise(kind(CONFIG))
    reference.save_pretrained(tmp_path)
    words, images = words_of(9, 6), images_of(*SIZES)
    model = loaded(small("vilt-b32", task), str(tmp_path))
    expected = reference(
        input_ids=words.ids,
        attention_mask=words.mask.long(),
        pixel_values=images.pixels,
        pixel_mask=pixel_mask(images),
    )
    close(model(words, images), expected.logits)


@torch.no_grad()
def test_pairs_of_transformers_give_its_outputs(tmp_path: Path) -> None:
    reference = randomise(transformers.ViltForImagesAndTextClassification(PAIR_CONFIG))
    reference.save_pretrained(tmp_path)
    words, images = words_of(9, 6), images_of(*SIZES, *reversed(SIZES))
    model = loaded(small("vilt-b32", "pairs"), str(tmp_path))
    expected = reference(
        input_ids=words.ids,
        attention_mask=words.mask.long(),
        pixel_values=images.pixels.unflatten(0, (2, 2)),
        pixel_mask=pixel_mask(images).unflatten(0, (2, 2)),
    )
    logits = model(words, images)
    assert logits.shape == (2, 2)
    close(logits, expected.logits)
    swapped = Images(pixels=images.pixels[[1, 0, 2, 3]], sizes=tuple(images.sizes[row] for row in (1, 0, 2, 3)))
    assert not torch.allclose(model(words, swapped)[0], logits[0])


@torch.no_grad()
@pytest.mark.parametrize("kind", [transformers.ViltForMaskedLM, transformers.ViltModel])
def test_what_has_no_head_of_a_task_fills_all_but_the_head(tmp_path: Path, kind: type) -> None:
    reference = randomise(kind(CONFIG))
    reference.save_pretrained(tmp_path)
    spec = small("vilt-b32", "answers").model_copy(update={"weights": str(tmp_path)})
    untouched = {f"head.{name}.{part}" for name in ("expand", "norm", "classifier") for part in ("weight", "bias")}
    assert set(load_weights(build(spec), spec).untouched) == untouched
    model, words, images = build(spec).eval(), words_of(9, 6), images_of(*SIZES)
    expected = getattr(reference, "vilt", reference)(
        input_ids=words.ids,
        attention_mask=words.mask.long(),
        pixel_values=images.pixels,
        pixel_mask=pixel_mask(images),
    )
    joint = model.interaction(model.text(words), model.visual(images))
    close(joint.text.values, expected.last_hidden_state[:, :9])
    close(model.head.pooler(joint.text), expected.pooler_output)


def test_before_fine_tuning_both_images_of_a_pair_have_the_one_type_that_there_is(tmp_path: Path) -> None:
    reference = randomise(transformers.ViltModel(CONFIG))
    reference.save_pretrained(tmp_path)
    model = loaded(small("vilt-b32", "pairs"), str(tmp_path))
    types = reference.embeddings.token_type_embeddings.weight
    assert torch.equal(model.interaction.modal_types.weight, types[[0, 1, 1]])


RENAMED = (  # the released code's names, as transformers' conversion script reads them
    (r"vilt\.embeddings\.text_embeddings\.", "text_embeddings."),
    (r"vilt\.embeddings\.cls_token", "transformer.cls_token"),
    (r"vilt\.embeddings\.position_embeddings", "transformer.pos_embed"),
    (r"vilt\.embeddings\.patch_embeddings\.projection", "transformer.patch_embed.proj"),
    (r"vilt\.embeddings\.token_type_embeddings", "token_type_embeddings"),
    (r"vilt\.encoder\.layer\.(\d+)\.attention\.output\.dense", r"transformer.blocks.\1.attn.proj"),
    (r"vilt\.encoder\.layer\.(\d+)\.layernorm_before", r"transformer.blocks.\1.norm1"),
    (r"vilt\.encoder\.layer\.(\d+)\.layernorm_after", r"transformer.blocks.\1.norm2"),
    (r"vilt\.encoder\.layer\.(\d+)\.intermediate\.dense", r"transformer.blocks.\1.mlp.fc1"),
    (r"vilt\.encoder\.layer\.(\d+)\.output\.dense", r"transformer.blocks.\1.mlp.fc2"),
    (r"vilt\.layernorm", "transformer.norm"),
    (r"vilt\.pooler", "pooler"),
)


def original(state: dict[str, Tensor], heads: dict[str, str]) -> dict[str, Tensor]:
    """A state of transformers under the names of the released code, with its fused attention."""
    found: dict[str, Tensor] = {"text_embeddings.position_ids": torch.arange(40)[None]}
    for name, tensor in state.items():
        fused = re.fullmatch(r"vilt\.encoder\.layer\.(\d+)\.attention\.attention\.query\.(weight|bias)", name)
        if fused:
            parts = [state[name.replace("query", part)] for part in ("query", "key", "value")]
            found[f"transformer.blocks.{fused[1]}.attn.qkv.{fused[2]}"] = torch.cat(parts)
        elif ".attention.attention." not in name:
            for pattern, new in (*RENAMED, *heads.items()):
                name = re.sub(f"^{pattern}", new, name)
            found[name] = tensor
    return found


@torch.no_grad()
@pytest.mark.parametrize(
    ("task", "kind", "heads"),
    [
        ("answers", transformers.ViltForQuestionAnswering, {"classifier": "vqa_classifier"}),
        ("pairs", transformers.ViltForImagesAndTextClassification, {"classifier": "nlvr2_classifier"}),
        ("ranking", transformers.ViltForImageAndTextRetrieval, {}),
    ],
)
def test_the_released_codes_names_give_the_same_model(tmp_path: Path, task: str, kind: type, heads: dict) -> None:
    reference = randomise(kind(PAIR_CONFIG if task == "pairs" else CONFIG))
    state = original(reference.state_dict(), heads)
    if task == "ranking":
        state |= {"itm_score.fc.weight": torch.zeros(2, WIDTH), "itm_score.fc.bias": torch.zeros(2)}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "vilt.ckpt")
    reference.save_pretrained(tmp_path / "folder")
    spec = small("vilt-b32", task)
    ours, theirs = (loaded(spec, str(tmp_path / name)).state_dict() for name in ("vilt.ckpt", "folder"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@torch.no_grad()
def test_the_released_codes_checkpoints_have_its_epsilon(tmp_path: Path) -> None:
    """Its transformer is built with 1e-6, its text embeddings with BERT's 1e-12; transformers' conversion has 1e-12."""
    reference = randomise(transformers.ViltForQuestionAnswering(CONFIG))
    state = original(reference.state_dict(), {"classifier": "vqa_classifier"})
    torch.save({"state_dict": state}, tmp_path / "vilt.ckpt")
    for module in reference.vilt.encoder.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    reference.vilt.layernorm.eps = 1e-6
    words, images = words_of(9, 6), images_of(*SIZES)
    inputs = {"input_ids": words.ids, "attention_mask": words.mask.long(), "pixel_values": images.pixels}
    expected = reference(**inputs, pixel_mask=pixel_mask(images)).logits
    for spec in (small("vilt-b32", "answers"), small("vilt-b32", "answers", interaction__layer_norm_eps=1e-6)):
        model = loaded(spec, str(tmp_path / "vilt.ckpt"))
        close(model(words, images), expected)
        norms = [each for each in model.interaction.modules() if isinstance(each, torch.nn.LayerNorm)]
        assert {norm.eps for norm in norms} == {1e-6}
        assert {each.eps for each in model.text.modules() if isinstance(each, torch.nn.LayerNorm)} == {1e-12}
    with pytest.raises(InputError, match=r"where interaction\.layer_norm_eps is 1e-12, not 1e-05"):
        loaded(small("vilt-b32", "answers", interaction__layer_norm_eps=1e-5), str(tmp_path / "vilt.ckpt"))


def test_the_released_pre_training_has_a_head_of_matching_and_serves_other_heads_too(tmp_path: Path) -> None:
    state = original(randomise(transformers.ViltForImageAndTextRetrieval(CONFIG)).state_dict(), {})
    del state["rank_output.weight"], state["rank_output.bias"]
    state |= {"itm_score.fc.weight": torch.randn(2, WIDTH), "itm_score.fc.bias": torch.randn(2)}
    state |= {"mlm_score.bias": torch.zeros(VOCABULARY), "mlm_score.transform.dense.weight": torch.zeros(WIDTH, WIDTH)}
    source = written(tmp_path / "vilt.safetensors", state)
    assert torch.equal(loaded(small("vilt-b32"), source).head.classifier.weight, state["itm_score.fc.weight"])
    spec = small("vilt-b32", "pairs").model_copy(update={"weights": source})
    assert load_weights(build(spec), spec).untouched[0] == "head.expand.weight"


@pytest.fixture(scope="module")
def for_answers(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("vilt")
    randomise(transformers.ViltForQuestionAnswering(CONFIG)).save_pretrained(folder)
    return str(folder)


REFUSED = {
    "another head": (
        small("vilt-b32"),
        "ViLT for VQA (transformers' names), whose head is vqa, not itm as that of vilt-b32-tiny",
    ),
    "another architecture": (
        small("uniter-base", "answers"),
        "looks like ViLT for VQA (transformers' names), not uniter-base-tiny",
    ),
    "another width": (changed(small("vilt-b32", "answers"), {"text.vocabulary": 61}), "60x32 there and 61x32 here"),
    "fewer layers": (
        changed(small("vilt-b32", "answers"), {"interaction.layers": 2}),
        ", vilt.encoder.layer.2.attention.attention.query.(weight|bias), ",
    ),
    "more layers": (
        changed(small("vilt-b32", "answers"), {"interaction.layers": 5}),
        "has nothing for interaction.blocks.3-4.attention.qkv.(weight|bias), ",
    ),
    "other answers": (small("vilt-b32", "answers", answers=8), "head.classifier.weight is 7x64 there and 8x64 here"),
    "another order of norm and GELU": (
        small("vilt-b32", "answers", head__norm="after_gelu"),
        "where head.norm is before_gelu, not after_gelu as in vilt-b32-tiny",
    ),
    "another epsilon": (
        small("vilt-b32", "answers", interaction__layer_norm_eps=1e-5),
        "config.json has layer_norm_eps 1e-12, but interaction.layer_norm_eps is 1e-05 in vilt-b32-tiny",
    ),
}


@pytest.mark.parametrize(("spec", "says"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_told_in_one_line(for_answers: str, spec, says: str) -> None:
    with pytest.raises(InputError) as caught:
        loaded(spec, for_answers)
    message = str(caught.value)
    assert message.startswith(f"weights {for_answers}: ")
    assert says in message
    assert "\n" not in message
