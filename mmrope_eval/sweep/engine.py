"""The engine of a sweep: started once for the longest context that fits, then only switched."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmrope_eval.engine.backend import Engine
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.process import available_memory
from mmrope_eval.errors import UserError, plain, sentence
from mmrope_eval.messages import EngineDiedError, EngineStartError
from mmrope_eval.run.execute import Cell, EngineHolder, RowError, Timings, failed_takeover
from mmrope_eval.util.console import say

if TYPE_CHECKING:
    from mmrope_eval.models.checkpoint import Checkpoint
    from mmrope_eval.rope import Variant

SweepStart = Callable[["Checkpoint", "Variant", EngineOptions], Engine]

MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "kv cache is needed",
    "available kv cache memory",
    "no available memory for the cache blocks",
    "free memory on device",
    "when memory runs out",
    "engine core initialization failed",
)
"""How PyTorch, vLLM and the operating system say it. The last is what vLLM says where a worker's words are unknown."""

PIXEL_COPIES = 3
"""Of a video's patches in float32 at a time: the processor's, the engine's, the encoder's."""


class DoesNotFitError(Exception):
    """A point needs more memory than there is; one sentence."""


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
class SweepHolder(EngineHolder):
    """At most one live engine, with room for the longest context that fits; media limits change from point to point."""

    begin: SweepStart | None = None
    limits: tuple[EngineOptions, ...] = ()
    """What an engine may be started for: one entry for every max_model_len, the longest first."""
    wanted: EngineOptions = field(default_factory=EngineOptions)
    """Of the point at hand."""
    limit: int = 0
    """max_model_len of the running engine."""
    refused: dict[tuple[Any, ...], str] = field(default_factory=dict)
    """Why a network could not be started for a max_model_len."""

    def ready(self, cell: Cell, timings: Timings) -> Engine:
        """The engine, running `cell` under the media limits of `wanted`. DoesNotFitError when none can be started."""
        began = time.perf_counter()
        if self.engine is not None and self.limit < (self.wanted.max_model_len or 0):
            self.close()
        if self.engine is not None and self.cell is not None:
            same = self.cell.checkpoint.fingerprint == cell.checkpoint.fingerprint
            try:
                self.change(cell, None if same else cell.checkpoint)
                timings.switch = time.perf_counter() - began
            except Exception as error:  # noqa: BLE001 - another network or tokenizer, or an engine that died
                if not isinstance(error, UserError):
                    say(f"{cell.label}: {failed_takeover(error)}", file=sys.stderr)
                self.close()
        if self.engine is None:
            self.engine = self.start_longest(cell)
            self._check_code()
            self.change(cell, None)
            timings.engine_start += time.perf_counter() - began
        self.cell = cell
        return self.engine

    def change(self, cell: Cell, checkpoint: Checkpoint | None) -> None:
        """Switch the running engine to the point at hand."""
        engine: Any = self.engine
        engine.switch(variant=cell.variant, checkpoint=checkpoint, policy=cell.policy)

    def start_longest(self, cell: Cell) -> Engine:
        """An engine for the longest context that fits, at least the one that is wanted."""
        assert self.begin is not None
        cause = f"no context of {self.wanted.max_model_len} tokens is allowed"
        for options in self.limits:
            length = options.max_model_len or 0
            if length < (self.wanted.max_model_len or 0):
                break
            key = (length, *network(cell.checkpoint))
            if key not in self.refused:
                try:
                    check_memory(cell.checkpoint, options)
                    engine = self.begin(cell.checkpoint, cell.variant, options)
                except UserError:
                    raise
                except Exception as error:
                    problem = memory_problem(error)
                    if problem is None:
                        if isinstance(error, EngineDiedError):
                            raise
                        raise RowError(f"no engine could be started on it: {sentence(error)}") from error
                    self.refused[key] = problem
                else:
                    self.limit = length
                    return engine
            cause = self.refused[key]
        raise DoesNotFitError(cause)


def network(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """What decides a checkpoint's need for memory."""
    return checkpoint.family.name, checkpoint.weight_bytes, checkpoint.num_layers, checkpoint.num_kv_heads


def check_memory(checkpoint: Checkpoint, options: EngineOptions) -> None:
    """MemoryError where a machine without a GPU lacks the memory: there the operating system would end the process.

    Counted are the KV cache of one sequence and a few copies of the largest video's pixels, on top of the weights.
    """
    import torch

    available = available_memory()
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
    for one in options:
        known = chosen.setdefault(one.max_model_len or 0, one)
        if video_tokens(known) < video_tokens(one):
            chosen[one.max_model_len or 0] = one
    return tuple(chosen[length] for length in sorted(chosen, reverse=True))
