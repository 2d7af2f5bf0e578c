"""First lessons: few things that have nothing in common, plainly named, and words to read.

The small world's own things resemble each other, so a beginner must tell them apart and say where they are at once, and
each is in the way of the other. With one thing there is nothing to tell apart; with different ones every word helps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from random import Random
from typing import Final

from mmrope_synth.choices import ask_color, ask_shape
from mmrope_synth.clips import Clip
from mmrope_synth.columns import COLUMNS
from mmrope_synth.core import Difficulty, Pixels, between, chance, draw_for, generator, pick, some
from mmrope_synth.examinations import mmstar_row
from mmrope_synth.grounding import looks_of, say_look
from mmrope_synth.longform import caption, mlvu_row
from mmrope_synth.sample import Sample
from mmrope_synth.scenes import COLORS, PEOPLE, SHAPES, Scene, Thing, place, random_background, render
from mmrope_synth.stories import STORY_ASKERS, tell

ALONE: Final = 0.35
"""Share of pictures that show one thing."""
READING: Final = ("textvqa", "ocrbench", "docvqa")
READ: Final = 0.35
"""Share of pictures that show words."""
ASKED: Final = ("action", "color", "who", "order", "next", "at")
"""Kinds of questions on stories."""
SECONDS: Final = (2.0, 6.0)
"""How long a story takes."""


def first_samples(seed: int, difficulty: Difficulty, *, video: bool) -> Iterator[Sample]:
    """Samples without end, those on one picture or video one after another; never met in an evaluation."""
    for serial in count():
        rng = generator(seed, "train", "first clips" if video else "first pictures", serial)
        yield from (clip_samples if video else picture_samples)(rng, difficulty, serial)


def looks(rng: Random, difficulty: Difficulty, nouns: Sequence[str], number: int) -> list[tuple[str, str]]:
    """Up to `number` pairs of colour and noun, all colours and all nouns different."""
    colors = some(rng, tuple(COLORS)[: difficulty.colors], number)
    return list(zip(colors, some(rng, nouns, number), strict=False))


def scene(rng: Random, difficulty: Difficulty) -> Scene:
    """One thing, or up to four different ones."""
    nouns = pick(rng, (SHAPES[: difficulty.shapes], PEOPLE))
    wanted = looks(rng, difficulty, nouns, 1 if chance(rng, ALONE) else between(rng, (2, 4)))
    things = place(rng, [(noun, color, pick(rng, ("small", "big")), False) for color, noun in wanted],
                   difficulty.image_size)  # fmt: skip
    return Scene(difficulty.image_size, things, random_background(rng), difficulty.noise, rng.getrandbits(31))


def picture_samples(rng: Random, difficulty: Difficulty, serial: int) -> list[Sample]:
    """Where each thing is, and a question about one's colour or shape; or what is written."""
    if chance(rng, READ):
        return COLUMNS[pick(rng, READING)](rng, difficulty, "train", serial)
    drawn = draw_for("train", partial(scene, rng, difficulty))
    images, group = {"image": render(drawn)}, f"first-picture/{serial}"
    samples = [_located(rng, drawn, thing, images, group) for thing in some(rng, drawn.things, 4)]
    ask = pick(rng, (ask_color, ask_shape))
    choice = ask(drawn, rng, difficulty) if drawn.things[0].noun in SHAPES else None
    if choice:
        row = mmstar_row(choice, "shape", serial)
        samples.append(Sample("mmstar", choice.kind, row, choice.solve(), choice.solve, group, images))
    return samples


def _located(rng: Random, drawn: Scene, thing: Thing, images: dict[str, Pixels], group: str) -> Sample:
    others = [other for other in drawn.things if other is not thing]
    alone = [look for look in looks_of(thing) if look.color and not any(look.fits(other) for other in others)]
    x, y, width, height = thing.box
    box = (float(x), float(y), float(x + width), float(y + height))
    text = say_look(pick(rng, alone))
    row = {"expression": text, "bbox": [x, y, width, height]}
    answer = ",".join(f"{value:.0f}" for value in box)
    return Sample("refcoco_val", "look", row, answer, lambda: answer, group, images, box=box)


def clip_samples(rng: Random, difficulty: Difficulty, serial: int) -> list[Sample]:
    """What up to three shapes do, and when."""
    acting = looks(rng, difficulty, SHAPES[: difficulty.shapes], between(rng, (1, 3)))
    clip = tell(rng, difficulty, "train", SECONDS, looks=acting)
    group = f"first-clip/{serial}"
    samples = [_timed(clip, index, group) for index in some(rng, range(len(clip.actors)), 2)]
    for kind in some(rng, ASKED, 4):
        choice = STORY_ASKERS[kind](clip, rng, difficulty)
        if choice:
            row = mlvu_row(choice, clip, "plotQA", serial)
            samples.append(Sample("mlvu", kind, row, choice.solve(), choice.solve, group, clip=clip))
    return samples


def _timed(clip: Clip, index: int, group: str) -> Sample:
    actor = clip.actors[index]
    answer = f"{actor.start:.1f} - {actor.end:.1f}"
    row = {"caption": caption(actor), "timestamp": [actor.start, actor.end]}
    span = (actor.start, actor.end)
    return Sample("charades_sta", "span", row, answer, lambda: answer, group, clip=clip, span=span)
