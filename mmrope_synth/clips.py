"""Clips: actors on tracks, rendered at any time; and what can be read off the tracks.

Questions are answered from the tracks by the functions at the end, never from what the generator meant to do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
import numpy.typing as npt

from mmrope_synth.core import Difficulty, Pixels, pick
from mmrope_synth.lettering import INK, Text, write
from mmrope_synth.scenes import COLORS, Background, backdrop, finish, paint

MOVES: Final = {"moves left": (-1, 0), "moves right": (1, 0), "moves up": (0, -1), "moves down": (0, 1)}
ACTIONS: Final = (*MOVES, "grows", "shrinks", "blinks", "jumps")
STILL: Final = "stays still"


@dataclass(frozen=True)
class Key:
    """Where an actor is at a time: its middle and diameter in pixels."""

    time: float
    x: float
    y: float
    diameter: float


@dataclass(frozen=True)
class Actor:
    """A figure that moves linearly between its keys and is visible in some intervals [start, end) of seconds."""

    noun: str
    color: str
    keys: tuple[Key, ...]
    shown: tuple[tuple[float, float], ...]
    looks: tuple[tuple[float, str, str], ...] = ()
    """(time, noun, colour): from then on the actor looks like that."""

    @property
    def name(self) -> str:
        """As questions call it."""
        return f"{self.color} {self.noun}"

    def visible(self, time: float) -> bool:
        """Whether the actor is in the picture."""
        return any(start <= time < end for start, end in self.shown)

    def at(self, time: float) -> tuple[float, float, float]:
        """Middle and diameter at a time; before the first and after the last key it rests."""
        times = [key.time for key in self.keys]
        i = bisect_right(times, time)
        if i == 0 or i == len(times):
            key = self.keys[0 if i == 0 else -1]
            return key.x, key.y, key.diameter
        a, b = self.keys[i - 1], self.keys[i]
        share = (time - a.time) / (b.time - a.time)
        return a.x + share * (b.x - a.x), a.y + share * (b.y - a.y), a.diameter + share * (b.diameter - a.diameter)

    def look(self, time: float) -> tuple[str, str]:
        """Noun and colour at a time."""
        past = [(noun, color) for start, noun, color in self.looks if start <= time]
        return past[-1] if past else (self.noun, self.color)

    @property
    def start(self) -> float:
        """When it is first seen."""
        return self.shown[0][0]

    @property
    def end(self) -> float:
        """When it is last seen."""
        return self.shown[-1][1]


@dataclass(frozen=True)
class Card:
    """A coloured card with a text that fills the picture for a while."""

    text: str
    color: str
    start: float
    end: float


@dataclass(frozen=True)
class Clip:
    """A video before it is encoded. `times` are the presentation times of its frames in seconds."""

    size: int
    fps: float
    times: tuple[float, ...]
    duration: float
    backgrounds: tuple[tuple[float, Background], ...]
    """(time, background): from then on."""
    actors: tuple[Actor, ...] = ()
    cards: tuple[Card, ...] = ()
    camera: tuple[float, float] = (0.0, 0.0)
    """Motion of the viewer in pixels a second, to the right and down; everything seen moves the other way."""
    noise: float = 0.0
    noise_seed: int = 0

    def __len__(self) -> int:
        return len(self.times)

    def frame(self, index: int) -> Pixels:
        """The picture at `times[index]`, (size, size, 3)."""
        time = self.times[index]
        background = [background for start, background in self.backgrounds if start <= time][-1]
        canvas = backdrop(background, self.size, self.size)
        left, up = round(self.camera[0] * time), round(self.camera[1] * time)
        canvas = np.roll(canvas, (-up, -left), (0, 1)) if left or up else canvas.copy()
        for actor in self.actors:
            if actor.visible(time):
                x, y, diameter = actor.at(time)
                noun, color = actor.look(time)
                half = diameter / 2
                paint(canvas, noun, color, round(x - left - half), round(y - up - half), max(2, round(diameter)), False)
        for card in self.cards:
            if card.start <= time < card.end:
                _draw_card(canvas, card)
        return finish(canvas, self.noise, self.noise_seed)

    def frames(self, indices: Sequence[int] | None = None) -> Pixels:
        """The chosen frames, or all, (n, size, size, 3)."""
        return np.stack([self.frame(i) for i in (range(len(self)) if indices is None else indices)])


def _draw_card(canvas: npt.NDArray[np.float32], card: Card) -> None:
    edge = canvas.shape[0] // 10
    canvas[edge:-edge, edge:-edge] = COLORS[card.color]
    ink = INK if card.color in ("yellow", "orange") else (255, 255, 255)
    write(canvas, Text(card.text, canvas.shape[1] / 2, canvas.shape[0] / 2, round(canvas.shape[0] * 0.42), ink))


# --------------------------------------------------------------------------------------------------------------
# Making


def film(
    rng: Random,
    difficulty: Difficulty,
    duration: float,
    backgrounds: Sequence[tuple[float, Background]],
    actors: Sequence[Actor] = (),
    cards: Sequence[Card] = (),
    camera: tuple[float, float] = (0.0, 0.0),
    uneven: bool = False,
) -> Clip:
    """A clip at a random frame rate; `uneven` gives frames of different lengths (a variable frame rate)."""
    fps = pick(rng, difficulty.fps) if duration < 12 else min(difficulty.fps)
    fps = difficulty.long_fps if duration >= 40 else fps
    times = [i / fps for i in range(round(duration * fps))]
    if uneven:
        times, now = [], 0.0
        while now < duration - 0.5 / fps:
            times.append(round(now, 3))
            now += pick(rng, (0.5, 1.0, 1.5)) / fps
    return Clip(
        difficulty.video_size, fps, tuple(times), duration, tuple(backgrounds), tuple(actors), tuple(cards), camera,
        difficulty.noise, rng.getrandbits(31),
    )  # fmt: skip


def act(rng: Random, size: int, noun: str, color: str, action: str, start: float, end: float) -> Actor:
    """An actor that does one thing, from when it appears to when it disappears."""
    small, large = size * 0.17, size * 0.45
    middle, low = size * (0.42 + 0.16 * rng.random()), size * (0.3 + 0.4 * rng.random())
    reach, still = size * (0.27 + 0.06 * rng.random()), size * 0.3
    shown: tuple[tuple[float, float], ...] = ((start, end),)
    if action in MOVES:
        across, down = MOVES[action]
        x, y = (size / 2, low) if across else (low, size / 2)
        keys = [
            Key(start, x - across * reach, y - down * reach, still),
            Key(end, x + across * reach, y + down * reach, still),
        ]
    elif action in ("grows", "shrinks"):
        first, last = (small, large) if action == "grows" else (large, small)
        keys = [Key(start, middle, middle, first), Key(end, middle, middle, last)]
    elif action == "blinks":
        step = (end - start) / 6
        flashes = [(start + 2 * i * step, start + (2 * i + 1) * step) for i in range(3)]
        shown = (*flashes, (end - step / 2, end))
        keys = [Key(start, middle, middle, still)]
    elif action == "jumps":
        keys = hops(middle, size, still, start, end, 2)
    else:
        keys = [Key(start, middle, middle, still)]
    return Actor(noun, color, tuple(keys), shown)


def hops(x: float, size: int, diameter: float, start: float, end: float, count: int) -> list[Key]:
    """Keys of `count` jumps from the ground, evenly spread."""
    ground, top, step = size * 0.75, size * 0.28, (end - start) / count
    keys = [Key(start, x, ground, diameter)]
    for i in range(count):
        keys += [Key(start + (i + 0.5) * step, x, top, diameter), Key(start + (i + 1) * step, x, ground, diameter)]
    return keys


# --------------------------------------------------------------------------------------------------------------
# Reading off the tracks


def jumps(actor: Actor) -> int:
    """How often it goes up and comes down again."""
    heights = [key.y for key in actor.keys]
    return sum(a > b < c for a, b, c in zip(heights, heights[1:], heights[2:], strict=False))


def what_it_does(actor: Actor) -> str:
    """One of ACTIONS or STILL, from its visible intervals and its keys."""
    if len(actor.shown) > 1:
        return "blinks"
    if jumps(actor):
        return "jumps"
    first, last = actor.keys[0], actor.keys[-1]
    if abs(last.diameter / first.diameter - 1) > 0.3:
        return "grows" if last.diameter > first.diameter else "shrinks"
    across, down = last.x - first.x, last.y - first.y
    if max(abs(across), abs(down)) < first.diameter / 4:
        return STILL
    if abs(across) > abs(down):
        return "moves left" if across < 0 else "moves right"
    return "moves up" if down < 0 else "moves down"


def gap(a: Actor, b: Actor, time: float) -> float:
    """Pixels between the rims of two actors, negative when they overlap."""
    (x, y, d), (u, v, e) = a.at(time), b.at(time)
    return float(np.hypot(x - u, y - v)) - (d + e) / 2


def find(clip: Clip, name: str) -> Actor:
    """The only actor with a name such as `red circle`. ValueError when there are none or several."""
    (actor,) = [actor for actor in clip.actors if actor.name == name]
    return actor


def in_order(clip: Clip) -> list[Actor]:
    """The actors by when they are first seen."""
    return sorted(clip.actors, key=lambda actor: actor.start)
