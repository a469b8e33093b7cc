"""`vlbench explain`: what a model looks at, drawn: where each word lies in a photo, and the attention of every head.

Exit codes: 0 explained, 2 bad input.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vlbench.cli.options import DeviceName, DeviceOption, PrecisionName, PrecisionOption, ThreadsOption, default_folder
from vlbench.cli.printing import print_wide
from vlbench.cli.score import ScoreFormat
from vlbench.errors import InputError

if TYPE_CHECKING:
    from vlbench.explain.explanation import Explanation
    from vlbench.specs import ModelSpec


def explain(
    model: Annotated[str, typer.Option(help="One name, alias or YAML file.")],
    image: Annotated[Path, typer.Option(metavar="FILE", help="A photo.")],
    text: Annotated[str, typer.Option(help="What is said or asked of it.")],
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="A file, a folder or hub:OWNER/NAME; or MODEL.visual=SOURCE; repeatable."),
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The vocab.txt, by default the one beside the weights.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Regions found earlier, for region models: a TSV, or an LMDB's folder."),
    ] = None,
    words: Annotated[
        str | None, typer.Option(metavar="A,B", help="Draw these words; by default all but such as 'the' and 'is'.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option(metavar="N", help="Draw this layer's heads large, too: 3, or cross-3.")
    ] = None,
    device: DeviceOption = DeviceName.auto,
    precision: PrecisionOption = PrecisionName.fp32,
    threads: ThreadsOption = None,
    output: Annotated[
        ScoreFormat, typer.Option("--format", help="How heads and words are printed.")
    ] = ScoreFormat.table,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where pictures go; by default results/local/TIME-HOST.")
    ] = None,
) -> None:
    """Draw which part of a photo each word is carried to, and how every head attends.

    plan.png: the transport plan of words onto patches, cells or regions (ViLT, section 4.7). attention.png: a map a
    head, named by UNITER's patterns. Each as SVG, too.
    """
    from vlbench.explain.choice import model_named
    from vlbench.explain.explanation import chosen
    from vlbench.inputs import read_example
    from vlbench.measure.machine import physical_cores
    from vlbench.tasks.features import open_regions

    spec = model_named(model, weights or [])
    example = read_example(image, text)
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"--out {out}: is a file, not a folder")
    regions = open_regions(features) if features else None
    from vlbench.evaluation.processes import device_named  # what is wrong above is told before PyTorch is imported
    from vlbench.explain.look import ExplainSettings, look

    settings = ExplainSettings(
        vocabulary=vocabulary,
        features=regions,
        device=device_named(device.value),
        precision=precision.value,
        threads=threads or physical_cores(),
    )
    found = look(spec, example, settings)
    drawn = chosen(found.words, words)
    if layer is not None:
        found.maps_of(layer)  # refuses before anything is drawn
    for line in _cautions(spec, found):
        print(line, file=sys.stderr)
    pictures = _draw(found, drawn, layer, out or default_folder())
    _print(found, drawn, pictures, output)


def _cautions(spec: ModelSpec, found: Explanation) -> list[str]:
    """What a reader of the pictures should know."""
    from vlbench.specs import RANDOM

    lines = []
    if spec.weights == RANDOM:
        lines.append(
            f"{spec.name}: its weights are random, so what it looks at has no meaning; --weights FILE fills it"
        )
    if found.random_parts:
        lines.append(f"{spec.name}: random, as its weights say nothing of it: {', '.join(found.random_parts)}")
    if found.unread:
        lines.append(
            f"{spec.name}: reads {len(found.labels)} tokens, and not the end of the text: {' '.join(found.unread)}"
        )
    if found.alignment is None:
        lines.append(f"{spec.name}: no transport plan; {found.no_alignment}")
    if not any(one.joint for one in found.maps):
        lines.append(
            f"{spec.name}: no patterns; UNITER's want text and image in one sequence, and here each has its own"
        )
    return lines


def _draw(found: Explanation, drawn: list[int], layer: str | None, folder: Path) -> list[Path]:
    from vlbench.explain.attention_figure import draw_attention
    from vlbench.explain.plan_figure import draw_plan

    pictures = draw_plan(found, drawn, folder) if found.alignment else []
    pictures += draw_attention(found, folder)
    return pictures + (draw_attention(found, folder, layer) if layer is not None else [])


def _print(found: Explanation, drawn: list[int], pictures: list[Path], output: ScoreFormat) -> None:
    from vlbench.explain.tables import render, to_json

    if output is ScoreFormat.json:
        print(to_json(found, drawn, pictures), end="")
        return
    table = render(found)
    if table is not None:
        print_wide(lambda _width: table)
    print(f"pictures: {', '.join(str(path) for path in pictures if path.suffix == '.png')} (and .svg)", file=sys.stderr)
