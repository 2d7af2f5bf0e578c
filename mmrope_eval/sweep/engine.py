"""The engine of a sweep: started once for the longest context that fits, then only switched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmrope_eval.engine.backend import DoesNotFitError, Engine, StartEngine
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.process import available_memory
from mmrope_eval.errors import UserError, plain
from mmrope_eval.messages import EngineStartError

if TYPE_CHECKING:
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant

MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory",
                "kv cache is needed", "available kv cache memory", "no available memory for the cache blocks",
                "free memory on device", "when memory runs out", "engine core initialization failed")
"""How PyTorch, vLLM and the operating system say it. The last is what vLLM says where a worker's words are unknown."""

PIXEL_COPIES = 3
"""Of a video's patches in float32 at a time: the processor's, the engine's, the encoder's."""


def memory_problem(error: BaseException | None) -> str | None:
    """What an exception, or one that it came from, says about memory; None when it is about something else."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or says_memory(f"{type(error).__name__}: {error}"):
            return plain(str(error)) or type(error).__name__
        if isinstance(error, EngineStartError):  # a worker's own words, which say more than what came of them
            return None
        error = error.__cause__ or error.__context__
    return None


def says_memory(text: str) -> bool:
    """Whether a sentence is about memory that is missing."""
    lowered = text.lower()
    return "outofmemoryerror" in lowered or any(words in lowered for words in MEMORY_WORDS)


@dataclass
class LongestThatFits:
    """A `StartEngine` for points of one sweep: its engines have room for the longest context that fits. They are then
    only switched, as media limits change from point to point."""

    start: StartEngine
    limits: tuple[EngineOptions, ...]
    """What an engine may be started for: one entry for every max_model_len, the longest first."""
    room: int = 0
    """max_model_len of the engine that was started last."""
    refused: dict[tuple[Any, ...], str] = field(default_factory=dict)
    """Why a network could not be started for a max_model_len."""

    def serves(self, wanted: EngineOptions) -> bool:
        """Whether the engine that was started last has room for a point."""
        return self.room >= (wanted.max_model_len or 0)

    def __call__(self, checkpoint: Checkpoint, variant: Variant, wanted: EngineOptions) -> Engine:
        """An engine under the media limits of a point. DoesNotFitError where nothing as long as it has memory."""
        cause = f"no context of {wanted.max_model_len} tokens is allowed"
        for options in self.limits:
            length = options.max_model_len or 0
            if length < (wanted.max_model_len or 0):
                break
            key = (length, *network(checkpoint))
            if key not in self.refused:
                try:
                    check_memory(checkpoint, options, available_memory())
                    engine = self.start(checkpoint, variant, options)
                except Exception as error:
                    problem = None if isinstance(error, UserError) else memory_problem(error)
                    if problem is None:
                        raise
                    self.refused[key] = problem
                else:
                    self.room = length
                    return self._switched(engine, wanted)
            cause = self.refused[key]
        raise DoesNotFitError(cause)

    def _switched(self, engine: Engine, wanted: EngineOptions) -> Engine:
        try:
            engine.switch(policy=wanted.policy)
        except BaseException:
            engine.close()
            raise
        return engine


def network(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """What decides a checkpoint's need for memory."""
    return checkpoint.family.name, checkpoint.weight_bytes, checkpoint.num_layers, checkpoint.num_kv_heads


def check_memory(checkpoint: Checkpoint, options: EngineOptions, available: int | None) -> None:
    """MemoryError where a machine without a GPU lacks the memory: there the operating system would end the process.

    Counted are the KV cache of one sequence and a few copies of the largest video's pixels, on top of the weights.
    `available` bytes are free; None: nobody knows.
    """
    import torch

    if available is None or torch.cuda.is_available():
        return
    size = 2 if checkpoint.dtype in ("bfloat16", "float16") and options.dtype != "float32" else 4
    a_token = 2 * checkpoint.num_layers * checkpoint.num_kv_heads * checkpoint.head_dim * size
    cache = a_token * (options.max_model_len or 0)
    geometry = checkpoint.geometry
    patch = 3 * geometry.temporal_patch_size * geometry.patch_size**2 * 4
    pixels = PIXEL_COPIES * video_tokens(options) * geometry.merge_size**2 * patch
    if (needed := cache + pixels + checkpoint.weight_bytes) > available:
        gib = 2**30
        raise MemoryError(f"not enough memory: about {needed / gib:.1f} GiB needed for {options.max_model_len} tokens "
                          f"of context, {available / gib:.1f} GiB available")


def video_tokens(options: EngineOptions) -> int:
    """Vision tokens of the largest video of a point."""
    return options.policy.video_max_tokens if options.policy else 0


def longest_first(options: Iterable[EngineOptions]) -> tuple[EngineOptions, ...]:
    """One entry for every max_model_len, with the largest video that a point of this length has."""
    chosen: dict[int, EngineOptions] = {}
    for candidate in sorted(options, key=video_tokens, reverse=True):
        chosen.setdefault(candidate.max_model_len or 0, candidate)
    return tuple(chosen[length] for length in sorted(chosen, reverse=True))
