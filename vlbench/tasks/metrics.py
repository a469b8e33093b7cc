"""Metrics of the tasks, as the official scorers have them, and their bootstrap intervals.

VQA accuracy (Antol et al. 2015, section 3; Goyal et al. 2017) keeps the scorer's oddities, since published figures
have them: nothing is normalised where all ten people gave the same answer, and a comma between digits has every sign
deleted that otherwise becomes a blank. NLVR and NLVR2 (Suhr et al. 2017, 2019): accuracy and consistency. Retrieval:
recall, how often what belongs together is among the first K (Karpathy and Fei-Fei 2015); equal scores count as the
expected recall over all orders of the tie, so a model that scores every pair alike has the recall of chance.
Intervals: bootstrap of means whose terms come in groups that are drawn together (Efron and Tibshirani, 1993).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import bootstrap

from vlbench.tasks.items import Item, Metric


def correct(items: Sequence[Item], predictions: Mapping[str, str]) -> list[bool]:
    """Whether each item's prediction is its label, whatever its case."""
    return [predictions[item.identifier].lower() == item.answers[0].lower() for item in items]


def consistent(items: Sequence[Item], predictions: Mapping[str, str]) -> dict[str, bool]:
    """By statement, whether every one of its items is right."""
    found: dict[str, bool] = {}
    for item, right in zip(items, correct(items, predictions), strict=True):
        found[item.group] = found.get(item.group, True) and right
    return found


def balanced(items: Sequence[Item]) -> list[Item]:
    """The items of image pairs that come with both labels, so that the images alone tell nothing of the label."""
    labels = _labels_by_pair(items)
    return [item for item in items if item.pair and len(set(labels[item.pair])) > 1]


def unbalanced(items: Sequence[Item]) -> list[Item]:
    """The items of image pairs that come more than once, always with the same label."""
    labels = _labels_by_pair(items)
    return [item for item in items if item.pair and len(labels[item.pair]) > 1 and len(set(labels[item.pair])) == 1]


def _labels_by_pair(items: Sequence[Item]) -> dict[str, list[str]]:
    labels: dict[str, list[str]] = defaultdict(list)
    for item in items:
        labels[item.pair].append(item.answers[0].lower())
    return labels


SIGNS = ';/[]"{}()=+\\_-><@`,?!'
NUMBERS = {
    word: str(number) for number, word in enumerate("zero one two three four five six seven eight nine ten".split())
}
NUMBERS["none"] = "0"
ARTICLES = {"a", "an", "the"}
COMMA_IN_NUMBER = re.compile(r"\d,\d")
PERIOD_AT_END = re.compile(r"\.(?!\d)")
MOST_PERIODS = 32  # the scorer hands a flag where the regular expression takes a count

WRITTEN_IN_FULL = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()


def _with_one_apostrophe_less(word: str) -> Iterator[str]:
    for place, sign in enumerate(word):
        if sign == "'":
            yield word[:place] + word[place + 1 :]


CONTRACTIONS = {short: word for word in WRITTEN_IN_FULL for short in _with_one_apostrophe_less(word)}
CONTRACTIONS["somebody'd"] = "somebodyd"  # the scorer has it the wrong way round


@lru_cache(200_000)  # people mostly say what others said
def normalised(answer: str) -> str:
    """An answer without punctuation and articles, numbers as digits, contractions with their apostrophes."""
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    in_number = COMMA_IN_NUMBER.search(text) is not None
    stripped = text
    for sign in SIGNS:
        beside_blank = f"{sign} " in text or f" {sign}" in text
        stripped = stripped.replace(sign, "" if beside_blank or in_number else " ")
    stripped = PERIOD_AT_END.sub("", stripped, count=MOST_PERIODS)
    words = (NUMBERS.get(word, word) for word in stripped.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def accuracy(predicted: str, answers: Sequence[str]) -> float:
    """The mean over leaving each person out of min(1, matches among the others / 3).

    With ten people, 1, 2, 3 and more matches give 0.3, 0.6, 0.9 and 1. Answers are normalised where they differ.
    """
    given = [_plain(answer) for answer in answers]
    predicted = _plain(predicted)
    if len(set(given)) > 1:
        given, predicted = [normalised(answer) for answer in given], normalised(predicted)
    matches = [answer == predicted for answer in given]
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(matches)


def _plain(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


RANKS = (1, 5, 10)

Floats = NDArray[np.float64]
Scores = NDArray[np.floating]


def text_to_image(scores_TI: Scores, image_of_text: Sequence[int], ranks: Sequence[int] = RANKS) -> Floats:
    """The chance that a text's image is among the first K, (T, len(ranks))."""
    own_T = _own_scores(scores_TI, image_of_text)
    greater_T = (scores_TI > own_T[:, None]).sum(1)
    equal_T = (scores_TI == own_T[:, None]).sum(1)
    return np.stack([np.clip((rank - greater_T) / equal_T, 0, 1) for rank in ranks], axis=1)


def image_to_text(scores_TI: Scores, image_of_text: Sequence[int], ranks: Sequence[int] = RANKS) -> Floats:
    """The chance that any of an image's texts is among the first K, (I, len(ranks)); nan for an image without texts."""
    owner_T, own_T = np.asarray(image_of_text), _own_scores(scores_TI, image_of_text)
    images = scores_TI.shape[1]
    best_I = np.full(images, -np.inf, dtype=scores_TI.dtype)
    np.maximum.at(best_I, owner_T, own_T)
    greater_I = (scores_TI > best_I).sum(0)  # none of them an own text
    own_I = np.bincount(owner_T[own_T == best_I[owner_T]], minlength=images)
    other_I = (scores_TI == best_I).sum(0) - own_I
    found = np.stack([1 - _all_missed(own_I, other_I, rank - greater_I) for rank in ranks], axis=1)
    found[np.bincount(owner_T, minlength=images) == 0] = np.nan
    return found


def _own_scores(scores_TI: Scores, image_of_text: Sequence[int]) -> Scores:
    return scores_TI[np.arange(len(scores_TI)), np.asarray(image_of_text)]


def _all_missed(own: NDArray[np.int64], other: NDArray[np.int64], places: NDArray[np.int64]) -> Floats:
    """The chance that none of `own` stands in the first `places` of a random order of both kinds."""
    places = np.maximum(places, 0)
    possible = places <= other
    taken = np.where(possible, places, 0)
    # C(other, places) / C(own + other, places)
    log = gammaln(other + 1) - gammaln(other - taken + 1) - gammaln(own + other + 1) + gammaln(own + other - taken + 1)
    return np.where(possible, np.where(taken == 0, 1.0, np.exp(log)), 0.0)


RESAMPLES = 1000
VALUES_AT_ONCE = 2_000_000  # of all resamples in memory
LEAST_UNITS = 10  # fewer tell nothing of an interval


def mean_with_interval(name: str, values: Sequence[float], units: Sequence[Hashable]) -> Metric:
    """The mean with a 95% interval; values of one unit, as questions about one image, are resampled together.

    The draws are seeded: the same values give the same interval. No interval for fewer than ten units.
    """
    numbers = {unit: place for place, unit in enumerate(dict.fromkeys(units))}
    sums, counts = np.zeros(len(numbers)), np.zeros(len(numbers))
    for value, unit in zip(values, units, strict=True):
        sums[numbers[unit]] += value
        counts[numbers[unit]] += 1
    mean = float(np.mean(values))
    return Metric(
        name=name, value=mean, ci95=_interval(sums, counts) if len(numbers) >= LEAST_UNITS else None, n=len(values)
    )


def _interval(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> tuple[float, float]:
    if np.ptp(sums / counts) == 0:  # every resample has the same mean
        return float(sums[0] / counts[0]), float(sums[0] / counts[0])

    def mean(sums: NDArray[np.float64], counts: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    found = bootstrap(
        (sums, counts),
        mean,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=max(1, VALUES_AT_ONCE // len(sums)),
        method="percentile",
        random_state=0,
    ).confidence_interval
    return float(found.low), float(found.high)
