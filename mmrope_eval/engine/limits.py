"""How long what is asked of an engine may take, where the user does not say: far longer than it should.

The limits end what will never end, so they are drawn from the work to be done at a speed that every machine exceeds by
far, on top of ten minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.models.checkpoint import Checkpoint

PATIENCE = 600.0
"""Seconds, whatever the work: for compilers, cold disks and machines that others use too."""

LOADING = 20e6
"""Bytes of weights a second."""

COMPUTING = {"cpu": 2e9, "cuda": 1e13}
"""Floating-point operations a second."""

READING = {"cpu": 1e9, "cuda": 1e11}
"""Bytes of weights a second, which every generated token needs once."""


@dataclass(frozen=True)
class Limits:
    """Seconds for the calls of one engine."""

    checkpoint: Checkpoint
    options: EngineOptions
    cuda: bool

    @property
    def start(self) -> float:
        """For an engine's start, or for other weights."""
        return self.options.start_timeout or PATIENCE + self._weights / LOADING

    def silence(self, tokens: int) -> float:
        """For the engine to give out anything after `tokens` of prompts: those of a step, or of the longest prompt."""
        return self.options.request_timeout or PATIENCE + self._prompts(tokens)

    def request(self, in_flight: int, max_tokens: int) -> float:
        """For one request to be answered, behind `in_flight` tokens of prompts, its own among them."""
        reading = self._weights / READING[self._device]
        return self.options.request_timeout or PATIENCE + self._prompts(in_flight) + max_tokens * (1 + reading)

    def _prompts(self, tokens: int) -> float:
        """For so many tokens: twice the weights a token, and attention to all before it."""
        shape = self.checkpoint
        attention = 4 * tokens**2 * shape.num_layers * shape.num_heads * shape.head_dim
        return (self._weights * tokens + attention) / COMPUTING[self._device]

    @cached_property
    def _weights(self) -> int:
        return self.checkpoint.weight_bytes

    @property
    def _device(self) -> str:
        return "cuda" if self.cuda else "cpu"
