"""One model on one split: asks it, writes what it said, scores that, and asks again with other images."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlbench.evaluation.adapter import ModelUnderTest, candidate, detector_of
from vlbench.evaluation.predict import Journal, predict, with_images
from vlbench.evaluation.processes import Process
from vlbench.evaluation.retrieval import ScoreMatrix, expected_seconds, pairs_of, score_pairs
from vlbench.evaluation.split import Split, shuffled_columns, shuffled_images
from vlbench.evaluation.task_head import TaskHead
from vlbench.runner.records import Accuracy
from vlbench.specs import RANDOM, AnySpec
from vlbench.specs.weights import located
from vlbench.tasks.items import Metric
from vlbench.tasks.kinds import write_predictions
from vlbench.tasks.predictions import write_scores
from vlbench.tasks.scoring import Score, accuracy, score_gallery, score_items


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationListener:
    """Who is told what happens: `begin` of a pass over so many things, `step` of some of them, `say` of a line."""

    begin: Callable[[str, int], None] = lambda _name, _total: None
    step: Callable[[int], None] = lambda _count: None
    say: Callable[[str], None] = lambda _line: None


def evaluation_hash(asked: TaskHead, split: Split) -> str:
    """Of the model, its weights as they lie there now, the split, and how it is asked."""
    settings, words = split.settings, split.settings.vocabulary
    content = {
        "spec": asked.spec.hash(),
        "images": asked.spec.input.evaluation.model_dump(mode="json"),
        "weights": [_fingerprint(one) for one in _sources(asked.spec)],
        "task": settings.task.name,
        "split": settings.split,
        "items": split.digest,
        "features": _fingerprint(settings.features) if split.sees_features(asked.spec) else None,
        "answers": asked.answers,
        "vocabulary": [_fingerprint(path) for path in (words.named.get(asked.spec.name), words.otherwise)],
        "device": settings.device,
        "precision": settings.precision,
        "control": settings.control,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _sources(spec: AnySpec) -> list[Path | None]:
    return [None if one == RANDOM else located(one) for one in (spec.weights, spec.visual.weights)]


def _fingerprint(path: Path | None) -> list[object]:
    """Size and time of a file, or of all in a folder; reading gigabytes to make sure would cost more than it tells."""
    if path is None:
        return []
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(one.name, one.stat().st_size, one.stat().st_mtime_ns) for one in paths if one.is_file()]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOutcome:
    """What came of it: the accuracy, passes of the model and their seconds, and the file of predictions.

    `unfilled` are tensors that stayed random, as the weights say nothing of them; `detector` is what the regions were
    found with, where the model has found any.
    """

    accuracy: Accuracy
    unfilled: tuple[str, ...]
    detector: Literal["random", "trained"] | None
    passes: int
    seconds: float
    predictions: Path


def evaluate(
    asked: TaskHead, split: Split, folder: Path, *, process: Process, listener: EvaluationListener | None = None
) -> EvaluationOutcome | None:
    """Asks, writes the predictions to the folder, and scores them; only the first process returns what came of it.

    None, too, where the split keeps its answers to itself: then the predictions are all that there is.
    What an earlier attempt answered before it was killed is not asked again.

    Raises:
        InputError: weights of another model, or something that cannot be read; answers so far are kept.
    """
    settings, key = split.settings, evaluation_hash(asked, split)
    ready = candidate(
        asked,
        vocabulary=settings.vocabulary.named.get(asked.spec.name),
        otherwise=settings.vocabulary.otherwise,
        features=split.regions if split.sees_features(asked.spec) else None,
        device=process.device(settings.device),
        precision=settings.precision,
    )
    name = f"{asked.spec.name}.{settings.task.name}.{settings.split}.{key[:8]}"
    start = time.perf_counter()
    run = _evaluate_gallery if split.gallery else _evaluate_items
    found = run(ready, asked, split, folder / name, process, listener or EvaluationListener())
    if found is None:
        return None
    score, shuffled, passes, path = found
    return EvaluationOutcome(
        accuracy=accuracy_of(score, shuffled),
        unfilled=getattr(ready.model, "unfilled", ()),
        detector=None if split.sees_features(asked.spec) else detector_of(ready.model),
        passes=passes,
        seconds=time.perf_counter() - start,
        predictions=path,
    )


Found = tuple[Score, Metric | None, int, Path]


def _evaluate_items(
    ready: ModelUnderTest, asked: TaskHead, split: Split, path: Path, process: Process, listener: EvaluationListener
) -> Found | None:
    settings = split.settings
    others = shuffled_images(split.items) if settings.control and split.public else None
    if settings.control and split.public and others is None:
        listener.say("the control with other images is left out: too few images, or all of one kind")
    passes = {"": split.items} | ({"other images": with_images(split.items, others)} if others else {})
    journals = {
        name: Journal(path.parent, f"{path.name}{'.other-images' if name else ''}", process.rank) for name in passes
    }
    process.wait()  # all have read what an earlier attempt left before any goes on with it
    for name, items in passes.items():
        listener.begin(f"{asked.spec.name}{f', {name}' if name else ''}", len(items))
        predict(
            ready,
            items,
            asked.postprocess or ready.said,
            journals[name],
            batch=settings.batch,
            workers=settings.workers,
            process=process,
            listen=lambda count: listener.step(count * process.world),
        )
        journals[name].close()
    process.wait()
    if not process.first:
        return None
    answered = {name: journal.read() for name, journal in journals.items()}
    predictions = {item.identifier: answered[""][item.identifier] for item in split.items}
    written = write_predictions(settings.task, settings.split, path, predictions)
    if not split.public:
        listener.say(f"{written}: the answers of this split are not public; upload it to the benchmark's server")
        _drop(journals.values())
        return None
    score = score_items(settings.task, settings.split, split.items, answered[""], of=split.of, training=split.training)
    shuffled = accuracy(settings.task, split.items, answered["other images"]) if others else None
    _drop(journals.values())
    return score, shuffled, len(split.items) * len(passes), written


def _drop(journals: Iterable[Journal]) -> None:
    for journal in journals:
        journal.drop()


def _evaluate_gallery(
    ready: ModelUnderTest, asked: TaskHead, split: Split, path: Path, process: Process, listener: EvaluationListener
) -> Found | None:
    settings, gallery = split.settings, split.gallery
    assert gallery
    unfinished = path.with_name(f"{path.name}.unfinished.npy")
    if process.first:
        path.parent.mkdir(parents=True, exist_ok=True)
        ScoreMatrix(unfinished, len(gallery.texts), len(gallery.images), make=True)
        seconds = expected_seconds(ready, gallery, batch=settings.batch, processes=process.world)
        listener.say(
            f"{asked.spec.name}: {len(gallery.texts):,} texts x {len(gallery.images):,} images = "
            f"{pairs_of(gallery):,} pairs; about {_duration(seconds)} by the first of them"
        )
    process.wait()
    matrix = ScoreMatrix(unfinished, len(gallery.texts), len(gallery.images), make=False)
    listener.begin(asked.spec.name, pairs_of(gallery))
    score_pairs(
        ready,
        gallery,
        matrix,
        batch=settings.batch,
        process=process,
        listen=lambda count: listener.step(count * process.world),
    )
    process.wait()
    if not process.first:
        return None
    written = path.with_name(f"{path.name}.npy")
    scores_TI = matrix.scores
    write_scores(written, scores_TI)
    score = score_gallery(settings.task, settings.split, gallery, scores_TI)
    columns = shuffled_columns(len(gallery.images)) if settings.control else None
    shuffled = (
        score_gallery(settings.task, settings.split, gallery, scores_TI[:, columns]).metrics[0] if columns else None
    )
    unfinished.unlink()
    return score, shuffled, pairs_of(gallery), written


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def accuracy_of(score: Score, shuffled: Metric | None) -> Accuracy:
    """The first metric, with what it is without looking, and with other images."""
    first = score.metrics[0]
    without = [metric.value for metric in score.baselines]
    retrieval = first.name != "accuracy"
    return Accuracy(
        task=score.task,
        split=score.split,
        metric=first.name,
        value=first.value,
        ci95=first.ci95,
        n=first.n,
        majority=without[0] if without else None,
        text_only=without[1] if len(without) > 1 and not retrieval else None,
        shuffled_images=shuffled.value if shuffled else None,
        metrics=score.metrics,
        baselines=score.baselines,
    )
