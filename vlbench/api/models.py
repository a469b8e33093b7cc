"""Models of the catalogue: `vlbench.load(name).measure(image, text)` and `vlbench.build(spec)`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlbench.api.measurement import Measurement
from vlbench.errors import InputError
from vlbench.inputs import read_example
from vlbench.measuring.machine import physical_cores
from vlbench.measuring.records import Precision, Scope
from vlbench.runner.backends import EAGER
from vlbench.runner.benchmark import benchmark
from vlbench.runner.cells import L2
from vlbench.runner.plan import RunSettings
from vlbench.runner.sources import find_models
from vlbench.specs import AnySpec, Size
from vlbench.specs.catalog import read_spec
from vlbench.specs.module import Overrides
from vlbench.specs.weights import with_weights

if TYPE_CHECKING:
    from vlbench.architectures.build import AnyModel


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue or of a YAML file."""

    spec: AnySpec

    def build(self) -> AnyModel:
        """The model as an `nn.Module`, with its weights. Raises InputError if they belong to another model."""
        return build(self.spec)

    def measure(
        self,
        image: str | Path | None = None,
        text: str | None = None,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        backend: str = EAGER,
        scope: Scope = "stages",
        batch: int = 1,
        l2: L2 = "warm",
        image_size: Size | None = None,
        text_tokens: int | None = None,
        threads: int | None = None,
        budget_seconds: float = 45,
        within: float = 0.02,
        restarts: int | None = None,
    ) -> Measurement:
        """Measures the model in fresh processes, on this image and text or the default ones.

        `backend` names the runtime that executes it, and `scope` what of it is converted: each of its stages, or the
        whole `model`.

        Returns:
            What `vlbench run` writes as a line of cells.jsonl; `status` says whether the figures are valid.

        Raises:
            InputError: an image, text or setting that does not fit, or weights of another model.
            WorkerError: the measuring process does not start.
        """
        example = read_example(Path(image) if image is not None else None, text)
        settings = RunSettings(
            device=device,
            precision=precision,
            backend=backend,
            scope=scope,
            batch=batch,
            l2=l2,
            image_size=image_size,
            text_tokens=text_tokens,
            threads=physical_cores() if threads is None else threads,
            budget_seconds=budget_seconds,
            within=within,
            restarts=restarts,
        )
        run = benchmark([self.spec], example, settings)
        if run.interrupted:
            raise KeyboardInterrupt
        return Measurement.of(run.results[0])


def load(name: str | Path, *, weights: str | None = None) -> Model:
    """One model: by its name, alias or YAML file, or an external module, as `vlbench run` takes it.

    Raises InputError if there is no such model, a glob matches several, or the weights are missing.

    Args:
        name: of the model.
        weights: a checkpoint: a file, a folder or `hub:OWNER/NAME`; by default what the model's file names.
    """
    specs, _ = find_models(str(name), Overrides(), threads=1)
    if len(specs) != 1:
        raise InputError(f"{name} means {len(specs)} models; load one of {', '.join(spec.name for spec in specs)}")
    return Model(with_weights(specs, [f"{specs[0].name}={weights}"] if weights else [])[0])


def build(spec: AnySpec | str | Path) -> AnyModel:
    """An `nn.Module` from a spec, a name or a YAML file, with the weights that it names. It can be trained."""
    from vlbench.architectures.build import build as build_model  # noqa: PLC0415  imports torch

    if isinstance(spec, Path):
        spec = read_spec(spec)
    return build_model(load(spec).spec if isinstance(spec, str) else spec)
