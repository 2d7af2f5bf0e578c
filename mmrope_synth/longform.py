"""Columns of longer videos: VideoMME, LVBench, MLVU and Charades-STA in their data sets' own fields."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import Final

from mmrope_synth.choices import Choice, article
from mmrope_synth.clips import Actor, Clip, in_order, what_it_does
from mmrope_synth.core import LETTERS, Difficulty, Side, between, number_options, pick, some
from mmrope_synth.sample import Draw, Sample
from mmrope_synth.scenes import COLORS, SHAPES
from mmrope_synth.sketches import camera
from mmrope_synth.stories import TRAINING_QUESTIONS, ask_more, clock, names, story, tell, unique

# --------------------------------------------------------------------------------------------------------------
# VideoMME

LENGTHS: Final = ("short", "medium", "long")
VIDEOMME_TASKS: Final = {
    "action": "Action Recognition",
    "who": "Action Reasoning",
    "order": "Temporal Perception",
    "next": "Temporal Reasoning",
    "count": "Counting Problem",
    "color": "Attribute Perception",
    "when": "Temporal Perception",
    "list": "Temporal Reasoning",
    "needle": "OCR Problems",
}
"""Question kind -> VideoMME's task type."""
DOMAINS: Final = (
    ("Knowledge", "Geography"),
    ("Film & Television", "Animation"),
    ("Sports Competition", "Athletics"),
    ("Artistic Performance", "Magic Show"),
    ("Life Record", "Daily Life"),
    ("Multilingual", "Multilingual"),
)
QUESTIONS_PER_VIDEO: Final = 3


def draw_videomme(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One video with three questions; short, medium and long videos take turns with the serial number."""
    length = LENGTHS[serial % 3]
    seconds = {"short": difficulty.clip_seconds, "medium": difficulty.medium_seconds, "long": difficulty.long_seconds}
    kinds = [kind for kind in VIDEOMME_TASKS if kind != "needle"]
    if length == "short":
        kinds = [kind for kind in kinds if kind not in ("when", "list")]
    if length == "long":
        kinds.remove("count")
    asked = some(rng, kinds, QUESTIONS_PER_VIDEO)
    cards = min(between(rng, difficulty.distractors), len(COLORS)) if length == "long" else 0
    if cards:
        asked[0] = "needle"
    per_act = 4.0 if length == "long" else 2.6
    clip, choices = story(rng, difficulty, side, seconds[length], asked, cards=cards, per_act=per_act)
    choices = ask_more(rng, difficulty, side, clip, choices, [*kinds, *(["needle"] if cards else [])])
    domain, sub_category = DOMAINS[serial // 3 % len(DOMAINS)]
    samples = []
    for index, choice in enumerate(choices):
        row = {
            "video_id": f"{serial + 1:03d}",
            "duration": length,
            "domain": domain,
            "sub_category": sub_category,
            "url": f"https://example.org/watch?v=mini{serial:07d}",
            "videoID": f"mini{serial:07d}",
            "question_id": f"{serial + 1:03d}-{index + 1}",
            "task_type": VIDEOMME_TASKS[choice.kind],
            "question": choice.question,
            "options": [f"{letter}. {option}" for letter, option in zip(LETTERS, choice.options, strict=False)],
            "answer": choice.solve(),
        }
        group = f"videomme/{serial}"
        samples.append(Sample("videomme", choice.kind, row, choice.solve(), choice.solve, group, clip=clip))
    return samples


def subtitles(clip: Clip) -> str:
    """What is seen, as a SubRip file with the font tags that VideoMME's files have."""
    spoken = [(actor.start, actor.end, caption(actor)) for actor in in_order(clip)]
    spoken += [(card.start, card.end, f"the {card.color} card") for card in clip.cards]
    blocks = [
        f'{i}\n{stamp(start)} --> {stamp(end)}\n<font color="white" size=".72c">{text}</font>\n'
        for i, (start, end, text) in enumerate(sorted(spoken), 1)
    ]
    return "\n".join(blocks)


def stamp(second: float) -> str:
    """`00:01:05,300`."""
    whole = int(second)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d},{round((second - whole) * 1000):03d}"


# --------------------------------------------------------------------------------------------------------------
# LVBench

LVBENCH_TYPES: Final = {
    "needle": "key information retrieval",
    "at": "temporal grounding",
    "next": "reasoning",
    "who": "event understanding",
    "action": "event understanding",
    "order": "entity recognition",
    "count": "summarization",
    "when": "temporal grounding",
}
"""Question kind -> LVBench's question type."""


def draw_lvbench(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One long video with a needle among distractors and four questions."""
    cards = min(between(rng, difficulty.distractors), len(COLORS))
    kinds = ["needle", "at", *some(rng, ("next", "action", "order", "when"), 2)]
    clip, choices = story(rng, difficulty, side, difficulty.lvbench_seconds, kinds, cards=cards, per_act=6.5)
    choices = ask_more(rng, difficulty, side, clip, choices, (*kinds, "next", "action", "order", "when", "at"))
    genre = pick(rng, ("cartoon", "documentary", "live", "selfmedia", "sport", "tv"))
    samples = []
    for index, choice in enumerate(choices):
        start, end = choice.span or (0.0, clip.duration)
        row = {
            "key": f"mini{serial:05d}",
            "type": genre,
            "uid": str(10 * serial + index),
            "question": f"{choice.question}\n{bracketed(choice)}",
            "answer": choice.solve(),
            "question_type": [LVBENCH_TYPES[choice.kind]],
            "time_reference": f"{clock(start)}-{clock(end)}",
            "video_path": f"mini{serial:05d}.mp4",
        }
        solve, group = choice.solve, f"lvbench/{serial}"
        samples.append(Sample("lvbench", choice.kind, row, solve(), solve, group, clip=clip, span=choice.span))
    return samples


def bracketed(choice: Choice) -> str:
    """`(A) first`, `(B) second` ..., one a line."""
    return "\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, choice.options, strict=False))


# --------------------------------------------------------------------------------------------------------------
# MLVU

ODDITIES: Final = ("moves left", "blinks", "jumps", "grows", "shrinks")
NOTHING: Final = "nothing unusual"


def plot(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """A question about one event of a longer story."""
    kind = pick(rng, ("action", "next", "who", "color", "when"))
    clip, (choice,) = story(rng, difficulty, side, difficulty.medium_seconds, [kind])
    return clip, choice


def needle(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """The number on one card among others."""
    cards = min(between(rng, difficulty.distractors), len(COLORS))
    clip, (choice,) = story(rng, difficulty, side, difficulty.medium_seconds, ["needle"], cards=cards, per_act=1.8)
    return clip, choice


def order(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """The order of three out of several actors."""
    clip, (choice,) = story(rng, difficulty, side, difficulty.medium_seconds, ["list"])
    return clip, choice


def count(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """How often one actor appears among others; five options."""
    times, others = between(rng, (1, 5)), between(rng, (2, 4))
    main, *rest = some(rng, names(difficulty), others + 1)
    looks = some(rng, [main] * times + rest, times + others)
    clip = tell(rng, difficulty, side, difficulty.medium_seconds, looks=looks)
    name = f"{main[0]} {main[1]}"

    def work_out() -> str:
        return str(sum(actor.name == name for actor in clip.actors))

    options = tuple(number_options(rng, times, 5))
    return clip, Choice("count", f"How many times does the {name} appear?", options, work_out)


def anomaly(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """What happens that is unlike everything else; six options, so the letters go to F."""
    steps = between(rng, (5, 8))
    odd, where = pick(rng, (*ODDITIES, None)), between(rng, (1, steps - 1))
    actions = [odd if odd and i == where else "moves right" for i in range(steps)]
    clip = tell(rng, difficulty, side, difficulty.medium_seconds, actions=actions)

    def work_out() -> str:
        unlike = [what_it_does(actor) for actor in clip.actors if what_it_does(actor) != "moves right"]
        return f"a shape {unlike[0]}" if unlike else NOTHING

    options = (*some(rng, [f"a shape {action}" for action in ODDITIES], 5), NOTHING)
    return clip, Choice("anomaly", "What is unusual in this video?", options, work_out)


def topic(rng: Random, difficulty: Difficulty, side: Side) -> tuple[Clip, Choice]:
    """The shape that most of the actors have."""
    nouns = some(rng, SHAPES[: difficulty.shapes], 4)
    colors = tuple(COLORS)[: difficulty.colors]
    looks = [(color, nouns[0]) for color in some(rng, colors, 4)]
    looks += [(pick(rng, colors), noun) for noun in nouns[1:]]
    clip = tell(rng, difficulty, side, difficulty.medium_seconds, looks=some(rng, looks, len(looks)))

    def work_out() -> str:
        seen = [actor.noun for actor in clip.actors]
        return max(dict.fromkeys(seen), key=seen.count)

    return clip, Choice("topic", "Which shape is this video mainly about?", tuple(some(rng, nouns, 4)), work_out)


MLVU: Final = {
    "plotQA": plot,
    "needle": needle,
    "ego": camera,
    "count": count,
    "order": order,
    "anomaly_reco": anomaly,
    "topic_reasoning": topic,
}
"""MLVU's task types of the dev split's multiple-choice part."""


FURTHER: Final = {
    "plotQA": ("action", "next", "who", "color", "when"),
    "needle": ("needle", "action", "next"),
    "order": ("list", "next", "order"),
}
"""Task type -> the kinds of further questions that training asks of its stories."""


def draw_mlvu(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One video and question; the task types take turns with the serial number."""
    task = list(MLVU)[serial % len(MLVU)]
    clip, first = MLVU[task](rng, difficulty, side)
    samples = []
    for choice in ask_more(rng, difficulty, side, clip, [first], FURTHER.get(task, ())):
        row = mlvu_row(choice, clip, task, serial)
        samples.append(Sample("mlvu", task, row, choice.solve(), choice.solve, f"mlvu/{serial}", clip=clip))
    return samples


def mlvu_row(choice: Choice, clip: Clip, task: str, serial: int) -> dict[str, object]:
    """A question on a clip in MLVU's fields."""
    return {
        "video_name": f"{task}_{serial}.mp4",
        "duration": clip.duration,
        "question": f"{choice.question}\n{bracketed(choice)}",
        "candidates": list(choice.options),
        "answer": choice.solve(),
        "task_type": task,
    }


# --------------------------------------------------------------------------------------------------------------
# Charades-STA

CAPTIONS_PER_VIDEO: Final = 2


def caption(actor: Actor) -> str:
    """What an actor does, as a sentence without a full stop."""
    return f"{article(actor.color)} {actor.name} {what_it_does(actor)}"


def draw_charades(rng: Random, difficulty: Difficulty, side: Side, serial: int) -> list[Sample]:
    """One video with two captions and the seconds in which they are true; every fourth has a variable frame rate."""
    seconds = (difficulty.clip_seconds[1] * 1.5, difficulty.clip_seconds[1] * 3)
    clip = tell(rng, difficulty, side, seconds, per_act=4.0, uneven=serial % 4 == 3)
    samples = []
    for actor in some(rng, unique(clip), CAPTIONS_PER_VIDEO if side == "eval" else TRAINING_QUESTIONS):
        row = {"video": f"MINI{serial:04d}.mp4", "caption": caption(actor), "timestamp": [actor.start, actor.end]}
        proof, group = partial(located, clip, caption(actor)), f"charades_sta/{serial}"
        span = (actor.start, actor.end)
        samples.append(Sample("charades_sta", what_it_does(actor), row, proof(), proof, group, clip=clip, span=span))
    return samples


def located(clip: Clip, text: str) -> str:
    """The span of the only actor that a caption is true of."""
    (actor,) = [actor for actor in clip.actors if caption(actor) == text]
    return f"{actor.start:.1f} - {actor.end:.1f}"


LONGFORM: Final[dict[str, Draw]] = {
    "videomme": draw_videomme,
    "lvbench": draw_lvbench,
    "mlvu": draw_mlvu,
    "charades_sta": draw_charades,
}
