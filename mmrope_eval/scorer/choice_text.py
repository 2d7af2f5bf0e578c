"""Responses to multiple-choice questions as they are read: without markup, and options named by their text.

The options are read in whatever form a data set holds them.
"""

from __future__ import annotations

import html
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from mmrope_eval.scorer.answer_part import answer_part, without_html
from mmrope_eval.scorer.choice_patterns import CJK
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


_MACRO: Final = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt)?|mathrm|mathbf|mathit|mathsf|operatorname|mbox|bf)\s?\{([^{}]{0,200})\}"
)
_MARKS: Final = re.compile(
    r"\*{2,3}|(?<!\w)\*|\*(?!\w)|`{1,3}(?:json|text|plaintext|markdown|yaml)?(?=\s|$)|`{1,3}|__"
    r"|~~[^~\n]{1,80}~~|~~|(?<![A-Za-z0-9_])_(?=\S)|(?<=\S)_(?![A-Za-z0-9_{(])"
)
# A formula's marks leave a blank: "F\(2/3 V\)" is the letter F and a text, not the word "F2/3".
_MATH: Final = re.compile(r"\$|\\[()\[\]]|\\[,;:! ]|\\quad\b|\\qquad\b")
_LINE_START: Final = re.compile(
    r"(?m)^[ \t]*(?:(?:#{1,6}|[-*•·●▪‣◦○>+–|]|\d{1,2}[.)](?=[ \t]+[(\[*]*[A-Z][)\]*]*[.]?[ \t]*$)|✅|👉|➡️?"
    r"|☑️?)[ \t]+|#{1,6}(?=\w))+"
)
_SPEAKER: Final = re.compile(r"^\s*(?:assistant|ai|model|bot|gpt)(?:\s?:\s|\n)", re.IGNORECASE)
_QUOTES: Final = str.maketrans("“”„«»‹›「」『』《》〈〉", '"""""""""""""""')
_BRACKETS: Final = str.maketrans("【】〔〕〖〗", "[][][]")
_CJK_EDGE: Final = re.compile(rf"(?<=[{CJK}])(?=[A-Za-z(\[\"])|(?<=[A-Za-z)\]\"])(?=[{CJK}])")


def readable(response: str) -> str:
    """The answer part of a response without markup, white space collapsed, its lines kept."""
    text = html.unescape(_LINE_START.sub("", without_html(answer_part(response))))
    text = _SPEAKER.sub("", text)
    lines = (" ".join(line.split()).removesuffix(" |") for line in _LINE_START.sub("", unmarked(text)).splitlines())
    return "\n".join(line for line in lines if line)


def unmarked(text: str) -> str:
    """A text without emphasis, code marks and LaTeX; full-width characters and fancy quotes in their plain form."""
    text = unicodedata.normalize("NFKC", text.translate(_QUOTES)).translate(_BRACKETS)
    text = re.sub("‘([^‘’\n]{1,80})’", r"'\1'", text).replace("。", ". ")
    text = _MACRO.sub(r"\1", _MATH.sub(" ", _MARKS.sub("", text)))
    return _CJK_EDGE.sub(" ", text)


def plain_text(text: str) -> str:
    """A text for comparison: case-folded, without markup and without punctuation at its ends, single spaces."""
    return " ".join(unmarked(text).casefold().split()).strip(" .,;:!?\"'()[]")


def names_by_text(option: str) -> bool:
    """Whether an option can be named by its text: one whose text is a letter is named by its own letter only."""
    plain = plain_text(option)
    return bool(plain) and not is_letter(plain.upper())


def opening_text(text: str, options: Options) -> str | None:
    """Rule 5: the option with whose text a text opens; None when a longer one might be meant as well."""
    folded = text.casefold()
    texts = {letter: " ".join(unmarked(option).casefold().split()).rstrip(".") for letter, option in options.items()}
    fitting = {
        letter: option for letter, option in texts.items() if names_by_text(option) and folded.startswith(option)
    }
    longest = max(map(len, fitting.values()), default=0)
    winners = [letter for letter, option in fitting.items() if len(option) == longest]
    ended = re.match(r"\"?(?:[.,;:!](?=\s|$|\")|\n|$)", folded[longest : longest + 3])
    after = folded[longest:].lstrip(' .,;:!?"\n')[:400]
    listed = any(names_by_text(option) and after.startswith(option) for option in texts.values())
    return winners[0] if len(winners) == 1 and ended and not listed else None


def own_text_follows(text: str, at: int, letter: str, options: Options) -> bool:
    """Whether the text of the option `letter` stands at `at`, after the marks that part a letter from its text."""
    option = plain_text(options.get(letter, ""))
    if not option:
        return False
    rest = re.sub(r"^[\s.,:;=)\]\-–—\"'(]*", "", text[at : at + 40 + 2 * len(option)].casefold())
    return rest.startswith(option) and not re.match(r"\w|[.,'’-]\w", rest[len(option) :])


BRIEF: Final = 5
"""Up to so many words a text inside a response names its option only where it is said of something."""

# They stand in sentences that name no option ("no doubt", "yes, but").
_FUNCTION_WORDS: Final = frozenset(
    ("yes", "no", "not", "none", "a", "an", "the", "is", "it", "true", "false", "all", "other", "others", "both")
)
_REFUSAL: Final = re.compile(
    r"\b(?:cannot|can't|can’t|can not|not able|could not|couldn't|unable|unsure|not sure|uncertain|unclear"
    r"|impossible to|sorry|(?:hard|difficult) to (?:say|tell|determine)|insufficient|not enough|(?:don't|don’t"
    r"|do not) know|none of|neither|either|not possible|no way to|not provided|no answer|whether|depends|as an ai"
    r"|could be|might be|may be|maybe|perhaps|possibly|would need|please provide|not visible|not shown|refuse|decline"
    r"|guess|one of)\b"
    r"|无法|不能|不确定|不知道|抱歉|是否|也许|可能",
    re.IGNORECASE,
)
_DENIED_BEFORE: Final = re.compile(
    r"(?:\bnot|n't|n’t|\bno|\bneither|\bnor|\bwithout|\brather than|\binstead of|\bexcept|\bunlike|\bthan|\bnever"
    r"|\bexcluding|\brul(?:e|es|ed|ing) out|\bcontrary to|\bwrong to (?:say|call|name)(?: it| this)?|\banything but"
    r"|\bother than|\bapart from|\bhardly|\bfar from|\bbut not|不是|不|没有|非)\s?"
    r"(?:(?:the|a|an|be|is|in|any|really|of|to|at|on|option|likely|just|only|actually|clearly|show|see|contain|depict"
    r"|have|look|like|seem|appear|mean|include|say|support|indicate|match|suggest|find)\s){0,3}$"
)
_DENIED_AFTER: Final = re.compile(
    r"\s?[\"')]?\s?(?:(?:is|are|was|were|does|do|can|could|would|seems)(?:n't|n’t|\snot)\b"
    r"|(?:is|are|was|were|seems|can be|must be)\s(?:clearly |also |definitely )?"
    r"(?:wrong|incorrect|false|ruled out|eliminated|excluded|unlikely|impossible|absent|missing|not|out)\b|不对|错误)"
)
_SAID_OF: Final = re.compile(
    r"(?:\b(?:is|are|was|were|be|looks|look|seems|appears|says|reads|shows|means|represents|depicts|called"
    r"|named|likely|ist|est|es|é)|'s|’s|是|:|=)\s?"
    r"(?:(?:a|an|the|clearly|definitely|probably|likely|about|of|in|like|colored|to be)\s){0,3}$"
)
_COORDINATED_BEFORE: Final = re.compile(r"[\w-]+\s(?:and|or|&|und|oder|et|ou|y|o)\s$")
_COORDINATED_AFTER: Final = re.compile(r"\s(?:and|or|&|und|oder|et|ou|y|o)\s[\w-]+\s?(?:[.,;!?\n]|$)")


def contained_text(text: str, options: Options) -> str | None:
    """The option whose text, and no other's, stands in a text at the edges of words.

    The last resort, as MMMU's reader (content match, in responses of more than five words) and VLMEvalKit's
    `can_infer_text` have it. In five words and less a text of one word must end what is said of something ("The car is
    blue.").
    Negated texts and questions do not count; a text that refuses or weighs up, and "red and black", name no option.
    """
    if _REFUSAL.search(text):
        return None
    brief = len(text.split()) <= BRIEF
    sentences = re.split(r"(?<=[.!?\n])", text.casefold())
    rest = "".join(sentence for sentence in sentences if not sentence.endswith("?"))
    texts = _texts_to_find(options)
    letters: set[str] = set()
    for option in sorted(texts, key=len, reverse=True):
        edge_before = r"(?<![\w$€£])(?<![\w.,][.,/'’-])(?<!-)"
        pattern = re.compile(rf"{edge_before}{re.escape(option)}(?:['’]s\b)?(?!\w)(?![.,/'’-]\w)(?!\s?[%°])")
        for match in pattern.finditer(rest):
            before, after = rest[max(0, match.start() - 60) : match.start()], rest[match.end() : match.end() + 60]
            if _DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after):
                continue
            if _COORDINATED_BEFORE.search(before) or _COORDINATED_AFTER.match(after):
                return None
            if (
                brief
                and " " not in option
                and not (_SAID_OF.search(before) and re.fullmatch(r"[\s.!\"')]*", rest[match.end() :]))
            ):
                return None
            letters.update(texts[option])
            if len(letters) > 1:
                return None
        # A shorter option inside a longer one ("red" in "red and white") is not named by it.
        rest = pattern.sub(" | ", rest)
    return letters.pop() if len(letters) == 1 else None


def _texts_to_find(options: Options) -> Mapping[str, set[str]]:
    """Option text -> the letters that have it, for the options that a sentence can name."""
    texts: dict[str, set[str]] = {}
    for letter, option in options.items():
        plain = plain_text(option)
        if names_by_text(option) and plain not in _FUNCTION_WORDS:
            texts.setdefault(plain, set()).add(letter)
    return texts
