"""Metrics of the tasks, as the official scorers compute them, and their intervals.

VQA accuracy (Antol et al. 2015, section 3; Goyal et al. 2017) keeps the quirks of the official scorer, because
published figures include them: answers are not normalised if all ten people agree, and a comma between digits makes the
scorer delete signs that it otherwise replaces with a blank. NLVR and NLVR2 (Suhr et al. 2017, 2019) use accuracy and
consistency. Retrieval uses recall at K (Karpathy and Fei-Fei 2015); ties count as the expected recall over all orders
of the tied scores, so a model that gives every pair the same score has the recall of chance.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from vlbench.tasks.intervals import Floats, mean_interval
from vlbench.tasks.items import Item, Metric


def exact_match(predicted: str, answers: Sequence[str]) -> float:
    """1 if the prediction is the first answer, 0 otherwise; case is ignored."""
    return float(predicted.strip().lower() == answers[0].lower())


def answer_accuracy(predicted: str, answers: Sequence[str]) -> float:
    """VQA accuracy if several people answered, exact match if one did."""
    return exact_match(predicted, answers) if len(answers) == 1 else vqa_accuracy(predicted, answers)


def correct(items: Sequence[Item], predictions: Mapping[str, str]) -> list[bool]:
    """For each item, whether its prediction is its label."""
    return [exact_match(predictions[item.identifier], item.answers) == 1 for item in items]


def consistent(items: Sequence[Item], predictions: Mapping[str, str]) -> dict[str, bool]:
    """For each group, whether all of its items are correct."""
    consistency: dict[str, bool] = {}
    for item, is_correct in zip(items, correct(items, predictions), strict=True):
        consistency[item.group] = consistency.get(item.group, True) and is_correct
    return consistency


def balanced(items: Sequence[Item]) -> list[Item]:
    """The items whose image pair occurs with both labels, so that the images alone do not predict the label."""
    labels = _labels_by_pair(items)
    return [item for item in items if item.pair and len(set(labels[item.pair])) > 1]


def unbalanced(items: Sequence[Item]) -> list[Item]:
    """The items whose image pair occurs more than once, always with the same label."""
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
MOST_PERIODS = 32  # the official scorer passes the flag re.UNICODE (32) where re.sub takes a count

WITH_ALL_APOSTROPHES = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've needn't not've
o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
""".split()


def _without_one_apostrophe(word: str) -> Iterator[str]:
    for index, sign in enumerate(word):
        if sign == "'":
            yield word[:index] + word[index + 1 :]


CONTRACTIONS = {short: word for word in WITH_ALL_APOSTROPHES for short in _without_one_apostrophe(word)}
CONTRACTIONS["somebody'd"] = "somebodyd"  # the official scorer swaps the two


@lru_cache(200_000)  # most answers are given by many people
def normalised(answer: str) -> str:
    """The answer without punctuation and articles, with numbers as digits and contractions with their apostrophes."""
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    in_number = COMMA_IN_NUMBER.search(text) is not None
    stripped = text
    for sign in SIGNS:
        next_to_blank = f"{sign} " in text or f" {sign}" in text
        stripped = stripped.replace(sign, "" if next_to_blank or in_number else " ")
    stripped = PERIOD_AT_END.sub("", stripped, count=MOST_PERIODS)
    words = (NUMBERS.get(word, word) for word in stripped.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def vqa_accuracy(predicted: str, answers: Sequence[str]) -> float:
    """min(1, matches / 3), averaged over all ways to leave one person out.

    With ten people, 1, 2, 3 and more matches give 0.3, 0.6, 0.9 and 1. Answers are normalised unless all agree.
    """
    targets = [_on_one_line(answer) for answer in answers]
    predicted = _on_one_line(predicted)
    if len(set(targets)) > 1:
        targets, predicted = [normalised(answer) for answer in targets], normalised(predicted)
    matches = [answer == predicted for answer in targets]
    total = sum(matches)
    return sum(min(1.0, (total - match) / 3) for match in matches) / len(matches)


def _on_one_line(answer: str) -> str:
    return answer.replace("\n", " ").replace("\t", " ").strip()


RANKS = (1, 5, 10)

Scores = NDArray[np.floating]


def text_to_image(scores_TI: Scores, image_of_text: Sequence[int], ranks: Sequence[int] = RANKS) -> Floats:
    """The probability that a text's image is among the first K, (T, len(ranks))."""
    matching_T = _matching_scores(scores_TI, image_of_text)
    greater_T = (scores_TI > matching_T[:, None]).sum(1)
    equal_T = (scores_TI == matching_T[:, None]).sum(1)
    return np.stack([np.clip((rank - greater_T) / equal_T, 0, 1) for rank in ranks], axis=1)


def image_to_text(scores_TI: Scores, image_of_text: Sequence[int], ranks: Sequence[int] = RANKS) -> Floats:
    """The probability that any text of an image is among the first K, (I, len(ranks)); nan if an image has no text."""
    image_T, matching_T = np.asarray(image_of_text), _matching_scores(scores_TI, image_of_text)
    images = scores_TI.shape[1]
    best_I = np.full(images, -np.inf, dtype=scores_TI.dtype)
    np.maximum.at(best_I, image_T, matching_T)
    greater_I = (scores_TI > best_I).sum(0)  # only texts of other images
    relevant_I = np.bincount(image_T[matching_T == best_I[image_T]], minlength=images)  # of the texts tied at the best
    others_I = (scores_TI == best_I).sum(0) - relevant_I
    recalls = np.stack([1 - _all_missed(relevant_I, others_I, rank - greater_I) for rank in ranks], axis=1)
    recalls[np.bincount(image_T, minlength=images) == 0] = np.nan
    return recalls


def _matching_scores(scores_TI: Scores, image_of_text: Sequence[int]) -> Scores:
    """The score of each text with its own image, (T,)."""
    return scores_TI[np.arange(len(scores_TI)), np.asarray(image_of_text)]


def _all_missed(relevant: NDArray[np.int64], others: NDArray[np.int64], first: NDArray[np.int64]) -> Floats:
    """The probability that a random order of relevant and other texts has no relevant one among the `first`.

    This is C(others, first) / C(relevant + others, first).
    """
    first = np.maximum(first, 0)
    possible = first <= others
    drawn, total = np.where(possible, first, 0), relevant + others
    log = gammaln(others + 1) - gammaln(others - drawn + 1) - gammaln(total + 1) + gammaln(total - drawn + 1)
    return np.where(possible, np.where(drawn == 0, 1.0, np.exp(log)), 0.0)


LEAST_UNITS = 10  # of several values each; with fewer there is no interval


def mean_with_interval(name: str, values: Sequence[float], units: Sequence[Hashable]) -> Metric:
    """The mean of values from 0 to 1 with a 95% interval, for which values of one unit may be alike.

    A unit is, for example, an image that several questions are about. There is no interval for fewer than ten units
    unless each has a single value.
    """
    index = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    unit_of_value, numbers = [index[unit] for unit in units], np.asarray(values, dtype=np.float64)
    counts, sums = (
        np.bincount(unit_of_value, weights=weights).astype(np.float64) for weights in (np.ones(len(numbers)), numbers)
    )
    ci95 = None
    if len(counts) >= LEAST_UNITS or len(counts) == len(values):
        low, high = mean_interval(sums[None], np.array([numbers @ numbers]), counts)
        ci95 = float(low[0]), float(high[0])
    return Metric(name=name, value=math.fsum(values) / len(values), ci95=ci95, n=len(values))
