"""What a model family is: everything that differs between Qwen2-VL, Qwen2.5-VL and Qwen3-VL, in one record each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mmrope_eval.models.config import TextConfig, VisionConfig
from mmrope_eval.models.tensors import Shapes


@dataclass(frozen=True)
class VisionGeometry:
    """How pixels become tokens: a token is `merge_size` x `merge_size` patches of `patch_size` pixels square."""

    patch_size: int
    merge_size: int
    temporal_patch_size: int

    @property
    def factor(self) -> int:
        """Side in pixels of the square that one vision token covers; sides of resized media are multiples of it."""
        return self.patch_size * self.merge_size


@dataclass(frozen=True)
class VideoRule:
    """How the family lays out a video's tokens, and what its processor's limits on video count."""

    layout: Literal["block", "frames"]
    """``block``: one run of t * h * w tokens; ``frames``: a written timestamp and a run of h * w tokens a frame."""
    timed: bool
    """Whether videos carry seconds: a grid's, times `tokens_per_second`, is what `time: seconds` counts in."""
    limits: Literal["frame", "video"]
    """Whether `size` of the video processor bounds the pixels of one frame, or of all frames together."""


@dataclass(frozen=True)
class ModelFamily:
    """One model family. A new one is one file that makes such a record, and a line in `families.py`."""

    name: str
    """Also of its file in configs/families."""
    title: str
    model_type: str
    """Of config.json."""
    stock_variant: str
    """What its published checkpoints are trained with."""
    hf_class: str
    """Its class in transformers."""
    vllm_class: str
    """Its class in vLLM, as "module:class"."""
    text: type[TextConfig]
    vision: type[VisionConfig]
    tensors: Callable[[TextConfig, VisionConfig], Shapes] = field(repr=False)
    """All tensors of the network."""
    published: VisionGeometry
    """Of its published checkpoints."""
    image_processors: tuple[str, ...]
    """Names that preprocessor_config.json may give; transformers' present one first."""
    video: VideoRule
    image_limits: tuple[int, int]
    """Fewest and most pixels (width * height) of an image, by the published preprocessor_config.json."""
    base: str
    """A published checkpoint whose files can be copied."""
    flat_names: bool = True
    """Whether transformers before 4.52 saved it, with `model.layers` where there is `model.language_model.layers` now;
    vLLM reads such names for these families alone."""
    text_required: tuple[str, ...] = ()
    """Keys that a flat config.json must spell out: transformers writes them all there."""

    @property
    def architecture(self) -> str:
        """Our class for vLLM."""
        return f"MMRope{self.hf_class}"

    def tokens_per_second(self, vision: Mapping[str, Any]) -> float:
        """Position units per second of video by `vision_config`, for variants with `time: seconds`; 0 where time is not
        measured."""
        return float(vision.get("tokens_per_second", 4)) if self.video.timed else 0.0
