"""What was measured, where and how: the head of the page, and what kept cells from being trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from vlbench.report.frames import Results
from vlbench.report.notes import cautions
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
    for folder, _, result in results.named:
        groups.setdefault((folder, result.machine.model_dump_json()), []).append(result)
    listed = [_source(folder, group) for (folder, _), group in groups.items()]
    for each in results.folders:
        if not each.results and each.evaluations:
            listed.append(_of_accuracy(each.label, each.evaluations[0].machine.in_words(), len(each.evaluations)))
    return listed


def _of_accuracy(folder: str, machine: str, count: int) -> ResultsSource:
    facts = (("Machine", machine), ("Measured", f"accuracy alone, {count} evaluations"))
    return ResultsSource(folder=folder, facts=facts)


def _source(folder: str, group: list[Result]) -> ResultsSource:
    machine = group[0].machine
    hardware = {name: getattr(machine, name) for name, _ in FACTS}
    cores = f"{machine.cores} cores ({machine.logical_cores} logical), {machine.ram_bytes / 2**30:.0f} GiB"
    facts = [("CPU", f"{machine.cpu}, {cores}")]
    facts += [(title, str(hardware[name])) for name, title in FACTS if name != "cpu" and hardware[name]]
    facts.append(("Settings", ", ".join(_settings(group))))
    facts.append(("Weights", _weights(group)))
    days = sorted({result.measured_at[:10] for result in group})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    versions = ", ".join(sorted({result.vlbench_version for result in group}))
    facts.append(
        ("Measured", f"{len(group)} measurement{'s' if len(group) > 1 else ''}, {when}, by vlbench {versions}")
    )
    return ResultsSource(folder=folder, facts=tuple(facts))


def _settings(group: list[Result]) -> Iterator[str]:
    """Each setting once, with all values that it has."""
    for values in zip(*((result.device, result.precision, result.backend) for result in group), strict=True):
        yield " and ".join(dict.fromkeys(values))
    batches = sorted({result.batch for result in group})
    yield f"batch {', '.join(map(str, batches))}"
    threads = sorted({result.machine.threads for result in group})
    yield f"{', '.join(map(str, threads))} thread{'s' if threads[-1] > 1 else ''}"


def _weights(group: list[Result]) -> str:
    random = sum(result.weights == "random" for result in group)
    if random == len(group):
        return "random: the latency is valid, the accuracy is not"
    return f"{len(group) - random} trained, {random} random" if random else "trained"


def failed(results: Results) -> list[Trouble]:
    return [
        Trouble(cell=name, folder=folder, verdict=result.status, reasons=(result.error or "no reason was kept",))
        for folder, name, result in results.named
        if result.status != "ok"
    ]


def noisy(results: Results) -> list[Trouble]:
    """Cells with a caution, such as a disturbed latency."""
    troubles = []
    for folder, name, result in results.named:
        reasons = cautions(result) if result.status == "ok" else []
        if reasons:
            verdict = result.noise.verdict if result.noise else "not judged"
            troubles.append(Trouble(cell=name, folder=folder, verdict=verdict, reasons=tuple(_plain(reasons))))
    return troubles


def _plain(reasons: list[str]) -> list[str]:
    """Without the verdict, which stands beside them."""
    verdicts = ("stable: ", "noisy: ", "contended: ")
    return [
        next((reason.removeprefix(word) for word in verdicts if reason.startswith(word)), reason) for reason in reasons
    ]


def noise_counts(results: Results) -> dict[str, int]:
    """How many cells have which verdict; `not judged` where an earlier version measured."""
    timed = [result for *_, result in results.named if result.status == "ok"]
    counts = Counter(result.noise.verdict if result.noise else "not judged" for result in timed)
    return {name: counts[name] for name in ("stable", "noisy", "contended", "not judged") if counts[name]}
