"""What a model family is: everything that differs between one and another, in one record each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from mmrope_eval.models.config import TextConfig, VisionConfig
from mmrope_eval.models.tensors import Shapes

FAMILY_KEY: Final = "mm_family"
"""Key of a served config.json that keeps the family's `model_type` where transformers has to be told another."""


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
    limits: Literal["frame", "video"]
    """Whether `size` of the video processor bounds the pixels of one frame, or of all frames together."""
    processors: tuple[str, ...]
    """Names that video_preprocessor_config.json may give; transformers' present one first."""
    frame_limits: tuple[int, int]
    """Fewest and most pixels (width * height) of a frame where no file of the checkpoint says."""
    tokens_per_second: int | None = None
    """Position units per second where config.json does not say. None: videos carry no seconds. A grid's seconds times
    this is what `time: seconds` counts in."""
    timestamp: str | None = None
    """Of ``frames``: the longest text that the processor writes before a frame, for videos of less than 2.5 hours."""

    @property
    def timed(self) -> bool:
        """Whether videos carry seconds."""
        return self.tokens_per_second is not None


@dataclass(frozen=True)
class ModelFamily:
    """One model family. A new one is one file in `families/` that makes such a record and calls it `FAMILY`."""

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
    processor_limits: tuple[int, int]
    """Fewest and most pixels of an image by transformers' class, where a file says neither."""
    base: str
    """A published checkpoint whose files can be copied."""
    flat_names: bool = True
    """Whether transformers before 4.52 saved it, with `model.layers` where there is `model.language_model.layers` now;
    vLLM reads such names for these families alone."""
    hf_model_type: str | None = None
    """What transformers and vLLM call `model_type`, where its classes are another family's; None: the same."""
    also_asked_as: tuple[str, ...] = ()
    """Further files of configs/families for its checkpoints."""
    text_required: tuple[str, ...] = ()
    """Keys that a flat config.json must spell out: transformers writes them all there."""
    fused_rounding: bool = False
    """Whether the reference can round where vLLM does: its modules for that are written for this network."""

    @property
    def architecture(self) -> str:
        """Our class for vLLM; also a name that a config.json may give. Families that share classes are told apart."""
        return f"MMRope{'' if self.hf_model_type is None else f'_{self.model_type}_'}{self.hf_class}"

    def tokens_per_second(self, vision: Mapping[str, Any]) -> float:
        """Position units per second of video by `vision_config`, for variants with `time: seconds`; 0 where time is not
        measured."""
        unsaid = self.video.tokens_per_second
        return 0.0 if unsaid is None else float(vision.get("tokens_per_second", unsaid))
