"""Questions about scenes whose answer is computed from the scene, with wrong options beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Final

from mmrope_synth.core import (
    Difficulty,
    Side,
    chance,
    draw_for,
    letter_of,
    number_options,
    pick,
    shuffled_options,
    some,
)
from mmrope_synth.grounding import Expression, Look, read, resolve
from mmrope_synth.scenes import (
    COLORS,
    SHAPES,
    Scene,
    Thing,
    place,
    random_background,
    random_scene,
)

SIDES: Final = ("left", "right", "above", "below")


@dataclass(frozen=True)
class Choice:
    """A multiple-choice question. `work_out` computes the right option's text from the facts of the picture."""

    kind: str
    question: str
    options: tuple[str, ...]
    work_out: Callable[[], str]
    span: tuple[float, float] | None = None
    """Seconds of a video in which the answer is seen; None for the whole of it."""

    def solve(self) -> str:
        """The letter of the right option."""
        return letter_of(self.options, self.work_out())


def plural(noun: str, count: int = 2) -> str:
    """`circle` -> `circles`, `cross` -> `crosses`."""
    return noun if count == 1 else noun + ("es" if noun.endswith("s") else "s")


def article(word: str) -> str:
    """`a` or `an`."""
    return "an" if word[0] in "aeiou" else "a"


def count_of(scene: Scene, look: Look) -> int:
    """How many things have a look."""
    return sum(look.fits(thing) for thing in scene.things)


def only(scene: Scene, text: str) -> Thing:
    """The one thing that a text means. ValueError when it means none or several."""
    (index,) = resolve(read(text), scene.things, scene.size)
    return scene.things[index]


def extreme(scene: Scene, which: str, margin: float = 0.0) -> Thing | None:
    """The clearly leftmost, biggest ... thing, if there is one."""
    indices = resolve(Expression(Look(), place=which), scene.things, scene.size, margin)
    return scene.things[indices[0]] if len(indices) == 1 else None


def direction(scene: Scene, text: str, anchor: str) -> str:
    """Where the thing `text` is, seen from the thing `anchor`: along the axis on which they differ more."""
    (x, y), (u, v) = only(scene, text).center, only(scene, anchor).center
    if abs(x - u) > abs(y - v):
        return "left" if x < u else "right"
    return "above" if y < v else "below"


# --------------------------------------------------------------------------------------------------------------
# Questions


def ask_count(scene: Scene, rng: Random, difficulty: Difficulty) -> Choice | None:
    """How many things of one shape or colour there are."""
    thing = pick(rng, scene.things)
    by_color = chance(rng, 0.5)
    look = Look("shape", color=thing.color) if by_color else Look(thing.noun)
    words = f"{thing.color} shapes" if by_color else plural(thing.noun)
    count = count_of(scene, look)
    options = number_options(rng, count, low=0)
    return Choice(
        "count", f"How many {words} are there?", tuple(options), lambda: str(count_of(scene, look))
    )


def ask_color(scene: Scene, rng: Random, difficulty: Difficulty) -> Choice | None:
    """The colour of the only thing of its shape, or of the biggest one."""
    alone = [thing.noun for thing in scene.things if count_of(scene, Look(thing.noun)) == 1]
    texts = alone + (["biggest shape"] if extreme(scene, "biggest", difficulty.margin) else [])
    if not texts:
        return None
    text = pick(rng, texts)
    options = shuffled_options(rng, only(scene, text).color, tuple(COLORS))
    return Choice("color", f"What color is the {text}?", tuple(options), lambda: only(scene, text).color)


def ask_shape(scene: Scene, rng: Random, difficulty: Difficulty) -> Choice | None:
    """The shape of the only thing of its colour."""
    alone = [thing.color for thing in scene.things if count_of(scene, Look("shape", color=thing.color)) == 1]
    if not alone:
        return None
    text = f"{pick(rng, alone)} shape"
    options = shuffled_options(rng, only(scene, text).noun, SHAPES)
    return Choice("shape", f"What is the {text}?", tuple(options), lambda: only(scene, text).noun)


def ask_relation(scene: Scene, rng: Random, difficulty: Difficulty) -> Choice | None:
    """Where one thing is relative to another, when the direction is clear."""
    alone = [thing for thing in scene.things if count_of(scene, Look(thing.noun, thing.color)) == 1]
    if len(alone) < 2:
        return None
    a, b = some(rng, alone, 2)
    across, down = abs(a.center[0] - b.center[0]), abs(a.center[1] - b.center[1])
    if abs(across - down) < 2 * difficulty.margin:
        return None
    text, anchor = f"{a.color} {a.noun}", f"{b.color} {b.noun}"
    question = f"Where is the {text} relative to the {anchor}?"
    return Choice("relation", question, tuple(some(rng, SIDES, 4)), partial(direction, scene, text, anchor))


def ask_place(scene: Scene, rng: Random, difficulty: Difficulty) -> Choice | None:
    """Which thing is furthest to one edge."""
    which = pick(rng, ("left", "right", "top", "bottom"))
    thing = extreme(scene, which, difficulty.margin)
    if thing is None:
        return None

    def work_out() -> str:
        thing = only(scene, f"{which} shape")
        return f"{thing.color} {thing.noun}"

    others = [f"{other.color} {other.noun}" for other in scene.things]
    others += [f"{pick(rng, tuple(COLORS))} {pick(rng, SHAPES)}" for _ in range(6)]
    options = shuffled_options(rng, f"{thing.color} {thing.noun}", others)
    where = f"at the {which}" if which in ("top", "bottom") else f"furthest to the {which}"
    return Choice("place", f"Which shape is {where}?", tuple(options), work_out)


def ask_sum(scene: Scene, rng: Random, difficulty: Difficulty) -> Choice | None:
    """The number of things of two kinds together."""
    nouns = tuple(dict.fromkeys(thing.noun for thing in scene.things))
    if len(nouns) < 2:
        return None
    a, b = some(rng, nouns, 2)

    def work_out() -> str:
        return str(count_of(scene, Look(a)) + count_of(scene, Look(b)))

    question = f"How many {plural(a)} and {plural(b)} are there in total?"
    return Choice("sum", question, tuple(number_options(rng, int(work_out()), low=0)), work_out)


def ask_more(scene: Scene, rng: Random, difficulty: Difficulty) -> Choice | None:
    """The most frequent shape, when there is just one."""

    def work_out() -> str:
        counts = {noun: count_of(scene, Look(noun)) for noun in SHAPES}
        best = [noun for noun, count in counts.items() if count == max(counts.values())]
        return best[0] if len(best) == 1 else ""

    if not work_out():
        return None
    options = shuffled_options(rng, work_out(), SHAPES)
    return Choice("most", "Which shape appears most often?", tuple(options), work_out)


def ask_exists(scene: Scene, rng: Random, difficulty: Difficulty) -> Choice | None:
    """Whether a combination of colour and shape occurs; half the time it does."""
    thing = pick(rng, scene.things)
    color, noun = thing.color, thing.noun
    if chance(rng, 0.5):
        color, noun = pick(rng, tuple(COLORS)[: difficulty.colors]), pick(rng, SHAPES[: difficulty.shapes])
    look = Look(noun, color)
    return Choice(
        "exists",
        f"Is there {article(color)} {color} {noun}?",
        tuple(some(rng, ("yes", "no"), 2)),
        lambda: "yes" if count_of(scene, look) else "no",
    )


ASKERS: Final = {
    "count": ask_count,
    "color": ask_color,
    "shape": ask_shape,
    "relation": ask_relation,
    "place": ask_place,
    "sum": ask_sum,
    "most": ask_more,
    "exists": ask_exists,
}


def ask_scene(rng: Random, difficulty: Difficulty, side: Side, kinds: tuple[str, ...]) -> tuple[Scene, list[Choice]]:
    """A scene of shapes, and one question of each kind about it."""
    for _ in range(500):
        scene = draw_for(side, partial(random_scene, rng, difficulty, SHAPES[: difficulty.shapes]))
        if len(scene.things) < difficulty.min_things:
            continue
        choices = [ASKERS[kind](scene, rng, difficulty) for kind in kinds]
        if None not in choices:
            return scene, [choice for choice in choices if choice]
    raise RuntimeError(f"no scene allows the questions {kinds}.")


# --------------------------------------------------------------------------------------------------------------
# Sequences


def draw_sequence(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Scene, Choice]:
    """A row of shapes that repeats with period 2 or 3; the last place is empty."""
    size = difficulty.image_size

    def make() -> Scene:
        period, shown = pick(rng, ((2, 4), (2, 5), (3, 5), (3, 4)))
        looks = [(pick(rng, SHAPES), color) for color in some(rng, tuple(COLORS)[: difficulty.colors], period)]
        diameter = round(size * 0.15)
        y = round(size * (0.3 + 0.3 * rng.random()))
        things = tuple(
            Thing(*looks[i % period], "small", False, round(size * (0.03 + 0.165 * i)), y, diameter)
            for i in range(shown)
        )
        return Scene(size, things, random_background(rng), difficulty.noise, rng.getrandbits(31))

    scene = draw_for(side, make)
    answer = next_in_row(scene)
    others = [f"{thing.color} {thing.noun}" for thing in scene.things]
    others += [f"{pick(rng, tuple(COLORS))} {pick(rng, SHAPES)}" for _ in range(6)]
    options = shuffled_options(rng, answer, others)
    return scene, Choice("sequence", "Which shape comes next?", tuple(options), partial(next_in_row, scene))


def next_in_row(scene: Scene) -> str:
    """What continues a row of things, by the shortest period that explains it."""
    row = [f"{thing.color} {thing.noun}" for thing in sorted(scene.things, key=lambda thing: thing.x)]
    period = next(p for p in range(1, len(row) + 1) if all(row[i] == row[i - p] for i in range(p, len(row))))
    return row[len(row) - period]


def draw_parts(rng: Random, difficulty: Difficulty, side: Side, count: int = 4) -> Scene:
    """Different shapes, all big enough to carry a label: the parts of a diagram."""
    size = difficulty.image_size

    def make() -> Scene:
        nouns = some(rng, ("circle", "square", "triangle", "star", "cross", "heart"), count)
        looks = [(noun, pick(rng, tuple(COLORS)[: difficulty.colors]), "big", False) for noun in nouns]
        while len(things := place(rng, looks, size)) < count:
            pass
        return Scene(size, things, random_background(rng), difficulty.noise, rng.getrandbits(31))

    return draw_for(side, make)
