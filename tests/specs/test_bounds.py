"""Values of model files that no part can be built from are refused in one line, before any memory is taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers import tiny
from tests.specs.changes import error_after, error_of
from vlbench.architectures.build import build
from vlbench.errors import SpecError

HUGE = 10**8


@pytest.mark.parametrize(
    ("model", "key", "value", "says"),
    [
        ("vilt-b32", "interaction.layers", HUGE, "interaction.layers: input should be less than or equal to 1000, not"),
        ("vilt-b32", "interaction.layers", 0, "interaction.layers: input should be greater than or equal to 1, not 0"),
        ("vilt-b32", "interaction.layers", True, "interaction.layers: input should be a valid integer, not True"),
        ("vilt-b32", "interaction.layers", "12", "interaction.layers: input should be a valid integer, not '12'"),
        ("vilt-b32", "interaction.dropout", True, "interaction.dropout: input should be a valid number, not True"),
        ("vilt-b32", "interaction.layer_norm_eps", float("inf"), "layer_norm_eps: input should be a finite number"),
        ("vilt-b32", "text.width", HUGE, "text.width: input should be less than or equal to 65536"),
        ("vilt-b32", "text.vocabulary", 2**63 - 1, "text.vocabulary: input should be less than or equal to 10000000"),
        ("vilt-b32", "text.vocabulary", 1, "text.vocabulary: input should be greater than or equal to 4, not 1"),
        ("vilt-b32", "input.mean", [float("nan"), 0, 0], "input.mean.0: input should be"),
        ("vilt-b32", "input.std", [0, 1, 1], "input.std.0: input should be greater than or equal to 0.000001"),
        ("vilt-b32", "input.std", [float("inf"), 1, 1], "input.std.0: input should be a finite number"),
        ("vilt-b32", "input.image_size", [1, 1], "image size 1x1 is no multiple of the 32-pixel patch; 32x32 works"),
        ("vilt-b32", "input.text_tokens", HUGE, "input.text_tokens: input should be less than or equal to 16384"),
        ("vilt-b32", "visual.patch_size", 1, "image size 384x640 has more than 65,536 patches of 1 pixels"),
        ("vilt-b32", "seed", -1, "seed: input should be greater than or equal to 0, not -1"),
        ("vilt-b32", "seed", 2**63, "seed: input should be less than 9223372036854775808"),
        ("vilt-b32", "name", "x" * 101, "name: string should have at most 100 characters, not 'xxx"),
        ("vilt-b32", "aliases", ["a,b"], "aliases.0: string should match pattern"),
        ("vilt-b32", "weights", "a\nb", "weights: holds a line break or another control character"),
        ("vilt-b32", "head.kind", "x" * 1000, "head.kind: unknown 'xxxxx"),
        ("vilt-b32", "x" * 1000, 1, "unknown key 'xxxxxx"),
        ("clip-vit-b32", "text.positions", HUGE, "text.positions: input should be less than or equal to 4096"),
        ("clip-vit-b32", "interaction.logit_scale", float("inf"), "interaction.logit_scale: input should be a finite"),
        ("uniter-base", "visual.rpn.anchor_sizes", [32] * 65, "visual.rpn.anchor_sizes: tuple should have at most 64"),
        ("uniter-base", "visual.rpn.min_box_size", float("inf"), "visual.rpn.min_box_size: input should be a finite"),
        ("uniter-base", "visual.rpn.proposals", 10**6, "1,000,000 boxes with roi_head.pool_size 14 pool more than"),
        ("hf-vilt-b32", "seed", -1, "seed: input should be greater than or equal to 0, not -1"),
    ],
)
def test_a_value_out_of_bounds_is_refused_in_one_short_line(
    tmp_path: Path, model: str, key: str, value: Any, says: str
) -> None:
    message = error_after(tmp_path, model, {key: value})
    assert says in message
    assert len(message) <= 300


@pytest.mark.parametrize("text", ['name: "\\e[31mred"', '"\\e[31m": 1', 'note: "a\\0b"', 'note: ["\\x85"]'])
def test_control_characters_are_refused_and_not_echoed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text, encoding="utf-8")
    message = error_of(path)
    assert "holds the control character '\\x" in message
    assert message.isprintable()


def test_weights_that_do_not_fit_into_memory_are_not_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 layers of 8 x 65,536 x 16,384 weights and more need over 12 TiB, which no machine of this test has."""
    spec = tiny("vilt-b32")
    wide = {"width": 16_384, "mlp_width": 65_536, "layers": 1000}
    spec = spec.model_copy(update={"interaction": spec.interaction.model_copy(update=wide)})
    of_transformers = tiny("hf-vilt-b32")
    config = {**of_transformers.config, "hidden_size": 16_384, "intermediate_size": 65_536, "num_hidden_layers": 1000}
    before = psutil.Process().memory_info().rss
    for huge in (spec, of_transformers.model_copy(update={"config": config})):
        with pytest.raises(
            SpecError, match=rf"^{huge.name}: its weights need 1\d,\d{{3}}\.\d GiB, but .* are free; a model of"
        ):
            build(huge)
    assert psutil.Process().memory_info().rss - before < 500 << 20
