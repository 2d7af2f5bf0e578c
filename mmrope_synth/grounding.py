"""Referring expressions: a small grammar, a solver that reads them back, and the eight RefCOCO splits.

An expression is only used when the solver finds exactly its object, both when comparisons are taken literally and when
they must hold by a margin that an eye sees. The three data sets differ as the real ones do: RefCOCO is short and may
say where something is, RefCOCO+ may only say what it looks like, RefCOCOg uses whole phrases with a second object.
testA is about people, testB about other objects, val about both (RefCOCOg is not divided that way).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from random import Random
from typing import Final

from mmrope_synth.core import Difficulty, Pixels, Side, chance, draw_for, pick, some
from mmrope_synth.sample import Draw, Sample
from mmrope_synth.scenes import COLORS, PEOPLE, SHAPES, Scene, Thing, random_scene, render

GENERIC: Final = {"thing": (*SHAPES, *PEOPLE), "shape": SHAPES, "person": PEOPLE}
EDGES: Final = ("left", "right", "top", "bottom")
CORNERS: Final = ("top left", "top right", "bottom left", "bottom right")
EXTREMES: Final = ("biggest", "smallest")
RELATIONS: Final = {"to the left of": "left", "to the right of": "right", "above": "top", "below": "bottom"}
NEAREST: Final = "closest to"

PLAIN: Final = {"refcoco": 0.4, "refcoco+": 0.6, "refcocog": 0.05}
"""How often a thing that its looks tell from all others is described by them alone."""

TRIES: Final = {"refcoco": 15, "refcoco+": 6, "refcocog": 30}

QUESTION: Final = "Please carefully observe the area circled in the image and come up with a caption for the area."
"""What the `question` column of the RefCOCO data sets holds in every row."""


@dataclass(frozen=True)
class Look:
    """What something looks like; None where the expression says nothing."""

    noun: str = "thing"
    color: str | None = None
    size: str | None = None
    hollow: bool = False

    def fits(self, thing: Thing) -> bool:
        """Whether a thing has these looks."""
        if self.color is not None and self.color != thing.color:
            return False
        if self.size is not None and self.size != thing.size:
            return False
        if self.noun != thing.noun and thing.noun not in GENERIC.get(self.noun, ()):
            return False
        return thing.hollow or not self.hollow


@dataclass(frozen=True)
class Expression:
    """A look, and at most one of: a place in the picture, an extreme size, a relation to another thing."""

    look: Look
    place: str | None = None
    relation: str | None = None
    anchor: Look | None = None


# --------------------------------------------------------------------------------------------------------------
# Saying and reading


def say(expression: Expression, rng: Random, style: str) -> str:
    """One wording in the style of `refcoco`, `refcoco+` or `refcocog`."""
    words = say_look(expression.look)
    article = "the " if style == "refcocog" else ""
    if expression.relation and expression.anchor:
        return f"{article}{words} that is {expression.relation} the {say_look(expression.anchor)}"
    if expression.place in EXTREMES:
        return f"{article}{expression.place} {words}"
    if expression.place in EDGES:
        long = style == "refcocog" or chance(rng, 0.4)
        where = f"at the {expression.place}" if expression.place in ("top", "bottom") else f"on the {expression.place}"
        return f"{article}{words} {where}" if long else f"{expression.place} {words}"
    if expression.place in CORNERS:
        return f"{article}{words} in the {expression.place} corner"
    return f"{article}{words}"


def say_look(look: Look) -> str:
    """`small red circle`, `woman in blue`."""
    people = look.noun in PEOPLE or look.noun == "person"
    before = [look.size, "hollow" if look.hollow else None, None if people else look.color, look.noun]
    words = " ".join(word for word in before if word)
    return f"{words} in {look.color}" if people and look.color else words


def read(text: str) -> Expression:
    """The expression a text stands for. ValueError for a text outside the grammar."""
    text = re.sub(r"^the ", "", text.strip().lower())
    relations = "|".join((*RELATIONS, NEAREST))
    if match := re.fullmatch(rf"(.+?) that is ({relations}) the (.+)", text):
        return Expression(_read_look(match[1]), relation=match[2], anchor=_read_look(match[3]))
    if match := re.fullmatch(rf"(.+?) in the ({'|'.join(CORNERS)}) corner", text):
        return Expression(_read_look(match[1]), place=match[2])
    if match := re.fullmatch(rf"(.+?) (?:on|at) the ({'|'.join(EDGES)})", text):
        return Expression(_read_look(match[1]), place=match[2])
    if match := re.fullmatch(rf"({'|'.join((*EDGES, *EXTREMES))}) (.+)", text):
        return Expression(_read_look(match[2]), place=match[1])
    return Expression(_read_look(text))


def _read_look(text: str) -> Look:
    look = Look()
    for word in text.split():
        if word in COLORS:
            look = replace(look, color=word)
        elif word in ("small", "big"):
            look = replace(look, size=word)
        elif word == "hollow":
            look = replace(look, hollow=True)
        elif word in (*SHAPES, *PEOPLE, *GENERIC):
            look = replace(look, noun=word)
        elif word != "in":
            raise ValueError(f"no word of the world: {word!r} in {text!r}")
    return look


# --------------------------------------------------------------------------------------------------------------
# Solving


def resolve(expression: Expression, things: Sequence[Thing], side: int, margin: float = 0.0) -> tuple[int, ...]:
    """Indices of all things an expression may mean in a picture of `side` pixels.

    With a margin, comparisons count as undecided when they differ by no more than that many pixels, so a `left` that
    two things claim gives both. An anchor that is not unique gives nothing.
    """
    fitting = [i for i, thing in enumerate(things) if expression.look.fits(thing)]
    if expression.relation and expression.anchor:
        anchors = [i for i, thing in enumerate(things) if expression.anchor.fits(thing)]
        if len(anchors) != 1:
            return ()
        return _related(expression.relation, things, anchors[0], [i for i in fitting if i != anchors[0]], margin)
    if expression.place is None:
        return tuple(fitting)
    if expression.place in CORNERS:
        return tuple(i for i in fitting if _in_corner(things[i], expression.place, side, margin))
    return _foremost(fitting, _measure(expression.place, things), margin)


def _measure(place: str, things: Sequence[Thing]) -> Callable[[int], float]:
    """A number in pixels that is the smaller, the more a thing deserves the word."""
    return {
        "left": lambda i: things[i].center[0],
        "right": lambda i: -things[i].center[0],
        "top": lambda i: things[i].center[1],
        "bottom": lambda i: -things[i].center[1],
        "biggest": lambda i: -(things[i].area ** 0.5),
        "smallest": lambda i: things[i].area ** 0.5,
    }[place]


def _foremost(candidates: Sequence[int], measure: Callable[[int], float], margin: float) -> tuple[int, ...]:
    if not candidates:
        return ()
    best = min(measure(i) for i in candidates)
    return tuple(i for i in candidates if measure(i) <= best + margin)


def _in_corner(thing: Thing, corner: str, side: int, margin: float) -> bool:
    """Whether the centre may be meant by a corner; with a margin, centres just outside may be as well."""
    x, y = thing.center
    vertical, horizontal = corner.split()
    across = (side / 2 - x) if horizontal == "left" else (x - side / 2)
    down = (side / 2 - y) if vertical == "top" else (y - side / 2)
    return min(across, down) > -margin


def _related(
    relation: str, things: Sequence[Thing], anchor: int, candidates: Sequence[int], margin: float
) -> tuple[int, ...]:
    if relation == NEAREST:
        x, y = things[anchor].center

        def distance(i: int) -> float:
            return float(((things[i].center[0] - x) ** 2 + (things[i].center[1] - y) ** 2) ** 0.5)

        return _foremost(candidates, distance, margin)
    measure = _measure(RELATIONS[relation], things)
    return tuple(i for i in candidates if measure(i) < measure(anchor) + margin)


def is_clear(expression: Expression, target: int, scene: Scene, margin: float) -> bool:
    """Whether an expression means exactly one thing, literally and by a margin, and satisfies its own comparison."""
    things, side = scene.things, scene.size
    if resolve(expression, things, side) != (target,) or resolve(expression, things, side, margin) != (target,):
        return False
    if expression.place in CORNERS:
        return _in_corner(things[target], expression.place, side, -margin)
    if expression.relation in RELATIONS and expression.anchor:
        return resolve(expression, things, side, -margin) == (target,)
    return True


# --------------------------------------------------------------------------------------------------------------
# Inventing


def looks_of(thing: Thing) -> tuple[Look, ...]:
    """Every way to describe a thing by its own looks, the shortest first."""
    return _looks(thing.noun, thing.color, thing.size, thing.hollow)


@lru_cache(maxsize=1024)
def _looks(noun: str, color: str, size: str, hollow: bool) -> tuple[Look, ...]:
    nouns = (noun, "person" if noun in PEOPLE else "shape")
    every = [
        Look(name, a_color, a_size, is_hollow)
        for is_hollow in ((False, True) if hollow else (False,))
        for a_size in (None, size)
        for a_color in (None, color)
        for name in nouns
    ]
    return tuple(sorted(every, key=_words))


def sorted_looks(scene: Scene, target: int) -> tuple[list[Look], list[Look]]:
    """The ways to describe a thing: those that mean it alone, and those that mean others as well."""
    alone: list[Look] = []
    shared: list[Look] = []
    for look in looks_of(scene.things[target]):
        unique = not any(look.fits(thing) for i, thing in enumerate(scene.things) if i != target)
        (alone if unique else shared).append(look)
    return alone, shared


Looks = Sequence[tuple[list[Look], list[Look]]]
"""`sorted_looks` of every thing of a scene."""


def describe(scene: Scene, looks: Looks, target: int, rng: Random, style: str, margin: float) -> str | None:
    """A clear expression in a style, or None when several tries find none.

    A place or relation is only said of a look that several things share, so that it decides.
    """
    alone, shared = looks[target]
    if not alone or not chance(rng, PLAIN[style]):
        for _ in range(TRIES[style] if shared else 0):
            expression = _invent(pick(rng, shared), looks, target, rng, style)
            if is_clear(expression, target, scene, margin):
                return say(expression, rng, style)
    if not alone:
        return None
    extreme = _words(alone[-1 if style == "refcocog" else 0])
    brief = [look for look in alone if _words(look) == extreme]
    return say(Expression(pick(rng, brief if chance(rng, 0.6) else alone)), rng, style)


def _words(look: Look) -> int:
    return len(say_look(look).split())


def _invent(look: Look, looks: Looks, target: int, rng: Random, style: str) -> Expression:
    anchors = looks[pick(rng, [i for i in range(len(looks)) if i != target])][0] if style == "refcocog" else []
    if anchors and chance(rng, 0.8):
        return Expression(look, relation=pick(rng, (*RELATIONS, NEAREST)), anchor=pick(rng, anchors))
    places = {"refcoco": (*EDGES, *EDGES, *CORNERS), "refcoco+": EXTREMES, "refcocog": (*CORNERS, *EXTREMES)}
    place = pick(rng, places[style])
    return Expression(replace(look, size=None) if place in EXTREMES else look, place=place)


# --------------------------------------------------------------------------------------------------------------
# The data sets

STYLES: Final = {"refcoco": "refcoco", "refcocoplus": "refcoco+", "refcocog": "refcocog"}
EXPRESSIONS_PER_OBJECT: Final = 2
OBJECTS_PER_IMAGE: Final = 2


def draw_objects(rng: Random, difficulty: Difficulty, side: Side, serial: int, *, column: str) -> list[Sample]:
    """Two objects of one scene, each with its expressions; one sample per expression."""
    dataset, split = column.split("_")
    while True:
        nouns = {"testA": PEOPLE, "testB": SHAPES}.get(split) or pick(rng, (PEOPLE, SHAPES))
        scene = draw_for(side, partial(random_scene, rng, difficulty, nouns))
        told = _tell(scene, rng, STYLES[dataset], difficulty.margin)
        if len(told) == OBJECTS_PER_IMAGE:
            break
    picture = render(scene)
    return [
        _sample(column, scene, target, texts, index, serial, {"image": picture})
        for target, texts in told
        for index in range(len(texts))
    ]


def _tell(scene: Scene, rng: Random, style: str, margin: float) -> list[tuple[int, list[str]]]:
    """Objects in random order with different clear expressions, as many as are wanted and can be found."""
    told: list[tuple[int, list[str]]] = []
    looks = [sorted_looks(scene, i) for i in range(len(scene.things))]
    for target in some(rng, range(len(scene.things)), len(scene.things)):
        texts = [describe(scene, looks, target, rng, style, margin) for _ in range(EXPRESSIONS_PER_OBJECT)]
        if None not in texts:
            told.append((target, list(dict.fromkeys(str(text) for text in texts))))
        if len(told) == OBJECTS_PER_IMAGE:
            break
    return told


def _sample(
    column: str,
    scene: Scene,
    target: int,
    texts: Sequence[str],
    index: int,
    serial: int,
    images: Mapping[str, Pixels],
) -> Sample:
    x, y, width, height = scene.things[target].box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    row = {
        "question_id": str(1000 * serial + target),
        "question": QUESTION,
        "answer": list(texts),
        "segmentation": [float(value) for value in corners],
        "bbox": [float(value) for value in (x, y, width, height)],
        "iscrowd": 0,
        "file_name": f"COCO_train2014_{serial:012d}_{target}.jpg",
        "expression": texts[index],
        "expression_index": index,
    }
    box = (float(x), float(y), float(x + width), float(y + height))
    kind = "relation" if read(texts[index]).relation else "place" if read(texts[index]).place else "look"
    return Sample(
        column, kind, row, _box_text(box), partial(_prove, texts[index], scene), f"{column}/{serial}", images, box=box
    )


def _prove(text: str, scene: Scene) -> str:
    """The box of what the text means, found by reading it."""
    (index,) = resolve(read(text), scene.things, scene.size)
    x, y, width, height = scene.things[index].box
    return _box_text((x, y, x + width, y + height))


def _box_text(box: tuple[float, float, float, float]) -> str:
    return ",".join(f"{value:g}" for value in box)


GROUNDING: Final[dict[str, Draw]] = {
    column: partial(draw_objects, column=column)
    for column in (
        "refcoco_val",
        "refcoco_testA",
        "refcoco_testB",
        "refcocoplus_val",
        "refcocoplus_testA",
        "refcocoplus_testB",
        "refcocog_val",
        "refcocog_test",
    )
}
