"""Lessons: the small world's training samples as token ids and pixels, made once and shared by every training.

Prompts are rendered by the task files and frames chosen by the media policy, as in an evaluation, so that a checkpoint
is taught exactly what it will be asked. Multiple choice is answered with the option's text, which the strict extractor
reads as well as its letter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mmrope_demo.checkpoints import token_id
from mmrope_demo.training import language
from mmrope_demo.training.firsts import first_samples
from mmrope_demo.training.recipe import CLIP_KINDS, FAMILY, GEOMETRY, KINDS, Recipe, fingerprint, media_policy
from mmrope_eval.media.frames import FrameIndex
from mmrope_eval.media.video import clock_metadata, fill_patches, select_frames
from mmrope_eval.messages import VideoSource
from mmrope_eval.scorer.choice_text import read_options
from mmrope_eval.task.registry import Registry, TaskSpec
from mmrope_eval.task.template import build_target, render
from mmrope_eval.util.files import whole
from mmrope_synth import Sample, training_samples
from mmrope_synth.clips import Clip

LESSONS_VERSION = 4
"""Raise it when the same recipe gives other lessons."""

LESSON_KEYS = ("pictures", "clips", "first_pictures", "first_clips", "data_seed", "difficulty")
"""What of a recipe decides its lessons."""

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Question:
    """One question in words."""

    before: str
    """What comes before the picture or video."""
    prompt: str
    answer: str
    scaled: bool
    """Whether its numbers lie on a scale, so that near misses are nearly right."""


@dataclass(frozen=True)
class Group:
    """All questions on one picture or video, as token ids."""

    t: int
    h: int
    w: int
    """The merged grid of its vision block."""
    step: float
    """Position units from one frame pair to the next."""
    start: int
    """Its first frame among all frames of its size."""
    before: tuple[int, ...]
    """Tokens before the vision block, `<|vision_start|>` included."""
    questions: tuple[tuple[tuple[int, ...], tuple[int, ...], bool], ...]
    """(tokens from `<|vision_end|>` to the one that asks for the answer, tokens of the answer, whether scaled)."""


@dataclass(frozen=True)
class Lessons:
    """All groups of one kind of medium, with its frames."""

    groups: tuple[Group, ...]
    frames: Pixels
    """(frames, side, side, 3); a picture is one frame."""
    video: bool


def question_of(sample: Sample, spec: TaskSpec, family: str = FAMILY) -> Question:
    """A sample as its task file asks it, with the answer that is taught."""
    row = dict(sample.row)
    prompt = render(spec.prompt(family), row)
    before, _, after = prompt.rpartition("<image 1>") if "placeholder" in spec.media else ("", "", prompt)
    if sample.box is not None:
        return Question(before, after, ",".join(f"{round(value)}" for value in sample.box), True)
    if spec.scorer == "span" and sample.span is not None:
        start, end = (round(2 * value) / 2 for value in sample.span)
        return Question(before, after, f"{start:.1f} - {end:.1f}", True)
    options = read_options(build_target(spec.target, row).get("options"))
    text = options.get(sample.answer, "")
    # An option whose text is a letter would be read as that letter.
    return Question(before, after, sample.answer if len(text) < 2 and not text.isdigit() else text, False)


def clip_frames(clip: Clip, span: tuple[float, float] | None) -> tuple[Pixels, float]:
    """The frames that the media policy shows of a clip, a whole number of pairs, and the position step of a pair."""
    start, end = span or (None, None)
    index = FrameIndex(
        pts=np.array([round(1000 * time) for time in clip.times], np.int64),
        keyframes=np.zeros(1, np.int64),
        end=round(1000 * clip.duration),
        time_base=Fraction(1, 1000),
        size=(clip.size, clip.size),
        quarter_turns=0,
        truncated=None,
    )
    chosen = select_frames(VideoSource(Path("clip"), start, end), media_policy(), GEOMETRY, index)
    positions, times = fill_patches(chosen, GEOMETRY.temporal_patch_size)
    _, seconds = clock_metadata(times, len(chosen.times), chosen.duration, GEOMETRY.temporal_patch_size)
    return clip.frames(positions.tolist()), seconds


def _groups(recipe: Recipe, *, video: bool) -> Iterator[tuple[list[Sample], Pixels, float]]:
    """(samples that share what is seen, its frames, seconds a frame pair): first lessons, then the world's, endless."""
    seed, difficulty = recipe.data_seed, recipe.difficulty
    first = islice(_together(first_samples(seed, difficulty, video=video)), recipe.first(video))
    world = _together(training_samples(seed, CLIP_KINDS if video else KINDS, difficulty))
    specs = Registry().tasks
    for samples in chain(first, world):
        sample = samples[0]
        if sample.clip is None:
            # A group is one vision block: the few questions on several pictures are evaluated only.
            if len(sample.images) == 1:
                yield samples, next(iter(sample.images.values()))[None], 1.0
            continue
        spans = "start" in specs[sample.column].media
        frames, seconds = clip_frames(sample.clip, sample.span if spans else None)
        yield samples, frames, seconds


def _together(stream: Iterator[Sample]) -> Iterator[list[Sample]]:
    return (list(samples) for _, samples in groupby(stream, key=lambda sample: sample.group))


def make_words(recipe: Recipe, groups: int = 4000) -> list[str]:
    """The vocabulary, from the task files' prompts and the first questions of the world."""
    tasks = Registry().tasks
    texts = []
    for kinds in (KINDS, CLIP_KINDS):
        for sample in islice(training_samples(recipe.data_seed, kinds, recipe.difficulty), groups):
            question = question_of(sample, tasks[sample.column])
            texts += [question.before, question.prompt, question.answer]
    columns = sorted({sample_kind for sample_kind in (*KINDS, *CLIP_KINDS) if sample_kind in tasks})
    return language.vocabulary((tasks[name].prompt(FAMILY) for name in [*columns, "refcoco_val"]), texts)


def make_lessons(recipe: Recipe, folder: Path, *, video: bool) -> Lessons:
    """Draw, render and tokenise the recipe's pictures or clips; first lessons come first."""
    tasks = Registry().tasks
    tokenizer = language.read_tokenizer(folder)
    vision_start, vision_end, ask, end = (
        token_id(f"<|{name}|>") for name in ("vision_start", "vision_end", "im_start", "im_end")
    )
    count = recipe.first(video) + (recipe.clips if video else recipe.pictures)
    groups: list[Group] = []
    frames: list[Pixels] = []
    start = 0
    for samples, seen, seconds in islice(_groups(recipe, video=video), count):
        questions = [question_of(sample, tasks[sample.column]) for sample in samples]
        t = len(seen) // GEOMETRY.temporal_patch_size if video else 1
        cells = seen.shape[1] // (GEOMETRY.patch_size * GEOMETRY.merge_size)
        encoded = tuple(
            (
                (vision_end, *tokenizer.encode(question.prompt).ids, ask),
                (*tokenizer.encode(question.answer).ids, end),
                question.scaled,
            )
            for question in questions
        )
        before = (*tokenizer.encode(questions[0].before).ids, vision_start)
        step = seconds * recipe.shape.tokens_per_second if video else 1.0
        groups.append(Group(t, cells, cells, step, start, before, encoded))
        frames.append(seen)
        start += len(seen)
    return Lessons(tuple(groups), np.concatenate(frames), video)


def load_lessons(recipe: Recipe, folder: Path, work: Path, *, video: bool) -> Lessons:
    """`make_lessons`, kept in `work` under the fingerprint of what decides them; pixels come back memory-mapped."""
    key = lessons_key(recipe, folder)
    stem = work / f"{'clips' if video else 'pictures'}-{key[:16]}"
    pixels, words = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not words.is_file():
        work.mkdir(parents=True, exist_ok=True)
        made = make_lessons(recipe, folder, video=video)
        np.save(pixels, made.frames)
        with whole(words) as draft:
            draft.write_text(json.dumps([_to_json(group) for group in made.groups]))
    groups = tuple(_from_json(entry) for entry in json.loads(words.read_text()))
    return Lessons(groups, np.load(pixels, mmap_mode="r"), video)


def lessons_key(recipe: Recipe, folder: Path) -> str:
    """sha256 of all that decides the lessons: the world, how much of it, and the tokenizer."""
    from mmrope_synth.core import WORLD_VERSION

    about = {
        "lessons": LESSONS_VERSION,
        "world": WORLD_VERSION,
        "recipe": {k: v for k, v in recipe.to_dict().items() if k in LESSON_KEYS},
        "kinds": [KINDS, CLIP_KINDS],
        "tokenizer": (folder / "tokenizer.json").read_text(encoding="utf-8"),
        "tokens_per_second": recipe.shape.tokens_per_second,
    }
    return fingerprint(about)


def _to_json(group: Group) -> list[Any]:
    return [group.t, group.h, group.w, group.step, group.start, group.before, group.questions]


def _from_json(entry: list[Any]) -> Group:
    t, h, w, step, start, before, questions = entry
    asked = tuple((tuple(q), tuple(a), scaled) for q, a, scaled in questions)
    return Group(t, h, w, step, start, tuple(before), asked)
