"""Diagrams with labelled stages and parts (AI2D), and street scenes (RealWorldQA)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from mmrope_synth.choices import Choice, article, draw_parts
from mmrope_synth.core import (
    LETTERS,
    Difficulty,
    Pixels,
    Side,
    between,
    chance,
    draw_for,
    number_options,
    pick,
    shuffled_options,
    some,
)
from mmrope_synth.documents import ITEMS, PAPER
from mmrope_synth.lettering import INK, Text, write
from mmrope_synth.sample import Sample
from mmrope_synth.scenes import COLORS, Scene, backdrop, finish, mask, paint, stamp

Point = tuple[float, float]
WHITE: Final = (250, 250, 250)
DIRECTLY: Final = "Please answer directly with only the letter of the correct option and nothing else."
SHORTLY: Final = "Please answer directly with a single word or number."


def segment(canvas: npt.NDArray[np.float32], start: Point, end: Point, width: float, color: Sequence[int]) -> None:
    """Draw a straight line."""
    stamp(canvas, _segment_mask(canvas.shape[0], canvas.shape[1], start, end, width), color, 0, 0)


@lru_cache(maxsize=256)
def _segment_mask(height: int, width: int, start: Point, end: Point, thick: float) -> npt.NDArray[np.float32]:
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    across, down = end[0] - start[0], end[1] - start[1]
    along = np.clip(((x - start[0]) * across + (y - start[1]) * down) / max(1e-6, across**2 + down**2), 0, 1)
    distance = np.hypot(x - start[0] - along * across, y - start[1] - along * down)
    cover: npt.NDArray[np.float32] = np.clip(thick / 2 + 0.5 - distance, 0, 1).astype(np.float32)
    return cover


def arrow(canvas: npt.NDArray[np.float32], start: Point, end: Point, color: Sequence[int]) -> None:
    """A line with a head at its end."""
    segment(canvas, start, end, 1.8, color)
    angle = np.arctan2(end[1] - start[1], end[0] - start[0])
    for turn in (2.6, -2.6):
        barb = (end[0] + 7 * float(np.cos(angle + turn)), end[1] + 7 * float(np.sin(angle + turn)))
        segment(canvas, barb, end, 1.8, color)


def block(
    canvas: npt.NDArray[np.float32], left: float, top: float, right: float, bottom: float, color: Sequence[int]
) -> None:
    """Fill a rectangle, rounded to whole pixels."""
    canvas[round(top) : round(bottom), round(left) : round(right)] = color


# --------------------------------------------------------------------------------------------------------------
# AI2D


@dataclass(frozen=True)
class Chain:
    """Stages in the order of the arrows; `corners[i]` is the corner (0 to 3, clockwise) where stage i stands."""

    stages: tuple[str, ...]
    corners: tuple[int, ...]
    color: str
    noise_seed: int

    def after(self, stage: str) -> str:
        """What the arrow that leaves a stage points to."""
        return self.stages[self.stages.index(stage) + 1]

    def before(self, stage: str) -> str:
        """Where the arrow that reaches a stage comes from."""
        return self.stages[self.stages.index(stage) - 1]


def render_chain(chain: Chain, size: int, noise: float) -> Pixels:
    """Four boxes with words, joined by three arrows."""
    canvas = backdrop(PAPER, size, size).copy()
    near, left, far = size * 0.18, size * 0.24, size * 0.82
    middles = [(left, near), (size - left, near), (size - left, far), (left, far)]
    places = [middles[corner] for corner in chain.corners]
    for (x, y), (u, v) in pairwise(places):
        length = float(np.hypot(u - x, v - y))
        reach = size * (0.23 if abs(u - x) > abs(v - y) else 0.16) / length
        start, end = (x + (u - x) * reach, y + (v - y) * reach), (u - (u - x) * reach, v - (v - y) * reach)
        arrow(canvas, start, end, INK)
    for (x, y), stage in zip(places, chain.stages, strict=True):
        block(canvas, x - size * 0.2, y - size * 0.13, x + size * 0.2, y + size * 0.13, COLORS[chain.color])
        block(canvas, x - size * 0.18, y - size * 0.11, x + size * 0.18, y + size * 0.11, WHITE)
        write(canvas, Text(stage, x, y, round(size * 0.15)))
    return finish(canvas, noise, chain.noise_seed)


def draw_ai2d(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """A chain of stages, or shapes with letters beside them; `answer` is the index of the right option as text."""
    picture, choices = (_chain if serial % 2 else _labelled_parts)(rng, difficulty, side)
    return [
        Sample(
            column="ai2d",
            kind=choice.kind,
            row={
                "question": choice.question,
                "options": list(choice.options),
                "answer": str(LETTERS.index(choice.solve())),
            },
            answer=choice.solve(),
            proof=choice.solve,
            group=f"ai2d/{serial}",
            images={"image": picture},
        )
        for choice in choices
    ]


def _chain(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Pixels, list[Choice]]:
    def make() -> Chain:
        start, turn = between(rng, (0, 3)), pick(rng, (1, 3))
        corners = tuple((start + i * turn) % 4 for i in range(4))
        return Chain(tuple(some(rng, ITEMS, 4)), corners, pick(rng, tuple(COLORS)), rng.getrandbits(31))

    chain = draw_for(side, make)
    a, b = pick(rng, chain.stages[:-1]), pick(rng, chain.stages[1:])
    asked: list[tuple[str, str, Callable[[], str]]] = [
        ("after", f"What comes after {a}?", partial(chain.after, a)),
        ("before", f"What comes before {b}?", partial(chain.before, b)),
        ("first", "What is the first stage?", lambda: chain.stages[0]),
        ("last", "What is the last stage?", lambda: chain.stages[-1]),
    ]
    choices = [
        Choice(kind, question, tuple(some(rng, chain.stages, 4)), work_out)
        for kind, question, work_out in some(rng, asked, 2)
    ]
    return render_chain(chain, difficulty.image_size, difficulty.noise), choices


def _labelled_parts(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Pixels, list[Choice]]:
    scene = draw_parts(rng, difficulty, side)
    labels = some(rng, "ABCDEFGH", len(scene.things))

    def label_of(noun: str) -> str:
        return next(label for label, thing in zip(labels, scene.things, strict=True) if thing.noun == noun)

    def noun_of(label: str) -> str:
        return scene.things[labels.index(label)].noun

    noun, label = pick(rng, scene.things).noun, pick(rng, labels)
    nouns = tuple(thing.noun for thing in scene.things)
    choices = [
        Choice("letter", f"Which letter marks the {noun}?", tuple(some(rng, labels, 4)), partial(label_of, noun)),
        Choice("part", f"What does the letter {label} mark?", tuple(some(rng, nouns, 4)), partial(noun_of, label)),
    ]
    return _render_labelled(scene, labels), choices


def _render_labelled(scene: Scene, labels: Sequence[str]) -> Pixels:
    canvas = backdrop(scene.background, scene.size, scene.size).copy()
    for thing, label in zip(scene.things, labels, strict=True):
        paint(canvas, thing.noun, thing.color, thing.x, thing.y, thing.diameter, thing.hollow)
        x, y = thing.center
        block(canvas, x - 7, y - 8, x + 7, y + 8, WHITE)
        write(canvas, Text(label, x, y, round(scene.size * 0.14)))
    return finish(canvas, scene.noise, scene.noise_seed)


# --------------------------------------------------------------------------------------------------------------
# RealWorldQA

LAMPS: Final = ("red", "yellow", "green")
SLOTS: Final = ((0.2, 0.9), (0.5, 0.9), (0.8, 0.9), (0.36, 0.64), (0.66, 0.64))
"""Where cars can be: the middle of the wheels' line, as shares of the side."""


@dataclass(frozen=True)
class Street:
    """A road with cars (slot, colour), a traffic light and a speed sign."""

    cars: tuple[tuple[int, str], ...]
    lamp: str
    limit: int
    mirrored: bool
    noise_seed: int

    def side_of(self, color: str, other: str) -> str:
        """Whether the car of one colour is left or right of another."""
        x = {paint: SLOTS[slot][0] for slot, paint in self.cars}
        return "left" if x[color] < x[other] else "right"


def render_street(street: Street, size: int, noise: float) -> Pixels:
    """Sky, grass, a road that narrows, and what is on it."""
    canvas = np.empty((size, size, 3), np.float32)
    block(canvas, 0, 0, size, size * 0.42, (190, 215, 240))
    block(canvas, 0, size * 0.42, size, size, (150, 175, 125))
    for line in range(round(size * 0.42), size):
        half = size * (0.16 + 0.68 * (line / size - 0.42))
        block(canvas, max(0, size / 2 - half), line, min(size, size / 2 + half), line + 1, (110, 112, 118))
    light, sign = (0.84, 0.17) if street.mirrored else (0.16, 0.83)
    _traffic_light(canvas, size * light, size, street.lamp)
    _speed_sign(canvas, size * sign, size, street.limit)
    for slot, color in sorted(street.cars, key=lambda car: SLOTS[car[0]][1]):
        x, y = SLOTS[slot]
        _car(canvas, x * size, y * size, size * (0.26 if y > 0.8 else 0.2), color)
    return finish(canvas, noise, street.noise_seed)


def _traffic_light(canvas: npt.NDArray[np.float32], x: float, size: int, lamp: str) -> None:
    block(canvas, x - 1.5, size * 0.3, x + 1.5, size * 0.5, (70, 70, 70))
    block(canvas, x - size * 0.07, size * 0.02, x + size * 0.07, size * 0.38, (40, 40, 44))
    diameter = round(size * 0.1)
    for i, color in enumerate(LAMPS):
        y = round(size * (0.035 + 0.118 * i))
        left = round(x - diameter / 2)
        if color == lamp:
            paint(canvas, "circle", color, left, y, diameter, False)
        else:
            stamp(canvas, np.full((diameter, diameter), 0.25, np.float32), (90, 90, 90), left, y)


def _speed_sign(canvas: npt.NDArray[np.float32], x: float, size: int, limit: int) -> None:
    block(canvas, x - 1.5, size * 0.25, x + 1.5, size * 0.5, (120, 120, 120))
    diameter = round(size * 0.3)
    left, top = round(x - diameter / 2), round(size * 0.02)
    paint(canvas, "circle", "red", left, top, diameter, False)
    inner = round(diameter * 0.82)
    shift = (diameter - inner) // 2
    stamp(canvas, mask("circle", inner), WHITE, left + shift, top + shift)
    write(canvas, Text(str(limit), left + diameter / 2, top + diameter / 2, round(size * 0.15)))


def _car(canvas: npt.NDArray[np.float32], x: float, y: float, width: float, color: str) -> None:
    block(canvas, x - width * 0.3, y - width * 0.62, x + width * 0.3, y - width * 0.3, COLORS[color])
    block(canvas, x - width * 0.22, y - width * 0.54, x + width * 0.22, y - width * 0.34, (205, 225, 235))
    block(canvas, x - width * 0.5, y - width * 0.35, x + width * 0.5, y - width * 0.08, COLORS[color])
    for wheel in (x - width * 0.3, x + width * 0.3):
        block(canvas, wheel - width * 0.1, y - width * 0.12, wheel + width * 0.1, y + width * 0.04, (20, 20, 20))


def random_street(rng: Random) -> Street:
    """One to four cars of different colours."""
    count = between(rng, (1, 4))
    slots, colors = some(rng, range(len(SLOTS)), count), some(rng, tuple(COLORS), count)
    cars = tuple(zip(slots, colors, strict=True))
    return Street(cars, pick(rng, LAMPS), 10 * between(rng, (1, 9)), chance(rng, 0.5), rng.getrandbits(31))


def draw_realworldqa(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """A street and two questions: options inside the question, or a word or number as the answer."""
    street = draw_for(side, partial(random_street, rng))
    picture = render_street(street, difficulty.image_size, difficulty.noise)
    samples = []
    for choice, short in some(rng, _street_questions(street, rng), 2):
        options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, choice.options, strict=False))
        row = {
            "image_path": f"{serial:04d}.webp",
            "question": f"{choice.question}\n{SHORTLY}" if short else f"{choice.question}\n{options}\n{DIRECTLY}",
            "answer": choice.work_out() if short else choice.solve(),
        }
        proof = choice.work_out if short else choice.solve
        images, group = {"image": picture}, f"realworldqa/{serial}"
        samples.append(Sample("realworldqa", choice.kind, row, row["answer"], proof, group, images))
    return samples


def _street_questions(street: Street, rng: Random) -> list[tuple[Choice, bool]]:
    """Questions, and whether each is asked without options."""
    colors = [color for _, color in street.cars]
    wanted = pick(rng, tuple(COLORS))
    counts = tuple(number_options(rng, len(colors), 3))
    limits = tuple(sorted(shuffled_options(rng, str(street.limit), [str(10 * k) for k in range(1, 10)], 3)))
    questions = [
        (Choice("light", "What color is the traffic light?", tuple(some(rng, LAMPS, 3)), lambda: street.lamp), False),
        (Choice("count", "How many cars are there?", counts, lambda: str(len(street.cars))), chance(rng, 0.5)),
        (Choice("limit", "What is the speed limit?", limits, lambda: str(street.limit)), chance(rng, 0.5)),
    ]
    question = f"Is there {article(wanted)} {wanted} car?"
    questions.append((Choice("exists", question, (), lambda: "Yes" if wanted in colors else "No"), True))
    x = {color: SLOTS[slot][0] for slot, color in street.cars}
    pairs = [(a, b) for a in colors for b in colors if abs(x[a] - x[b]) > 0.12]
    if pairs:
        a, b = pick(rng, pairs)
        question = f"Is the {a} car to the left or right of the {b} car?"
        options = tuple(some(rng, ("left", "right"), 2))
        questions.append((Choice("relation", question, options, partial(street.side_of, a, b)), False))
    return questions
