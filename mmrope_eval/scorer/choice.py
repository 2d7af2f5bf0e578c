"""Multiple choice: the one extractor that every such task shares, and its scorer. Strict, and never random.

`extract` reads the letter that a response commits to. The rules, of which the first that applies decides:

0. Reasoning, stop tokens and invisible marks are not the answer (`answer_part.answer_part`). Emphasis, code marks,
   headings, list marks, HTML and LaTeX are ignored, and full-width characters are read as ASCII.
1. The whole response is one letter (`B`, `b`, `(B)`, `B.`, `[b]:`, `"B"`), or equals the text of exactly one option,
   with or without that option's letter in front (`B. red`, `B red`); or it is JSON with an `answer`.
2. The *close*: the last of a final answer (`\\boxed{B}`, `<answer>B</answer>`, GLM's box, `Final answer: B`), an
   `Answer: B` line, and a last line that is a label or a conclusion (`B`, `B. blue`, `Therefore, B`). It outranks
   whatever stands before it; where it cannot be read, only what follows it can still answer.
3. *Statements*: `The answer is B`, `I choose B`, `the correct option is B`, `B is correct`, `It must be B`, `选B`, and
   a label that opens the response (`B. ...`, `(B) ...`, `B, because ...`, `B` alone on the first line). All must name
   the same option. A statement may name it by its text (`The answer is a red car.`).
4. *Mentions*: `option B`, `(B)`. All must name the same option.
5. The response opens with the text of exactly one option, ended by punctuation or a new line (`Yes, he does.`).
6. Exactly one option's text stands in the response, at the edges of words (`The car is clearly blue in colour.`).

Whatever is negated (`not B`, `B is wrong`, `rule out B`), asked (`Is the answer A?`) or left open (`whether it is B`)
is no statement and no mention; nor is what something is compared with (`closer than the point labeled B`). Two
different letters under one rule, and a letter that is no option, leave the response *unparsed*: wrong, and counted as
such. A lower-case letter and a capital `A` or `I` that a further word follows are articles and pronouns ("a man ...",
"A man ..."); letters of plurals and formulas ("person(s)", "v(t)") name nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain
from typing import Final

from mmrope_eval.scorer import choice_patterns as patterns
from mmrope_eval.scorer.answer_part import answer_part, json_answers
from mmrope_eval.scorer.choice_text import (
    LETTERS,
    Options,
    contained_text,
    opening_text,
    own_text_follows,
    plain_text,
    readable,
    target_options,
)
from mmrope_eval.scorer.score import Score, Target


def extract(response: str, options: Options) -> str | None:
    """The option letter a response commits to, by the rules at the top of this file; None when it commits to none.
    `options` maps the letters that exist to their texts ("" where only the letter is known). A pure function of its
    arguments, in time linear in the response."""
    text = readable(response)
    if not text:
        return None
    whole = _whole(text, options)
    if whole is not None:
        return whole
    only = _only_letters(text)
    if only:
        return _agreed(only, options)
    keyed = {_named(readable(str(value)), options) for value in json_answers(answer_part(response))}
    if keyed:
        return keyed.pop() if len(keyed) == 1 else None
    closed, letter = _close(text, options)
    if closed:
        return letter
    for letters in (_statements(text, options), _mentions(text, options)):
        if letters:
            return _agreed(letters, options)
    return opening_text(text, options) or contained_text(text, options)


def _agreed(letters: Iterable[str], options: Options) -> str | None:
    named = set(letters)
    return named.pop() if len(named) == 1 and named <= set(options) else None


def _letter(match: re.Match[str]) -> str:
    return next(group for group in match.groups() if group is not None).upper()


def _whole(text: str, options: Options) -> str | None:
    """Rule 1: the option that the whole response is, by its letter or its text."""
    match = patterns.WHOLE.fullmatch(text)
    if match is not None and match.group(1).upper() in options:
        return match.group(1).upper()
    bare = plain_text(text)
    texts = {letter: plain_text(option) for letter, option in options.items() if plain_text(option)}
    equal = [letter for letter, option in texts.items() if bare == option]
    if text.endswith("?") and not any(options[letter].rstrip().endswith("?") for letter in equal):
        return None
    if not equal:
        joints = (" ", ". ", ".", ": ", ":", ") ", ")", " - ", " = ", ", ", "] ", "} ", " – ", " — ", "、", " → ", '" ')
        equal = [letter for letter, option in texts.items() if bare in {letter.lower() + j + option for j in joints}]
    return equal[0] if len(equal) == 1 else None


def _only_letters(text: str) -> set[str]:
    """The letters of a response that is nothing but letters ("(A)(B)", "A or B", "B, B"); none for any other."""
    words = re.findall(r"[^\W_]+", text[:200])
    letters = {word for word in words if len(word) == 1 and word.isascii() and word.isalpha()}
    one_case = len({word.isupper() for word in letters}) == 1
    only = len(text) <= 200 and len(words) > 1 and one_case and letters | {"or", "and"} >= set(words)
    return {letter.upper() for letter in letters} if only else set()


# ---------------------------------------------------------------------------------- rule 2: what a response closes with


def _close(text: str, options: Options) -> tuple[bool, str | None]:
    """(whether the response closes with an answer, the option it names)."""
    closers = list(patterns.CLOSER.finditer(text))
    last_line = text.rfind("\n") + 1
    if not closers or closers[-1].end() <= last_line:
        letter = _last_line(text, options)
        if letter is not None:
            return True, letter
    if not closers:
        return False, None
    last, content = closers[-1], _content(closers[-1])
    letter = _named(content, options)
    if letter is None:
        start = last.start() + max(last.group(0).find(content), 0)
        after = text[start if last.group(4) is not None or last.group(5) is not None else last.end() :]
        read = _last_line(after, options)
        return True, read or _agreed(_statements(after, options) or _mentions(after, options), options)
    if len(closers) > 1 and patterns.BETWEEN.fullmatch(text, closers[-2].end(), last.start()):
        before = _named(_content(closers[-2]), options)
        return True, letter if before in (letter, None) else None
    return True, letter


def _content(closer: re.Match[str]) -> str:
    """What a closer holds; of a box in a tag, or in a sentence, what the box holds."""
    content = next(group for group in closer.groups() if group is not None)
    for _ in range(3):
        inner = list(patterns.WRAPPED.finditer(content))
        if not inner:
            break
        content = next(group for group in inner[-1].groups() if group is not None)
    return content


def _last_line(text: str, options: Options) -> str | None:
    """The option that the last of several lines names by itself, unless the lines are a list of options."""
    lines = text.split("\n")
    last = lines[-1]
    if len(lines) < 2 or patterns.NEGATIVE_HEADING.search(lines[-2]):
        return None
    letter = _line_letter(last, options)
    if letter is None:
        if patterns.CLOSING_LINE.match(last) is None:
            return None
        return _agreed(_statements(last, options) or _mentions(last, options), options)
    others = {named for line in lines[:-1] if (named := _line_letter(line, options)) is not None}
    return letter if others <= {letter} or (letter in others and len(others) > 1) else None


def _line_letter(line: str, options: Options) -> str | None:
    if len(line) > 400:
        return None
    whole = _whole(line, options)
    if whole is not None:
        return whole
    bare = re.sub(r"^(?:option|choice|answer|选项|選択肢)\s(?=[(\[]?[A-Z][)\]]?\s?(?:[.:,]|$))", "", line,
                  flags=re.IGNORECASE)
    label = patterns.LABEL.match(bare)
    if label is None or _negated(bare, 0, label.end()) or _joined(bare, label.end())[0] or bare.endswith("?"):
        return None
    return _agreed([_letter(label)], options)


# -------------------------------------------------------------------------------------------------------- rules 3 and 4


def _named(content: str, options: Options) -> str | None:
    """The option that a final answer names: by a letter, a label, or its text."""
    content = re.sub(r"^(?:[-–—=>→:]+\s|[:=→])\s?", "", content.strip()).strip("\"'“”‘’ ")
    whole = _whole(content, options)
    if whole is not None or content.endswith("?"):
        return whole
    labelled_text = _letter_and_text(content, 0, options)
    if labelled_text is not None:
        return _agreed([_letter(labelled_text)], options)
    match = patterns.LABEL.match(content) or patterns.LETTER.match(content)
    if match is not None:
        further, end = _joined(content, match.end())
        return _agreed([_letter(match), *further, *_statements(content[end:], options)], options)
    stated = _statements(content, options) or _mentions(content, options)
    if stated:
        return _agreed(stated, options)
    return opening_text(content, options) or contained_text(content, options)


_LONE_LETTER: Final = re.compile(r"[\[(\"']?([A-Z])(?![A-Za-z0-9_'’])")


def _letter_and_text(text: str, at: int, options: Options) -> re.Match[str] | None:
    """A letter with its own option's text behind it ("A red"), where the letter alone might be an article."""
    match = _LONE_LETTER.match(text, at)
    return match if match is not None and own_text_follows(text, match.end(), match.group(1), options) else None


def _joined(text: str, at: int) -> tuple[list[str], int]:
    """The letters joined to one that ends at `at` ("A or B", "A, B and C"), and where the last of them ends."""
    letters: list[str] = []
    while len(letters) < 3 and (match := patterns.MORE.match(text, at)) is not None:
        letters.append(_letter(match))
        at = match.end()
    return letters, at


def _negated(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - 40) : start]
    return bool(patterns.NEGATED_BEFORE.search(before) or patterns.NEGATED_AFTER.match(text, end))


def _open(text: str, start: int, end: int) -> bool:
    """Whether what stands there is asked, or said to be open."""
    if patterns.ASKED.match(text, end):
        return True
    sentence = re.split(r"[.!?\n]", text[max(0, start - 160) : start])[-1]
    clause = sentence[max((match.end() for match in patterns.CLAUSE_START.finditer(sentence)), default=0) :]
    statement = text[start:end]
    return bool(patterns.DOUBT.search(clause + statement) or patterns.CONDITION.search(sentence + statement))


def _statements(text: str, options: Options) -> list[str]:
    """Rule 3: every letter that is stated to be the answer."""
    label = _opening_label(text, options)
    letters = [] if label is None else [label]
    for statement in chain(patterns.STATEMENT.finditer(text), patterns.LONG_STATEMENT.finditer(text)):
        before = text[max(0, statement.start() - 60) : statement.start()]
        if patterns.NEGATED_STATEMENT.search(before[-40:]):
            continue
        if patterns.NAMED.match(statement.group()) and patterns.COMPARED.search(before):
            continue
        at = statement.end()
        labelled_text = _letter_and_text(text, at, options)
        named = None if labelled_text else opening_text(text[at : at + 400].lstrip("\"' "), options)
        letter = labelled_text or patterns.LETTER.match(text, at)
        if (named is None and letter is None) or _open(text, statement.start(), at):
            continue
        if named is not None:
            letters.append(named)
        elif letter is not None:
            further, end = ([], letter.end()) if labelled_text else _joined(text, letter.end())
            if not _negated(text, at, end):
                letters += [_letter(letter), *further]
    for match in patterns.TEXT_STATEMENT.finditer(text):
        named = opening_text(text[match.end() : match.end() + 400], options)
        if named is not None and not _open(text, match.start(), match.end()):
            letters.append(named)
    for match in patterns.IS_RIGHT.finditer(text):
        if not _open(text, match.start(), match.end()):
            letters.append(match.group(1))
    return letters


def _opening_label(text: str, options: Options) -> str | None:
    """The label that opens the response, unless it opens a list of options or is joined to another ("(A) or (B)")."""
    labelled_text = _letter_and_text(text, 0, options)
    first = labelled_text or patterns.LABEL.match(text)
    if first is None or _negated(text, 0, first.end()) or (labelled_text is None and _joined(text, first.end())[0]):
        return None
    letter = _letter(first)
    if (
        labelled_text is not None
        and patterns.LABEL.match(text) is None
        and any(text_.casefold() in text.casefold() for at, text_ in options.items() if at != letter and text_)
    ):
        return None
    if letter in "AI" and re.match(r"\n[a-z]", text[first.end() : first.end() + 2]):
        return None  # an article, and its noun on the next line
    opening_lines = {_letter(label) for label in map(patterns.LABEL.match, text.split("\n")) if label is not None}
    inline = {_letter(label) for label in patterns.INLINE_LABEL.finditer(text)}
    following = LETTERS[LETTERS.index(letter) + 1 : LETTERS.index(letter) + 2]
    listed = len(inline - {letter}) > 1 or (following and following in inline)
    return None if len(opening_lines) > 1 or listed else letter


def _mentions(text: str, options: Options) -> list[str]:
    """Rule 4: every option that is mentioned by its letter; a bracketed letter that is no option is no mention."""
    letters = []
    for match in patterns.MENTION.finditer(text):
        letter = _letter(match)
        bracketed = match.group(0).lstrip(" \n,:").startswith("(")
        further, end = _joined(text, match.end())
        if (bracketed and letter not in options) or _negated(text, match.start(), end):
            continue
        if not _open(text, match.start(), match.end()):
            letters += [letter, *further]
    return letters


def score_choice(response: str, target: Target) -> Score:
    """Multiple-choice accuracy: 1 when the extracted letter is the answer's, 0 otherwise, unparsed ones included.

    Definition: accuracy of the chosen option, as MMBench (arXiv:2307.06281), MMStar (arXiv:2403.20330), AI2D
    (arXiv:1603.07396), BLINK (arXiv:2404.12390), MVBench (arXiv:2311.17005), STAR (arXiv:2405.09711), Video-MME
    (arXiv:2405.21075), LVBench (arXiv:2406.08035) and MLVU (arXiv:2406.04264) define it. Their papers leave the reading
    of free text to a script or a language model; here it is `extract`, the same for all. How samples become a number
    is in `aggregate`.
    Target: `answer`, a letter; `options`, see `read_options`. `group` is for the aggregation.
    """
    letter = extract(response, target_options(target))
    return Score({"accuracy": float(letter is not None and letter == str(target["answer"]).strip().upper())}, letter)
