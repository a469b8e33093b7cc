"""The data of the figures: pure functions of results, for the figures on paper and for the interactive page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from vlbench.report import columns
from vlbench.report.efficiency import Peak, Roof, roof_of
from vlbench.report.frames import Results, Row
from vlbench.report.labels import SETTINGS, tell_apart
from vlbench.runner.records import Result
from vlbench.tables.numbers import counted

REST, TOTAL, PASS = "rest", "total", "pass"
BARS = ("folder", "cell", "label", "family", "stage", "start_ms", "end_ms", "latency_ms", "share")
LEAST = 3  # measurements of a line


def labels(results: Results) -> list[str]:
    """A unique name of every measurement, in the order of `results.named`: followed by its folder's label if another
    folder measured the same model, and by `(contended)` if something else used the machine."""
    folders = Counter(model for model, _ in {(result.model, folder) for folder, _, result in results.named})
    return [
        f"{cell}{f' · {folder}' if folders[result.model] > 1 else ''}{contended_mark(result)}"
        for folder, cell, result in results.named
    ]


def contended_mark(*measured: Result) -> str:
    """What stands after the name of what is drawn, if any of its latencies is contended."""
    return " (contended)" if any(result.contended for result in measured) else ""


def _several_folders(results: Results) -> bool:
    return len({folder for folder, *_ in results.named}) > 1


def stage_bars(results: Results) -> pd.DataFrame:
    """One row per measurement and segment, in the order of the pass: stages, or the steps of a stage that has steps.

    `visual.rest` is the part of `visual` outside its steps, and `rest` the part of the pass outside its stages.
    Segments lie end to end from 0 to the `total` of the pass. `latency_ms` is the measured median. The medians of the
    parts need not sum to the median of the whole: if they sum to less, the rest fills the gap; if to more, all are
    narrowed by the same factor. `share` is of the segments as drawn. A measurement without stages, or one that failed,
    has no rows.
    """
    rows: list[Row] = []
    for (folder, cell, result), label in zip(results.named, labels(results), strict=True):
        start, identity = 0.0, {"folder": folder, "cell": cell, "label": label, "family": result.family}
        segments = stage_segments(result)
        whole = sum(width for _, width, _ in segments)
        for stage, width, latency in segments:
            times = {"start_ms": start, "end_ms": start + width, "latency_ms": latency}
            rows.append({**identity, "stage": stage, **times, "share": width / whole})
            start += width
    return pd.DataFrame(rows, columns=list(BARS))


def stage_segments(result: Result) -> list[tuple[str, float, float]]:
    """The name, drawn width in ms and measured median in ms of every stage without steps, and of every step."""
    summaries = (result.latency_ms_by_stage or {}) if result.status == "ok" else {}
    times = {name: summary.median for name, summary in summaries.items()}
    if not times.get(TOTAL):
        return []
    tops = _fill({name: time for name, time in times.items() if "." not in name and name != TOTAL}, times[TOTAL], REST)
    segments = []
    for stage, width in tops.items():
        steps = {name: time for name, time in times.items() if name.rpartition(".")[0] == stage}
        if not steps:
            segments.append((stage, width, times.get(stage, width)))
            continue
        inner = _fill(steps, times[stage], f"{stage}.{REST}")
        narrower = width / times[stage] if times[stage] else 0.0
        segments += [(name, within * narrower, times.get(name, within)) for name, within in inner.items()]
    return [segment for segment in segments if segment[1] > 0]


def _fill(parts: dict[str, float], whole: float, rest: str) -> dict[str, float]:
    """The parts scaled to sum to the whole; if no rest was measured, it first fills what they lack."""
    full = parts if rest in parts else {**parts, rest: max(0.0, whole - sum(parts.values()))}
    return {name: part * whole / sum(full.values()) for name, part in full.items()} if any(full.values()) else {}


def _tokens(result: Result) -> int | None:
    return None if result.image_tokens is None else result.text_tokens + result.image_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """An axis along which latency grows.

    Attributes:
        position: where a measurement lies on it; None if that is unknown.
        fixed: what the measurements of a line share, apart from their model and settings.
        varying: the settings, of SETTINGS, that change along it.
        describe: the part of the input that does not change, for a line's name.
    """

    position: Callable[[Result], int | None]
    fixed: Callable[[Result], Hashable]
    varying: frozenset[str]
    describe: Callable[[Result], str]


AXES = {
    "batch": _Axis(
        position=lambda result: result.batch,
        fixed=lambda result: (result.image_size, result.text_tokens, result.image_tokens),
        varying=frozenset({"batch"}),
        describe=SETTINGS["image"],
    ),
    "image pixels": _Axis(
        position=lambda result: result.image_size[0] * result.image_size[1],
        fixed=lambda result: (result.batch, result.text_tokens),
        varying=frozenset({"image", "tokens"}),
        describe=lambda result: f"{result.text_tokens} text tokens",
    ),
    "tokens": _Axis(
        position=_tokens,
        fixed=lambda result: (result.batch, result.image_size),
        varying=frozenset({"tokens"}),
        describe=SETTINGS["image"],
    ),
}
LINES = ("axis", "line", "family", "folder", "x", "latency_ms", "low", "high", "per_example_ms")


def scaling(results: Results) -> pd.DataFrame:
    """One row per point of a line: at least three measurements that differ only in batch, image pixels or tokens.

    Tokens are those of text and image together, at one image size; along the pixels, the image tokens may change, too.
    `low` and `high` are the ends of the 95% interval of `latency_ms`. If several measurements lie at one position of a
    line, such as those of a model with other settings that are not named here, the line has none of them.
    """
    rows: list[Row] = []
    several = _several_folders(results)
    for name, axis in AXES.items():
        for folder, group in groupby(results.named, key=lambda named: named[0]):
            lines = _lines([result for *_, result in group if result.status == "ok" and result.latency_ms], axis)
            firsts = [line[0] for line in lines]
            names = [f"{first.model}, {axis.describe(first)}" for first in firsts]
            for line, label in zip(lines, tell_apart(firsts, names, axis.varying), strict=True):
                label = f"{label} · {folder}" if several else label
                identity = {"axis": name, "line": f"{label}{contended_mark(*line)}", "folder": folder}
                rows += [
                    {**identity, "family": result.family, "x": axis.position(result), **_times(result)}
                    for result in line
                ]
    return pd.DataFrame(rows, columns=list(LINES)).astype({"low": float, "high": float})


def _lines(results: Sequence[Result], axis: _Axis) -> list[list[Result]]:
    """The lines that are long enough, each in the order of the axis, without positions that several results share."""
    groups: dict[Hashable, dict[int, list[Result]]] = {}
    for result in results:
        if (position := axis.position(result)) is not None:
            group = groups.setdefault((_same_settings(result), axis.fixed(result)), {})
            group.setdefault(position, []).append(result)
    lines = [[at[0] for _, at in sorted(group.items()) if len(at) == 1] for group in groups.values()]
    return [line for line in lines if len(line) >= LEAST]


def _same_settings(result: Result) -> Hashable:
    """What neither batch nor input changes; the interaction's parameters distinguish models of the same name."""
    settings = (
        result.device,
        result.precision,
        result.backend,
        result.scope,
        result.l2,
        result.weights,
        result.image_sha256,
    )
    parameters = (result.params_by_stage or {}).get("interaction")
    return result.model, result.family, result.machine.model_dump_json(), *settings, parameters


def _times(result: Result) -> Row:
    assert result.latency_ms
    low, high = result.latency_ms.ci95 or (None, None)
    median = result.latency_ms.median
    return {"latency_ms": median, "low": low, "high": high, "per_example_ms": median / result.batch}


ROOF = list(Roof._fields)  # the key of a roof, which a point shares with its roof
POINTS = (
    *("folder", "cell", "label", "family", "stage", "of", "share", "intensity", "gflops_per_second"),
    *("least_gflops_per_second", "mfu", *ROOF),
)
ROOFS = ("label", *ROOF, "peak_gflops", "gigabytes_per_second", "ridge")
LEAST_SHARE = 0.01  # of a pass; stages that take less are not drawn: a head of microseconds would stretch the axes


def roofline(results: Results) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Points and roofs of the roofline model (Williams et al., CACM 2009).

    A point is a measurement (its stage is `pass`), or one of its stages or steps. `intensity` is FLOPs per byte moved,
    and `gflops_per_second` is FLOPs over latency; `least_gflops_per_second` is the lower end of its 95% interval, or
    the same where none is known. `mfu` is `gflops_per_second` as a share of its roof's peak, NaN without a roof. `of`
    is the stage that a step belongs to, and `share` its part of the pass by stage. A stage without MACs, or without
    bytes moved, has no point.
    A roof is the most that a machine reaches in a precision: `peak_gflops`, and below an intensity of `ridge` only
    `gigabytes_per_second` times the intensity. If a roof was measured several times, its highest peaks count.
    """
    rows: list[Row] = []
    for (folder, cell, result), label in zip(results.named, labels(results), strict=True):
        roof = roof_of(result)
        identity = {"folder": folder, "cell": cell, "label": label, "family": result.family}
        peak = results.roofs[roof].gflops_per_second if roof in results.roofs else math.nan
        rows += [
            {**identity, **point, "mfu": point["gflops_per_second"] / peak, **roof._asdict()}
            for point in _points(result)
        ]
    return pd.DataFrame(rows, columns=list(POINTS)), _roofs(results)


def _roofs(results: Results) -> pd.DataFrame:
    rows = ({**roof._asdict(), **peak._asdict()} for roof, peak in results.roofs.items())
    kinds = {name: columns.PEAKS[name] for name in (*ROOF, *Peak._fields)}
    roofs = columns.frame(rows, kinds).rename(columns={"gflops_per_second": "peak_gflops"})
    roofs["ridge"] = roofs["peak_gflops"] / roofs["gigabytes_per_second"]
    roofs["label"] = _roof_names(roofs)
    return roofs[list(ROOFS)]


def _points(result: Result) -> Iterator[Row]:
    if result.status != "ok" or not result.latency_ms:
        return
    summaries = {**(result.latency_ms_by_stage or {}), PASS: result.latency_ms}
    pass_by_stage = summaries.get(TOTAL)
    flops = {name: 2 * macs for name, macs in (result.macs_by_stage or {}).items()}
    moved = {PASS: result.bytes_moved, **(result.bytes_moved_by_stage or {})}
    for stage in (PASS, *flops):
        work, size, latency = result.flops if stage == PASS else flops[stage], moved.get(stage), summaries.get(stage)
        if work and size and latency and latency.median:
            gigaflops = work / 1e6  # over milliseconds: a millisecond is 1e-3 s, a GFLOP 1e9
            yield {
                "stage": stage,
                "of": stage.rpartition(".")[0] or None,
                "share": 1.0 if stage == PASS or not pass_by_stage else latency.median / pass_by_stage.median,
                "intensity": work / size,
                "gflops_per_second": gigaflops / latency.median,
                "least_gflops_per_second": gigaflops / (latency.ci95 or (0, latency.median))[1],
            }


MOST_NAMED = 4  # points in a note


def notes_above_roofs(points: pd.DataFrame, roofs: pd.DataFrame) -> list[str]:
    """Which points lie above their roof by more than their interval, and what that means."""
    both = points.merge(roofs, on=ROOF, suffixes=("", "_of_roof"))
    slope = both["intensity"] * both["gigabytes_per_second"]
    above_peak = both["least_gflops_per_second"] > both["peak_gflops"]
    above_slope = ~above_peak & (both["least_gflops_per_second"] > slope)
    return [
        f"Above the {part}: {_names(both[above])}: {reason}."
        for part, above, reason in (
            ("peak", above_peak, "faster than all kernels by which it was measured, so the true peak is higher"),
            ("slope", above_slope, "caches kept what counts as moved"),
        )
        if above.any()
    ]


def _names(points: pd.DataFrame) -> str:
    names = [
        label if stage == PASS else f"{label} {stage}"
        for label, stage in zip(points["label"], points["stage"], strict=True)
    ]
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _roof_names(roofs: pd.DataFrame) -> list[str]:
    """`cpu fp32`, followed by the threads and the machine if the roofs differ in them."""
    names = roofs["device"] + " " + roofs["precision"]
    if roofs["threads"].nunique() > 1:
        names += ", " + roofs["threads"].map(lambda threads: counted(threads, "thread"))
    if roofs["machine"].nunique() > 1:
        names += ", " + roofs["machine"]
    return list(names)
