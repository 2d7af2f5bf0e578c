"""Pictures with text: receipts, forms, signs, infographics, single words; and questions about what is written there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, Final, NamedTuple

from mmrope_synth.core import Difficulty, Pixels, Side, between, chance, draw_for, pick, some
from mmrope_synth.lettering import INK, Text, letters, write
from mmrope_synth.sample import Sample
from mmrope_synth.scenes import COLORS, Background, backdrop, finish, random_background

ITEMS: Final = ("tea", "ham", "egg", "nut", "pie", "jam", "oil", "fig", "bun", "cod", "rye", "oat")
NAMES: Final = ("tom", "ann", "bob", "eva", "max", "zoe", "leo", "mia", "sam", "ivy", "ben", "kim")
CITIES: Final = ("rome", "oslo", "bern", "lima", "cork", "bonn", "riga", "doha")
MONTHS: Final = ("jan", "may", "jun", "oct")
WORDS: Final = ("open", "stop", "exit", "taxi", "bank", "cafe", "park", "sale", "zoo", "bus", "hot", "gym", "hotel")
SHOPS: Final = ("shop", "cafe", "deli", "mart", "bar")
CONSONANTS: Final = "bcdfghkmnprstvz"
PAPER: Final = Background("plain", (250, 250, 250), (250, 250, 250), 8)


@dataclass(frozen=True)
class Plate:
    """A filled rectangle (left, top, right, bottom) in pixels."""

    box: tuple[int, int, int, int]
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Page:
    """A picture with text, and the facts it states as (name, value) pairs in reading order."""

    size: int
    background: Background
    plates: tuple[Plate, ...]
    texts: tuple[Text, ...]
    facts: tuple[tuple[str, str], ...]
    noise_seed: int

    def fact(self, name: str) -> str:
        """The value of a fact."""
        return dict(self.facts)[name]


# --------------------------------------------------------------------------------------------------------------
# Drawing


def render(page: Page, noise: float) -> Pixels:
    """The picture of a page."""
    canvas = backdrop(page.background, page.size, page.size).copy()
    for plate in page.plates:
        left, top, right, bottom = plate.box
        canvas[top:bottom, left:right] = plate.color
    for text in page.texts:
        write(canvas, text)
    return finish(canvas, noise, page.noise_seed)


# --------------------------------------------------------------------------------------------------------------
# Inventing


def receipt(rng: Random, difficulty: Difficulty) -> Page:
    """A shop's name, items with prices, and their total."""
    size = difficulty.image_size
    items = some(rng, ITEMS, between(rng, difficulty.document_lines) - 1)
    prices = [between(rng, (1, 30)) for _ in items]
    lines = [*zip(items, map(str, prices), strict=True), ("total", str(sum(prices)))]
    shop = f"{pick(rng, NAMES)} {pick(rng, SHOPS)}"
    step, unit = size * 0.8 / len(lines), size / 112
    texts = [Text(shop, size / 2, size * 0.1, round(17 * unit))]
    for i, (name, price) in enumerate(lines):
        y = size * 0.2 + step * (i + 0.5)
        texts += [Text(name, size * 0.3, y, round(17 * unit)), Text(price, size * 0.8, y, round(17 * unit))]
    rule = round(size * 0.2 + step * (len(lines) - 1))
    plates = (Plate((6, rule, size - 6, rule + 1), INK),)
    return Page(size, PAPER, plates, tuple(texts), (("shop", shop), *lines), rng.getrandbits(31))


def form(rng: Random, difficulty: Difficulty) -> Page:
    """Fields with a name and a value."""
    size = difficulty.image_size
    values = {
        "name": pick(rng, NAMES),
        "city": pick(rng, CITIES),
        "age": str(between(rng, (10, 99))),
        "room": str(between(rng, (1, 99))),
        "date": f"{between(rng, (1, 28))} {pick(rng, MONTHS)}",
    }
    facts = tuple((name, values[name]) for name in some(rng, tuple(values), between(rng, difficulty.document_lines)))
    step, unit = size / len(facts), size / 112
    texts = []
    for i, (name, value) in enumerate(facts):
        y = step * (i + 0.5)
        texts.append(Text(f"{name}:", size * 0.26, y, round(16 * unit), (90, 90, 90)))
        texts.append(Text(value, size * 0.73, y, round(18 * unit)))
    return Page(size, PAPER, (), tuple(texts), facts, rng.getrandbits(31))


def infographic(rng: Random, difficulty: Difficulty) -> Page:
    """Coloured rows, each with a large percentage and what it is about."""
    size, count = difficulty.image_size, 3
    colors, items = some(rng, tuple(COLORS), count), some(rng, ITEMS, count)
    shares = some(rng, range(5, 96, 5), count)
    plates, texts = [], []
    for i, (color, item, share) in enumerate(zip(colors, items, shares, strict=True)):
        top, bottom = size * i // count, size * (i + 1) // count
        ink = INK if color in ("yellow", "orange") else (255, 255, 255)
        plates.append(Plate((0, top + 1, size, bottom - 1), COLORS[color]))
        texts.append(Text(f"{share}%", size * 0.3, (top + bottom) / 2, round(size * 0.23), ink))
        texts.append(Text(item, size * 0.78, (top + bottom) / 2, round(size * 0.17), ink))
    facts = [(item, f"{share}%") for item, share in zip(items, shares, strict=True)]
    named = [(f"{color} row", item) for color, item in zip(colors, items, strict=True)]
    return Page(size, PAPER, tuple(plates), tuple(texts), (*facts, *named), rng.getrandbits(31))


def signs(rng: Random, difficulty: Difficulty) -> Page:
    """Two signs of different colours on a wall, one with a word and one with a number."""
    size = difficulty.image_size
    colors = some(rng, tuple(COLORS), 2)
    values = some(rng, (pick(rng, WORDS), str(between(rng, (10, 99)))), 2)
    plates, texts, facts = [], [], []
    for i, (color, value) in enumerate(zip(colors, values, strict=True)):
        width, height = between(rng, (size * 5 // 8, size * 3 // 4)), between(rng, (size // 4, size // 3))
        left = between(rng, (2, size - width - 2))
        top = i * size // 2 + between(rng, (3, size // 2 - height - 3))
        ink = INK if color in ("yellow", "orange") else (255, 255, 255)
        plates.append(Plate((left, top, left + width, top + height), COLORS[color]))
        texts.append(Text(value, left + width / 2, top + height / 2, round(size * 0.21), ink))
        facts.append((f"{color} sign", value))
    return Page(size, random_background(rng), tuple(plates), tuple(texts), tuple(facts), rng.getrandbits(31))


STYLES: Final[dict[str, dict[str, Any]]] = {
    "Regular Text Recognition": {},
    "Irregular Text Recognition": {"turn": (-28, -18, 18, 28)},
    "Artistic Text Recognition": {"rainbow": (True,), "slant": (0.0, 0.25)},
    "Handwriting Recognition": {"slant": (0.2, 0.35), "wobble": (2, 3)},
    "Digit String Recognition": {},
    "Non-Semantic Text Recognition": {},
    "Handwritten Mathematical Expression Recognition": {"slant": (0.2,), "wobble": (1, 2)},
}
"""The recognition categories of OCRBench, and how their text is bent here."""


def single(rng: Random, difficulty: Difficulty, category: str) -> Page:
    """One word, number, letter string or sum across the picture."""
    if category == "Digit String Recognition":
        words = str(between(rng, (100, 9999)))
    elif category == "Non-Semantic Text Recognition":
        words = "".join(pick(rng, CONSONANTS) for _ in range(between(rng, (3, 4))))
    elif category == "Handwritten Mathematical Expression Recognition":
        a, b = between(rng, (1, 9)), between(rng, (1, 9))
        words = f"{a}+{b}={a + b}"
    else:
        words = pick(rng, (*WORDS, *ITEMS, *CITIES, *NAMES))
    size = difficulty.image_size
    bend = {name: pick(rng, options) for name, options in STYLES[category].items()}
    height = round(size * (0.26 if len(words) > 4 else 0.32) * (0.9 + 0.2 * rng.random()))
    bends = (bend.get("turn", 0), bend.get("slant", 0.0), bend.get("wobble", 0))
    while letters(words, height, *bends)[0].shape[1] > size:
        height -= 1
    x, y = size * (0.45 + 0.1 * rng.random()), size * (0.35 + 0.3 * rng.random())
    background = PAPER if "Hand" in category else random_background(rng)
    ink = INK if background.light[0] > 128 else (245, 245, 245)
    if background.light[0] > 200 and chance(rng, 0.5):
        ink = COLORS[pick(rng, ("red", "blue", "purple", "green"))]
    text = Text(words, x, y, height, ink, **bend)
    return Page(size, background, (), (text,), (("text", words),), rng.getrandbits(31))


# --------------------------------------------------------------------------------------------------------------
# Asking


def largest(page: Page) -> str:
    """The item of an infographic with the highest percentage."""
    return max((fact for fact in page.facts if fact[1].endswith("%")), key=lambda fact: int(fact[1][:-1]))[0]


class Asked(NamedTuple):
    """A kind, a question, and how its answer is read off the page."""

    kind: str
    question: str
    answer: Callable[[], str]


def ask(page: Page) -> list[Asked]:
    """Every question that a page answers."""
    names = [name for name, _ in page.facts]
    if "total" in names:
        questions = [
            Asked("total", "What is the total?", partial(page.fact, "total")),
            Asked("shop", "What is the name of the shop?", partial(page.fact, "shop")),
            Asked("count", "How many items are listed?", lambda: str(len(page.facts) - 2)),
        ]
        items = [name for name in names if name not in ("total", "shop")]
        return questions + [Asked("price", f"What is the price of {name}?", partial(page.fact, name)) for name in items]
    if names[0].endswith("sign"):
        return [Asked("sign", f"What does the {name} say?", partial(page.fact, name)) for name in names]
    if any(name.endswith("row") for name in names):
        shares = [name for name in names if not name.endswith("row")]
        rows = [name for name in names if name.endswith("row")]
        return [
            Asked("highest", "Which one has the highest percentage?", lambda: largest(page)),
            *(Asked("share", f"What is the percentage of {name}?", partial(page.fact, name)) for name in shares),
            *(Asked("row", f"What is written in the {name}?", partial(page.fact, name)) for name in rows),
        ]
    return [Asked("field", f"What is the {name}?", partial(page.fact, name)) for name in names]


Row = Callable[[Random, Page, Asked, int], dict[str, Any]]
Make = Callable[[Random, Difficulty], Page]


def draw_pages(
    rng: Random, difficulty: Difficulty, side: Side, serial: int, *, column: str, makers: Sequence[Make], row: Row
) -> list[Sample]:
    """One page and two of its questions."""
    make = pick(rng, makers)
    page = draw_for(side, partial(make, rng, difficulty))
    picture = render(page, difficulty.noise)
    samples = []
    for index, asked in enumerate(some(rng, ask(page), 2)):
        fields = row(rng, page, asked, 2 * serial + index)
        answer, images = asked.answer(), {"image": picture}
        samples.append(Sample(column, asked.kind, fields, answer, asked.answer, f"{column}/{serial}", images))
    return samples
