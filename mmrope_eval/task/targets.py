"""Is a row's right answer one that its scorer can compare with? Asked when a run is planned, never at its end.

A row without a usable answer is a question that nobody can get right (or that everybody gets right: `None` is the text
"None"). It is a listed failure with its cause.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from mmrope_eval.errors import TargetError
from mmrope_eval.scorer.all import SCORERS
from mmrope_eval.scorer.choice_text import is_choice, read_options
from mmrope_eval.scorer.score import Target
from mmrope_eval.scorer.text import answers_of
from mmrope_eval.words import flat


def check_target(scorer: str, target: Target) -> None:
    """TargetError for a target that `scorer` cannot use, or that no response could match."""
    if not _finite(target):
        raise TargetError("the right answer holds a number that is not finite.")
    if scorer == "box":
        target = {**target, "coordinates": "unit", "source_size": (1, 1), "used_size": (1, 1)}
    try:
        CHECKS.get(scorer, _answers)(target)
        score = SCORERS[scorer]("", target)
        json.dumps([dict(score.values), target], allow_nan=False)
    except TargetError:
        raise
    except Exception as error:
        text = flat(error, 200)
        raise TargetError(f"the right answer cannot be scored ({type(error).__name__}: {text}).") from error


def _finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def is_blank(value: Any) -> bool:
    """Whether a field is no answer: nothing, white space, or how a table writes a missing value."""
    return value is None or str(value).strip() == "" or (isinstance(value, float) and math.isnan(value))


def _letter(target: Target) -> None:
    answer, given = target.get("answer"), target.get("options")
    if is_blank(answer):
        raise TargetError("the right answer is empty.")
    options = read_options(given)
    if not options and not (given is None or isinstance(given, int)):
        raise TargetError(f"no options can be read from {_short(given)}.")
    if options and str(answer).strip().upper() not in options:
        raise TargetError(f"the right answer {_short(answer)} is none of the options {', '.join(options)}.")


def _letter_or_open(target: Target) -> None:
    """A letter where the question has options (MMMU); options that look like a list and are none: a damaged row."""
    given = target.get("options")
    options = read_options(given)
    listed = isinstance(given, str) and given.lstrip().startswith(("[", "{")) and given.strip() not in ("[]", "{}")
    if listed and not options:
        raise TargetError(f"the options are no list that can be read: {_short(given)}.")
    (_letter if options else _answers)(target)


def _letter_or_exact(target: Target) -> None:
    """A letter where the question has options and is answered by one (RealWorldQA), else a text."""
    options, answer = read_options(target.get("options")), target.get("answer")
    _answers(target)
    if is_choice(options, answer):
        _letter({**target, "answer": str(answer).strip().upper()})


def _answers(target: Target) -> None:
    """At least one answer, none of them empty."""
    named = target.get("answers") if target.get("answers") is not None else target.get("answer")
    if named is None:
        raise TargetError("the right answer is missing.")
    listed = named if isinstance(named, Sequence) and not isinstance(named, str) else [named]
    if not listed:
        raise TargetError("the list of right answers is empty.")
    if any(isinstance(answer, Mapping | Sequence) and not isinstance(answer, str) for answer in listed):
        raise TargetError(f"the right answer is no text: {_short(named)}.")
    if any(answer is None for answer in listed) or all(map(is_blank, answers_of(target))):
        raise TargetError("the right answer is empty.")


def _numbers(target: Target, name: str, count: int, what: str) -> tuple[float, ...]:
    value = target.get(name)
    listed = value if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(listed) != count or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in listed):
        raise TargetError(f"the right answer is no {what}: {_short(value)}.")
    return tuple(map(float, listed))


def _box(target: Target) -> None:
    """Four numbers that enclose something."""
    x1, y1, x2, y2 = _numbers(target, "box", 4, "box of four numbers")
    if x2 <= x1 or y2 <= y1:
        raise TargetError(f"the right answer is an empty box: {_short(target['box'])}.")


def _span(target: Target) -> None:
    start, end = _numbers(target, "span", 2, "span of two times")
    if end <= start or end <= 0:
        raise TargetError(f"the right answer is an empty span: {_short(target['span'])}.")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


CHECKS: Final[Mapping[str, Callable[[Target], None]]] = {
    "choice": _letter,
    "choice_or_open": _letter_or_open,
    "choice_or_exact": _letter_or_exact,
    "box": _box,
    "span": _span,
}
"""What a scorer's target must be, beyond having an answer."""
