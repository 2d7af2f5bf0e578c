"""Answers in words: ANLS, VQA accuracy, OCRBench's containment, and the open questions of MMMU and RealWorldQA."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mmrope_eval.scorer.answer_part import MINUS, answer_part, answer_words, tagged_contents
from mmrope_eval.scorer.choice import score_choice
from mmrope_eval.scorer.choice_text import is_choice, read_options
from mmrope_eval.scorer.score import Score, Target, plain_answer
from mmrope_eval.util.strict_json import written


def answers_of(target: Target) -> list[str]:
    """The accepted answers of a target: `answers` or `answer`, a list, a list written as text, or one answer."""
    value = target["answers"] if target.get("answers") is not None else target["answer"]
    if isinstance(value, str):
        listed = written(value)
        value = [value] if listed is None else listed
    if not isinstance(value, Sequence):
        return [str(value)]
    return [str(answer) for answer in value]


# ----------------------------------------------------------------------------------------------------------------- ANLS

ANLS_THRESHOLD: Final = 0.5


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: the fewest single-character insertions, deletions and substitutions from `a` to `b`."""
    previous = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        current = [i]
        for j, y in enumerate(b, 1):
            current.append(min(previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (x != y)))
        previous = current
    return previous[-1]


def levenshtein_similarity(response: str, answer: str) -> float:
    """1 - edit distance / length of the longer text, in [0, 1]; 0 without computing it where it must be below 0.5."""
    longer = max(len(response), len(answer))
    if longer == 0:
        return 1.0
    if 2 * abs(len(response) - len(answer)) > longer:
        return 0.0
    return 1 - edit_distance(answer, response) / longer


def score_anls(response: str, target: Target) -> Score:
    """ANLS of one question: the best normalised Levenshtein similarity over the accepted answers, 0 below 0.5.

    Definition: Biten et al. 2019 (arXiv:1905.13648), used by DocVQA (arXiv:2007.00398) and InfographicVQA
    (arXiv:2104.12756), with the normalisation of the organisers' script (rrc.cvc.uab.es, task 17):
    lower case, single spaces, nothing else. A similarity of exactly 0.5 counts, as in that script. One thing differs
    from it: the script divides by the length *before* the normalisation, so that padding with blanks raises the score;
    here both lengths are those of the normalised texts, as in the papers. `exact` is 1 when the normalised texts are
    equal. Target: `answers`, the accepted ones.
    """
    response_words = answer_words(response)
    words = " ".join(response_words.lower().split())
    if not words:
        return Score({"anls": 0.0, "exact": 0.0}, None)
    accepted = [" ".join(answer.translate(MINUS).lower().split()) for answer in answers_of(target)]
    best = max((levenshtein_similarity(words, answer) for answer in accepted), default=0.0)
    return Score({"anls": best if best >= ANLS_THRESHOLD else 0.0, "exact": float(words in accepted)}, response_words)


# --------------------------------------------------------------------------------------------------------- VQA accuracy

_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`,?!'
_DIGITS: Final = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER_WORDS: Final = {word: str(value) for value, word in enumerate(_DIGITS)} | {"none": "0"}
_ARTICLES: Final = frozenset(("a", "an", "the"))
_CONTRACTED: Final = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd he'd've
    he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't not've
    o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
    someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


@functools.cache
def _contractions() -> Mapping[str, str]:
    """Every spelling of a contraction with one apostrophe missing -> the right one (and the metric's one oddity)."""
    spellings = {"somebody'd": "somebodyd"}
    for word in _CONTRACTED.split():
        for at in (i for i, char in enumerate(word) if char == "'"):
            spellings[word[:at] + word[at + 1 :]] = word
    return spellings


def vqa_words(text: str) -> str:
    """An answer in the normal form of the VQA metric: no case, articles, number words, contractions or punctuation."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's")
    text = original = text.strip().replace("\n", " ").replace("\t", " ").strip()
    for mark in _PUNCTUATION:
        text = text.replace(mark, "" if f"{mark} " in original or f" {mark}" in original else " ")
    text = re.sub(r"\.(?!\d)", "", text)
    words = (_NUMBER_WORDS.get(word, word) for word in text.split())
    return " ".join(_contractions().get(word, word) for word in words if word not in _ARTICLES)


def score_vqa(response: str, target: Target) -> Score:
    """VQA accuracy: how many of ten people gave this answer, min(matches / 3, 1) averaged over all nine of the ten.

    Definition: Antol et al. 2015 (arXiv:1505.00468), in the leave-one-out form of the VQA evaluation code,
    which TextVQA uses (Singh et al. 2019, arXiv:1904.08920; normalisation of the authors' Pythia/MMF
    `EvalAIAnswerProcessor`). `exact` is 1 when at least one person gave the answer. An empty response scores 0 even
    where an answer is nothing but an article. Target: `answers`, ten of them; with fewer than four no response can
    reach 1.
    """
    response_words = answer_words(response)
    if not response_words:
        return Score({"vqa": 0.0, "exact": 0.0}, None)
    given = [vqa_words(answer.translate(MINUS)) for answer in answers_of(target)]
    words = vqa_words(response_words)
    matches = given.count(words)
    # Leaving out one of the `matches` people who agree leaves one match fewer; leaving out another leaves them all.
    total = matches * min(1.0, (matches - 1) / 3) + (len(given) - matches) * min(1.0, matches / 3)
    return Score({"vqa": total / len(given) if given else 0.0, "exact": float(matches > 0)}, response_words)


# ------------------------------------------------------------------------------------------------------------- OCRBench

HANDWRITTEN_FORMULAS: Final = "HME100k"


def score_contains(response: str, target: Target) -> Score:
    """OCRBench: 1 when the response contains one of the accepted answers.

    Definition: Liu et al. 2023 (arXiv:2305.07895) and OCRBench/example.py of its authors: both in lower
    case with line breaks as blanks; for handwritten formulas (data set HME100k) case matters and blanks do not. An
    empty accepted answer, which every response contains, never counts. `exact` is 1 when the whole response equals an
    accepted answer under the same normalisation, but for a closing full stop: a response that lists every possible
    answer contains the right one.
    Target: `answers` (or `answer`), `dataset` (the row's source) and `group` (its question type, for the aggregation).
    """
    response = answer_part(response)
    response = (tagged_contents(response) or [response])[-1]
    if not response.strip():
        return Score({"contains": 0.0, "exact": 0.0}, None)
    formula = target.get("dataset") == HANDWRITTEN_FORMULAS

    def normal(text: str) -> str:
        text = text.strip().replace("\n", " ")
        return text.replace(" ", "") if formula else text.lower()

    words = normal(response)
    accepted = [answer for answer in map(normal, answers_of(target)) if answer]
    whole = {words, normal(plain_answer(response)), normal(plain_answer(answer_words(response)))}
    exact = any(answer in whole for answer in accepted)
    contains = any(answer in words for answer in accepted)
    return Score({"contains": float(contains), "exact": float(exact and contains)}, response.strip())


# -------------------------------------------------------------------------------- open questions beside multiple choice


def score_choice_or_exact(response: str, target: Target) -> Score:
    """RealWorldQA: multiple choice where the question has options, else equality of the answer.

    Definition: the benchmark's release (x.ai, Grok-1.5 Vision, 2024) asks for "only the letter" or "a single word or
    number" and publishes no script; as in lmms-eval, words are equal but for case and one closing full stop. The
    letter is read by `choice.extract`. Target: `answer`; `options`, usually the question, which lists them.
    """
    if is_choice(read_options(target.get("options")), target["answer"]):
        return score_choice(response, target)
    words = plain_answer(answer_words(response)).casefold()
    right = words != "" and words == plain_answer(str(target["answer"]).translate(MINUS)).casefold()
    return Score({"accuracy": float(right)}, words or None)


_KEY_PHRASES: Final = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_NUMBERS: Final = (
    re.compile(r"-?(?<!\w)\d{1,3}(?:,\d{3}){1,9}(?!\w)"),
    re.compile(r"-?(?<!\d)\d{1,30}(?:\.\d{1,30})?[eE][+-]?\d{1,3}(?!\d)"),
    re.compile(r"-?(?:(?<![\d.])\d{1,30}\.\d{1,30}|\.\d{1,30}|(?<!\d)\d{1,30}(?!\w))(?!\d)(?![eE][+-]?\d)(?!,)"),
)
_NUMBER: Final = re.compile(r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?")


def _normal_open(text: str) -> list[str | float]:
    """A number rounded to two decimals, or the text in lower case; one letter only at the edge of a word."""
    text = text.strip()
    digits = text.replace(",", "").strip()
    if _NUMBER.fullmatch(digits):
        value = float(digits)
        return [round(value, 2)] if math.isfinite(value) else [text.lower()]
    text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text]


def open_candidates(response: str) -> list[str | float]:
    """What an open response may be answering: the tails of its lines after "is", "so", "=" ..., and their numbers."""
    text = response.strip().strip(".").lower()
    lines = text.split("\n")
    tails = []
    for number, line in enumerate(lines, 1):
        shortest = ""
        for phrase in (*_KEY_PHRASES, *(["="] if number == len(lines) else [])):
            tail = line.rsplit(phrase, 1)[1].strip() if phrase in line else None
            if tail is not None and (not shortest or len(tail) < len(shortest)):
                shortest = tail
        if shortest not in ("", ":", ",", ".", "!", "?", ";", "'"):
            tails.append(shortest)
    tails = tails or [text]
    numbers = [match for tail in tails for pattern in _NUMBERS for match in pattern.findall(tail)]
    return [candidate for part in (*tails, *numbers) for candidate in _normal_open(part)]


def score_choice_or_open(response: str, target: Target) -> Score:
    """MMMU: multiple choice where the question has options, else the authors' rule for open questions.

    Definition: Yue et al. 2023 (arXiv:2311.16502) and eval/eval_utils.py of its authors. Open: of each
    line the shortest tail after "is", "so", "therefore", "answer" ... (and "=" in the last line) is a candidate, and
    so is every number in it; right when a candidate text contains an accepted answer, or a candidate number equals
    one to two decimals. Multiple choice: `choice.extract`, which never guesses, where the authors' script draws an
    option at random. Target: `answer`, or several as a list or a list written as text; `options`; `group`, the subject.
    """
    empty: Mapping[str, float | None] = {"accuracy": 0.0, "accuracy_choice": None, "accuracy_open": None}
    if read_options(target.get("options")):
        score = score_choice(response, target)
        return Score({**empty, **score.values, "accuracy_choice": score.values["accuracy"]}, score.parsed)
    response_words = answer_words(response)
    right = bool(response_words) and open_is_right(response_words, answers_of(target))
    return Score({**empty, "accuracy": float(right), "accuracy_open": float(right)}, response_words or None)


def open_is_right(response: str, answers: Sequence[str]) -> bool:
    """Whether an open response is right by MMMU's rule (see `score_choice_or_open`); an empty answer never is."""
    accepted: list[Any] = [normal for answer in answers if answer.strip() for normal in _normal_open(answer)]
    for candidate in open_candidates(response):
        if isinstance(candidate, str):
            if any(isinstance(answer, str) and answer in candidate for answer in accepted):
                return True
        elif candidate in accepted:
            return True
    return False
