"""The training loop for any learner, in one process or several.

A killed run resumes from its checkpoint.

Several processes each compute a share of every batch. BatchNorm normalises over the micro-batch of one process, and the
running statistics that are kept are the first process's, as with DistributedDataParallel. At the end all processes have
the weights of the first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vlbench.evaluation.processes import Process
from vlbench.runner.workload import set_up_torch
from vlbench.training import checkpoint as checkpoints
from vlbench.training.budget import Spent, training_macs
from vlbench.training.checkpoint import Interrupted, StopRequest, interrupt_deferred
from vlbench.training.curve import CurveFile, CurvePoint, RunningMeans, check_finite, parts_of
from vlbench.training.gradients import GradientReducer, clip_gradient
from vlbench.training.learner import Learner, Stream, TrainingSettings
from vlbench.training.optimiser import build_optimiser, rate_factor
from vlbench.training.progress import TrainingClock, TrainingListener
from vlbench.training.samples import batch_at, micro_batches, stream_batches
from vlbench.training.waiting import AwaitedBatches

PROGRESS_SECONDS = 0.5  # between two reports of progress, each of which waits for the device


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What training took, including attempts that were interrupted.

    Attributes:
        spent: `seconds` are wall-clock time of training, with waiting for batches but without writing checkpoints;
            `macs` are those of forward and backward passes, 0 where those of a sample are unknown.
        history: the curve.
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
) -> TrainingResult:
    """Trains the learner's module in place until the budget is spent, from the folder's checkpoint if there is one.

    A step sees the same samples whatever the number of processes, micro-batches and workers. On a CPU and under a
    budget of samples or steps, a run that was killed and resumed has the same parameters, bit for bit, as one that was
    not, given the same threads. If the folder's training is finished, nothing is trained and its result is returned.

    Raises:
        InputError: the folder cannot be written, or holds the training of another model or with other settings; the
            stream cannot be read; the loss is not finite.
        WorkerError: a process that prepares batches was killed.
        Interrupted: by Ctrl-C, after the step and a checkpoint.

    Args:
        folder: for the checkpoint and the curve; all processes must see it.
        forward_macs: multiply-accumulates of one sample's forward pass; a budget of MACs needs them.
        identity: what else the trained model depends on, by name; a run with another identity cannot resume.
    """
    if settings.budget.kind == "macs" and not forward_macs:
        raise ValueError("a budget of MACs needs forward_macs")
    process = process or Process()
    set_up_torch(max(1, settings.threads // process.world))
    with CurveFile(folder, writes=process.first) as curve, interrupt_deferred() as stop:
        loop = _Loop(learner, settings, folder, process, curve, forward_macs)
        loop.resume(settings.identity() | dict(identity or {}), listener or TrainingListener())
        pinned = loop.device.type == "cuda"
        with closing(stream_batches(stream, loop.spent, settings, process, pinned=pinned)) as batches:
            loop.run(batches, stop, listener or TrainingListener())
    return TrainingResult(spent=loop.spent, history=tuple(loop.history))


class _Loop:
    """The state of one attempt, and the steps that change it."""

    def __init__(
        self,
        learner: Learner,
        settings: TrainingSettings,
        folder: Path,
        process: Process,
        curve: CurveFile,
        forward_macs: float | None,
    ) -> None:
        self.learner, self.settings, self.folder, self.process = learner, settings, folder, process
        self.curve, self.forward_macs = curve, forward_macs
        self.parameters = [parameter for parameter in learner.module.parameters() if parameter.requires_grad]
        self.device = self.parameters[0].device
        self.optimiser = build_optimiser(learner.module, settings)
        self.reducer = GradientReducer(self.parameters, process)
        self.generator = torch.Generator()
        self.spent, self.step_seconds = Spent(), 0.0
        self.means = RunningMeans()
        self.history: list[CurvePoint] = []
        self.identity: dict[str, object] = {}

    def resume(self, identity: dict[str, object], listener: TrainingListener) -> None:
        """Starts from the folder's checkpoint, or else from the first process's weights, in all processes."""
        self.identity = identity | {"trained_tensors": len(self.parameters)}
        saved = checkpoints.read_checkpoint(self.folder)
        if saved:
            module, path = self.learner.module, self.folder / checkpoints.CHECKPOINT
            checkpoints.check_same_identity(path, saved.identity, self.identity)
            checkpoints.check_same_tensors(path, saved.module, module.state_dict())
            module.load_state_dict(saved.module)
            checkpoints.load_optimiser(path, self.optimiser, saved.optimiser)
            self.spent, self.history = saved.spent, list(saved.history)
            self.means = RunningMeans(saved.totals if self.process.first else None)
            if self.process.first and not self.finished:
                listener.on_message(f"resumes after {self.spent.samples:,} samples: {path}")
        self.reducer.share_weights(self.learner.module)
        self.curve.begin(self.history)
        self.process.wait()

    @property
    def finished(self) -> bool:
        return self.settings.budget.share(self.spent) >= 1

    def run(self, batches: Iterator[Any], stop: StopRequest, listener: TrainingListener) -> None:
        """Trains until the budget is spent. Raises Interrupted if a stop was requested."""
        self.learner.module.train()
        clock = TrainingClock(self.spent, self.settings.budget)
        awaited = AwaitedBatches(batches, self.device)
        while not self.finished:
            self._step(awaited)
            stopped, checkpoint_due = self._synchronise(clock, stop, awaited.take_seconds())
            if self.spent.steps % self.settings.point_steps == 0 or self.finished:
                self._add_point()
            if self.process.first and (clock.report_due(PROGRESS_SECONDS) or self.finished):
                listener.on_progress(clock.progress(self.spent, *self._loss_and_accuracy()))
            if stopped or checkpoint_due or self.finished:
                with clock.paused_for_checkpoint():
                    self._write_checkpoint()
            if stopped and not self.finished:
                raise Interrupted(self.folder, self.spent.samples)
        self.reducer.share_weights(self.learner.module)

    def _step(self, batches: Iterator[Any]) -> None:
        """Updates the weights once, with the mean gradient over one batch."""
        settings = self.settings
        batch = batch_at(self.spent, settings)
        samples = batch[1]
        step = Spent(samples=samples, steps=1, macs=training_macs(self.forward_macs, samples))
        self._set_learning_rate(self.spent.plus(replace(step, seconds=self.step_seconds)))
        self._seed()
        self.optimiser.zero_grad()
        for _, count in micro_batches(batch, settings, self.process):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                losses = self.learner.losses(next(batches), self.generator)
            (losses.total * (count / samples)).backward()
            self.means.add_losses(losses, count)
        self.reducer.sum()
        norm = clip_gradient(self.parameters, settings.clip)
        if self.process.first:  # the norm is the same in all
            self.means.add("gradient_norm", norm, 1)
        self.optimiser.step()
        self.spent = self.spent.plus(step)

    def _set_learning_rate(self, after: Spent) -> None:
        """The schedule's rate in the middle of the step, so that no step has a rate of 0."""
        budget = self.settings.budget
        share = (budget.share(self.spent) + budget.share(after)) / 2
        self.learning_rate = self.settings.learning_rate * rate_factor(share, warm_up=self.settings.warm_up)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate

    def _seed(self) -> None:
        step = (self.settings.seed, self.spent.steps, self.process.rank)
        torch.manual_seed(seed_of(*step, "global"))
        self.generator.manual_seed(seed_of(*step, "choices"))

    def _synchronise(self, clock: TrainingClock, stop: StopRequest, waited: float) -> tuple[bool, bool]:
        """Gives all processes the first one's clock, and the wait of the one that waited longest, which the others wait
        for; returns whether to stop, and whether a checkpoint is due."""
        due = self.process.first and clock.seconds_since_checkpoint >= self.settings.checkpoint_seconds
        seconds = clock.seconds if self.process.first else 0.0
        seconds, waited, stopped, checkpoint_due = self.reducer.greatest(
            [seconds, waited, float(stop.requested), float(due)]
        )
        self.step_seconds = seconds - self.spent.seconds
        self.spent = replace(self.spent, seconds=seconds).waiting(waited)
        if self.process.first:
            self.means.add("waiting_share", torch.tensor(waited), self.step_seconds)
        return bool(stopped), bool(checkpoint_due)

    def _add_point(self) -> None:
        shared = self.means.over_all_processes(self.process)
        means = shared.means()
        check_finite(means, steps=self.spent.steps)
        before = self.history[-1] if self.history else None
        seconds = self.spent.seconds - (before.seconds if before else 0.0)
        samples = self.spent.samples - (before.samples if before else 0)
        point = CurvePoint(
            samples=self.spent.samples,
            steps=self.spent.steps,
            seconds=self.spent.seconds,
            loss=means["loss"],
            loss_by_term=parts_of(means),
            accuracy=means.get("accuracy"),
            questions=round(shared.weights.get("accuracy", 0)),
            gradient_norm=means["gradient_norm"],
            learning_rate=self.learning_rate,
            samples_per_second=samples / seconds if seconds else 0.0,
            waiting_share=min(1.0, means["waiting_share"]),
        )
        self.history.append(point)
        self.curve.add(point)
        self.means = RunningMeans()

    def _loss_and_accuracy(self) -> tuple[float | None, float | None]:
        """Since the last point of the curve, or of that point."""
        means = self.means.means()
        if "loss" in means:
            return means["loss"], means.get("accuracy")
        return (self.history[-1].loss, self.history[-1].accuracy) if self.history else (None, None)

    def _write_checkpoint(self) -> None:
        shared = self.means.over_all_processes(self.process)
        weights = {"weight": float(torch.stack([each.detach().abs().max() for each in self.parameters]).max())}
        check_finite(shared.means() | weights, steps=self.spent.steps)
        if self.process.first:
            checkpoint = checkpoints.Checkpoint(
                module=self.learner.module.state_dict(),
                optimiser=self.optimiser.state_dict(),
                spent=self.spent,
                history=tuple(self.history),
                totals=shared.totals(),
                identity=self.identity,
            )
            checkpoints.write_checkpoint(self.folder, checkpoint)
        self.process.wait()  # a process that exits makes torchrun end the others, also one that is still writing


def seed_of(*parts: object) -> int:
    """A seed of 63 bits from a hash of the parts."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()) >> 1
