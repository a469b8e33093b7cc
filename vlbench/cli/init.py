"""`vlbench init`: the YAML file that describes a model."""

from __future__ import annotations

from typing import Annotated

import typer

from vlbench.cli.options import ImageSizeOption, InputOption, StagesOption, TextTokensOption, parse_overrides


def init(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="timm:NAME, open_clip:NAME, hub:ID, a folder, MODULE:FUNCTION, or a model's name."
        ),
    ],
    inputs: InputOption = None,
    stages: StagesOption = None,
    image_size: ImageSizeOption = None,
    text_tokens: TextTokensOption = None,
) -> None:
    """Print the YAML file that describes a model, to edit and to keep."""
    from vlbench.files.yaml_files import to_yaml
    from vlbench.runner.sources import find_models

    specs, _ = find_models(model, parse_overrides(inputs, stages, image_size, text_tokens), threads=1)
    for spec in specs:
        print(to_yaml(spec.model_dump(mode="json", exclude_defaults=True)), end="")
