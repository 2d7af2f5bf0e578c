"""Multiple choice in the styles in which models answer (cases/choice_styles.txt), and what names no option at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmrope_eval.scorer.choice import extract

DATA = Path(__file__).resolve().parents[1] / "cases"
OPTION_SETS = [
    ["red", "blue", "green", "grey"],
    ["a red car", "a blue car", "a man riding a horse", "two dogs"],
    ["12", "15", "18", "21"],
    ["Paris", "London", "Berlin", "Rome", "Madrid", "Vienna", "Oslo"],
    ["The man opens the door.", "The man closes the door.", "The woman sits down.", "The child runs away."],
    ["$6", "$7", "$8", "$9"],
    ["1/3 V", "V/4", "4V", "2V", "3/2 V", "2/3 V"],
    ["狗", "猫", "鸟", "鱼"],
    ["thing 0", "thing 1", "thing 2", "thing 3", "thing 4", "thing 5", "thing 6", "thing 7"],
]
COLOURS = dict(zip("ABCD", OPTION_SETS[0], strict=True))


def lines(name: str) -> dict[str, list[str]]:
    """Heading -> lines of a file of examples; ⏎ stands for a new line, ⟨200B⟩ for the character of that number."""
    lines_by_heading: dict[str, list[str]] = {}
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        if line.startswith("#:"):
            lines_by_heading[line[2:].strip()] = []
        elif line and not line.startswith("#!"):
            text = line.replace("⏎", "\n")
            for mark in ("200B", "FEFF", "2060", "200E", "200F", "200D"):
                text = text.replace(f"⟨{mark}⟩", chr(int(mark, 16)))
            lines_by_heading[next(reversed(lines_by_heading))].append(text)
    return lines_by_heading


def styled(styles: list[str]) -> Iterator[tuple[str, dict[str, str], str]]:
    """(response, options, meant letter): every style with two letters of every option set."""
    for number, style in enumerate(styles):
        for at, texts in enumerate(OPTION_SETS):
            for step in (0, 1):
                index = (number + at + step) % len(texts)
                other = (index + 1) % len(texts)
                letter, wrong = "ABCDEFGHIJ"[index], "ABCDEFGHIJ"[other]
                response = style
                for mark, text in (("{L}", letter), ("{l}", letter.lower()), ("{W}", wrong)):
                    response = response.replace(mark, text)
                response = response.replace("{T}", texts[index]).replace("{w}", texts[other])
                yield response, dict(zip("ABCDEFGHIJ", texts, strict=False)), letter


STYLES = lines("choice_styles.txt")


@pytest.mark.parametrize("kind", STYLES)
def test_every_style_is_read_as_meant(kind: str) -> None:
    wrong = [(response, letter, extract(response, options)) for response, options, letter in styled(STYLES[kind])
             if extract(response, options) != letter]  # fmt: skip
    assert not wrong, wrong[:5]


@pytest.mark.parametrize("options", [COLOURS, dict.fromkeys("ABCD", "")], ids=["texts", "letters only"])
def test_plain_responses_mean_option_b(options: dict[str, str]) -> None:
    texts = [text for text in lines("choice_plain.txt")["option B"] if options["B"] or "B" in text.replace("Both", "")]
    wrong = {text: extract(text, options) for text in texts if extract(text, options) != "B"}
    assert not {text: letter for text, letter in wrong.items() if options["B"] or letter is not None}
    assert len(wrong) < 10


def test_there_are_thousands_of_styled_responses() -> None:
    assert sum(1 for styles in STYLES.values() for _ in styled(styles)) > 10_000


@pytest.mark.parametrize("kind", lines("choice_negatives.txt"))
def test_what_names_no_option_is_read_as_none(kind: str) -> None:
    read = {text: extract(text, COLOURS) for text in lines("choice_negatives.txt")[kind]}
    assert not {text: letter for text, letter in read.items() if letter is not None}


def test_there_are_hundreds_of_texts_without_an_answer_and_none_twice() -> None:
    texts = [text for some in lines("choice_negatives.txt").values() for text in some]
    assert len(texts) > 400 and max(Counter(texts).values()) == 1


def test_letters_of_formulas_are_no_options() -> None:
    volts = dict(zip("ABCDEFG", ["1/3 V", "V/4", "4V", "2V", "3/2 V", "2/3 V", "V"], strict=True))
    assert extract("N_2(g) + 3H_2(g) gives 2NH_3(g).\n\nAnswer: F\\(2/3 \\, V\\)", volts) == "F"
    letters = dict(zip("ABCD", ["(c)", "(a)", "(b)", "(d)"], strict=True))
    assert extract("Answer: (B)", letters) == "B"


def test_the_last_of_two_answers_needs_something_between_them() -> None:
    assert extract("Answer: A\nNo, that is not it.\nAnswer: B", COLOURS) == "B"
    assert extract("Answer: A\nAnswer: B", COLOURS) is None
    assert extract("\\boxed{A} is what I thought.\n\n\\boxed{B}", COLOURS) == "B"
    assert extract("\\boxed{A}, \\boxed{B}", COLOURS) is None


@pytest.mark.parametrize(
    ("options", "response", "letter"),
    [
        (["red", "red and white"], "One can see that the flag is red and white in colour.", "B"),
        (["red", "white"], "One can see that the flag is red and white in colour.", None),
        (["5", "55"], "In the whole picture there are 55 birds in the sky.", "B"),
        (["5", "6"], "The number that is shown there is 5.5 or so.", None),
        (["Yes", "No"], "There is no doubt about it in this picture here.", None),
        (["the same", "the same"], "All in all they are the same in both pictures.", None),
        (["red", "blue"], "In the picture there is nothing that is not red or green.", None),
        (["", ""], "The car in the picture is clearly blue in colour.", None),
        (["Brunelleschi", "Bernini"], "The setting is reminiscent of Brunelleschi's own style.", "A"),
    ],
)
def test_one_options_text_in_a_sentence(options: list[str], response: str, letter: str | None) -> None:
    assert extract(response, dict(zip("AB", options, strict=True))) == letter
