"""Stories: one actor after another does something; and the questions that any story answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

from mmrope_synth.choices import Choice
from mmrope_synth.clips import ACTIONS, Actor, Card, Clip, act, film, find, in_order, what_it_does
from mmrope_synth.core import (
    Difficulty,
    Side,
    draw_for,
    number_options,
    pick,
    shuffled_options,
    some,
)
from mmrope_synth.scenes import COLORS, SHAPES, random_background

PARTS: Final = ("At the beginning of the video.", "In the middle of the video.", "At the end of the video.")
THROUGHOUT: Final = "Throughout the entire video."


def names(difficulty: Difficulty) -> list[tuple[str, str]]:
    """Every (colour, noun) that an actor can have."""
    return [(color, noun) for color in tuple(COLORS)[: difficulty.colors] for noun in SHAPES[: difficulty.shapes]]


def tell(
    rng: Random,
    difficulty: Difficulty,
    side: Side,
    seconds: tuple[float, float],
    *,
    per_act: float = 2.6,
    actions: Sequence[str] | None = None,
    looks: Sequence[tuple[str, str]] | None = None,
    cards: int = 0,
    uneven: bool = False,
) -> Clip:
    """A story of differently looking actors, each doing one of ACTIONS, with short pauses in between.

    `actions` and `looks` fix what is done and by whom; `cards` acts are replaced by cards of different colours with
    different numbers, evenly spread (the needle of a haystack and its distractors, after V-NIAH-D in
    arXiv:2502.05173).
    """

    def make() -> Clip:
        wanted = seconds[0] + rng.random() * (seconds[1] - seconds[0])
        count = len(actions or looks or ()) or max(2, round(wanted / per_act))
        duration = round(max(wanted, count * 2.0), 1)
        acting = looks or some(rng, names(difficulty), count)
        doing = actions or [pick(rng, ACTIONS) for _ in range(count)]
        slot = duration / count
        at = {round((i + 0.5) * count / cards) for i in range(cards)} if cards else set()
        colors, numbers = some(rng, tuple(COLORS), cards), some(rng, range(10, 100), cards)
        actors: list[Actor] = []
        shown: list[Card] = []
        for i in range(count):
            start = round(i * slot + slot * (0.05 + 0.1 * rng.random()), 1)
            end = round((i + 1) * slot - slot * (0.05 + 0.1 * rng.random()), 1)
            if i in at and len(shown) < cards:
                shown.append(Card(str(numbers[len(shown)]), colors[len(shown)], start, end))
            else:
                color, noun = acting[i % len(acting)]
                actors.append(act(rng, difficulty.video_size, noun, color, doing[i], start, end))
        background = random_background(rng)
        return film(rng, difficulty, duration, [(0.0, background)], actors, shown, uneven=uneven)

    return draw_for(side, make)


# --------------------------------------------------------------------------------------------------------------
# Questions


def options_of_actors(rng: Random, clip: Clip, answer: str, difficulty: Difficulty, count: int = 4) -> tuple[str, ...]:
    """The answer beside other actors of the clip, filled up with actors that do not occur."""
    present = [actor.name for actor in clip.actors if actor.name != answer]
    absent = [f"{color} {noun}" for color, noun in names(difficulty)]
    others = some(rng, list(dict.fromkeys(present)), count - 1)
    others += [name for name in some(rng, absent, count + len(others)) if name not in (*present, answer)]
    return tuple(shuffled_options(rng, answer, others[: count - 1], count))


def unique(clip: Clip) -> list[Actor]:
    """Actors whose name belongs to them alone."""
    counts = [actor.name for actor in clip.actors]
    return [actor for actor in clip.actors if counts.count(actor.name) == 1]


def ask_action(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """What one actor does."""
    actor = pick(rng, unique(clip))
    options = shuffled_options(rng, what_it_does(actor), ACTIONS)
    question = f"What does the {actor.name} do?"
    span = (actor.start, actor.end)
    return Choice("action", question, tuple(options), lambda: what_it_does(find(clip, actor.name)), span)


def ask_who(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """Who does something that only one actor does."""
    doing = [what_it_does(actor) for actor in clip.actors]
    alone = [action for action in dict.fromkeys(doing) if doing.count(action) == 1]
    if not alone:
        return None
    action = pick(rng, alone)

    def work_out() -> str:
        return next(actor.name for actor in clip.actors if what_it_does(actor) == action)

    options = options_of_actors(rng, clip, work_out(), difficulty)
    return Choice("who", f"Which shape {action}?", options, work_out)


def ask_end(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """Who comes first or last."""
    which, index = pick(rng, (("first", 0), ("last", -1)))
    options = options_of_actors(rng, clip, in_order(clip)[index].name, difficulty)
    return Choice("order", f"Which shape appears {which}?", options, lambda: in_order(clip)[index].name)


def ask_next(clip: Clip, rng: Random, difficulty: Difficulty, count: int = 4) -> Choice | None:
    """Who comes right after, or right before, another."""
    order = in_order(clip)
    word, step = pick(rng, (("after", 1), ("before", -1)))
    anchors = [actor for actor in unique(clip) if 0 <= order.index(actor) + step < len(order)]
    if not anchors:
        return None
    anchor = pick(rng, anchors)

    def work_out() -> str:
        order = in_order(clip)
        return order[order.index(find(clip, anchor.name)) + step].name

    options = options_of_actors(rng, clip, work_out(), difficulty, count)
    return Choice("next", f"Which shape appears right {word} the {anchor.name}?", options, work_out)


def ask_number(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """How many actors there are."""
    options = tuple(number_options(rng, len(clip.actors), low=1))
    return Choice("count", "How many shapes appear in the video?", options, lambda: str(len(clip.actors)))


def ask_color(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """The colour of the only actor with its shape."""
    nouns = [actor.noun for actor in clip.actors]
    alone = [noun for noun in dict.fromkeys(nouns) if nouns.count(noun) == 1]
    if not alone:
        return None
    noun = pick(rng, alone)

    def work_out() -> str:
        return next(actor.color for actor in clip.actors if actor.noun == noun)

    options = tuple(shuffled_options(rng, work_out(), tuple(COLORS)))
    return Choice("color", f"What color is the {noun}?", options, work_out)


def ask_when(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """In which third of the video an actor appears, for those well inside one."""
    inside = [actor for actor in unique(clip) if part_of(clip, actor)]
    if not inside:
        return None
    actor = pick(rng, inside)
    question = f"When does the {actor.name} appear?"
    options = (*PARTS, THROUGHOUT)
    return Choice("when", question, options, lambda: part_of(clip, find(clip, actor.name)), (actor.start, actor.end))


def part_of(clip: Clip, actor: Actor) -> str:
    """The third in which an actor is visible, or nothing when it is near a border between thirds."""
    middle = (actor.start + actor.end) / 2 / clip.duration
    third = min(2, int(middle * 3))
    return PARTS[third] if 0.07 < middle * 3 - third < 0.93 and actor.end - actor.start < clip.duration / 2 else ""


def ask_at(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """Who is visible at a time given as minutes and seconds; never within half a second of a change."""
    moments = [
        (second, actor)
        for second in range(1, int(clip.duration))
        for actor in clip.actors
        if actor.start + 0.5 < second < actor.end - 0.5
    ]
    if not moments:
        return None
    second, actor = pick(rng, moments)

    def work_out() -> str:
        return next(actor.name for actor in clip.actors if actor.start < second < actor.end)

    options = options_of_actors(rng, clip, work_out(), difficulty)
    return Choice("at", f"Which shape is visible at {clock(second)}?", options, work_out, (actor.start, actor.end))


def ask_card(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """The number on the card of one colour: the needle among its distractors."""
    if len(clip.cards) < 2:
        return None
    needle = pick(rng, clip.cards)

    def work_out() -> str:
        return next(card.text for card in clip.cards if card.color == needle.color)

    others = some(rng, [card.text for card in clip.cards if card.color != needle.color], 3)
    others += [number for number in some(rng, [str(n) for n in range(10, 100)], 3) if number != needle.text]
    options = tuple(shuffled_options(rng, work_out(), list(dict.fromkeys(others))[:3]))
    question = f"What number is on the {needle.color} card?"
    return Choice("needle", question, options, work_out, (needle.start, needle.end))


def ask_list(clip: Clip, rng: Random, difficulty: Difficulty) -> Choice | None:
    """The order in which three actors appear."""
    if len(unique(clip)) < 3:
        return None
    chosen = [actor.name for actor in some(rng, unique(clip), 3)]

    def work_out() -> str:
        return ", ".join(actor.name for actor in in_order(clip) if actor.name in chosen)

    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    others = [", ".join(chosen[i] for i in order) for order in orders]
    options = tuple(shuffled_options(rng, work_out(), others))
    return Choice("list", "In which order do the shapes appear?", options, work_out)


def clock(second: float) -> str:
    """Minutes and seconds, `01:05`."""
    return f"{int(second) // 60:02d}:{int(second) % 60:02d}"


Ask = Callable[[Clip, Random, Difficulty], "Choice | None"]

STORY_ASKERS: Final[dict[str, Ask]] = {
    "action": ask_action,
    "who": ask_who,
    "order": ask_end,
    "next": ask_next,
    "count": ask_number,
    "color": ask_color,
    "when": ask_when,
    "at": ask_at,
    "needle": ask_card,
    "list": ask_list,
}


def ask_story(
    rng: Random, difficulty: Difficulty, kinds: Sequence[str], clip_maker: Callable[[], Clip]
) -> tuple[Clip, list[Choice]]:
    """A clip that allows a question of every kind, and these questions."""
    for _ in range(200):
        clip = clip_maker()
        choices = [STORY_ASKERS[kind](clip, rng, difficulty) for kind in kinds]
        if None not in choices:
            return clip, [choice for choice in choices if choice]
    raise RuntimeError(f"no story allows the questions {list(kinds)}.")


def story(rng: Random, difficulty: Difficulty, side: Side, seconds: tuple[float, float], kinds: Sequence[str],
          **how: float) -> tuple[Clip, list[Choice]]:  # fmt: skip
    """A random story and a question of every kind about it."""
    return ask_story(rng, difficulty, kinds, partial(tell, rng, difficulty, side, seconds, **how))  # type: ignore[arg-type]


TRAINING_QUESTIONS: Final = 6
"""Of one story, where it is for training: seeing a video costs more than asking about it."""


def ask_more(
    rng: Random, difficulty: Difficulty, side: Side, clip: Clip, asked: Sequence[Choice], kinds: Sequence[str]
) -> list[Choice]:
    """What is asked of a story; for training, with further different questions of some kinds, as far as it has them."""
    different = {choice.question: choice for choice in asked}
    for kind in [kind for _ in range(2) for kind in some(rng, kinds, len(kinds))] if side == "train" else ():
        choice = STORY_ASKERS[kind](clip, rng, difficulty)
        if choice and len(different) < TRAINING_QUESTIONS:
            different.setdefault(choice.question, choice)
    return list(different.values())
