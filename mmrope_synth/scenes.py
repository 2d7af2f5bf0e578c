"""Scenes: coloured shapes and little people on varied backgrounds, drawn with numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from mmrope_synth.core import Difficulty, Pixels, between, chance, pick

COLORS: Final = {
    "red": (214, 39, 40),
    "green": (40, 160, 60),
    "blue": (40, 90, 220),
    "yellow": (245, 215, 40),
    "purple": (150, 60, 190),
    "orange": (250, 130, 20),
}
SHAPES: Final = ("circle", "square", "triangle", "star", "cross", "heart")
PEOPLE: Final = ("man", "woman")
POSES: Final = {
    "arms up": ((-0.75, -0.88), (0.75, -0.88)),
    "arms out": ((-0.88, -0.25), (0.88, -0.25)),
    "arms down": ((-0.62, 0.5), (0.62, 0.5)),
    "one arm up": ((-0.75, -0.88), (0.62, 0.5)),
}
"""A standing person's pose -> where the hands are, with coordinates in [-1, 1]."""
SKIN: Final = (235, 190, 155)
TONES: Final = ((235, 235, 230), (205, 212, 218), (222, 210, 190), (60, 64, 72), (95, 88, 84), (250, 250, 250))
"""Muted, so that every colour above stands out."""
PATTERNS: Final = ("plain", "gradient", "stripes", "checks")
DIAMETERS: Final = {"small": (0.18, 0.22), "big": (0.30, 0.36)}
"""As shares of the picture's side; nothing lies between small and big."""

GRAIN: Final = 1021
"""Side of the noise tile."""

Grid = npt.NDArray[np.float64]
Membership = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]
"""(x, y, width, height) in whole pixels."""


@dataclass(frozen=True)
class Thing:
    """One object: its top left corner, its diameter and its looks."""

    noun: str
    color: str
    size: str
    hollow: bool
    x: int
    y: int
    diameter: int

    @cached_property
    def box(self) -> Box:
        """The exact box of the painted pixels."""
        left, top, width, height = extent(self.noun, self.diameter)
        return self.x + left, self.y + top, width, height

    @cached_property
    def center(self) -> tuple[float, float]:
        """The middle of the box."""
        x, y, width, height = self.box
        return x + width / 2, y + height / 2

    @cached_property
    def area(self) -> int:
        """Of the box."""
        return self.box[2] * self.box[3]


@dataclass(frozen=True)
class Background:
    """A muted pattern; `light` and `dark` are RGB."""

    pattern: str
    light: tuple[int, int, int]
    dark: tuple[int, int, int]
    period: int


@dataclass(frozen=True)
class Scene:
    """Everything that decides a picture's pixels."""

    size: int
    things: tuple[Thing, ...]
    background: Background
    noise: float
    noise_seed: int


# --------------------------------------------------------------------------------------------------------------
# Painting


@lru_cache(maxsize=512)
def mask(noun: str, diameter: int, hollow: bool = False) -> npt.NDArray[np.float32]:
    """How much of each pixel a figure covers, (diameter, diameter) in [0, 1]; people without their head."""
    fine = 4
    axis = (np.arange(diameter * fine) + 0.5) / (diameter * fine) * 2 - 1
    u, v = np.meshgrid(axis, axis)
    inside = np.asarray(_figure(noun, u, v))
    if hollow:
        inside &= ~_figure(noun, u / 0.58, (v - (0.12 if noun == "triangle" else 0)) / 0.58)
    cover: npt.NDArray[np.float32] = inside.reshape(diameter, fine, diameter, fine).mean((1, 3), dtype=np.float32)
    return cover


def _figure(noun: str, u: Grid, v: Grid) -> Membership:
    """Membership of points with coordinates in [-1, 1], v pointing down."""
    angle, radius = np.arctan2(u, -v), np.hypot(u, v)
    if noun == "circle":
        return np.asarray(radius <= 1)
    if noun == "square":
        return np.asarray(np.maximum(np.abs(u), np.abs(v)) <= 0.9)
    if noun == "triangle":
        return np.asarray((np.abs(u) <= (v + 1) / 2) & (v <= 1))
    if noun == "cross":
        return np.asarray((np.minimum(np.abs(u), np.abs(v)) <= 0.34) & (np.maximum(np.abs(u), np.abs(v)) <= 1))
    if noun == "star":
        turn = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        return np.asarray(radius * (np.cos(turn) + np.sin(turn) * 1.75) <= 1)
    if noun == "heart":
        w = -v * 1.25 + 0.15
        return np.asarray((u * u * 1.35 + w * w - 0.75) ** 3 - u * u * w**3 * 2.2 <= 0)
    if noun == "man":
        trunk = (np.abs(u) <= 0.42) & (v >= -0.35) & (v <= 0.35)
        return trunk | ((np.abs(np.abs(u) - 0.25) <= 0.15) & (v > 0.3) & (v <= 1))
    if noun == "woman":
        return (np.abs(u) <= 0.15 + (v + 0.4) * 0.4) & (v >= -0.4) & (v <= 0.8) | (
            (np.abs(np.abs(u) - 0.2) <= 0.1) & (v > 0.7) & (v <= 1)
        )
    if noun in POSES:
        limbs = [((side * 0.28, -0.25), hand) for side, hand in zip((-1, 1), POSES[noun], strict=True)]
        legs = (np.abs(np.abs(u) - 0.2) <= 0.13) & (v > 0.3) & (v <= 1)
        trunk = (np.abs(u) <= 0.33) & (v >= -0.35) & (v <= 0.35) | legs
        return trunk | _near(u, v, *limbs[0]) | _near(u, v, *limbs[1])
    if noun == "head":
        return np.asarray(np.hypot(u, v + 0.68) <= 0.32)
    raise ValueError(f"unknown figure {noun!r}")


def _near(u: Grid, v: Grid, start: tuple[float, float], end: tuple[float, float]) -> Membership:
    """Points within a limb's half width of a line."""
    across, down = end[0] - start[0], end[1] - start[1]
    along = np.clip(((u - start[0]) * across + (v - start[1]) * down) / (across**2 + down**2), 0, 1)
    near: Membership = np.hypot(u - start[0] - along * across, v - start[1] - along * down) <= 0.12
    return near


@lru_cache(maxsize=512)
def extent(noun: str, diameter: int) -> Box:
    """The box of a figure's visibly painted pixels (at least a quarter covered) within its square."""
    covered = mask(noun, diameter) >= 0.25
    if noun in PEOPLE or noun in POSES:
        covered = covered | (mask("head", diameter) >= 0.25)
    rows, columns = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    left, top = int(columns[0]), int(rows[0])
    return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


def stamp(
    canvas: npt.NDArray[np.float32], alpha: npt.NDArray[np.float32], color: Sequence[int], x: int, y: int
) -> None:
    """Blend a colour into the canvas through `alpha`, whose top left corner is at (x, y); clipped at the edges."""
    height, width = alpha.shape
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, canvas.shape[1]), min(y + height, canvas.shape[0])
    if right <= left or bottom <= top:
        return
    cover = alpha[top - y : bottom - y, left - x : right - x, None]
    view = canvas[top:bottom, left:right]
    view += cover * (np.asarray(color, np.float32) - view)


def paint(canvas: npt.NDArray[np.float32], noun: str, color: str, x: int, y: int, diameter: int, hollow: bool) -> None:
    """Draw one figure."""
    stamp(canvas, mask(noun, diameter, hollow and noun in SHAPES), COLORS[color], x, y)
    if noun in PEOPLE or noun in POSES:
        stamp(canvas, mask("head", diameter), SKIN, x, y)


@lru_cache(maxsize=256)
def backdrop(background: Background, width: int, height: int) -> npt.NDArray[np.float32]:
    """The pattern alone, (height, width, 3). The array is shared: copy it before painting."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    share = {
        "plain": np.zeros((height, width)),
        "gradient": y / max(1, height - 1),
        "stripes": ((x + y) // background.period % 2).astype(float),
        "checks": ((x // background.period + y // background.period) % 2).astype(float),
    }[background.pattern]
    light, dark = np.asarray(background.light, np.float32), np.asarray(background.dark, np.float32)
    picture: npt.NDArray[np.float32] = (light + share[..., None] * (dark - light)).astype(np.float32)
    picture.setflags(write=False)
    return picture


@lru_cache(maxsize=1)
def _grain() -> npt.NDArray[np.float32]:
    """One large tile of noise, of which every picture gets a different part."""
    return np.random.default_rng(0).standard_normal((GRAIN, GRAIN), np.float32)


def finish(canvas: npt.NDArray[np.float32], noise: float, seed: int) -> Pixels:
    """Add brightness noise and round to bytes."""
    if noise > 0:
        height, width = canvas.shape[:2]
        y, x = seed % (GRAIN - height), seed // GRAIN % (GRAIN - width)
        canvas = canvas + (_grain()[y : y + height, x : x + width] * np.float32(noise))[..., None]
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def render(scene: Scene) -> Pixels:
    """The picture of a scene."""
    canvas = backdrop(scene.background, scene.size, scene.size).copy()
    for thing in scene.things:
        paint(canvas, thing.noun, thing.color, thing.x, thing.y, thing.diameter, thing.hollow)
    return finish(canvas, scene.noise, scene.noise_seed)


# --------------------------------------------------------------------------------------------------------------
# Inventing


def random_background(rng: Random) -> Background:
    """Two close shades of one muted tone."""
    tone = pick(rng, TONES)
    shade = 26 if tone[0] < 128 else -26
    other = (tone[0] + shade, tone[1] + shade, tone[2] + shade)
    return Background(pick(rng, PATTERNS), tone, other, between(rng, (6, 14)))


def random_diameter(rng: Random, size: str, side: int) -> int:
    """Pixels, within the range of `small` or `big` things."""
    low, high = DIAMETERS[size]
    return between(rng, (round(low * side), round(high * side)))


def place(
    rng: Random, looks: Sequence[tuple[str, str, str, bool]], side: int, gap: int = 3
) -> tuple[Thing, ...]:
    """Things with the given (noun, colour, size, hollow), the largest first, without overlap.

    A thing that finds no place is left out, so there may be fewer than asked for.
    """
    order = sorted(looks, key=lambda look: look[2] != "big")
    placed: list[Thing] = []
    for noun, color, size, hollow in order:
        for _ in range(30):
            diameter = random_diameter(rng, size, side)
            x, y = between(rng, (0, side - diameter)), between(rng, (0, side - diameter))
            if all(
                x + diameter + gap <= other.x
                or other.x + other.diameter + gap <= x
                or y + diameter + gap <= other.y
                or other.y + other.diameter + gap <= y
                for other in placed
            ):
                placed.append(Thing(noun, color, size, hollow, x, y, diameter))
                break
    return tuple(placed)


def random_scene(
    rng: Random, difficulty: Difficulty, nouns: Sequence[str], count: int | None = None
) -> Scene:
    """A scene in which things resemble each other: each later one shares some looks with the first."""
    colors = list(COLORS)[: difficulty.colors]
    first = _random_look(rng, difficulty, nouns, colors)
    looks = [first]
    for _ in range((count or between(rng, (difficulty.min_things, difficulty.max_things))) - 1):
        fresh = _random_look(rng, difficulty, nouns, colors)
        noun = first[0] if chance(rng, 0.45) else fresh[0]
        color = first[1] if chance(rng, 0.35) else fresh[1]
        size = first[2] if chance(rng, 0.5) else fresh[2]
        looks.append((noun, color, size, noun in SHAPES and (first[3] if chance(rng, 0.8) else fresh[3])))
    things = place(rng, looks, difficulty.image_size)
    return Scene(
        difficulty.image_size, things, random_background(rng), difficulty.noise, rng.getrandbits(31)
    )


def _random_look(
    rng: Random, difficulty: Difficulty, nouns: Sequence[str], colors: Sequence[str]
) -> tuple[str, str, str, bool]:
    noun = pick(rng, nouns)
    hollow = noun in SHAPES and chance(rng, difficulty.hollow_share)
    return noun, pick(rng, colors), pick(rng, ("small", "big")), hollow
