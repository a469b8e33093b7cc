"""`vlbench explain`: draws which part of a photo each word is aligned with, and the attention of every head.

Exit codes: 0 explained, 2 bad input.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.options import DeviceOption, FloatName, FloatOption, ThreadsOption, default_folder
from vlbench.cli.printing import print_as
from vlbench.cli.score import ScoreFormat
from vlbench.errors import InputError, device_errors_in_one_line
from vlbench.system.console import print_message

if TYPE_CHECKING:
    from vlbench.explain.explanation import Explanation
    from vlbench.specs import ModelSpec


def explain(
    model: Annotated[str, typer.Option(help="One name, alias or YAML file.")],
    image: Annotated[Path, typer.Option(metavar="FILE", help="A photo.")],
    text: Annotated[str, typer.Option(help="A caption, a statement or a question about it.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="A file, a folder or hub:OWNER/NAME; or MODEL.visual=SOURCE; repeatable."),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A vocab.txt; by default the one next to the weights.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Precomputed regions, for region models: a TSV file or an LMDB folder."),
    ] = None,
    words: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Words to draw; by default all but function words such as 'the' and 'is'."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="N", help="Also draw the heads of this layer large: 3, or cross-3.")
    ] = None,
    device: DeviceOption = "auto",
    precision: FloatOption = FloatName.fp32,
    threads: ThreadsOption = None,
    output: Annotated[
        ScoreFormat, typer.Option("--format", help="How to print the heads and words.")
    ] = ScoreFormat.table,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for the figures; by default results/local/TIME-HOST.")
    ] = None,
) -> None:
    """Draw which part of a photo each word is aligned with, and the attention of every head.

    plan.png: the transport plan from words to patches, cells or regions (ViLT, section 4.7). attention.png: one map per
    head, named by UNITER's patterns. Both are also written as SVG.
    """
    from vlbench.explain.explainable import explainable_model
    from vlbench.explain.explanation import words_to_draw
    from vlbench.inputs import read_example
    from vlbench.measuring.machine import physical_cores
    from vlbench.tasks.features import open_regions

    spec = explainable_model(model, weights or [])
    example = read_example(image, text)
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file, not a folder")
    regions = open_regions(features) if features else None
    from vlbench.evaluation.processes import compute_device  # imports PyTorch, so bad input is refused before it
    from vlbench.explain.look import ExplainSettings, look

    settings = ExplainSettings(
        vocabulary=vocabulary,
        features=regions,
        device=compute_device(device),
        precision=precision.value,
        threads=threads or physical_cores(),
    )
    with device_errors_in_one_line("--precision bf16 or --device cpu needs less of it"):
        explanation = look(spec, example, settings)
    drawn_words = words_to_draw(explanation.words, words)
    if layer is not None:
        explanation.maps_of(layer)  # refuses an unknown layer before anything is drawn
    for line in _cautions(spec, explanation):
        print_message(line)
    figures = _draw(explanation, drawn_words, layer, out or default_folder())
    _print(explanation, drawn_words, figures, output)


def _cautions(spec: ModelSpec, explanation: Explanation) -> list[str]:
    """What a reader of the figures should know."""
    from vlbench.specs import RANDOM

    lines = []
    if spec.weights == RANDOM:
        lines.append("its weights are random, so the figures have no meaning; --weights FILE loads trained ones")
    if explanation.random_parts:
        lines.append(f"random, as the weights have no tensors for it: {', '.join(explanation.random_parts)}")
    if explanation.unread:
        unread = " ".join(explanation.unread)
        lines.append(f"reads {len(explanation.labels)} tokens, and not the end of the text: {unread}")
    if explanation.alignment is None:
        lines.append(f"no transport plan; {explanation.no_alignment}")
    if explanation.missing_for_patterns:
        lines.append(f"no patterns; UNITER's need {explanation.missing_for_patterns}")
    return [f"{spec.name}: {line}" for line in lines]


def _draw(explanation: Explanation, words: list[int], layer: str | None, folder: Path) -> list[Path]:
    from vlbench.explain.attention_figure import draw_attention
    from vlbench.explain.plan_figure import draw_plan

    figures = draw_plan(explanation, words, folder) if explanation.alignment else []
    figures += draw_attention(explanation, folder)
    return figures + (draw_attention(explanation, folder, layer) if layer is not None else [])


def _print(explanation: Explanation, words: list[int], figures: list[Path], output: ScoreFormat) -> None:
    from vlbench.explain.tables import explanation_json, heads_table

    print_as(
        output.value,
        lambda: [table] if (table := heads_table(explanation)) else [],
        json=lambda: explanation_json(explanation, words, figures),
    )
    if output is ScoreFormat.json:
        return
    print_message(f"figures: {', '.join(str(path) for path in figures if path.suffix == '.png')} (and .svg)")
