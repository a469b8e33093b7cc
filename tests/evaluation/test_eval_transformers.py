"""Transformers models on data sets, with the tokenizer and the answers in their folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tests.helpers import tiny
from tests.tasks import data_sets
from vlbench.architectures.build import build
from vlbench.errors import InputError
from vlbench.evaluation.adapter import load_model_under_test
from vlbench.evaluation.evaluate import EvaluationOutcome, evaluate
from vlbench.evaluation.inputs import ItemEncoder
from vlbench.evaluation.processes import Process
from vlbench.evaluation.retrieval import ScoreMatrix, matching_score, score_pairs
from vlbench.evaluation.split import EvaluationSettings, Split
from vlbench.evaluation.task_head import head_for
from vlbench.evaluation.tokens import tokenizer_for
from vlbench.specs import HuggingFaceSpec
from vlbench.tasks.registry import TASKS

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "color", "is", "it", "red", "?", "there", "a", "##s"]
ANSWERS = ["red", "blue", "yes", "no"]


def with_saved_weights(folder: Path, spec: HuggingFaceSpec, answers: Sequence[str] = ()) -> HuggingFaceSpec:
    """The same model with weights from a folder that transformers wrote, tokenizer included."""
    model = build(spec).model
    if answers:
        model.config.id2label = dict(enumerate(answers))
    model.save_pretrained(folder)
    (folder.parent / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    transformers.BertTokenizer(str(folder.parent / "vocab.txt")).save_pretrained(folder)
    return spec.model_copy(update={"weights": str(folder)})


def evaluated(spec: HuggingFaceSpec, task: str, data: Path, out: Path) -> EvaluationOutcome:
    split = Split(EvaluationSettings(task=TASKS[task], data=data, split=TASKS[task].splits[0], batch=4))
    split.check_for(spec)
    found = evaluate(split.head_for(spec), split, out, process=Process())
    assert found is not None
    return found


def test_answers_are_named_by_the_weights_folder(tmp_path: Path) -> None:
    spec = with_saved_weights(tmp_path / "vilt", tiny("hf-vilt-b32").for_task("answers", 4), ANSWERS[::-1])
    found = evaluated(spec, "easy-vqa", data_sets.easy_vqa(tmp_path / "data"), tmp_path / "out")
    answers = [one["answer"] for one in json.loads(found.predictions.read_text())]
    assert set(answers) <= set(ANSWERS)
    # By hand: the first question through the model itself.
    folder = tmp_path / "vilt"
    model = transformers.ViltForQuestionAnswering.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)("is it red?", return_tensors="pt")
    ready = load_model_under_test(
        head_for(spec, TASKS["easy-vqa"]),
        device=torch.device("cpu"),
        precision="fp32",
    )
    images = ready.images([tmp_path / "data" / "test" / "images" / "0.png"])
    with torch.no_grad():
        logits = model(**tokens, pixel_values=images.pixels).logits
    assert answers[0] == ANSWERS[::-1][int(logits.argmax())]


def test_pairs(tmp_path: Path) -> None:
    spec = with_saved_weights(tmp_path / "vilt", tiny("hf-vilt-b32").for_task("pairs"))
    found = evaluated(spec, "nlvr2", data_sets.nlvr2(tmp_path / "data"), tmp_path / "out")
    assert found.accuracy.n == 12


def test_generated_answers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"generates words, but random weights have no vocabulary"):
        evaluated(tiny("hf-blip-vqa"), "easy-vqa", data_sets.easy_vqa(tmp_path / "data"), tmp_path / "out")
    spec = with_saved_weights(tmp_path / "blip", tiny("hf-blip-vqa"))
    found = evaluated(spec, "easy-vqa", tmp_path / "data", tmp_path / "out")
    answers = [one["answer"] for one in json.loads(found.predictions.read_text())]
    assert len(answers) == 12
    assert not any(mark in answer for answer in answers for mark in ("[PAD]", "[SEP]", "[CLS]"))


@pytest.mark.parametrize("name", ["hf-clip-vit-b32", "hf-siglip-b16", "hf-blip-itm", "hf-vilt-b32"])
def test_each_pair_ranks_as_on_its_own(tmp_path: Path, name: str) -> None:
    gallery = TASKS["flickr30k"].gallery(data_sets.karpathy(tmp_path, images=4, captions=2), "test")
    for number, path in enumerate(gallery.images):
        data_sets.picture(path, (90 * number, 99, 255 - 90 * number))
    spec = tiny(name).for_task("ranking")
    ready = load_model_under_test(
        head_for(spec, TASKS["flickr30k"]),
        device=torch.device("cpu"),
        precision="fp32",
    )
    matrix = ScoreMatrix(tmp_path / "scores.npy", 6, 3, create=True)
    score_pairs(ready, gallery, matrix, batch_size=2)
    with torch.inference_mode():
        alone = np.array(
            [
                [
                    float(matching_score(ready.model(ready.text([text]), ready.images([image])), by_logit=True))
                    for image in gallery.images
                ]
                for text in gallery.texts
            ]
        )
    if spec.gives == "similarity":  # a scale and a shift lie between a cosine and what such a model calls its score
        scale, shift = np.polyfit(matrix.scores.ravel(), alone.ravel(), 1)
        assert scale > 0
        np.testing.assert_allclose(scale * matrix.scores + shift, alone, atol=1e-4)
    else:
        np.testing.assert_allclose(matrix.scores, alone, atol=1e-5)


def test_a_region_model_needs_regions(tmp_path: Path) -> None:
    spec = tiny("hf-lxmert-vqa")
    with pytest.raises(InputError, match=r"hf-lxmert-vqa-tiny: reads precomputed regions; --features FILE"):
        evaluated(spec, "easy-vqa", data_sets.easy_vqa(tmp_path / "data"), tmp_path / "out")


def test_texts_without_a_mask_have_their_full_length() -> None:
    spec = tiny("hf-siglip-b16")
    tokenizer = tokenizer_for(spec, weights=None, vocabulary=None)
    text = ItemEncoder(spec, tokenizer.ids, pad_id=tokenizer.pad).text(["a cat", "two cats here"])
    assert text.ids.shape == (2, spec.input.text_tokens)
    assert text.mask is None
    assert text.ids[0, -1] == tokenizer.pad == spec.text.padding
