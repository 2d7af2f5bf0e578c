"""The options of a multiple-choice question, in whatever form a data set holds them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mmrope_eval.scorer.score import Target
from mmrope_eval.util.strict_json import written

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
UNKNOWN_OPTIONS: Final = 10
"""How many letters are accepted (A to J) when a task cannot say which options there are."""

Options = Mapping[str, str]
"""Option letter -> option text ("" where only the letter is known)."""

_OPTION_STARTS: Final = (re.compile(r"(?m)^[ \t]*\(([A-Z])\)[ \t]*"), re.compile(r"(?m)^[ \t]*([A-Z])[.):][ \t]+"),
                         re.compile(r"(?:(?<=\s)|^)\(([A-Z])\)[ \t]+"), re.compile(r"(?:(?<=\s)|^)([A-Z])[.:][ \t]+"))
_LETTER_PREFIX: Final = re.compile(r"\(?([A-Z])[.):]\s+")


def read_options(value: Any) -> dict[str, str]:
    """Option letter -> option text, from whatever a dataset holds.

    A list of texts (a letter before each, as Video-MME has it, is removed when all letters are in order); a mapping
    of letters to texts, in which None, not-a-number, "" and "nan" are no options (MMBench's columns); the number of
    options; a list written as text (MMMU); or the question itself, with the options inside (MMStar, LVBench, MLVU,
    RealWorldQA). Nothing readable gives an empty mapping.
    """
    if isinstance(value, bool) or value is None:
        return {}
    if isinstance(value, int):
        return dict.fromkeys(LETTERS[: max(0, value)], "")
    if isinstance(value, Mapping):
        return {str(k): str(v) for k, v in sorted(value.items()) if is_letter(k) and not _missing(v)}
    if isinstance(value, str):
        listed = written(value)
        return read_options(listed) if isinstance(listed, list) else _options_in_text(value)
    texts = [str(text).strip() for text in value]
    prefixed = [_LETTER_PREFIX.match(text) for text in texts]
    if texts and [match.group(1) if match else None for match in prefixed] == list(LETTERS[: len(texts)]):
        texts = [text[match.end() :] for text, match in zip(texts, prefixed, strict=True) if match]
    return dict(zip(LETTERS, texts, strict=False))


def is_letter(value: Any) -> bool:
    """Whether a value is one capital letter."""
    return len(str(value)) == 1 and str(value) in LETTERS


def _missing(value: Any) -> bool:
    return value is None or str(value) in ("", "nan") or (isinstance(value, float) and math.isnan(value))


def _options_in_text(question: str) -> dict[str, str]:
    """The options in a question: the longest run of labels A, B, C ..., each up to the next one or a new line."""
    for pattern in _OPTION_STARTS:
        labels = list(pattern.finditer(question))
        runs = [_run(labels[i:]) for i, label in enumerate(labels) if label.group(1) == "A"]
        run = max(reversed(runs), key=len, default=[])
        if len(run) >= 2:
            ends = [label.start() for label in run[1:]] + [len(question)]
            texts = [question[label.end() : end].strip() for label, end in zip(run, ends, strict=True)]
            return {label.group(1): text.split("\n")[0].rstrip(" ,;") for label, text in zip(run, texts, strict=True)}
    return {}


def _run(labels: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """The labels from the first on that are A, B, C ... without a gap."""
    run = []
    for letter, label in zip(LETTERS, labels, strict=False):
        if label.group(1) != letter:
            break
        run.append(label)
    return run


def target_options(target: Target) -> dict[str, str]:
    """The options of a target (`options`, see `read_options`); letters A to J where it has none."""
    return read_options(target.get("options")) or dict.fromkeys(LETTERS[:UNKNOWN_OPTIONS], "")


def is_choice(options: Mapping[str, str] | Sequence[str], answer: Any) -> bool:
    """Whether a question of a mixed benchmark is a multiple-choice one: it has options, and the answer is a letter."""
    return len(options) >= 2 and is_letter(str(answer).strip().upper())
