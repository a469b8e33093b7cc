"""What the figures show, as data: pure functions of results, for the pictures on paper and for the interactive page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from vlbench.report.colours import stage_colour as stage_colour  # beside the data that it colours
from vlbench.report.frames import Results, Row
from vlbench.report.labels import SETTINGS, tell_apart
from vlbench.runner.records import Result

REST, TOTAL, PASS = "rest", "total", "pass"
BARS = ("folder", "cell", "label", "family", "stage", "start_ms", "end_ms", "latency_ms", "share")
LEAST = 3  # cells that make a line


def labels(results: Results) -> list[str]:
    """A name of every cell, in the order of `results.named`, no two alike: its folder's label behind it where another
    folder has a cell of that model."""
    held = {(one.model, folder) for folder, _, one in results.named}
    folders = Counter(model for model, _ in held)
    return [f"{cell} · {folder}" if folders[one.model] > 1 else cell for folder, cell, one in results.named]


def _several_folders(results: Results) -> bool:
    return len({folder for folder, *_ in results.named}) > 1


def stage_bars(results: Results) -> pd.DataFrame:
    """A row a cell and segment, in the order of the pass: stages, or the steps of one that has some, and the rests.

    `visual.rest` is what `visual` does beside its steps, `rest` what the pass does beside its stages. Segments lie end
    to end from 0 to the pass's `total`. `latency_ms` is the median as measured, and medians of parts need not sum to
    the median of the whole: what they lack is its rest, and where they have more, they are narrowed alike. `share` is
    of the segments as they lie. A cell that has no stages, or did not run, has no rows.
    """
    rows: list[Row] = []
    for (folder, cell, result), label in zip(results.named, labels(results), strict=True):
        start, identity = 0.0, {"folder": folder, "cell": cell, "label": label, "family": result.family}
        segments = _segments(result)
        whole = sum(width for _, width, _ in segments)
        for stage, width, latency in segments:
            place = {"start_ms": start, "end_ms": start + width, "latency_ms": latency}
            rows.append({**identity, "stage": stage, **place, "share": width / whole})
            start += width
    return pd.DataFrame(rows, columns=list(BARS))


def _segments(result: Result) -> list[tuple[str, float, float]]:
    """Stage, how wide it is drawn, and its own median, of every leaf."""
    summaries = (result.latency_ms_by_stage or {}) if result.status == "ok" else {}
    times = {name: summary.median for name, summary in summaries.items()}
    if not times.get(TOTAL):
        return []
    tops = _fill({name: time for name, time in times.items() if "." not in name and name != TOTAL}, times[TOTAL], REST)
    found = []
    for stage, width in tops.items():
        steps = {name: time for name, time in times.items() if name.rpartition(".")[0] == stage}
        if not steps:
            found.append((stage, width, times.get(stage, width)))
            continue
        inner = _fill(steps, times[stage], f"{stage}.{REST}")
        narrower = width / times[stage] if times[stage] else 0.0
        found += [(name, within * narrower, times.get(name, within)) for name, within in inner.items()]
    return [segment for segment in found if segment[1] > 0]


def _fill(parts: dict[str, float], whole: float, rest: str) -> dict[str, float]:
    """Parts that sum to the whole: what they lack is the rest where none was measured, else it is shared alike."""
    full = parts if rest in parts else {**parts, rest: max(0.0, whole - sum(parts.values()))}
    return {name: part * whole / sum(full.values()) for name, part in full.items()} if any(full.values()) else {}


def _tokens(result: Result) -> int | None:
    return None if result.image_tokens is None else result.text_tokens + result.image_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """Where a cell lies on it; what the cells of a line share besides; which settings change along it; what a line's
    name says of the input that does not."""

    place: Callable[[Result], int | None]
    shared: Callable[[Result], Hashable]
    changes: frozenset[str]
    said: Callable[[Result], str]


AXES = {
    "batch": _Axis(
        place=lambda one: one.batch,
        shared=lambda one: (one.image_size, one.text_tokens, one.image_tokens),
        changes=frozenset({"batch"}),
        said=SETTINGS["image"],
    ),
    "image pixels": _Axis(
        place=lambda one: one.image_size[0] * one.image_size[1],
        shared=lambda one: (one.batch, one.text_tokens),
        changes=frozenset({"image", "tokens"}),
        said=lambda one: f"{one.text_tokens} text tokens",
    ),
    "tokens": _Axis(
        place=_tokens,
        shared=lambda one: (one.batch, one.image_size),
        changes=frozenset({"tokens"}),
        said=SETTINGS["image"],
    ),
}
LINES = ("axis", "line", "family", "folder", "x", "latency_ms", "low", "high", "per_example_ms")


def scaling(results: Results) -> pd.DataFrame:
    """A row a point of every line: at least three cells alike in all but the batch, the image's pixels or the tokens.

    Tokens are those of text and image together, at one image size; with the image's pixels its tokens may change.
    `low` and `high` are the ends of the 95% interval of `latency_ms`. Where several cells lie at one place of a line,
    such as a model with other settings that have no name here, none of them is in it.
    """
    rows: list[Row] = []
    several = _several_folders(results)
    for name, axis in AXES.items():
        for folder, own in groupby(results.named, key=lambda one: one[0]):
            lines = _lines([one for *_, one in own if one.status == "ok" and one.latency_ms], axis)
            firsts = [line[0] for line in lines]
            told = tell_apart(firsts, [f"{one.model}, {axis.said(one)}" for one in firsts], axis.changes)
            for line, label in zip(lines, told, strict=True):
                identity = {"axis": name, "line": f"{label} · {folder}" if several else label, "folder": folder}
                rows += [{**identity, "family": one.family, "x": axis.place(one), **_times(one)} for one in line]
    return pd.DataFrame(rows, columns=list(LINES)).astype({"low": float, "high": float})


def _lines(results: Sequence[Result], axis: _Axis) -> list[list[Result]]:
    """Each in the order of the axis, of what stands alone at its place; only where this is enough to make a line."""
    groups: dict[Hashable, dict[int, list[Result]]] = {}
    for one in results:
        if (place := axis.place(one)) is not None:
            groups.setdefault((_alike(one), axis.shared(one)), {}).setdefault(place, []).append(one)
    lines = [[group[place][0] for place in sorted(group) if len(group[place]) == 1] for group in groups.values()]
    return [line for line in lines if len(line) >= LEAST]


def _alike(one: Result) -> Hashable:
    """What neither batch nor input changes. Parameters of the interaction tell apart what bears one name."""
    settings = (one.device, one.precision, one.backend, one.weights, one.image_sha256)
    parameters = (one.params_by_stage or {}).get("interaction")
    return one.model, one.family, one.machine.model_dump_json(), *settings, parameters


def _times(one: Result) -> Row:
    assert one.latency_ms
    low, high = one.latency_ms.ci95 or (None, None)
    median = one.latency_ms.median
    return {"latency_ms": median, "low": low, "high": high, "per_example_ms": median / one.batch}


POINTS: tuple[str, ...] = (
    "folder",
    "cell",
    "label",
    "family",
    "stage",
    "of",
    "share",
    "intensity",
    "gflops_per_second",
)
POINTS += ("device", "precision", "threads", "machine")
ROOFS = ("label", "machine", "device", "precision", "threads", "peak_gflops", "gigabytes_per_second", "ridge")
ROOF = list(ROOFS[1:5])  # what tells roofs apart, and what a point and its roof share
LEAST_SHARE = 0.01  # of a pass, that a stage takes to be drawn; a head of microseconds would stretch a roofline


def roofline(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points and roofs of the roofline model (Williams et al., CACM 2009).

    A point is a cell (its stage is `pass`), or a stage or step of one: `intensity` is FLOPs a byte moved, and
    `gflops_per_second` what was achieved, FLOPs over latency. `of` is the stage that a step belongs to,
    and `share` its part of the pass by stage. What has no
    MACs has no point, nor has what an older version of vlbench measured, which did not count bytes.
    A roof is what a machine reaches at the most in a precision: `peak_gflops`, and below an intensity of `ridge` only
    `gigabytes_per_second` times the intensity. Of a roof measured several times the highest peaks are taken.
    """
    rows: list[Row] = []
    for (folder, cell, result), label in zip(results.named, labels(results), strict=True):
        settings = {name: getattr(result, name) for name in ("device", "precision")}
        identity = {"folder": folder, "cell": cell, "label": label, "family": result.family}
        machine = {"threads": result.machine.threads, "machine": result.machine.in_few_words()}
        rows += [{**identity, **point, **settings, **machine} for point in _points(result)]
    roofs = results.peaks.groupby(ROOF, as_index=False, sort=False)[["gflops_per_second", "gigabytes_per_second"]].max()
    roofs = roofs.rename(columns={"gflops_per_second": "peak_gflops"})
    roofs["ridge"] = roofs["peak_gflops"] / roofs["gigabytes_per_second"]
    roofs["label"] = _roof_names(roofs)
    return pd.DataFrame(rows, columns=list(POINTS)), roofs[list(ROOFS)]


def _points(result: Result) -> Iterator[Row]:
    if result.status != "ok" or not result.latency_ms:
        return
    times = {name: summary.median for name, summary in (result.latency_ms_by_stage or {}).items()}
    flops = {name: 2 * macs for name, macs in (result.macs_by_stage or {}).items()}
    moved = {PASS: result.bytes_moved, **(result.bytes_moved_by_stage or {})}
    for stage in (PASS, *flops):
        work, time = (result.flops, result.latency_ms.median) if stage == PASS else (flops[stage], times.get(stage))
        size = moved.get(stage)
        if work and time and size:
            achieved = work / time / 1e6  # a millisecond is 1e-3 s, a GFLOP 1e9
            of = stage.rpartition(".")[0] or None
            share = 1.0 if stage == PASS else time / times[TOTAL]
            yield {"stage": stage, "of": of, "share": share, "intensity": work / size, "gflops_per_second": achieved}


def _roof_names(roofs: pd.DataFrame) -> list[str]:
    """`cpu fp32`, and the threads and the machine where these differ."""
    said = [
        lambda one: f"{one['device']} {one['precision']}",
        lambda one: f"{one['threads']} thread{'s' if one['threads'] > 1 else ''}",
        lambda one: one["machine"],
    ]
    several = [True, roofs["threads"].nunique() > 1, roofs["machine"].nunique() > 1]
    return [
        ", ".join(say(one) for say, wanted in zip(said, several, strict=True) if wanted)
        for one in roofs.to_dict("records")
    ]
