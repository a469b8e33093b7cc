"""What a file of a model that scores pairs may say: its towers fit, and it has no head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_specs import ABSENT, error_after

from vlbench.specs.catalog import catalog

MISFITS = [
    ("vilt-b32", {"head": ABSENT}, "the key 'head' is missing; interaction single_stream gives tokens"),
    ("clip-vit-b32", {"head": {"kind": "itm"}}, "interaction dot_product gives scores; leave out the head"),
    (
        "scan",
        {"text": ABSENT},
        "the key 'text' is missing; interaction stacked_cross_attention needs a text to meet the image",
    ),
    (
        "vsepp",
        {"text.output": "words"},
        "interaction dot_product needs one token of each modality; text gru gives more",
    ),
    ("scan", {"interaction": {"kind": "dot_product"}}, "needs one token of each modality; text gru gives more"),
    ("clip-rn50", {"text.width": 512}, "parts of different width: text 512, visual 1024"),
    ("scan", {"visual.projection.width": 768}, "parts of different width: text 1024, visual 768"),
    ("clip-vit-b32", {"text.heads": 7}, "text: inner_width 512 is no multiple of heads 7"),
    ("clip-vit-b32", {"visual.heads": 7}, "visual: inner_width 768 is no multiple of heads 7"),
    ("clip-rn50", {"visual.heads": 7}, "visual: backbone channels 2048 is no multiple of heads 7"),
    ("clip-rn50", {"visual.blocks": [3, 4, 6]}, "visual.blocks"),
    ("clip-vit-b32", {"input.text_tokens": 78}, "78 text tokens, but the model has 77 positions"),
    ("clip-vit-b32", {"input.image_size": [230, 224]}, "230x224 is no multiple of the 32-pixel patch; 224x224 works"),
    ("vsepp", {"text.bidirectional": True}, "bidirectional needs output words"),
    ("vsepp", {"interaction.logit_scale": 0}, "interaction.logit_scale"),
    ("scan", {"interaction.directions": ["text_image", "text_image"]}, "directions names one twice"),
    ("scan", {"interaction.pooling": "max"}, "'lse' or 'mean'"),
    ("scan", {"interaction.poling": "mean"}, "unknown key 'interaction.poling'; did you mean pooling?"),
    ("vsepp", {"text.word_widht": 3}, "unknown key 'text.word_widht'; did you mean word_width?"),
    ("vsepp", {"text.kind": "lstm"}, "text.kind: unknown 'lstm'; known: bert_embeddings, gru, text_transformer"),
    ("vsepp", {"visual.backbone.block": [3]}, "unknown key 'visual.backbone.block'; did you mean blocks?"),
]


@pytest.mark.parametrize(("name", "changes", "says"), MISFITS)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, changes: dict[str, Any], says: str) -> None:
    assert says in error_after(tmp_path, name, changes)


def test_a_gru_reads_a_text_of_any_length() -> None:
    assert catalog()["vsepp"].with_input(text_tokens=5000).input.text_tokens == 5000
