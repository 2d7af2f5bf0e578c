"""Needles in haystacks of any length: a number on a coloured card at a chosen depth of a video, among look-alikes.

After V-NIAH-D (arXiv:2502.05173): the haystack is a story of the small world, the needle one card that is asked for,
the distractors cards of other colours with other numbers. The question and its options depend on the seed and the
serial number alone, so that the same questions are asked at every depth and in every length.

Frames are drawn when the encoder asks for them: a video of a quarter of a million tokens is never held in memory.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Final

from mmrope_synth.choices import Choice
from mmrope_synth.clips import ACTIONS, Actor, Card, Clip, act
from mmrope_synth.core import WORLD_VERSION, Difficulty, draw_for, generator, pick, some
from mmrope_synth.errors import SynthError
from mmrope_synth.fields import Fields
from mmrope_synth.longform import bracketed
from mmrope_synth.sample import Sample
from mmrope_synth.scenes import COLORS, random_background
from mmrope_synth.schemas import Table
from mmrope_synth.stories import names
from mmrope_synth.writer import write_card, write_parquet, write_video

DATASET: Final = "mmrope-eval/needle"
RECIPE: Final = "needle.json"
NEEDLE_FIELDS: Final[Fields] = {
    "video": "string",
    "question": "string",
    "answer": "string",
    "depth": "float64",
    "color": "string",
    "shown": ["float64"],
    "frames": "int64",
    "fps": "float64",
    "distractors": "int64",
}
SLOT_SECONDS: Final = 2.0
"""How long every act and every card lasts, about."""
PATCH: Final = 2
"""Frames in one temporal patch: a card begins and ends with one."""


@dataclass(frozen=True, kw_only=True)
class Needle:
    """What is asked, and how often, whatever the videos' length. SynthError for what cannot be."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    """Read from a file it takes no other keys."""

    depths: tuple[float, ...] = (0.0, 25.0, 50.0, 75.0, 100.0)
    """Where the needle is, in per cent of the video."""
    questions: int = 8
    """Videos at each depth."""
    distractors: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.distractors < len(COLORS):
            raise SynthError(f"A needle can have 0 to {len(COLORS) - 1} distractors, not {self.distractors}.")
        if self.questions < 1 or not self.depths:
            raise SynthError("A needle needs at least one question and one depth.")
        if not all(0 <= depth <= 100 for depth in self.depths):
            raise SynthError(f"A needle's depths are per cent, from 0 to 100, not {list(self.depths)}.")


@dataclass(frozen=True)
class Haystack(Needle):
    """What a set of needle videos is like. SynthError for a video too short for its cards."""

    frames: int
    """Frames of every video, an even number."""
    size: int = 56
    """Width and height in pixels."""
    fps: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames % PATCH or self.frames < 2 * PATCH * (self.distractors + 1):
            raise SynthError(
                f"A needle with {self.distractors} distractors needs an even number of at least "
                f"{2 * PATCH * (self.distractors + 1)} frames, not {self.frames}."
            )
        if self.size < 28 or self.size % 2 or self.fps <= 0:
            raise SynthError("A needle's videos need an even size of at least 28 and a frame rate.")


def build_needles(data_root: Path, haystack: Haystack, dataset: str = DATASET) -> Path:
    """Write the data set `dataset` into a mirror and return its folder; what is there already is kept.

    A build that was interrupted goes on where it was. SynthError where the folder holds needles of another kind.
    """
    folder = data_root / dataset
    recipe = folder / RECIPE
    wanted = {"world": WORLD_VERSION, **json.loads(json.dumps(dataclasses.asdict(haystack)))}
    table = needle_table(dataset)
    if recipe.is_file() and json.loads(recipe.read_text()) != wanted:
        raise SynthError(f"{folder} holds needles of another kind (see {recipe}); name another folder or remove it.")
    if recipe.is_file() and (folder / table.path).is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    recipe.write_text(json.dumps(wanted, indent=2) + "\n")
    rows = []
    for sample in needle_samples(haystack):
        path = folder / table.video_folder / str(sample.row["video"])
        if not path.is_file() and sample.clip is not None:
            temporary = path.with_name(f".{os.getpid()}-{path.name}")
            write_video(temporary, sample.clip)
            temporary.replace(path)
        rows.append(dict(sample.row))
    write_parquet(folder / table.path, table, rows)
    write_card(folder, [table])
    return folder


def needle_table(dataset: str = DATASET) -> Table:
    """Where the rows and videos of a needle data set lie."""
    return Table(dataset, "test", NEEDLE_FIELDS, video="video", video_folder="videos")


def needle_samples(haystack: Haystack) -> Iterator[Sample]:
    """Every question at every depth; a question's depths follow one another, so that any first part has all depths."""
    for serial in range(haystack.questions):
        for depth in haystack.depths:
            yield needle_sample(haystack, depth, serial)


def needle_sample(haystack: Haystack, depth: float, serial: int) -> Sample:
    """One video with its question."""
    cards, options = needle_cards(haystack, serial)
    where = f"needle-{haystack.frames}x{haystack.size}@{haystack.fps:g}-{depth:g}"
    rng = generator(haystack.seed, "eval", where, serial)
    clip = draw_for("eval", lambda: haystack_clip(rng, haystack, depth, cards))
    color = cards[0][0]
    needle = next(card for card in clip.cards if card.color == color)
    span = (needle.start, needle.end)
    choice = Choice("needle", needle_question(color), options, lambda: number_on(clip, color), span)
    row: dict[str, Any] = {
        "video": f"depth{depth:g}-{serial:04d}.mp4",
        **needle_row_text(haystack, serial),
        "answer": choice.solve(),
        "depth": float(depth),
        "color": color,
        "shown": [needle.start, needle.end],
        "frames": haystack.frames,
        "fps": haystack.fps,
        "distractors": haystack.distractors,
    }
    group = f"needle/{where}/{serial}"
    return Sample("needle", "needle", row, choice.solve(), choice.solve, group, clip=clip, span=choice.span)


def needle_row_text(needle: Needle, serial: int) -> dict[str, str]:
    """The question as the row has it: the same for every depth and length."""
    cards, options = needle_cards(needle, serial)
    choice = Choice("needle", needle_question(cards[0][0]), options, lambda: cards[0][1])
    return {"question": f"{choice.question}\n{bracketed(choice)}"}


def needle_question(color: str) -> str:
    """What is asked about the card of one colour."""
    return f"What number is on the {color} card?"


def number_on(clip: Clip, color: str) -> str:
    """The number on the only card of one colour. ValueError when there are none or several."""
    (text,) = [card.text for card in clip.cards if card.color == color]
    return text


def needle_cards(needle: Needle, serial: int) -> tuple[list[tuple[str, str]], tuple[str, ...]]:
    """(colour, number) of the needle and its distractors, and the four options.

    The wrong options are the distractors' numbers, filled up with numbers that no card shows; the right one takes
    turns through the letters, so that a constant answer scores chance.
    """
    rng = generator(needle.seed, "eval", "needle-question", serial)
    colors = some(rng, tuple(COLORS), needle.distractors + 1)
    numbers = [str(number) for number in some(rng, range(10, 100), max(4, needle.distractors + 1))]
    wrong = some(rng, numbers[1 : max(4, needle.distractors + 1)], 3)
    place = serial % 4
    options = (*wrong[:place], numbers[0], *wrong[place:])
    return list(zip(colors, numbers, strict=False)), options


def haystack_clip(rng: Random, haystack: Haystack, depth: float, cards: list[tuple[str, str]]) -> Clip:
    """A story in equal slots: the needle in the one at `depth`, distractors in others that are drawn, then actors."""
    frames, fps = haystack.frames, haystack.fps
    patches = frames // PATCH
    count = max(2 * len(cards), round(frames / fps / SLOT_SECONDS))
    count = min(count, patches)
    edges = [PATCH * round(i * patches / count) / fps for i in range(count + 1)]
    needle = round(depth / 100 * (count - 1))
    places = [needle, *some(rng, [slot for slot in range(count) if slot != needle], len(cards) - 1)]
    shown = [Card(text, color, edges[i], edges[i + 1]) for (color, text), i in zip(cards, places, strict=True)]
    difficulty = Difficulty()
    actors: list[Actor] = []
    for slot in range(count):
        if slot not in places:
            color, noun = pick(rng, names(difficulty))
            length = edges[slot + 1] - edges[slot]
            start = edges[slot] + length * (0.05 + 0.1 * rng.random())
            end = edges[slot + 1] - length * (0.05 + 0.1 * rng.random())
            actors.append(act(rng, haystack.size, noun, color, pick(rng, ACTIONS), round(start, 2), round(end, 2)))
    return Clip(
        size=haystack.size,
        fps=fps,
        times=tuple(i / fps for i in range(frames)),
        duration=frames / fps,
        backgrounds=((0.0, random_background(rng)),),
        actors=tuple(actors),
        cards=tuple(sorted(shown, key=lambda card: card.start)),
        noise=difficulty.noise,
        noise_seed=rng.getrandbits(31),
    )
