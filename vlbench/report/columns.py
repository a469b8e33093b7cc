"""The columns and types of the frames of `vlbench.read`, which are the same whatever was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# pandas' types: a gap is NA in text, counts and truths, and NaN in figures
TEXT, COUNT, FIGURE, TRUTH = "string", "Int64", "float64", "boolean"
Columns = Mapping[str, str]  # the type of each, in order
Row = dict[str, Any]


def _all(kind: str, names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), kind)


def _interval(name: str) -> dict[str, str]:
    return _all(FIGURE, f"{name} {name}_low {name}_high")


IDENTITY = _all(TEXT, "folder cell model family device precision backend") | _all(COUNT, "batch threads")
IDENTITY |= _all(TEXT, "machine")

CELLS = IDENTITY | _all(TEXT, "archetype") | _all(COUNT, "image_height image_width text_tokens image_tokens")
CELLS |= _all(TEXT, "weights") | _all(COUNT, "params_total params_trainable macs flops bytes_moved")
CELLS |= _all(COUNT, "operators peak_memory_bytes")
CELLS |= _interval("latency_ms") | _all(FIGURE, "latency_ms_p90") | _interval("input_ms")
CELLS |= _all(COUNT, "restarts")
CELLS |= _all(FIGURE, "examples_per_second mfu bandwidth_share joules joules_per_example gpu_busy_share")
CELLS |= _all(TEXT, "l2")
CELLS |= _all(TEXT, "noise noise_reasons status error spec_hash cell_hash measured_at vlbench_version torch")
CELLS |= _all(TEXT, "scope runtime") | _all(FIGURE, "conversion_seconds first_pass_ms") | _all(COUNT, "converted_bytes")
CELLS |= _all(FIGURE, "largest_difference mean_difference tolerance") | _all(TEXT, "eager_stages")

STAGES = IDENTITY | _all(TEXT, "stage of") | _all(FIGURE, "share") | _interval("latency_ms")
STAGES |= _all(COUNT, "params macs bytes_moved")

SAMPLES = IDENTITY | _all(COUNT, "restart") | _all(TEXT, "stage") | _all(COUNT, "sample") | _all(FIGURE, "latency_ms")

ACCURACY = (
    _all(TEXT, "folder model family weights backend precision task split metric")
    | _all(TRUTH, "first")
    | _interval("value")
)
ACCURACY |= _all(COUNT, "n") | _all(FIGURE, "majority text_only shuffled_images") | _all(TEXT, "preset")
ACCURACY |= _all(COUNT, "seed") | _all(FIGURE, "training_seconds") | _all(TEXT, "untrained spec_hash")

PEAKS = _all(TEXT, "folder machine device precision") | _all(COUNT, "threads")
PEAKS |= _all(FIGURE, "gflops_per_second gigabytes_per_second")

REPORTED = _all(TEXT, "folder suite row model quantity unit category") | _interval("measured")
REPORTED |= _all(FIGURE, "reported error tolerance") | _all(TEXT, "measured_words reported_words")
REPORTED |= _all(TEXT, "verdict erratum reason")

CLAIMS = _all(TEXT, "folder suite claim where verdict") | _interval("value") | _all(TEXT, "expression reason")


def frame(rows: Iterable[Row], columns: Columns) -> pd.DataFrame:
    """A frame of the rows; without rows it has the same columns and types."""
    listed = list(rows)
    return pd.DataFrame({name: series([row[name] for row in listed], kind) for name, kind in columns.items()})


def series(values: Sequence[Any] | NDArray[Any], kind: str) -> pd.Series:
    return pd.Series(values if isinstance(values, np.ndarray) else list(values), dtype=kind)
