"""The loop that trains any learner, in one process or several, and resumes where it was killed; its optimiser and
schedule.

In several processes each computes its share of every batch. BatchNorm normalises by the micro-batch that a process sees
at once, and the running statistics that are kept are the first process's, as with DistributedDataParallel; in the end
all processes have the first one's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from vlbench.evaluation.processes import Process
from vlbench.runner.workload import set_up_torch
from vlbench.training import checkpoint as disk
from vlbench.training.budget import Spent, training_macs
from vlbench.training.checkpoint import Interrupted, Stop, stopping
from vlbench.training.curve import Curve, CurvePoint, Tally, check_finite, parts_of
from vlbench.training.gradients import Reducer, clipped
from vlbench.training.learner import Learner, Stream
from vlbench.training.progress import Clock, TrainingListener
from vlbench.training.samples import batch_at, micro_batches, stream_batches
from vlbench.training.settings import TrainingSettings

BETAS = (0.9, 0.98)  # in the released code of ViLT and UNITER; their papers do not say
EPSILON = 1e-8  # ViLT's, as released
UNDECAYED = frozenset({"positions", "class_token", "position_embeddings", "cls_token", "pos_embed"})


def rate(share: float, *, warm_up: float) -> float:
    """The learning rate at a share of the budget, as a share of its height: up to 1 linearly, then down to 0.

    A function of the share alone, so that a budget of seconds has its full schedule too.
    """
    if share < warm_up:
        return share / warm_up
    return (1.0 - share) / (1.0 - warm_up) if warm_up < 1 else 1.0


def optimizer(module: nn.Module, settings: TrainingSettings) -> Optimizer:
    """AdamW over all that requires a gradient.

    Weight decay is left out for biases and norms, as ViLT's and UNITER's released code does, and for positions and
    class tokens, as that of ViT does, on which ViLT builds.
    """
    trained = [(name, one) for name, one in module.named_parameters() if one.requires_grad]
    groups = [
        {
            "params": [one for name, one in trained if decays(name, one.ndim) == decayed],
            "weight_decay": settings.weight_decay if decayed else 0.0,
        }
        for decayed in (True, False)
    ]
    wanted = [group for group in groups if group["params"]]
    return AdamW(wanted, lr=settings.learning_rate, betas=BETAS, eps=EPSILON, fused=True)


def decays(name: str, dimensions: int) -> bool:
    """Whether a parameter has weight decay: one that is a matrix or more, and no position or class token."""
    return dimensions > 1 and not UNDECAYED & set(name.split("."))


def set_rate(optimiser: Optimizer, learning_rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


WATCHED_SECONDS = 0.5  # between two looks at the loss, each of which waits for the device


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training took, all attempts together.

    `spent.seconds` are the wall clock's, and of training alone, waiting for batches included, writing checkpoints not;
    `spent.macs` are of forward and backward passes, 0 where those of a sample were not told.
    """

    spent: Spent
    history: tuple[CurvePoint, ...]


def train(
    learner: Learner,
    stream: Stream,
    settings: TrainingSettings,
    folder: Path,
    *,
    process: Process | None = None,
    listener: TrainingListener | None = None,
    forward_macs: float | None = None,
    identity: Mapping[str, str] | None = None,
) -> Trained:
    """Trains the learner's module in place until the budget is spent, from the folder's checkpoint if there is one.

    A step sees the same samples whatever the number of processes, of micro-batches and of workers. On a CPU and under
    a budget of samples or steps, a run that was killed and went on has the same parameters, bit for bit, as one that
    was not, given the same threads. Returns what it took; the same again where the folder's training was finished.

    Raises:
        InputError: the folder cannot be written, or holds the training of another model or with other settings; the
            stream cannot be read; the loss is no number any more.
        WorkerError: a process that prepares batches was killed.
        Interrupted: by Ctrl-C, after the step and a checkpoint.

    Args:
        folder: for the checkpoint and the curve; all processes must see it.
        forward_macs: multiply-accumulates of one sample's forward pass; a budget of MACs needs them.
        identity: what else the trained model depends on, by name; going on with another is refused.
    """
    if settings.budget.kind == "macs" and not forward_macs:
        raise ValueError("a budget of MACs needs forward_macs")
    process = process or Process()
    set_up_torch(max(1, settings.threads // process.world))
    with Curve(folder, writes=process.first) as curve, stopping() as stop:
        run = _Run(learner, settings, folder, process, curve, forward_macs)
        run.resume(settings.described() | dict(identity or {}), listener or TrainingListener())
        pinned = run.device.type == "cuda"
        with closing(stream_batches(stream, run.spent, settings, process, pinned=pinned)) as batches:
            run.until_spent(batches, stop, listener or TrainingListener())
    return Trained(spent=run.spent, history=tuple(run.history))


class _Run:
    """One attempt: where training stands, and what moves it on."""

    def __init__(
        self,
        learner: Learner,
        settings: TrainingSettings,
        folder: Path,
        process: Process,
        curve: Curve,
        forward_macs: float | None,
    ) -> None:
        self.learner, self.settings, self.folder, self.process = learner, settings, folder, process
        self.curve, self.forward_macs = curve, forward_macs
        self.parameters = [one for one in learner.module.parameters() if one.requires_grad]
        self.device = self.parameters[0].device
        self.optimiser = optimizer(learner.module, settings)
        self.reducer = Reducer(self.parameters, process)
        self.choices = torch.Generator()
        self.spent, self.step_seconds = Spent(), 0.0
        self.tally = Tally()
        self.history: list[CurvePoint] = []
        self.described: dict[str, object] = {}

    def resume(self, described: dict[str, object], listener: TrainingListener) -> None:
        """From the folder's checkpoint, in all processes; else from the first process's weights."""
        self.described = described | {"trained_tensors": len(self.parameters)}
        found = disk.read_checkpoint(self.folder)
        if found:
            module, path = self.learner.module, self.folder / disk.CHECKPOINT
            disk.check_same(path, found.described, self.described)
            disk.check_same_tensors(path, found.module, module.state_dict())
            module.load_state_dict(found.module)
            self.optimiser.load_state_dict(dict(found.optimiser))
            self.spent, self.history = found.spent, list(found.history)
            self.tally = Tally(found.tally if self.process.first else None)
            if self.process.first and not self.finished:
                listener.say(f"goes on after {self.spent.samples:,} samples: {path}")
        self.reducer.share_weights(self.learner.module)
        self.curve.begin(self.history)
        self.process.wait()

    @property
    def finished(self) -> bool:
        return self.settings.budget.share(self.spent) >= 1

    def until_spent(self, batches: Iterator[Any], stop: Stop, listener: TrainingListener) -> None:
        """Steps, with points, checkpoints and looks at it when they are due. Raises Interrupted when asked to stop."""
        self.learner.module.train()
        clock = Clock(self.spent, self.settings.budget)
        while not self.finished:
            self.step(batches)
            asked, due = self._agree(clock, stop)
            if self.spent.steps % self.settings.point_steps == 0 or self.finished:
                self._point()
            if self.process.first and (clock.to_watch(WATCHED_SECONDS) or self.finished):
                listener.watch(clock.state(self.spent, *self._latest()))
            if asked or due or self.finished:
                with clock.paused():
                    self._keep()
            if asked and not self.finished:
                raise Interrupted(self.folder, self.spent.samples)
        self.reducer.share_weights(self.learner.module)

    def step(self, batches: Iterator[Any]) -> None:
        """One change of the weights, by the mean over the samples of one batch."""
        settings = self.settings
        whole = batch_at(self.spent, settings)
        samples = whole[1]
        step = Spent(samples=samples, steps=1, macs=training_macs(self.forward_macs, samples))
        self._set_rate(self.spent.plus(replace(step, seconds=self.step_seconds)))
        self._seed()
        self.optimiser.zero_grad()
        for _, count in micro_batches(whole, settings, self.process):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                losses = self.learner.losses(next(batches), self.choices)
            (losses.total * (count / samples)).backward()
            self.tally.add_losses(losses, count)
        self.reducer.sum()
        norm = clipped(self.parameters, settings.clip)
        if self.process.first:  # all have the same
            self.tally.add("gradient_norm", norm, 1)
        self.optimiser.step()
        self.spent = self.spent.plus(step)

    def _set_rate(self, after: Spent) -> None:
        """That of the step's middle, so that neither the first nor the last of few steps is lost."""
        budget = self.settings.budget
        share = (budget.share(self.spent) + budget.share(after)) / 2
        self.learning_rate = self.settings.learning_rate * rate(share, warm_up=self.settings.warm_up)
        set_rate(self.optimiser, self.learning_rate)

    def _seed(self) -> None:
        at = (self.settings.seed, self.spent.steps, self.process.rank)
        torch.manual_seed(seed_of(*at, "global"))
        self.choices.manual_seed(seed_of(*at, "choices"))

    def _agree(self, clock: Clock, stop: Stop) -> tuple[bool, bool]:
        """The seconds by the first process's clock; whether to stop, and whether a checkpoint is due."""
        due = self.process.first and clock.since_kept >= self.settings.checkpoint_seconds
        seconds = clock.seconds if self.process.first else 0.0
        seconds, asked, to_keep = self.reducer.most([seconds, float(stop.asked), float(due)])
        self.step_seconds = seconds - self.spent.seconds
        self.spent = replace(self.spent, seconds=seconds)
        return bool(asked), bool(to_keep)

    def _point(self) -> None:
        tally = self.tally.together(self.process)
        means = tally.means()
        check_finite(means, steps=self.spent.steps)
        before = self.history[-1] if self.history else None
        seconds = self.spent.seconds - (before.seconds if before else 0.0)
        point = CurvePoint(
            samples=self.spent.samples,
            steps=self.spent.steps,
            seconds=self.spent.seconds,
            loss=means["loss"],
            parts=parts_of(means),
            accuracy=means.get("accuracy"),
            asked=round(tally.weights.get("accuracy", 0)),
            gradient_norm=means["gradient_norm"],
            learning_rate=self.learning_rate,
            samples_per_second=(self.spent.samples - (before.samples if before else 0)) / seconds if seconds else 0.0,
        )
        self.history.append(point)
        self.curve.add(point)
        self.tally = Tally()

    def _latest(self) -> tuple[float | None, float | None]:
        """Loss and accuracy since the last point, or of it."""
        means = self.tally.means()
        if "loss" in means:
            return means["loss"], means.get("accuracy")
        return (self.history[-1].loss, self.history[-1].accuracy) if self.history else (None, None)

    def _keep(self) -> None:
        tally = self.tally.together(self.process)
        check_finite(tally.means(), steps=self.spent.steps)
        if self.process.first:
            state = disk.Checkpoint(
                module=self.learner.module.state_dict(),
                optimiser=self.optimiser.state_dict(),
                spent=self.spent,
                history=tuple(self.history),
                tally=tally.kept(),
                described=self.described,
            )
            disk.write_checkpoint(self.folder, state)
        self.process.wait()  # one that ended sooner would have torchrun end the one that writes


def seed_of(*parts: object) -> int:
    """A seed of 63 bits that no two different series of parts share, but by chance."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1
