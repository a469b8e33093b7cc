"""How often `vlbench ab` is right: live comparisons of equal sides, and of a head with a slowdown put in.

    python -m benchmarks.harness.live_trials [--model NAME|small] [--equal N] [--slower SHARE:N ...] [--stage STAGE]
                                             [--backend NAME] [--budget SECONDS] [--threads N] [--json FILE]

The slowdown is real work: matrix products at the end of one stage, as many as make a pass longer by the share asked,
found by measuring in lockstep before the trials. The head is a copy of this checkout with that one change.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from vlbench.regression.compare.effects import paired
from vlbench.regression.compare.outcomes import Thresholds
from vlbench.regression.live.lockstep import Member, replicate
from vlbench.regression.live.record import BASE, HEAD, base_medians, medians
from vlbench.regression.live.run import LiveRequest, compare_live, start_workers
from vlbench.regression.live.sides import Side
from vlbench.runner.backends import EAGER
from vlbench.specs.catalog import catalog

from . import interleaved

ROOT = Path(__file__).parents[2]
CALIBRATING, CALIBRATING_ROUNDS = 12, 4  # replicates a round
FIRST_GUESS = 20  # products
SLOWDOWN = '''


_build = build


def build(spec):  # noqa: F811
    """As above, with matrix products at the end of one stage."""
    model = _build(spec)
    matrix = torch.eye(128)

    def more(*_):
        for _ in range(int(Path({count!r}).read_text())):
            matrix @ matrix

    model.stages()[{stage!r}].register_forward_hook(more)
    return model


from pathlib import Path  # noqa: E402

import torch  # noqa: E402
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What one comparison said, and how long it took."""

    injected: float
    verdict: str
    advisory: bool
    ratio: float
    moved: str | None
    replicates: int
    seconds: float


def main() -> int:
    options = _arguments()
    facts = interleaved.machine_facts(options.threads, ("torch",))
    print("; ".join(f"{name} {value}" for name, value in facts.items()))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = small_model(folder) if options.model == "small" else options.model
        head = slowed_copy(folder, options.stage)
        base = Side(name=BASE, label="this checkout", source=ROOT)
        request = LiveRequest(
            models=[model],
            settings={"threads": options.threads, "device": "cpu", "backend": options.backend},
            thresholds=Thresholds(),
            budget_seconds=options.budget,
        )
        found: dict[float, list[Trial]] = {}
        for share, count in [(0.0, options.equal), *options.slower]:
            for trial in trials(request, base, head, share, count):
                found.setdefault(share, []).append(trial)
                if options.json:
                    write(options, facts, found)
    for bar, said in judge(found, options.stage).items():
        print(f"bar: {bar}: {said}")
    return 0


def write(options: argparse.Namespace, facts: dict[str, str], found: dict[float, list[Trial]]) -> None:
    """After every trial, as they take an hour."""
    content = {
        "version": 1,
        "script": "live_trials",
        "machine": facts,
        "model": options.model,
        "backend": options.backend,
        "stage": options.stage,
        "budget_seconds": options.budget,
        "trials": [asdict(one) for many in found.values() for one in many],
        "verdicts": judge(found, options.stage),
    }
    options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="False alarms and power of vlbench ab.")
    parser.add_argument("--model", default="small", help="of the catalogue, or a small ViLT (default)")
    parser.add_argument("--equal", type=int, default=100, help="comparisons of equal sides (default %(default)s)")
    parser.add_argument("--slower", type=_share, nargs="*", default=[(0.05, 40), (0.10, 40)], metavar="SHARE:N")
    parser.add_argument("--stage", default="visual", help="where the slowdown is put (default %(default)s)")
    parser.add_argument("--backend", default=EAGER, help="executes both sides; others than eager have no slowdown")
    parser.add_argument("--budget", type=float, default=30, help="seconds a comparison (default %(default)s)")
    parser.add_argument("--threads", type=interleaved.positive, default=1)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args()
    if options.slower and options.backend != EAGER:
        parser.error("a slowdown is put into eager PyTorch alone; --slower without a value makes none")
    return options


def _share(text: str) -> tuple[float, int]:
    share, _, count = text.partition(":")
    return float(share), int(count)


def small_model(folder: Path) -> str:
    """ViLT with four narrow layers on a small image: a pass of some ten milliseconds."""
    spec = catalog()["vilt-b32"]
    content = spec.model_dump(mode="json", exclude_none=True)
    content |= {"name": "small", "aliases": [], "input": {"image_size": [192, 256], "text_tokens": 40}}
    for part in ("text", "visual", "interaction", "head"):
        content[part]["width"] = 256
    content["interaction"] |= {"layers": 4, "heads": 4}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def slowed_copy(folder: Path, stage: str) -> Side:
    """This checkout with the slowdown; `products` beside it says how many products it makes."""
    copy = folder / "head"
    for name in ("vlbench", "models", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    code = copy / "vlbench" / "architectures" / "build.py"
    count = copy / "products"
    count.write_text("0")
    code.write_text(code.read_text(encoding="utf-8") + SLOWDOWN.format(count=str(count), stage=stage))
    return Side(name=HEAD, label="with a slowdown", source=copy)


def trials(request: LiveRequest, base: Side, head: Side, share: float, count: int) -> Iterator[Trial]:
    """So many comparisons in a row; of equal sides where the share is zero."""
    assert head.source
    products = calibrate(request, base, head, share) if share and count else 0
    for number in range(count):
        start = time.monotonic()
        (head.source / "products").write_text(str(products))
        other = head if share else Side(name=HEAD, label="this checkout again", source=base.source)
        with start_workers(request, base, other) as workers:
            live = compare_live(request, base, other, workers)
        (cell,), (workload,) = live.comparison.cells, live.workloads
        assert cell.effect
        trial = Trial(
            injected=share,
            verdict=cell.verdict,
            advisory=workload.advisory,
            ratio=cell.effect.ratio,
            moved=cell.moved.stage if cell.moved else None,
            replicates=len(workload.replicates) + len(workload.confirmation_replicates),
            seconds=time.monotonic() - start,
        )
        print(f"{share:+.0%} {number + 1:3}/{count}: {trial}", flush=True)
        yield trial


def calibrate(request: LiveRequest, base: Side, head: Side, share: float) -> int:
    """How many products make a pass longer by `share`: the mean of several rounds, each with what those before say."""
    assert head.source
    products, made, tried = FIRST_GUESS, 0.0, 0
    workload = {"model": request.models[0], "settings": dict(request.settings)}
    for _ in range(CALIBRATING_ROUNDS):
        (head.source / "products").write_text(str(products))
        with start_workers(request, base, head) as workers:
            members = [Member(name=name, worker=worker, workload=workload) for name, worker in workers.items()]
            taken = [replicate(members, number) for number in range(CALIBRATING)]
        effect = paired(base_medians(taken), medians(taken, HEAD), 0.95)
        made, tried = made + effect.ratio - 1, tried + products
        print(f"calibrating {share:.0%}: {products} products make {effect.ratio - 1:+.2%}", flush=True)
        products = max(1, round(share * tried / max(made, 0.002)))
    return products


def judge(found: dict[float, list[Trial]], stage: str) -> dict[str, str]:
    """Each bar with what was found."""
    verdicts: dict[str, str] = {}
    for share, many in found.items():
        seconds = sorted(one.seconds for one in many)
        took = f"{seconds[len(many) // 2]:.0f} s, up to {seconds[-1]:.0f} s"
        verdicts[f"{share:+.0%} took"] = f"{took}, {_median_replicates(many)} replicates"
        if share == 0:
            alarms = sum(one.verdict in ("slower", "faster") and not one.advisory for one in many)
            allowed = max(1, len(many) // 100)
            verdicts["alarms without a change"] = _bar(f"{alarms} of {len(many)}, at most {allowed}", alarms <= allowed)
            continue
        seen = [one for one in many if one.verdict == "slower" and not one.advisory]
        wanted = 0.95 if share >= 0.10 else 0.80
        verdicts[f"{share:+.0%} found"] = _bar(
            f"{len(seen)} of {len(many)}, at least {wanted:.0%}", len(seen) >= wanted * len(many)
        )
        right = sum((one.moved or "").startswith(stage) for one in seen)
        verdicts[f"{share:+.0%} in the right stage"] = _bar(
            f"{right} of {len(seen)}, at least 90%", bool(seen) and right >= 0.9 * len(seen)
        )
    return verdicts


def _median_replicates(many: Sequence[Trial]) -> int:
    return sorted(one.replicates for one in many)[len(many) // 2]


def _bar(figures: str, met: bool) -> str:
    return f"{figures}: {'met' if met else 'missed'}"


if __name__ == "__main__":
    sys.exit(main())
