"""VQA accuracy as the official scorer has it (Antol et al. 2015, section 3; Goyal et al. 2017).

The scorer's ways are kept, the odd ones too, since published figures have them: nothing is normalised where all ten
people gave the same answer, and a comma between digits has every sign deleted that is a blank otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

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
