"""How the demo's checkpoints are made: every number of the training, in one place.

The decoder starts from random weights and is trained once per variant, with the connector and the word embeddings, on
the same lessons in the same order. Before, and once for all, the vision encoder learns to see, and stays frozen from
then on as in the paper (arXiv 2510.23095, section 5); then connector and word embeddings learn the names of what is
seen. No variant is involved in either, so they favour none.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.models.default_family import DEFAULT_FAMILY_NAME
from mmrope_eval.models.families import DEFAULT_FAMILY
from mmrope_synth import Difficulty

GEOMETRY: Final = DEFAULT_FAMILY.published
FAMILY: Final = DEFAULT_FAMILY_NAME
"""Whose prompts, chat format and coordinates the checkpoints are trained with and asked in."""

CONTEXT = 96
"""Training context L in tokens: a video of at most 64 tokens, and its question."""

DIFFICULTY = Difficulty(
    video_size=56,
    min_things=2,
    max_things=4,
    colors=5,
    shapes=4,
    hollow_share=0.0,
    noise=2.0,
    chart_bars=(3, 4),
    chart_labelled_share=0.8,
    document_lines=(3, 3),
    medium_seconds=(7.0, 11.0),
    long_seconds=(12.0, 20.0),
    lvbench_seconds=(20.0, 32.0),
    distractors=(2, 2),
)
"""Of the demo's world: hard enough that trained models differ, easy enough that minutes of training show."""


def media_policy(context: int = CONTEXT) -> MediaPolicy:
    """What the models see at a context length: pictures as they are, four frames a second as far as they fit."""
    tokens = context - 32
    return MediaPolicy(
        video_fps=4.0,
        video_max_frames=tokens // 2,
        video_max_tokens=tokens,
        frame_min_pixels=56 * 56,
        frame_max_pixels=56 * 56,
    )


def carried_policy() -> dict[str, int | float]:
    """Of videos the same as a checkpoint carries it in config.json, to be asked as it was taught wherever it goes.

    Limits on pictures are its preprocessor's.
    """
    policy = media_policy()
    names = ("video_fps", "video_min_frames", "video_max_frames", "video_max_tokens", "frame_min_pixels",
             "frame_max_pixels")  # fmt: skip
    return {name: getattr(policy, name) for name in names}


@dataclass(frozen=True)
class Shape:
    """The checkpoints' architecture: Qwen2.5-VL's, shrunk."""

    hidden_size: int = 128
    intermediate_size: int = 256
    num_layers: int = 4
    num_heads: int = 4
    """Query heads and KV heads: as many KV heads as axes need rows, so that MHRoPE is real."""
    rope_theta: float = 50.0
    """Chosen for the grids and seconds of the small world: at 1e6 most pairs would hardly turn."""
    vision_hidden_size: int = 96
    vision_intermediate_size: int = 192
    vision_depth: int = 3
    vision_heads: int = 3
    tokens_per_second: int = 2
    initial: float = 0.06
    """Standard deviation of initial weights: the usual 0.02 is for matrices a hundred times wider."""

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        return self.hidden_size // self.num_heads


@dataclass(frozen=True)
class Schedule:
    """One training: warm-up and cosine decay; Muon for the decoder's matrices where it has a rate, AdamW elsewhere."""

    steps: int
    tokens: int = 1536
    """Padded tokens a step, at most."""
    learning_rate: float = 2e-3
    warmup: int = 100
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.05
    clip: float = 1.0
    final: float = 0.1
    """The last step's share of the learning rate; 1 keeps it."""
    matrix_rate: float = 0.0
    """Muon's learning rate; 0 leaves the matrices to AdamW."""
    matrix_decay: float = 0.02
    sigma: float = 2.0
    """Standard deviation of the soft labels on coordinates, in pixels and in half seconds."""

    def share(self, step: int) -> float:
        """Of the learning rates at a step, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * min(1.0, done))) / 2


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a checkpoint becomes, but the variant and the seed."""

    pictures: int = 60_000
    """Groups of questions that share a picture."""
    clips: int = 12_000
    """Groups of questions that share a video."""
    first_pictures: int = 6_000
    first_clips: int = 3_000
    """Groups of the first lessons, beside the others."""
    beginning: int = 300
    """Batches of first lessons, of pictures and of clips."""
    alone: int = 600
    """Steps that show pictures only, at the beginning: places and names are learnt there."""
    pattern: tuple[bool, ...] = (False, True, False, True, True)
    """Which of the steps after those show clips, repeated."""
    data_seed: int = 1
    shape: Shape = field(default_factory=Shape)
    seeing: Schedule = field(
        default_factory=lambda: Schedule(steps=9000, learning_rate=1.5e-3, clip=5.0, matrix_rate=0.02, final=0.02)
    )
    """Of the vision encoder, once."""
    naming: Schedule = field(default_factory=lambda: Schedule(steps=2500))
    """Of the connector and the words for what it sees, once."""
    telling: Schedule = field(default_factory=lambda: Schedule(steps=6000, matrix_rate=0.02, final=0.02))
    """Of the language model and the connector, for every variant."""
    emphasis: int = 3
    """Times that an epoch teaches a picture whose questions ask for boxes; four tokens have to be right."""
    difficulty: Difficulty = DIFFICULTY

    def first(self, video: bool) -> int:
        """Groups of the first lessons, which come before all others."""
        return self.first_clips if video else self.first_pictures

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, complete."""
        return asdict(self)

    @property
    def fingerprint(self) -> str:
        """sha256 of the recipe."""
        return fingerprint(self.to_dict())


def fingerprint(value: Mapping[str, Any]) -> str:
    """sha256 of a JSON-able mapping in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


KINDS = (
    *("grounding",) * 8,
    *("mmmu", "mmbench", "mmstar", "ai2d", "realworldqa") * 2,
    *("ocrbench", "docvqa", "textvqa", "infovqa", "chartqa") * 2,
)
"""Kinds of picture lessons; one that occurs more often is taught more often."""

CLIP_KINDS = (
    *("mvbench", "mvbench", "star", "star", "videomme", "lvbench"),
    *("mlvu", "mlvu", "charades_sta", "charades_sta"),
)

TABLE_2 = ("vanilla", "mrope", "videorope", "hope", "circlerope-upstream", "mhrope", "mrope-i")
"""The rows of the paper's Table 2, in its order: what the demo evaluates. CircleRoPE was trained as the published
package lays out a video, before `circlerope` was the paper's one ring."""

VARIANTS = (
    *TABLE_2,
    *("circlerope", "+3d", "+diagonal", "+modality-interval", "+text-spatial-reset", "+spatial-base"),
    *("videorope-like", "ilrope-like"),
)
"""The rows of Tables 2, 3 and 4; `+3d+spatial-reset`, `interleave` (mrope-i) and `multi-head` (mhrope) are among them
under another name. `circlerope`, `+modality-interval` and `ilrope-like` have no checkpoint: what was trained under
these names was of another design."""

SECTIONS: Mapping[str, tuple[int, ...]] = {"mhrope": (2, 1, 1)}
"""Sections that differ from the variant's own: with four KV heads, two are the temporal axis's."""

TIME: Literal["index", "seconds"] = "seconds"
"""What frames are counted in, in every training: the clock, as Qwen2.5-VL does, where the paper counts them."""

SEEDS: Mapping[str, tuple[int, ...]] = {"vanilla": (0, 1, 2), "mrope": (0, 1), "mrope-i": (0, 1, 2)}
"""Training seeds; 0 alone where nothing is said."""
