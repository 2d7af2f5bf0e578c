"""What every part of the small world shares: its parameters, a sample, and how randomness is divided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3) RGB."""

Side = Literal["eval", "train"]
T = TypeVar("T")

WORLD_VERSION = 2
"""Raise it when the same seed gives other samples; it is part of every random stream and of `world.json`."""

LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Difficulty:
    """Every knob of the world. Lengths in pixels are for the image sizes given here; times are in seconds."""

    image_size: int = 112
    """Square pictures; a multiple of 28 gives a whole number of Qwen2.5-VL vision tokens."""
    video_size: int = 84
    min_things: int = 3
    max_things: int = 6
    colors: int = 6
    """How many of `scenes.COLORS` are used."""
    shapes: int = 6
    hollow_share: float = 0.15
    noise: float = 4.0
    """Standard deviation of the brightness noise on every background, of 255."""
    margin: int = 9
    """By how many pixels an object must be further left, larger ... for an expression to rely on it."""
    chart_bars: tuple[int, int] = (3, 5)
    chart_labelled_share: float = 0.6
    """Share of charts that print the value of every mark; the others must be read off the axis."""
    document_lines: tuple[int, int] = (3, 4)
    fps: tuple[float, ...] = (4.0, 5.0, 6.0, 8.0, 10.0)
    long_fps: float = 2.0
    """Of clips that last at least 40 seconds."""
    clip_seconds: tuple[float, float] = (4.0, 7.0)
    medium_seconds: tuple[float, float] = (16.0, 30.0)
    long_seconds: tuple[float, float] = (45.0, 90.0)
    lvbench_seconds: tuple[float, float] = (120.0, 180.0)
    distractors: tuple[int, int] = (3, 6)
    """Look-alike cards beside the needle of a long video."""

    def __post_init__(self) -> None:
        if self.image_size < 84 or self.video_size < 56 or self.video_size % 2:
            raise ValueError("image_size must be at least 84 and video_size an even number of at least 56.")
        if not (2 <= self.min_things <= self.max_things <= 8):
            raise ValueError("the number of things must satisfy 2 <= min_things <= max_things <= 8.")


def generator(seed: int, side: Side, column: str, serial: int) -> Random:
    """An independent random stream for one picture or video of one column.

    The standard library's generator: a hundred small draws from it cost a fifth of numpy's.
    """
    return Random(f"{WORLD_VERSION}/{seed}/{side}/{column}/{serial}")


def side_of(content: object) -> Side:
    """Which side a piece of content belongs to, decided by the content itself.

    A quarter of all contents is for evaluation. Because it does not depend on a seed, no training run can ever meet a
    picture or video of any evaluation set, whatever the two seeds are. `content` needs a complete repr.
    """
    return "eval" if blake2b(repr(content).encode(), digest_size=1).digest()[0] < 64 else "train"


def draw_for(side: Side, make: Callable[[], T]) -> T:
    """Call `make` until its content belongs to `side`."""
    for _ in range(1000):
        content = make()
        if side_of(content) == side:
            return content
    raise RuntimeError(f"the world makes no content for {side}: the space of contents is too small.")


def pick(rng: Random, options: Sequence[T]) -> T:
    """One of the options, uniformly."""
    return options[int(rng.random() * len(options))]


def some(rng: Random, options: Sequence[T], count: int) -> list[T]:
    """Up to `count` different options in random order."""
    pool = list(options)
    return [pool.pop(int(rng.random() * len(pool))) for _ in range(min(count, len(pool)))]


def between(rng: Random, bounds: tuple[int, int]) -> int:
    """A whole number from `bounds`, both ends included."""
    return bounds[0] + int(rng.random() * (bounds[1] - bounds[0] + 1))


def chance(rng: Random, share: float) -> bool:
    """True with the given probability."""
    return rng.random() < share


def shuffled_options(rng: Random, answer: str, others: Sequence[str], count: int = 4) -> list[str]:
    """The answer and up to `count - 1` different wrong options, in random order."""
    wrong = some(rng, [other for other in dict.fromkeys(others) if other != answer], count - 1)
    return some(rng, [answer, *wrong], len(wrong) + 1)


def number_options(rng: Random, answer: int, count: int = 4, low: int = 0) -> list[str]:
    """Consecutive numbers around a right one, whose place among them is random, in ascending order."""
    start = max(low, answer - between(rng, (0, count - 1)))
    return [str(value) for value in range(start, start + count)]


def letter_of(options: Sequence[str], answer: str) -> str:
    """The letter of the right option. ValueError when it is not there exactly once."""
    if list(options).count(answer) != 1:
        raise ValueError(f"the answer {answer!r} must be exactly one of {list(options)}.")
    return LETTERS[list(options).index(answer)]
