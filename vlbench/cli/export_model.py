"""`vlbench export model`: a model as files that need a runtime alone. Exit codes: 0 written, 1 the conversion failed or
computes something else, 2 bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vlbench.cli.options import (
    BatchOption,
    ImageSizeOption,
    PrecisionName,
    PrecisionOption,
    ScopeName,
    TextTokensOption,
    ThreadsOption,
    WeightsOption,
    parse_overrides,
    parse_size,
)
from vlbench.errors import InputError
from vlbench.runner.deployment_files import ANY
from vlbench.system.console import print_message


def export_model(
    model: Annotated[
        str, typer.Argument(metavar="NAME", help="A model of `vlbench list`, a YAML file, or an external module.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="A new or an empty folder.")],
    weights: WeightsOption = None,
    backend: Annotated[str, typer.Option(metavar="NAME", help="onnxruntime or openvino.")] = "onnxruntime",
    precision: PrecisionOption = PrecisionName.fp32,
    scope: Annotated[
        ScopeName | None,
        typer.Option(
            help="One file for the whole model, or one for each stage. Default: model, with a detector stages."
        ),
    ] = None,
    image_size: ImageSizeOption = None,
    text_tokens: TextTokensOption = None,
    batch: BatchOption = 1,
    threads: ThreadsOption = None,
) -> None:
    """Write a model for ONNX Runtime or OpenVINO, the same files that `vlbench run --backend` measures.

    The folder also gets a README.md, an example with the output of eager PyTorch, and a script that needs numpy and the
    runtime alone, runs the example and compares.
    """
    from vlbench.measuring.machine import physical_cores
    from vlbench.runner.deployment import check_writer, default_scope, deploy
    from vlbench.runner.plan import RunSettings
    from vlbench.runner.sources import find_models
    from vlbench.specs.weights import with_weights

    check_writer(backend)
    named, _ = find_models(model, parse_overrides(None, None, image_size, text_tokens), threads or physical_cores())
    if len(named) > 1:
        raise InputError(f"{model}: names {len(named)} models; one at a time works")
    (spec,) = with_weights(named, weights or [])
    settings = RunSettings(
        device="cpu",
        precision=precision.value,
        backend=backend,
        scope=scope.value if scope else default_scope(spec),
        batch=batch,
        image_size=parse_size(image_size) if image_size is not None else None,
        text_tokens=text_tokens,
        threads=threads or physical_cores(),
    )
    deployment = deploy(spec, settings, output)
    files = f"{len(deployment.files)} file{'s' if len(deployment.files) > 1 else ''}"
    print_message(
        f"written: {output}, {files}, {deployment.size_bytes / 2**20:,.1f} MiB; largest difference to eager PyTorch: "
        f"{deployment.difference}; {_free(deployment.dynamic)}"
    )


def _free(dynamic: list[str]) -> str:
    """Which dimensions may have any size."""
    named = [name for name in dynamic if name != ANY]
    if not dynamic:
        return "all sizes are fixed"
    return f"any size works for {' and '.join(named)}" if named else "README.md says which sizes are fixed"
