"""Two columns of short videos: MVBench's twenty sub-tasks and STAR's four question types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from mmrope_synth import sketches
from mmrope_synth.choices import Choice
from mmrope_synth.clips import (
    ACTIONS,
    MOVES,
    Actor,
    Card,
    Clip,
    Key,
    act,
    film,
    in_order,
    what_it_does,
)
from mmrope_synth.core import Difficulty, Side, between, chance, draw_for, pick, shuffled_options, some
from mmrope_synth.sample import Draw, Sample
from mmrope_synth.scenes import random_background
from mmrope_synth.sketches import OPPOSITES, Sketch, seconds, stage
from mmrope_synth.stories import PARTS, THROUGHOUT, ask_next, names, options_of_actors, story, tell

# --------------------------------------------------------------------------------------------------------------
# Short stories


def repeated(values: Sequence[str]) -> str:
    """What continues a sequence, by the shortest period that explains it."""
    count = len(values)
    period = next(p for p in range(1, count + 1) if all(values[i] == values[i - p] for i in range(p, count)))
    return values[len(values) - period]


def what_it_did(clip: Clip, end: float = float("inf")) -> list[str]:
    """What is done in a clip, act after act, as far as acts that begin before `end`."""
    return [what_it_does(actor) for actor in in_order(clip) if actor.start < end]


def action_sequence(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """What one shape does before or after something else that it does."""
    look = pick(rng, names(difficulty))
    actions = some(rng, ACTIONS, 3)
    clip = tell(rng, difficulty, side, difficulty.clip_seconds, actions=actions, looks=[look] * 3)
    word, step = pick(rng, (("after", 1), ("before", -1)))
    anchor = actions[1]

    def work_out() -> str:
        done = what_it_did(clip)
        return done[done.index(anchor) + step]

    options = tuple(shuffled_options(rng, work_out(), [*actions, *ACTIONS]))
    question = f"What does the {clip.actors[0].name} do right {word} it {anchor}?"
    return clip, Choice("sequence", question, options, work_out)


def action_prediction(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """What a shape that repeats two movements will do next."""
    pair = some(rng, tuple(MOVES), 2)
    count = pick(rng, (3, 4))
    clip = tell(
        rng, difficulty, side, difficulty.clip_seconds,
        actions=[pair[i % 2] for i in range(count)], looks=[pick(rng, names(difficulty))] * count,
    )  # fmt: skip
    question = f"What will the {clip.actors[0].name} do next?"
    return clip, Choice("prediction", question, tuple(some(rng, tuple(MOVES), 4)), lambda: repeated(what_it_did(clip)))


def action_localization(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """In which part of the video a shape that stands there all the time moves."""
    duration = seconds(rng, difficulty)

    def make() -> Clip:
        third = between(rng, (0, 3))
        start, end = (0.0, duration) if third == 3 else (duration * third / 3, duration * (third + 1) / 3)
        color, noun = pick(rng, names(difficulty))
        actor = act(rng, difficulty.video_size, noun, color, pick(rng, tuple(MOVES)), start, end)
        return stage(rng, difficulty, [replace(actor, shown=((0.0, duration),))], duration)

    clip = draw_for(side, make)

    def work_out() -> str:
        first, last = clip.actors[0].keys[0].time, clip.actors[0].keys[-1].time
        return THROUGHOUT if last - first > clip.duration / 2 else PARTS[round(first / clip.duration * 3)]

    question = f"When does the {clip.actors[0].name} move?"
    return clip, Choice("when", question, (*PARTS, THROUGHOUT), work_out)


def action_antonym(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """What a shape does, or the opposite."""
    clip, name, action = _single(rng, difficulty, side, tuple(OPPOSITES))
    options = tuple(some(rng, (action, OPPOSITES[action], "not sure"), 3))
    return clip, Choice("antonym", f"What does the {name} do?", options, lambda: what_it_does(clip.actors[0]))


def fine_grained_action(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """What a shape does, out of everything that shapes do."""
    clip, name, action = _single(rng, difficulty, side, ACTIONS)
    options = tuple(shuffled_options(rng, action, ACTIONS))
    return clip, Choice("action", f"What does the {name} do?", options, lambda: what_it_does(clip.actors[0]))


def _single(rng: Random, difficulty: Difficulty, side: Side, actions: Sequence[str]) -> tuple[Clip, str, str]:
    color, noun = pick(rng, names(difficulty))
    action, duration = pick(rng, actions), seconds(rng, difficulty)

    def make() -> Clip:
        actor = act(rng, difficulty.video_size, noun, color, action, 0.0, duration)
        return stage(rng, difficulty, [actor], duration)

    return draw_for(side, make), f"{color} {noun}", action


def character_order(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """The order of three letters that are shown one after another."""
    def make() -> Clip:
        letters = some(rng, "ABCDEFGHJKLMNPRSTUVXYZ", 3)
        cards = [Card(letter, pick(rng, ("red", "blue", "green", "purple")), 2.0 * i + 0.2, 2.0 * i + 1.8)
                 for i, letter in enumerate(letters)]  # fmt: skip
        return film(rng, difficulty, 6.0, [(0.0, random_background(rng))], cards=cards)

    clip = draw_for(side, make)
    a, b, c = (card.text for card in some(rng, clip.cards, 3))
    others = [f"{x}, {y}, {z}" for x, y, z in ((a, b, c), (a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a))]

    def work_out() -> str:
        return ", ".join(card.text for card in sorted(clip.cards, key=lambda card: card.start))

    options = tuple(shuffled_options(rng, work_out(), others))
    return clip, Choice("letters", "In which order do the letters appear?", options, work_out)


def episodic(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """Who comes right after or before whom, with five options."""
    while True:
        clip = tell(rng, difficulty, side, difficulty.clip_seconds, actions=[pick(rng, ACTIONS) for _ in range(4)])
        choice = ask_next(clip, rng, difficulty, 5)
        if choice:
            return clip, choice


def two(rng: Random, difficulty: Difficulty, side: Side, kinds: Sequence[str]) -> tuple[Clip, Choice]:
    """A short story with a question of one of several kinds."""
    clip, (choice,) = story(rng, difficulty, side, difficulty.clip_seconds, [pick(rng, kinds)])
    return clip, choice


# --------------------------------------------------------------------------------------------------------------
# MVBench

MVBENCH: Final[dict[str, tuple[str, Sketch]]] = {
    "action_sequence": ("star/Charades_segment", action_sequence),
    "moving_count": ("clevrer/video_validation", sketches.moving_count),
    "action_prediction": ("star/Charades_segment", action_prediction),
    "episodic_reasoning": ("tvqa/video_fps3_hq_segment", episodic),
    "action_antonym": ("ssv2_video_mp4", action_antonym),
    "action_count": ("perception/videos", sketches.action_count),
    "scene_transition": ("scene_qa/video", sketches.scene_transition),
    "object_shuffle": ("perception/videos", sketches.object_shuffle),
    "object_existence": ("clevrer/video_validation", sketches.object_existence),
    "fine_grained_pose": ("nturgbd_convert", sketches.pose),
    "unexpected_action": ("FunQA_test/test", sketches.unexpected),
    "moving_direction": ("clevrer/video_validation", sketches.moving_direction),
    "state_change": ("perception/videos", sketches.state_change),
    "object_interaction": ("star/Charades_segment", sketches.object_interaction),
    "character_order": ("perception/videos", character_order),
    "action_localization": ("sta/sta_video_segment", action_localization),
    "counterfactual_inference": ("clevrer/video_validation", sketches.counterfactual),
    "fine_grained_action": ("Moments_in_Time_Raw/videos", fine_grained_action),
    "moving_attribute": ("clevrer/video_validation", sketches.moving_attribute),
    "egocentric_navigation": ("vlnqa", sketches.camera),
}
"""Sub-task -> the folder in which its videos lie, and its sketch."""


def draw_mvbench(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One video and question; the sub-tasks take turns with the serial number. Some directions ask for the speed.

    `subset` and `folder` are not in the data set: the task adds them from the sub-task that a row came from.
    """
    name = list(MVBENCH)[serial % len(MVBENCH)]
    sketch = MVBENCH[name][1]
    if name == "moving_direction" and chance(rng, 0.4):
        sketch = sketches.speed
    clip, choice = sketch(rng, difficulty, side)
    row = {
        "video": f"mini_{serial:05d}.mp4",
        "question": choice.question,
        "candidates": list(choice.options),
        "answer": choice.work_out(),
        "subset": name,
        "folder": MVBENCH[name][0],
    }
    return [Sample("mvbench", name, row, choice.solve(), choice.solve, f"mvbench/{serial}", clip=clip)]


# --------------------------------------------------------------------------------------------------------------
# STAR


def padded(clip: Clip, before: float, after: float, rng: Random, difficulty: Difficulty) -> Clip:
    """The same clip with empty seconds around it."""
    actors = [
        replace(
            actor,
            keys=tuple(replace(key, time=key.time + before) for key in actor.keys),
            shown=tuple((start + before, end + before) for start, end in actor.shown),
        )
        for actor in clip.actors
    ]
    return film(rng, difficulty, round(before + clip.duration + after, 1), clip.backgrounds, actors)


def interaction(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice, tuple[float, float]]:
    """Which shape another one hits, somewhere in a longer video."""
    clip, choice = sketches.object_interaction(rng, difficulty, side)
    before, after = round(0.5 + 2 * rng.random(), 1), round(0.5 + 2 * rng.random(), 1)
    return padded(clip, before, after, rng, difficulty), choice, (before, round(before + clip.duration, 1))


def sequence(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice, tuple[float, float]]:
    """What a shape does before or after something else."""
    clip, choice = action_sequence(rng, difficulty, side)
    return clip, choice, (0.0, clip.duration)


def prediction(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice, tuple[float, float]]:
    """What a shape that repeats two movements does next; the video goes on and shows it, the span does not."""
    pair = some(rng, tuple(MOVES), 2)
    clip = tell(
        rng, difficulty, side, difficulty.clip_seconds,
        actions=[*pair, *pair], looks=[pick(rng, names(difficulty))] * 4,
    )  # fmt: skip
    end = in_order(clip)[-1].start
    question = f"What will the {clip.actors[0].name} do next?"
    choice = Choice("prediction", question, tuple(some(rng, tuple(MOVES), 4)), lambda: repeated(what_it_did(clip, end)))
    return clip, choice, (0.0, end)


def feasibility(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice, tuple[float, float]]:
    """Which of the standing shapes a moving one reaches first if it goes on."""
    size, duration = difficulty.video_size, seconds(rng, difficulty)

    def make() -> Clip:
        way, lanes = pick(rng, (1, -1)), some(rng, range(4), 4)
        d, looks = size * 0.2, some(rng, names(difficulty), 4)
        y = size * (lanes[0] + 0.5) / 4
        keys = (Key(0.0, size / 2 - way * size * 0.38, y, d), Key(duration, size / 2, y, d))
        actors = [Actor(looks[0][1], looks[0][0], keys, ((0.0, duration),))]
        for i, (color, noun) in enumerate(looks[1:]):
            ahead = Key(0.0, size / 2 + way * size * 0.36, y, d)
            aside = Key(0.0, size * (0.2 + 0.6 * rng.random()), size * (lanes[i + 1] + 0.5) / 4, d)
            actors.append(Actor(noun, color, (ahead if i == 0 else aside,), ((0.0, duration),)))
        return stage(rng, difficulty, actors, duration)

    clip = draw_for(side, make)
    others = [actor.name for actor in clip.actors[1:]]

    def work_out() -> str:
        return reached(clip, clip.actors[0]).name

    options = options_of_actors(rng, replace(clip, actors=clip.actors[1:]), work_out(), difficulty)
    question = f"Which shape will the {clip.actors[0].name} hit if it goes on?"
    choice = Choice("feasibility", question, options if clip.actors[0].name not in options else tuple(others), work_out)
    return clip, choice, (0.0, duration)


def reached(clip: Clip, mover: Actor) -> Actor:
    """The standing actor on the mover's straight way, beyond its last key."""
    first, last = mover.keys[0], mover.keys[-1]
    way = 1 if last.x > first.x else -1
    ahead = [
        other
        for other in clip.actors
        if other is not mover
        and abs(other.keys[0].y - last.y) < (other.keys[0].diameter + last.diameter) / 2 - 2
        and (other.keys[0].x - last.x) * way > 0
    ]
    return min(ahead, key=lambda other: abs(other.keys[0].x - last.x))


STAR: Final = {"Interaction": interaction, "Sequence": sequence, "Prediction": prediction, "Feasibility": feasibility}
"""STAR's four question types, which are the first part of every `question_id`."""


def draw_star(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One video and question; the types take turns with the serial number."""
    kind = list(STAR)[serial % len(STAR)]
    clip, choice, (start, end) = STAR[kind](rng, difficulty, side)
    row = {
        "question_id": f"{kind}_T1_{serial}",
        "question": choice.question,
        "video_id": f"MINI{serial:05d}",
        "video": f"MINI{serial:05d}.mp4",
        "start": start,
        "end": end,
        "answer": sentence(choice.work_out()),
        "choices": [{"choice_id": i, "choice": sentence(option)} for i, option in enumerate(choice.options)],
    }
    sample = Sample("star", kind, row, choice.solve(), choice.solve, f"star/{serial}", clip=clip, span=(start, end))
    return [sample]


def sentence(text: str) -> str:
    """As STAR writes its choices: `The red circle.`, `Moves left.`"""
    words = f"the {text}" if text.split()[0] not in {action.split()[0] for action in ACTIONS} else text
    return f"{words[0].upper()}{words[1:]}."


SHOWS: Final[dict[str, Draw]] = {"mvbench": draw_mvbench, "star": draw_star}
