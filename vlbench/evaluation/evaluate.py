"""Evaluates one model on one split: predicts it, writes the predictions, and scores them next to blind baselines."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vlbench.evaluation.adapter import ModelUnderTest, load_model_under_test
from vlbench.evaluation.conversion import converted
from vlbench.evaluation.predict import Journal, predict, with_images
from vlbench.evaluation.processes import Process
from vlbench.evaluation.retrieval import ScoreMatrix, expected_seconds, pair_count, score_pairs
from vlbench.evaluation.split import Split, shuffled_columns, shuffled_images
from vlbench.evaluation.task_head import TaskHead
from vlbench.runner.backends import EAGER, model_precision, runtime_version
from vlbench.runner.records import Accuracy, Conversion
from vlbench.specs import RANDOM, AnySpec
from vlbench.specs.weights import located
from vlbench.tasks.items import Metric
from vlbench.tasks.kinds import write_predictions
from vlbench.tasks.predictions import write_scores
from vlbench.tasks.scoring import Score, accuracy, score_gallery, score_items


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationListener:
    """Callbacks that report progress.

    Attributes:
        begin: a pass begins; takes its name and how many items or pairs it has.
        step: items or pairs are done; takes how many since the last call.
        message: takes a line to show.
    """

    begin: Callable[[str, int], None] = lambda _name, _total: None
    step: Callable[[int], None] = lambda _count: None
    message: Callable[[str], None] = lambda _line: None


def evaluation_hash(head: TaskHead, split: Split) -> str:
    """A hash of the model, the current state of its weights, the split, and all settings that predictions depend on."""
    settings, vocabulary = split.settings, split.settings.vocabulary
    content: dict[str, Any] = {
        "spec": head.spec.hash(),
        "images": head.spec.input.evaluation.model_dump(mode="json"),
        "weights": [_fingerprint(path) for path in _weight_files(head.spec)],
        "task": settings.task.name,
        "split": settings.split,
        "items": split.digest,
        "features": _fingerprint(settings.features) if split.reads_features(head.spec) else None,
        "answers": head.answers,
        "vocabulary": [_fingerprint(path) for path in (vocabulary.by_model.get(head.spec.name), vocabulary.default)],
        "device": settings.device,
        "precision": settings.precision,
        "control": settings.control,
    }
    if settings.backend != EAGER:
        content["backend"] = [settings.backend, runtime_version(settings.backend)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _weight_files(spec: AnySpec) -> list[Path | None]:
    return [None if weights == RANDOM else located(weights) for weights in (spec.weights, spec.visual.weights)]


def _fingerprint(path: Path | None) -> list[object]:
    """Name, size and time of a file, or of all files in a folder; hashing gigabytes of weights would take too long."""
    if path is None:
        return []
    paths = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in paths if file.is_file()]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOutcome:
    """Attributes:
    missing_keys: tensors that the weights do not hold, and that stayed random.
    detector_weights: `random` or `trained`, of the model's own detector; None if it was not used.
    passes: how many items or pairs the model processed, in `seconds`.
    predictions: the file of predictions.
    conversion: what a backend made of the model; None for eager PyTorch.
    """

    accuracy: Accuracy
    missing_keys: tuple[str, ...]
    detector_weights: Literal["random", "trained"] | None
    passes: int
    seconds: float
    predictions: Path
    conversion: Conversion | None


def evaluate(
    head: TaskHead, split: Split, folder: Path, *, process: Process, listener: EvaluationListener | None = None
) -> EvaluationOutcome | None:
    """Predicts the split, writes the predictions to the folder, and scores them.

    Predictions of an earlier attempt that was killed are used. Returns None in all processes but the first, and if the
    answers of the split are not public.

    Raises:
        InputError: the weights do not fit the model, or a file cannot be read; the predictions so far are kept.
        ConversionError: the backend cannot execute the model, or gives other outputs than eager PyTorch.
    """
    settings, key = split.settings, evaluation_hash(head, split)
    model = load_model_under_test(
        head,
        vocabulary=settings.vocabulary.by_model.get(head.spec.name),
        fallback=settings.vocabulary.default,
        features=split.regions if split.reads_features(head.spec) else None,
        device=process.device(settings.device),
        precision=model_precision(settings.backend, settings.precision),
    )
    name = f"{head.spec.name}.{settings.task.name}.{settings.split}.{key[:8]}"
    run = _evaluate_gallery if split.gallery else _evaluate_items
    with converted(model, head.spec, split, process) as conversion:
        start = time.perf_counter()
        result = run(model, head, split, folder / name, process, listener or EvaluationListener())
    if result is None:
        return None
    return EvaluationOutcome(
        accuracy=accuracy_of(result.score, result.shuffled),
        missing_keys=getattr(model.model, "missing_keys", ()),
        detector_weights=None if split.reads_features(head.spec) else model.model.detector,
        passes=result.passes,
        seconds=time.perf_counter() - start,
        predictions=result.path,
        conversion=conversion.record if conversion else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPredictions:
    """Attributes:
    shuffled: the first metric with shuffled images; None without that control.
    passes: how many items or pairs the model processed.
    path: of the file of predictions.
    """

    score: Score
    shuffled: Metric | None
    passes: int
    path: Path


SHUFFLED = "shuffled images"


def _evaluate_items(
    model: ModelUnderTest, head: TaskHead, split: Split, path: Path, process: Process, listener: EvaluationListener
) -> ScoredPredictions | None:
    settings = split.settings
    others = shuffled_images(split.items) if settings.control and split.public else None
    if settings.control and split.public and others is None:
        listener.message("the control with shuffled images is left out: there are too few different images")
    passes = {"": split.items} | ({SHUFFLED: with_images(split.items, others)} if others else {})
    journals = {
        name: Journal(path.parent, f"{path.name}{'.shuffled-images' if name else ''}", process.rank) for name in passes
    }
    process.wait()  # until all have read the journals of an earlier attempt
    for name, items in passes.items():
        listener.begin(f"{head.spec.name}{f', {name}' if name else ''}", len(items))
        predict(
            model,
            items,
            head.postprocess or model.generated_text,
            journals[name],
            batch_size=settings.batch,
            workers=settings.workers,
            process=process,
            on_progress=lambda count: listener.step(count * process.world),
        )
        journals[name].close()
    process.wait()
    if not process.first:
        return None
    predictions = {name: journal.read() for name, journal in journals.items()}
    in_order = {item.identifier: predictions[""][item.identifier] for item in split.items}
    written = write_predictions(settings.task, settings.split, path, in_order)
    if not split.public:
        listener.message(f"{written}: the answers of this split are not public; upload it to the benchmark's server")
        _delete(journals.values())
        return None
    score = score_items(
        settings.task, settings.split, split.items, in_order, items_total=split.items_total, training=split.training
    )
    shuffled = accuracy(settings.task, split.items, predictions[SHUFFLED]) if others else None
    _delete(journals.values())
    return ScoredPredictions(score=score, shuffled=shuffled, passes=len(split.items) * len(passes), path=written)


def _delete(journals: Iterable[Journal]) -> None:
    for journal in journals:
        journal.delete()


def _evaluate_gallery(
    model: ModelUnderTest, head: TaskHead, split: Split, path: Path, process: Process, listener: EvaluationListener
) -> ScoredPredictions | None:
    settings, gallery = split.settings, split.gallery
    assert gallery
    unfinished = path.with_name(f"{path.name}.unfinished.npy")
    if process.first:
        path.parent.mkdir(parents=True, exist_ok=True)
        ScoreMatrix(unfinished, len(gallery.texts), len(gallery.images), create=True)
        seconds = expected_seconds(model, gallery, batch_size=settings.batch, processes=process.world)
        listener.message(
            f"{head.spec.name}: {len(gallery.texts):,} texts x {len(gallery.images):,} images = "
            f"{pair_count(gallery):,} pairs; about {_duration(seconds)}, estimated from the first pairs"
        )
    process.wait()
    matrix = ScoreMatrix(unfinished, len(gallery.texts), len(gallery.images), create=False)
    listener.begin(head.spec.name, pair_count(gallery))
    score_pairs(
        model,
        gallery,
        matrix,
        batch_size=settings.batch,
        process=process,
        on_progress=lambda count: listener.step(count * process.world),
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
    return ScoredPredictions(score=score, shuffled=shuffled, passes=pair_count(gallery), path=written)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def accuracy_of(score: Score, shuffled: Metric | None) -> Accuracy:
    """The first metric, with the values that the blind baselines have of it."""
    first = score.metrics[0]
    baselines = [metric.value for metric in score.baselines]
    is_retrieval = first.name != "accuracy"
    return Accuracy(
        task=score.task,
        split=score.split,
        metric=first.name,
        value=first.value,
        ci95=first.ci95,
        n=first.n,
        majority=baselines[0] if baselines else None,
        text_only=baselines[1] if len(baselines) > 1 and not is_retrieval else None,
        shuffled_images=shuffled.value if shuffled else None,
        metrics=score.metrics,
        baselines=score.baselines,
    )
