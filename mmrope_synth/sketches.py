"""Sketches: short clips in which several actors share the stage, one kind for each question that a story cannot ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from mmrope_synth.choices import Choice
from mmrope_synth.clips import (
    MOVES,
    STILL,
    Actor,
    Clip,
    Key,
    act,
    film,
    find,
    gap,
    hops,
    jumps,
    what_it_does,
)
from mmrope_synth.core import (
    Difficulty,
    Side,
    between,
    chance,
    draw_for,
    pick,
    shuffled_options,
    some,
)
from mmrope_synth.scenes import COLORS, PATTERNS, POSES, SHAPES, TONES, Background, random_background
from mmrope_synth.stories import names

Sketch = Callable[[Random, Difficulty, Side], tuple[Clip, Choice]]
YES_NO: Final = ("yes", "no", "not sure")
OPPOSITES: Final = {
    "moves left": "moves right", "moves right": "moves left", "moves up": "moves down", "moves down": "moves up",
    "grows": "shrinks", "shrinks": "grows",
}  # fmt: skip


def seconds(rng: Random, difficulty: Difficulty) -> float:
    """The length of a short clip."""
    low, high = difficulty.clip_seconds
    return round(low + rng.random() * (high - low), 1)


def stage(rng: Random, difficulty: Difficulty, actors: Sequence[Actor], duration: float, **how: object) -> Clip:
    """Film actors in front of one background."""
    return film(rng, difficulty, duration, [(0.0, random_background(rng))], actors, **how)  # type: ignore[arg-type]


def crowd(rng: Random, difficulty: Difficulty, duration: float, movers: int, bystanders: int) -> list[Actor]:
    """Actors in horizontal lanes of their own: the movers cross the picture sideways, the others stand."""
    size, count = difficulty.video_size, movers + bystanders
    looks, lanes = some(rng, names(difficulty), count), some(rng, range(count), count)
    diameter = min(size * 0.26, size * 0.9 / count)
    actors = []
    for i, ((color, noun), lane) in enumerate(zip(looks, lanes, strict=True)):
        y = size * (lane + 0.5) / count
        if i < movers:
            ends = some(rng, (size * 0.18, size * 0.82), 2)
            keys = [Key(0.0, ends[0], y, diameter), Key(duration, ends[1], y, diameter)]
        else:
            keys = [Key(0.0, size * (0.2 + 0.6 * rng.random()), y, diameter)]
        actors.append(Actor(noun, color, tuple(keys), ((0.0, duration),)))
    return some(rng, actors, count)


def moving(clip: Clip) -> list[Actor]:
    """The actors that change their place."""
    return [actor for actor in clip.actors if what_it_does(actor) in MOVES]


# --------------------------------------------------------------------------------------------------------------


def moving_direction(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """Where one of two moving shapes goes."""
    duration = seconds(rng, difficulty)
    clip = draw_for(side, lambda: stage(rng, difficulty, crowd(rng, difficulty, duration, 2, 1), duration))
    name = pick(rng, clip.actors).name
    options = tuple(some(rng, ("moves left", "moves right", STILL), 3))
    return clip, Choice("direction", f"What does the {name} do?", options, lambda: what_it_does(find(clip, name)))


def speed(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """Which of three shapes moves fastest: all go the same way, one at least 1.8 times as far."""

    def make() -> Clip:
        duration, size = seconds(rng, difficulty), difficulty.video_size
        actors = crowd(rng, difficulty, duration, 3, 0)
        fast = between(rng, (0, 2))
        slow = [
            replace(actor, keys=(actor.keys[0], replace(actor.keys[1], x=(actor.keys[0].x + size / 2) / 2)))
            for actor in actors
        ]
        return stage(rng, difficulty, [actors[i] if i == fast else slow[i] for i in range(3)], duration)

    clip = draw_for(side, make)

    def work_out() -> str:
        return max(clip.actors, key=lambda actor: abs(actor.keys[-1].x - actor.keys[0].x)).name

    options = tuple(some(rng, [actor.name for actor in clip.actors], 3))
    return clip, Choice("speed", "Which shape moves fastest?", options, work_out)


def moving_count(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """How many of the shapes move."""
    duration = seconds(rng, difficulty)

    def make() -> Clip:
        movers = between(rng, (0, 3))
        return stage(rng, difficulty, crowd(rng, difficulty, duration, movers, 4 - movers), duration)

    clip = draw_for(side, make)
    return clip, Choice("count", "How many shapes are moving?", ("0", "1", "2", "3"), lambda: str(len(moving(clip))))


def moving_attribute(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """Colour or shape of the only one that moves, or of the only one that does not."""
    duration, still = seconds(rng, difficulty), chance(rng, 0.4)
    counts = (2, 1) if still else (1, 2)
    clip = draw_for(side, lambda: stage(rng, difficulty, crowd(rng, difficulty, duration, *counts), duration))

    def the_one() -> Actor:
        (actor,) = [actor for actor in clip.actors if (actor in moving(clip)) != still]
        return actor

    what = "stays still" if still else "is moving"
    if chance(rng, 0.5):
        options = tuple(shuffled_options(rng, the_one().color, [*(a.color for a in clip.actors), *COLORS]))
        return clip, Choice("color", f"What color is the shape that {what}?", options, lambda: the_one().color)
    options = tuple(shuffled_options(rng, the_one().noun, [*(a.noun for a in clip.actors), *SHAPES]))
    return clip, Choice("shape", f"What is the shape that {what}?", options, lambda: the_one().noun)


def object_existence(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """Whether any shape of a colour moves."""
    duration = seconds(rng, difficulty)
    clip = draw_for(side, lambda: stage(rng, difficulty, crowd(rng, difficulty, duration, 2, 2), duration))
    color = pick(rng, (moving(clip)[0].color, pick(rng, clip.actors).color, pick(rng, tuple(COLORS))))

    def work_out() -> str:
        return "yes" if any(actor.color == color for actor in moving(clip)) else "no"

    return clip, Choice("exists", f"Are there any moving {color} shapes?", YES_NO, work_out)


def _collision(rng: Random, difficulty: Difficulty, duration: float, extra: bool) -> list[Actor]:
    """The first actor runs into the second, which then moves on; a third one stands or moves by itself."""
    size = difficulty.video_size
    looks = some(rng, names(difficulty), 3)
    d, hit, way = size * 0.22, duration * 0.45, pick(rng, (1, -1))
    upper = chance(rng, 0.5)
    y, other = (size * 0.28, size * 0.76) if upper else (size * 0.72, size * 0.24)
    near, far = size / 2 - way * size * 0.36, size / 2 + way * size * 0.36
    meet = size / 2 + way * size * 0.06
    first = (Key(0.0, near, y, d), Key(hit, meet - way * d, y, d))
    second = (Key(0.0, meet, y, d), Key(hit, meet, y, d), Key(duration * 0.95, far, y, d))
    third = [Key(0.0, size * 0.2, other, d), Key(duration, size * (0.75 if extra else 0.2), other, d)]
    return [
        Actor(noun, color, tuple(keys), ((0.0, duration),))
        for (color, noun), keys in zip(looks, (first, second, third), strict=True)
    ]


def hit_by(clip: Clip, actor: Actor) -> Actor:
    """The actor that another one touches at some frame."""
    others = [other for other in clip.actors if other is not actor]
    closest = {other.name: min(gap(actor, other, time) for time in clip.times) for other in others}
    return min(others, key=lambda other: closest[other.name])


def object_interaction(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """Which shape another one hits."""
    duration = seconds(rng, difficulty)

    def make() -> tuple[Clip, str]:
        actors = _collision(rng, difficulty, duration, chance(rng, 0.5))
        return stage(rng, difficulty, some(rng, actors, 3), duration), actors[0].name

    clip, name = draw_for(side, make)

    def work_out() -> str:
        return hit_by(clip, find(clip, name)).name

    absent = [f"{color} {noun}" for color, noun in names(difficulty)]
    others = [actor.name for actor in clip.actors if actor.name != name]
    fill = [text for text in some(rng, absent, 6) if text not in (*others, name)]
    options = shuffled_options(rng, work_out(), [o for o in others if o != work_out()] + fill[:2])
    return clip, Choice("hit", f"Which shape does the {name} hit?", tuple(options), work_out)


def counterfactual(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """What would not move if a shape were not there: the one that only moves because it is hit."""
    duration = seconds(rng, difficulty)

    def make() -> tuple[Clip, tuple[str, ...]]:
        actors = _collision(rng, difficulty, duration, True)
        return stage(rng, difficulty, some(rng, actors, 3), duration), tuple(actor.name for actor in actors)

    clip, cast = draw_for(side, make)

    def work_out() -> str:
        return hit_by(clip, find(clip, cast[0])).name

    options = (*some(rng, cast[1:], 2), "both", "neither")
    question = f"Without the {cast[0]}, which shape would not move?"
    return clip, Choice("counterfactual", question, options, work_out)


def object_shuffle(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """A ball disappears under one of three cups, which then change places."""
    size = difficulty.video_size
    places = (size * 0.2, size * 0.5, size * 0.8)

    def make() -> Clip:
        swaps = [some(rng, range(3), 2) for _ in range(between(rng, (1, 2)))]
        d, y, hidden, now = size * 0.25, size * 0.45, between(rng, (0, 2)), 1.5
        at = [0, 1, 2]
        keys = [[Key(0.0, x, y, d), Key(now, x, y, d)] for x in places]
        for a, b in swaps:
            for cup in range(3):
                x = places[at[cup]]
                turn = (places[a] + places[b]) / 2
                if at[cup] in (a, b):
                    lift = size * 0.2 * (1 if at[cup] == a else -1)
                    keys[cup].append(Key(now + 0.75, turn, y + lift, d))
                    at[cup] = b if at[cup] == a else a
                    x = places[at[cup]]
                keys[cup].append(Key(now + 1.5, x, y, d))
            now += 1.5
        end = now + 1.0
        cups = [Actor("square", "blue", tuple(track), ((0.0, end),)) for track in keys]
        ball = Actor("circle", "red", (Key(0.0, places[hidden], size * 0.8, size * 0.2),), ((0.0, 1.0),))
        return stage(rng, difficulty, [*cups, ball], end)

    clip = draw_for(side, make)

    def work_out() -> str:
        cups, ball = clip.actors[:3], clip.actors[3]
        cup = min(cups, key=lambda cup: abs(cup.at(0)[0] - ball.at(0)[0]))
        ranks = sorted(c.at(clip.duration)[0] for c in cups)
        return f"Under the {('left', 'middle', 'right')[ranks.index(cup.at(clip.duration)[0])]} square."

    options = tuple(f"Under the {where} square." for where in ("left", "middle", "right"))
    return clip, Choice("shuffle", "Where is the red circle at the end?", options, work_out)


def state_change(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """The colour of a shape before or after it changes."""
    duration, size = seconds(rng, difficulty), difficulty.video_size

    def make() -> Clip:
        first, last = some(rng, tuple(COLORS), 2)
        noun, change = pick(rng, SHAPES), duration * (0.4 + 0.2 * rng.random())
        x, y = (size * (0.35 + 0.3 * rng.random()) for _ in range(2))
        actor = Actor(noun, first, (Key(0.0, x, y, size * 0.4),), ((0.0, duration),), ((change, noun, last),))
        return stage(rng, difficulty, [actor], duration)

    clip = draw_for(side, make)
    actor = clip.actors[0]
    word, time = pick(rng, (("end", duration), ("beginning", 0.0)))
    options = tuple(shuffled_options(rng, actor.look(time)[1], [actor.look(duration - time)[1], *COLORS]))
    question = f"What color is the {actor.noun} at the {word}?"
    return clip, Choice("state", question, options, lambda: actor.look(time)[1])


def pose(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """The pose of a person at the end, after another one at the beginning."""
    duration, size = seconds(rng, difficulty), difficulty.video_size

    def make() -> Clip:
        first, last = some(rng, tuple(POSES), 2)
        color = pick(rng, tuple(COLORS))
        x = size * (0.4 + 0.2 * rng.random())
        keys = (Key(0.0, x, size / 2, size * 0.75),)
        actor = Actor(first, color, keys, ((0.0, duration),), ((duration / 2, last, color),))
        return stage(rng, difficulty, [actor], duration)

    clip = draw_for(side, make)
    actor = clip.actors[0]
    word, time = pick(rng, (("end", duration), ("beginning", 0.0)))
    question = f"What is the pose of the person at the {word}?"
    return clip, Choice("pose", question, tuple(some(rng, tuple(POSES), 4)), lambda: actor.look(time)[0])


def scene_transition(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """How the background changes."""
    duration = seconds(rng, difficulty)

    def make() -> Clip:
        first, last = some(rng, PATTERNS, 2)
        tones = some(rng, TONES, 2)
        change = duration * (0.4 + 0.2 * rng.random())
        scenes = [
            Background(pattern, tone, (tone[0] - 40, tone[1] - 40, tone[2] - 40), 10)
            for pattern, tone in zip((first, last), tones, strict=True)
        ]
        color, noun = pick(rng, names(difficulty))
        actor = act(rng, difficulty.video_size, noun, color, STILL, 0.0, duration)
        return film(rng, difficulty, duration, [(0.0, scenes[0]), (change, scenes[1])], [actor])

    clip = draw_for(side, make)

    def work_out() -> str:
        (_, before), (_, after) = clip.backgrounds
        return f"From {before.pattern} to {after.pattern}."

    others = [f"From {a} to {b}." for a in PATTERNS for b in PATTERNS if a != b]
    options = tuple(shuffled_options(rng, work_out(), others))
    return clip, Choice("scene", "How does the background change?", options, work_out)


def camera(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """Which way the viewer moves, past standing shapes on a patterned floor."""
    size = difficulty.video_size

    def make() -> Clip:
        duration = seconds(rng, difficulty)
        across, down = pick(rng, tuple(MOVES.values()))
        pace = size * 0.55 / duration
        looks = some(rng, names(difficulty), 3)
        actors = []
        for i, (color, noun) in enumerate(looks):
            x, y = size * (0.25 + 0.25 * i), size * (0.3 + 0.4 * rng.random())
            if down:
                x, y = y, x
            x, y = x + across * size * 0.3, y + down * size * 0.3
            actors.append(Actor(noun, color, (Key(0.0, x, y, size * 0.22),), ((0.0, duration),)))
        tone = pick(rng, TONES[:3])
        dark = (tone[0] - 30, tone[1] - 30, tone[2] - 30)
        floor = Background(pick(rng, ("checks", "stripes")), tone, dark, size // 6)
        return film(rng, difficulty, duration, [(0.0, floor)], actors, camera=(across * pace, down * pace))

    clip = draw_for(side, make)

    def work_out() -> str:
        across, down = clip.camera
        return ("left" if across < 0 else "right") if across else ("up" if down < 0 else "down")

    options = tuple(some(rng, ("left", "right", "up", "down"), 4))
    return clip, Choice("camera", "In which direction does the camera move?", options, work_out)


def unexpected(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """Which of four shapes does not move like the others."""

    def make() -> Clip:
        duration, size = seconds(rng, difficulty), difficulty.video_size
        way, odd = pick(rng, (1, -1)), between(rng, (0, 3))
        actors = []
        for i, (color, noun) in enumerate(some(rng, names(difficulty), 4)):
            turn = -way if i == odd else way
            y = size * (i + 0.5) / 4
            ends = ((0.0, size / 2 - turn * size * 0.3), (duration, size / 2 + turn * size * 0.3))
            keys = tuple(Key(time, x, y, size * 0.2) for time, x in ends)
            actors.append(Actor(noun, color, keys, ((0.0, duration),)))
        return stage(rng, difficulty, actors, duration)

    clip = draw_for(side, make)

    def work_out() -> str:
        doing = [what_it_does(actor) for actor in clip.actors]
        return next(actor.name for actor in clip.actors if doing.count(what_it_does(actor)) == 1)

    options = tuple(some(rng, [actor.name for actor in clip.actors], 4))
    return clip, Choice("unexpected", "Which shape moves differently from the others?", options, work_out)


def action_count(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """How often a shape jumps."""
    size = difficulty.video_size

    def make() -> Clip:
        count = between(rng, (1, 4))
        color, noun = pick(rng, names(difficulty))
        keys = hops(size * (0.35 + 0.3 * rng.random()), size, size * 0.28, 0.5, 0.5 + 1.5 * count, count)
        end = 1.0 + 1.5 * count
        return stage(rng, difficulty, [Actor(noun, color, tuple(keys), ((0.0, end),))], end)

    clip = draw_for(side, make)
    actor = clip.actors[0]
    question = f"How many times does the {actor.noun} jump?"
    return clip, Choice("jumps", question, ("1", "2", "3", "4"), lambda: str(jumps(actor)))
