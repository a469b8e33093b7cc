"""What was measured, where and how: the head of the page, and what kept cells from being trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from vlbench.report import tables
from vlbench.report.frames import Results
from vlbench.runner.records import Result

FACTS = (("cpu", "CPU"), ("gpu", "GPU"), ("os", "System"), ("python", "Python"), ("torch", "PyTorch"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultsSource:
    """Cells of one folder, machine and settings. `facts` are pairs of a name and words."""

    folder: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A cell that has no latency, or one that is not to be trusted, and why."""

    cell: str
    folder: str
    verdict: str
    reasons: tuple[str, ...]


def sources(results: Results) -> list[ResultsSource]:
    groups: dict[tuple[str, str], list[Result]] = {}
    for folder, _, one in results.named:
        groups.setdefault((folder, one.machine.model_dump_json()), []).append(one)
    found = [_source(folder, own) for (folder, _), own in groups.items()]
    for place in results.folders:
        if not place.results and place.evaluations:
            found.append(_of_accuracy(place.label, place.evaluations[0].machine.in_words(), len(place.evaluations)))
    return found


def _of_accuracy(folder: str, machine: str, count: int) -> ResultsSource:
    facts = (("Machine", machine), ("Measured", f"accuracy alone, {count} evaluations"))
    return ResultsSource(folder=folder, facts=facts)


def _source(folder: str, own: list[Result]) -> ResultsSource:
    machine = own[0].machine
    hardware = {name: getattr(machine, name) for name, _ in FACTS}
    cores = f"{machine.cores} cores ({machine.logical_cores} logical), {machine.ram_bytes / 2**30:.0f} GiB"
    facts = [("CPU", f"{machine.cpu}, {cores}")]
    facts += [(title, str(hardware[name])) for name, title in FACTS if name != "cpu" and hardware[name]]
    facts.append(("Settings", ", ".join(_settings(own))))
    facts.append(("Weights", _weights(own)))
    days = sorted({one.measured_at[:10] for one in own})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    versions = ", ".join(sorted({one.vlbench_version for one in own}))
    facts.append(("Measured", f"{len(own)} cell{'s' if len(own) > 1 else ''}, {when}, by vlbench {versions}"))
    return ResultsSource(folder=folder, facts=tuple(facts))


def _settings(own: list[Result]) -> Iterator[str]:
    """Each setting once, with all values that it has."""
    for values in zip(*((one.device, one.precision, one.backend) for one in own), strict=True):
        yield " and ".join(dict.fromkeys(values))
    batches = sorted({one.batch for one in own})
    yield f"batch {', '.join(map(str, batches))}"
    threads = sorted({one.machine.threads for one in own})
    yield f"{', '.join(map(str, threads))} thread{'s' if threads[-1] > 1 else ''}"


def _weights(own: list[Result]) -> str:
    random = sum(one.weights == "random" for one in own)
    if random == len(own):
        return "random: latency is meant, not accuracy"
    return f"{len(own) - random} trained, {random} random" if random else "trained"


def failed(results: Results) -> list[Trouble]:
    return [
        Trouble(cell=name, folder=folder, verdict=one.status, reasons=(one.error or "no reason was kept",))
        for folder, name, one in results.named
        if one.status != "ok"
    ]


def noisy(results: Results) -> list[Trouble]:
    """Cells whose latency was disturbed, or whose warm-up had not settled."""
    found = []
    for folder, name, one in results.named:
        reasons = tables.cautions(one) if one.status == "ok" else []
        if reasons:
            verdict = one.noise.verdict if one.noise else "not settled"
            found.append(Trouble(cell=name, folder=folder, verdict=verdict, reasons=tuple(_plain(reasons))))
    return found


def _plain(reasons: list[str]) -> list[str]:
    """Without the verdict, which stands beside them."""
    verdicts = ("stable: ", "noisy: ", "contended: ")
    return [next((one.removeprefix(word) for word in verdicts if one.startswith(word)), one) for one in reasons]


def noise_counts(results: Results) -> dict[str, int]:
    """How many cells have which verdict; `not judged` where an earlier version measured."""
    timed = [one for *_, one in results.named if one.status == "ok"]
    counts = Counter(one.noise.verdict if one.noise else "not judged" for one in timed)
    return {name: counts[name] for name in ("stable", "noisy", "contended", "not judged") if counts[name]}
