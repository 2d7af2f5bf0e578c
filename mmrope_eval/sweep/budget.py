"""From a context in tokens to frames, and from positions to the factor of a context scaling."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.messages import Generation, Request, VideoSource
from mmrope_eval.rope import Text, Variant, Vision
from mmrope_eval.sweep.config import Frames
from mmrope_eval.sweep.options import Factor

if TYPE_CHECKING:
    from mmrope_eval.engine.prompt import PromptWriter
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope.segments import Segment


@dataclass(frozen=True)
class Budget:
    """How the tokens of one context are spent in one task."""

    context: int
    text: int
    """Tokens of the longest prompt besides its video."""
    stamp: int
    """Text tokens that belong to each temporal grid: timestamps."""
    cells: int
    """A frame has cells x cells vision tokens."""
    grids: int
    """Temporal grids that fit; 0: not even one."""
    frames: int
    answer: int
    """Tokens that may be generated."""

    @property
    def tokens(self) -> int:
        """How many tokens a prompt has whose video fills its budget."""
        return self.text + self.grids * (self.cells**2 + self.stamp)

    @property
    def max_model_len(self) -> int:
        """What the engine must allow; a whole context, so that points of different texts share an engine."""
        return self.context + self.answer


def make_budget(context: int, text: int, answer: int, frames: Frames, checkpoint: Checkpoint, stamp: int = 0,
                count: int | None = None) -> Budget:
    """The token budget less the prompt's text, divided by the tokens of a temporal grid; or `count` frames of it.
    UserError where so many frames do not fit."""
    patch = checkpoint.geometry.temporal_patch_size
    grids = max(0, (context - text) // (frames.cells**2 + stamp))
    if count is not None:
        asked = math.ceil(count / patch)
        if asked > grids:
            tokens = text + asked * (frames.cells**2 + stamp)
            raise UserError(f"{count} frames of {frames.cells} x {frames.cells} tokens and {text} tokens of text are "
                            f"{tokens} tokens, more than the context of {context}: lower `frames.cells` or "
                            "`frames.counts`")  # fmt: skip
        grids = asked
    return Budget(context, text, stamp, frames.cells, grids, grids * patch, answer)


def make_policy(budget: Budget, frames: Frames, checkpoint: Checkpoint) -> MediaPolicy:
    """Every video's frames at one size, as dense as `frames` says, as many as the budget buys."""
    side = frame_side(budget.cells, checkpoint)
    return MediaPolicy(image_max_pixels=max(side**2, MediaPolicy.image_min_pixels), video_fps=frames.fps,
                       video_min_frames=min(MediaPolicy.video_min_frames, budget.frames),
                       video_max_frames=budget.frames, video_max_tokens=budget.grids * budget.cells**2,
                       frame_min_pixels=side**2, frame_max_pixels=side**2)


def frame_side(cells: int, checkpoint: Checkpoint) -> int:
    """Width and height in pixels of a square frame of cells x cells vision tokens."""
    return cells * checkpoint.geometry.factor


def text_tokens(writer: PromptWriter, prompts: Iterable[tuple[str, str | None]], told: bool | None = None) -> int:
    """Tokens of the longest of (prompt, system prompt) pairs with one video each, without the video's. `told` is what
    the chat template is told as enable_thinking."""
    video, generation = VideoSource(Path("video")), Generation(max_tokens=1)
    requests = (Request("", (video, prompt), generation, system, told) for prompt, system in prompts)
    return max(len(writer.write(request)[1]) - 1 for request in requests)


def stamp_tokens(writer: PromptWriter, checkpoint: Checkpoint) -> int:
    """Text tokens of a temporal grid: where frames are blocks a timestamp, vision_start and vision_end, else none."""
    timestamp = checkpoint.family.video.timestamp
    if timestamp is None:
        return 0
    generation = Generation(max_tokens=1)
    long, short = (writer.write(Request("", (text,), generation))[1] for text in (f"x{timestamp}", "x"))
    return len(long) - len(short) + 2


def layout(budget: Budget, frames: Frames, checkpoint: Checkpoint) -> Sequence[Segment]:
    """The token layout of a prompt whose video fills its budget."""
    before, after = Text(budget.text // 2), Text(budget.text - budget.text // 2)
    grids, cells = max(1, budget.grids), budget.cells
    if checkpoint.family.video.layout == "frames":
        frame = (Text(budget.stamp), Vision(1, cells, cells))
        return [before, *(frame * grids), after]
    seconds = checkpoint.geometry.temporal_patch_size / frames.fps
    step = checkpoint.tokens_per_second * seconds if checkpoint.family.video.timed else 1.0
    return [before, Vision(grids, cells, cells, step), after]


def reach(variant: Variant, segments: Sequence[Segment], checkpoint: Checkpoint) -> float:
    """How far a prompt's positions go on the axes that the variant rotates: the largest, counted from one."""
    table = variant.table(checkpoint.head_dim, checkpoint.num_kv_heads, checkpoint.rope_theta,
                          rotary_dim=checkpoint.rotary_dim)
    axes = sorted({int(axis) for axis in np.unique(table.axis)} - {-1})
    positions, _ = variant.positions(segments)
    return float(positions[axes].max()) + 1


@dataclass(frozen=True)
class Growth:
    """How far a variant's positions reach in training and at a target length."""

    trained: float
    target: float

    @property
    def factor(self) -> float:
        """What a context scaling must make up for; 1 within the trained reach."""
        return max(1.0, round(self.target / self.trained, 6))


@dataclass(frozen=True)
class Stretch:
    """What a context scaling stretches by, and the context that it starts from."""

    rule: str
    """`reach`, `context`, or the number: `x4`."""
    factor: float
    original: float

    @classmethod
    def of(cls, rule: Factor, growth: Growth, context: int, trained: int) -> Stretch:
        """By a rule of a sweep: 1 up to the `trained` context, both in tokens, and by reach where nothing grows."""
        if rule == "reach":
            return cls(rule, growth.factor, growth.trained)
        longer = round(context / trained, 6)
        factor, name = (longer, rule) if isinstance(rule, str) else (rule, f"x{rule:g}")
        return cls(name, factor if longer > 1 else 1.0, trained)


def scaled(variant: Variant, scaling: str, stretch: Stretch) -> Variant:
    """The variant under a context scaling; unchanged where there is nothing to make up for."""
    if scaling == "none" or stretch.factor == 1:
        return variant
    settings: dict[str, Any] = {"type": scaling, "factor": stretch.factor}
    if scaling == "yarn":
        settings["original_max_position"] = max(1, math.ceil(stretch.original))
    return Variant.from_dict({**variant.to_dict(), "scaling": settings})
