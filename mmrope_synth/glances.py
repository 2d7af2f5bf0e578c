"""BLINK in miniature: its fourteen tasks, each with as many pictures a question as there, on the small world's shapes.

Every task draws its facts first (scenes, shades, boxes), and both the pictures and the right option follow from them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from mmrope_synth.choices import Choice, ask_scene, draw_sequence
from mmrope_synth.core import LETTERS, Difficulty, Pixels, Side, between, chance, draw_for, pick
from mmrope_synth.core import some as shuffled
from mmrope_synth.lettering import Text, write
from mmrope_synth.sample import Draw, Sample
from mmrope_synth.scenes import (
    COLORS,
    DIAMETERS,
    SHAPES,
    Box,
    Scene,
    Thing,
    finish,
    place,
    random_background,
    random_scene,
    render,
    stamp,
)

PATTERNS: Final = ("plain", "stripes", "checks")
PLACES: Final = ("first", "second", "third", "fourth")
WHITE: Final = (250, 250, 250)
SHADES: Final = (40, 90, 140, 190)
OPPOSITE: Final = {"left": "right", "right": "left", "above": "below", "below": "above"}


@dataclass(frozen=True)
class Glance:
    """One question: its pictures, and beside the short question the longer text that says what the marks mean."""

    pictures: tuple[Pixels, ...]
    choice: Choice
    text: str


def images(*numbers: int) -> tuple[str, ...]:
    """`the second image`, `the third image` ... for the numbers 2, 3 ..."""
    return tuple(f"the {PLACES[number - 1]} image" for number in numbers)


def points(count: int) -> tuple[str, ...]:
    """`Point A`, `Point B` ..."""
    return tuple(f"Point {letter}" for letter in LETTERS[:count])


def labelled(scene: Scene, labels: Mapping[str, tuple[float, float]]) -> Pixels:
    """A scene with words on small white plates, each around its point."""
    canvas = render(scene).astype(np.float32)
    for label, (x, y) in labels.items():
        width, height = round(scene.size * (0.04 + 0.07 * len(label))), round(scene.size * 0.11)
        plate = np.ones((height, width), np.float32)
        stamp(canvas, plate, WHITE, round(x - width / 2), round(y - height / 2))
        write(canvas, Text(label, x, y, height))
    return rounded(canvas)


def rounded(canvas: npt.NDArray[np.float32]) -> Pixels:
    """A canvas as bytes."""
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def scenes(rng: Random, difficulty: Difficulty, count: int) -> list[Scene]:
    """Several scenes that have nothing to do with each other."""
    return [random_scene(rng, difficulty, SHAPES[: difficulty.shapes]) for _ in range(count)]


def parts(rng: Random, difficulty: Difficulty, looks: Sequence[tuple[str, str]]) -> Scene:
    """A scene with exactly these (shape, colour), all big enough to carry a label."""
    size = difficulty.image_size
    given = [(noun, color, "big", False) for noun, color in looks]
    while len(things := place(rng, given, size)) < len(looks):
        pass
    return Scene(size, things, random_background(rng), difficulty.noise, rng.getrandbits(31))


# --------------------------------------------------------------------------------------------------------------
# One picture


def counting(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """How many there are of a shape or a colour."""
    scene, (choice,) = ask_scene(rng, difficulty, side, ("count",))
    return Glance((render(scene),), choice, choice.question)


def spatial_relation(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Whether one thing is left of, right of, above or below another; half the time it is, else it is opposite."""
    scene, (relation,) = ask_scene(rng, difficulty, side, ("relation",))
    true = relation.work_out()
    claimed = true if chance(rng, 0.5) else OPPOSITE[true]
    subject, _, other = relation.question.removeprefix("Where is ").removesuffix("?").partition(" relative to ")
    words = {"left": "left of", "right": "right of"}.get(claimed, claimed)
    question = f"Is {subject} {words} {other}?"
    choice = Choice("", question, ("yes", "no"), lambda: "yes" if relation.work_out() == claimed else "no")
    return Glance((render(scene),), choice, question)


def object_localization(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Which of two outlines is an object's box; the other one is moved."""

    def make() -> tuple[Scene, Box, Box]:
        (scene,) = scenes(rng, difficulty, 1)
        box = pick(rng, scene.things).box
        moved = (box[0] + pick(rng, (-1, 1)) * box[2] // 2, box[1] + pick(rng, (-1, 1)) * box[3] // 2, box[2], box[3])
        first, second = shuffled(rng, (box, moved), 2)
        return scene, first, second

    scene, *boxes = draw_for(side, make)
    canvas = render(scene).astype(np.float32)
    for (x, y, width, height), color in zip(boxes, ((255, 0, 0), (0, 160, 255)), strict=True):
        outline(canvas, (x - 2, y - 2, width + 4, height + 4), color)
    exact = {thing.box for thing in scene.things}
    choice = Choice("", "Which outline fits an object exactly?", ("Box A", "Box B"),
                    lambda: "Box A" if boxes[0] in exact else "Box B")  # fmt: skip
    text = f"Box A is outlined in red, Box B in blue. {choice.question}"
    return Glance((rounded(canvas),), choice, text)


def outline(canvas: npt.NDArray[np.float32], box: Box, color: tuple[int, int, int]) -> None:
    """The edges of a box, two pixels thick, as far as they are in the picture."""
    x, y, width, height = box
    for edge_x, edge_y, w, h in ((x, y, width, 2), (x, y + height - 2, width, 2), (x, y, 2, height),
                                 (x + width - 2, y, 2, height)):  # fmt: skip
        stamp(canvas, np.ones((max(1, h), max(1, w)), np.float32), color, edge_x, edge_y)


def relative_depth(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Which of two objects of one kind is closer: the bigger one."""

    def make() -> Scene:
        noun, color = pick(rng, SHAPES[: difficulty.shapes]), pick(rng, tuple(COLORS)[: difficulty.colors])
        scene = parts(rng, difficulty, [(noun, color)] * 2)
        diameters = {size: round(difficulty.image_size * sum(DIAMETERS[size]) / 2) for size in ("small", "big")}
        sizes = shuffled(rng, tuple(diameters), 2)
        things = tuple(replace(thing, size=size, diameter=min(diameters[size], thing.diameter))
                       for thing, size in zip(scene.things, sizes, strict=True))  # fmt: skip
        return replace(scene, things=things)

    scene = draw_for(side, make)
    first, second = scene.things
    choice = Choice("", "Which object is closer?", ("A is closer", "B is closer"),
                    lambda: "A is closer" if first.diameter > second.diameter else "B is closer")  # fmt: skip
    text = f"Two objects of the same size are marked A and B; the further away, the smaller it looks. {choice.question}"
    return Glance((labelled(scene, {"A": first.center, "B": second.center}),), choice, text)


@dataclass(frozen=True)
class Surfaces:
    """Two grey squares beside each other."""

    shades: tuple[int, int]
    around: tuple[int, int, int]
    noise_seed: int

    def darker(self) -> str:
        """Which one is darker."""
        shade_a, shade_b = self.shades
        return "About the same" if shade_a == shade_b else "A is darker" if shade_a < shade_b else "B is darker"


def relative_reflectance(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Which of two surfaces is darker, or whether they are alike."""

    def make() -> Surfaces:
        shade_a = pick(rng, SHADES)
        shade_b = shade_a if chance(rng, 1 / 3) else pick(rng, [shade for shade in SHADES if shade != shade_a])
        return Surfaces((shade_a, shade_b), pick(rng, tuple(COLORS.values())), rng.getrandbits(31))

    surfaces, size = draw_for(side, make), difficulty.image_size
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = surfaces.around
    for letter, left, shade in zip("AB", (round(size * 0.06), round(size * 0.54)), surfaces.shades, strict=True):
        canvas[round(size * 0.2) : round(size * 0.8), left : left + round(size * 0.4)] = shade
        write(canvas, Text(letter, left + size * 0.2, size * 0.1, round(size * 0.13), WHITE))
    options = ("A is darker", "B is darker", "About the same")
    choice = Choice("", "Which surface is darker?", options, surfaces.darker)
    text = f"Two grey surfaces are marked A and B. {choice.question}"
    return Glance((finish(canvas, difficulty.noise, surfaces.noise_seed),), choice, text)


def iq_test(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """What continues a row of shapes."""
    scene, choice = draw_sequence(rng, difficulty, side)
    return Glance((render(scene),), choice, f"The shapes follow a rule. {choice.question}")


# --------------------------------------------------------------------------------------------------------------
# Two pictures


def multi_view_reasoning(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Which way the camera went between two pictures: things move the other way."""

    def make() -> tuple[Scene, Scene]:
        (scene,) = scenes(rng, difficulty, 1)
        step = pick(rng, (-1, 1)) * between(rng, (round(scene.size * 0.12), round(scene.size * 0.2)))
        return scene, replace(scene, things=tuple(replace(thing, x=thing.x + step) for thing in scene.things))

    first, second = draw_for(side, make)

    def went() -> str:
        moved = sum(thing.center[0] for thing in second.things) - sum(thing.center[0] for thing in first.things)
        return "right" if moved < 0 else "left"

    choice = Choice("", "Did the camera move left or right?", ("left", "right"), went)
    text = f"The second image was taken after the first, from another place. {choice.question}"
    return Glance((render(first), render(second)), choice, text)


Alike = Callable[[Thing, Thing], bool]


def correspondence(
    rng: Random, difficulty: Difficulty, side: Side, what: str, same: tuple[bool, bool]
) -> Glance:
    """Which of four labelled things is a marked one's counterpart; `same`: whether these share shape and colour."""

    def make() -> tuple[Scene, Scene, int]:
        looks = list(zip(shuffled(rng, SHAPES, 4), shuffled(rng, tuple(COLORS), 4), strict=True))
        # What counterparts do not share is dealt out anew, so that it leads astray.
        nouns = [noun for noun, _ in looks] if same[0] else shuffled(rng, [noun for noun, _ in looks], 4)
        colors = [color for _, color in looks] if same[1] else shuffled(rng, [color for _, color in looks], 4)
        others = shuffled(rng, list(zip(nouns, colors, strict=True)), 4)
        return parts(rng, difficulty, looks), parts(rng, difficulty, others), between(rng, (0, 3))

    first, second, marked = draw_for(side, make)

    def counterpart() -> str:
        original = first.things[marked]
        wanted = [(not same[0] or thing.noun == original.noun) and (not same[1] or thing.color == original.color)
                  for thing in second.things]  # fmt: skip
        assert sum(wanted) == 1
        return points(4)[wanted.index(True)]

    question = f"Which point marks {what}?"
    text = f"A point of the first image is marked REF; the second has the points A, B, C and D. {question}"
    pictures = (labelled(first, {"REF": first.things[marked].center}),
                labelled(second, {letter: thing.center for letter, thing in zip("ABCD", second.things, strict=True)}))
    return Glance(pictures, Choice("", question, points(4), counterpart), text)


# --------------------------------------------------------------------------------------------------------------
# Three and four pictures


def two_candidates(rng: Random, right: Scene, wrong: Scene) -> tuple[Scene, Scene]:
    """The two in random order."""
    first, second = shuffled(rng, (right, wrong), 2)
    return first, second


def art_style(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Which of two pictures has the reference's pattern in its background."""

    def make() -> tuple[Scene, Scene, Scene]:
        pattern, other = shuffled(rng, PATTERNS, 2)
        patterned = [replace(scene, background=replace(scene.background, pattern=pattern if i < 2 else other))
                     for i, scene in enumerate(scenes(rng, difficulty, 3))]  # fmt: skip
        return patterned[0], *two_candidates(rng, patterned[1], patterned[2])

    first, second, third = draw_for(side, make)

    def alike() -> str:
        return images(2 if second.background.pattern == first.background.pattern else 3)[0]

    choice = Choice("", "Which image has the style of the first?", images(2, 3), alike)
    text = f"The style of a picture is the pattern behind its shapes. {choice.question}"
    return Glance(tuple(map(render, (first, second, third))), choice, text)


def visual_similarity(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Which of two pictures shows the reference's things; they stand elsewhere in it."""

    def make() -> tuple[Scene, Scene, Scene]:
        while True:
            first, other = scenes(rng, difficulty, 2)
            looks = [(thing.noun, thing.color, thing.size, thing.hollow) for thing in first.things]
            again = replace(first, things=place(rng, looks, first.size), noise_seed=rng.getrandbits(31))
            if in_common(first, again) == len(first.things) > in_common(first, other):
                return first, *two_candidates(rng, again, other)

    first, second, third = draw_for(side, make)

    def nearest() -> str:
        return images(2 if in_common(first, second) > in_common(first, third) else 3)[0]

    choice = Choice("", "Which image is more like the first?", images(2, 3), nearest)
    text = f"The first image is the reference. {choice.question}"
    return Glance(tuple(map(render, (first, second, third))), choice, text)


def in_common(first: Scene, second: Scene) -> int:
    """How many things of one scene are in the other, by shape, colour, size and filling."""
    looks = [Counter((t.noun, t.color, t.size, t.hollow) for t in scene.things) for scene in (first, second)]
    return (looks[0] & looks[1]).total()


def jigsaw(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Which of two pieces belongs into the black corner."""

    def make() -> tuple[Scene, Scene, Scene]:
        while True:
            whole, other = scenes(rng, difficulty, 2)
            if whole.background.light != other.background.light:
                return whole, *two_candidates(rng, whole, other)

    whole, *candidates = draw_for(side, make)
    half = whole.size // 2
    broken = render(whole).copy()
    broken[half:, half:] = 0
    pieces = [render(scene)[half:, half:].repeat(2, 0).repeat(2, 1) for scene in candidates]

    def fits() -> str:
        return images(2 + candidates.index(whole))[0]

    choice = Choice("", "Which image fits into the black corner?", images(2, 3), fits)
    text = f"The first image lacks its lower right corner; the second and third are pieces, enlarged. {choice.question}"
    return Glance((broken, *pieces), choice, text)


def forensic_detection(rng: Random, difficulty: Difficulty, side: Side) -> Glance:
    """Which of four pictures has the grain of a photograph."""

    def make() -> tuple[tuple[Scene, ...], int]:
        real = between(rng, (0, 3))
        drawn = enumerate(scenes(rng, difficulty, 4))
        candidates = [replace(scene, noise=20.0 if i == real else 0.0) for i, scene in drawn]
        return tuple(candidates), real

    candidates, _ = draw_for(side, make)

    def grainy() -> str:
        return images(1 + max(range(4), key=lambda i: candidates[i].noise))[0]

    choice = Choice("", "Which image is a photograph?", images(1, 2, 3, 4), grainy)
    text = f"One of the four images has the grain of a photograph, the others are drawn. {choice.question}"
    return Glance(tuple(map(render, candidates)), choice, text)


# --------------------------------------------------------------------------------------------------------------

TASKS: Final[Mapping[str, Callable[[Random, Difficulty, Side], Glance]]] = {
    "Art_Style": art_style,
    "Counting": counting,
    "Forensic_Detection": forensic_detection,
    "Functional_Correspondence": partial(correspondence, what="the thing of the same color", same=(False, True)),
    "IQ_Test": iq_test,
    "Jigsaw": jigsaw,
    "Multi-view_Reasoning": multi_view_reasoning,
    "Object_Localization": object_localization,
    "Relative_Depth": relative_depth,
    "Relative_Reflectance": relative_reflectance,
    "Semantic_Correspondence": partial(correspondence, what="the thing of the same shape", same=(True, False)),
    "Spatial_Relation": spatial_relation,
    "Visual_Correspondence": partial(correspondence, what="the same thing", same=(True, True)),
    "Visual_Similarity": visual_similarity,
}
"""BLINK's fourteen tasks, its configurations, in the order of the alphabet."""


def draw_blink(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One question; the fourteen tasks take turns with the serial number."""
    task = list(TASKS)[serial % len(TASKS)]
    glance = TASKS[task](rng, difficulty, side)
    choice = glance.choice
    listed = "\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, choice.options, strict=False))
    row = {
        "idx": f"val_{task}_{serial // len(TASKS) + 1}",
        "question": choice.question,
        "sub_task": task,
        "choices": list(choice.options),
        "answer": f"({choice.solve()})",
        "prompt": f"{glance.text}\nSelect from the following choices.\n{listed}",
        "explanation": "",
    }
    pictures = {f"image_{i + 1}": picture for i, picture in enumerate(glance.pictures)}
    return [Sample("blink", task, row, choice.solve(), choice.solve, f"blink/{serial}", pictures)]


GLANCES: Final[dict[str, Draw]] = {"blink": draw_blink}
