"""Context scaling: stretching the context that a model was trained on, on every axis of any variant."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from mmrope_eval.rope.parameters import Must, Number, Parameters, Positive, PositiveInt, Takes

VLLM_CONTEXT_FACTOR = 4
"""By which vLLM's MRotaryEmbedding (0.26 to 0.32, `positions_factor`) multiplies the context that it was given."""


Factor = Annotated[Number, Field(ge=1), Must("be at least 1")]


class Scaling(Parameters):
    """Frequencies of one rotary base, and the size of cos and sin."""

    type: str

    def inv_freq(self, rope_theta: float, rotary_dim: int) -> NDArray[np.float32]:
        """float32 (rotary_dim / 2,)."""
        return _base_inv_freq(rope_theta, rotary_dim)

    @property
    def cos_sin_factor(self) -> float:
        """What cos and sin are multiplied with."""
        return 1.0


class NoScaling(Scaling):
    """The context as it was trained."""

    type: Literal["none"] = "none"

    @property
    def factor(self) -> float:
        """One: nothing is stretched."""
        return 1.0


class LinearScaling(Scaling):
    """Divides frequencies by `factor`. arXiv 2306.15595."""

    type: Literal["linear"] = "linear"
    factor: Factor = 1.0

    def inv_freq(self, rope_theta: float, rotary_dim: int) -> NDArray[np.float32]:
        """float32 (rotary_dim / 2,)."""
        return (_base_inv_freq(rope_theta, rotary_dim) / np.float32(self.factor)).astype(np.float32)


class NtkScaling(Scaling):
    """Raises the base by factor ** (dim / (dim - 2))."""

    type: Literal["ntk"] = "ntk"
    factor: Factor = 1.0

    def inv_freq(self, rope_theta: float, rotary_dim: int) -> NDArray[np.float32]:
        """float32 (rotary_dim / 2,)."""
        return _base_inv_freq(rope_theta * self.factor ** (rotary_dim / (rotary_dim - 2)), rotary_dim)


class YarnScaling(Scaling):
    """Divides the frequencies of slow pairs, keeps those of fast ones, and scales the attention. arXiv 2309.00071."""

    type: Literal["yarn"] = "yarn"
    factor: Factor = 1.0
    original_max_position: PositiveInt = 32768
    """The context length the model was trained on."""
    beta_fast: Positive = 32.0
    """Turns within that context from which on a pair is kept."""
    beta_slow: Positive = 1.0
    """Turns within that context up to which a pair is divided by the whole factor."""
    attention_factor: Positive | None = None
    """Overrides 0.1 * ln(factor) + 1."""
    dialect: Annotated[Literal["transformers", "vllm"], Takes("'transformers' or 'vllm'")] = "transformers"
    """Whose code is followed: vLLM's multimodal class takes four times the context that the model was trained on, and
    so divides fewer pairs; transformers, and vLLM for models of text alone, take it as it is."""

    @model_validator(mode="after")
    def _check_betas(self) -> YarnScaling:
        if self.beta_fast <= self.beta_slow:
            raise ValueError(f"beta_fast must exceed beta_slow, not {self.beta_fast} and {self.beta_slow}")
        return self

    def inv_freq(self, rope_theta: float, rotary_dim: int) -> NDArray[np.float32]:
        """float32 (rotary_dim / 2,)."""
        inv_freq = _base_inv_freq(rope_theta, rotary_dim)
        kept = 1 - self._ramp(rope_theta, rotary_dim)
        return (inv_freq / np.float32(self.factor) * (1 - kept) + inv_freq * kept).astype(np.float32)

    def _ramp(self, rope_theta: float, rotary_dim: int) -> NDArray[np.float32]:
        """0 for pairs that turn often in the trained context (kept), 1 for those that hardly do (interpolated)."""
        context = self.original_max_position * (VLLM_CONTEXT_FACTOR if self.dialect == "vllm" else 1)

        def pair_turning(times: float) -> float:
            return rotary_dim * math.log(context / (times * 2 * math.pi)) / (2 * math.log(rope_theta))

        low = max(math.floor(pair_turning(self.beta_fast)), 0)
        high = min(math.ceil(pair_turning(self.beta_slow)), rotary_dim - 1)
        width = max(high - low, 1e-3)
        ramp = (np.arange(rotary_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(width)
        return np.clip(ramp, 0, 1).astype(np.float32)

    @property
    def cos_sin_factor(self) -> float:
        """What cos and sin are multiplied with."""
        if self.attention_factor is not None:
            return self.attention_factor
        return 0.1 * math.log(self.factor) + 1.0 if self.factor > 1 else 1.0


ContextScaling = Annotated[NoScaling | LinearScaling | NtkScaling | YarnScaling, Field(discriminator="type")]
"""How the context is stretched: one of the scalings, told apart by `type`."""


def _base_inv_freq(rope_theta: float, rotary_dim: int) -> NDArray[np.float32]:
    """1 / theta ** (2i / dim) in float32, by torch's own power, equal to checkpoints' rotary modules bit by bit.

    On CPU whatever torch's default device is: vLLM builds models under that of a GPU, whose power rounds another way.
    """
    import torch

    exponent = torch.arange(0, rotary_dim, 2, dtype=torch.int64, device="cpu").to(torch.float32) / rotary_dim
    return np.asarray((1.0 / (rope_theta**exponent)).numpy(), dtype=np.float32)
