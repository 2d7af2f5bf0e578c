"""Fractional and negative positions inside the integers an engine carries.

vLLM stores one integer per token and axis, and places a generated token at
``context_len + delta`` with integer arithmetic of its own.  V2PE, VideoRoPE,
HoPE and CircleRoPE need fractions there (and so does the *text* after a HoPE
or CircleRoPE block).  A position ``p = i + q / 2**F`` therefore travels as

    encoded = q * 2**S + i        i: signed integer part, 0 <= q < 2**F

Integers encode as themselves, and adding an integer to an encoded value adds
it to the position, fraction untouched, as long as the sum stays inside the
window of integer parts.

Where generated tokens sit at zero on the spatial axes (`text_spatial_reset`), the engine's one number for all three
axes is not enough.  There the lowest bit of the fraction is spared in prompts and set in the delta: a *mark* by which
the decoding side knows a generated token.  Other variants use every bit for the fraction.

=====  ==  ==  ==============================  ==============
bits   S   F   window of integer parts         rounding error
=====  ==  ==  ==============================  ==============
32     19  12  -65,536 ... 458,751             <= 2**-13
64     32  30  -2**31 ... 2**31 - 1            <= 2**-31
=====  ==  ==  ==============================  ==============

The 32-bit form is for runners that stage positions as int32; every encoded
value, and every intermediate of ``encoded_delta + context_len``, fits there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

# bits -> (S, F, NEG): bits of integer part, bits of fraction, most negative integer part.
# 32 bits: S + F = 31 keeps the whole range in int32, and the window is asymmetric because
# negative positions are centred spatial offsets (hundreds) while a long video passes 2**18.
_LAYOUTS = {32: (19, 12, 1 << 16), 64: (32, 30, 1 << 31)}


class EncodingError(ValueError):
    """A position does not fit the encoded window; the caller names the sample."""


@dataclass(frozen=True)
class PositionCodec:
    """Encodes positions into ``bits``-bit integers; ``bits`` is 32 or 64 (ValueError otherwise)."""

    bits: int = 64

    def __post_init__(self) -> None:
        if self.bits not in _LAYOUTS:
            raise ValueError(f"positions are encoded in 32 or 64 bits, not {self.bits}")

    @property
    def integer_bits(self) -> int:
        """S: the width of the window of integer parts is ``2**S``."""
        return _LAYOUTS[self.bits][0]

    @property
    def fraction_bits(self) -> int:
        """F: positions are rounded to multiples of ``2**-F``."""
        return _LAYOUTS[self.bits][1]

    @property
    def lowest(self) -> int:
        """Lowest integer part that can be encoded."""
        return -_LAYOUTS[self.bits][2]

    @property
    def highest(self) -> int:
        """Highest integer part that can be encoded."""
        return self.lowest + (1 << self.integer_bits) - 1

    def encode(self, positions: NDArray[np.floating] | NDArray[np.integer], *,
               spare_mark: bool = False) -> NDArray[np.int64]:
        """Encode positions (any shape, usually ``(3, n)``) as int64 that fit ``bits`` bits.

        ``spare_mark`` leaves the mark unset, at the price of one bit of the fraction.
        Raises EncodingError for a value outside the window or not finite; nothing wraps.
        """
        values = np.asarray(positions, dtype=np.float64)
        if values.size == 0:
            return np.zeros(values.shape, dtype=np.int64)
        low, high = values.min(), values.max()
        # The comparison is written so that NaN (which min and max pass on) fails it.
        if not (low >= self.lowest and high < self.highest + 1):
            raise self._out_of_range(low if not low >= self.lowest else high)
        whole = values.astype(np.int64)
        if np.array_equal(whole, values):
            return whole  # most variants, and several times faster
        whole, fraction = self._split(values, 2 if spare_mark else 1)
        # A fraction just below 1 at the very top may have carried out of the window.
        if high > self.highest and whole.max() > self.highest:
            raise self._out_of_range(high)
        return (fraction << self.integer_bits) + whole

    def encode_delta(self, delta: float, *, min_context: int | None = None, max_context: int | None = None,
                     mark: bool = False) -> int:
        """Encode a decode offset: ``decode(encode_delta(d) + context_len) == context_len + d``.

        ``delta`` alone may lie far below the window (-300,000 after a long video): only the
        sum must be inside.  Give ``min_context`` (the prompt's length) and ``max_context``
        (the longest sequence) to have both ends of that sum checked; without them only what
        no context length of at least 0 could bring into the window raises EncodingError.
        Returns a Python int; wrap it in ``np.int64`` where the engine adds NumPy scalars
        (in 32-bit mode the sum never leaves int32 while the position is inside the window).
        ``mark`` sets the mark in it, and so in every position that the engine makes of it.
        """
        if not np.isfinite(delta) or not -(2.0**31) <= delta <= self.highest:
            raise self._out_of_range(delta)
        whole, fraction = (int(part) for part in self._split(np.float64(delta), 2 if mark else 1))
        if min_context is not None and whole + min_context < self.lowest:
            raise self._out_of_range(delta + min_context)
        if whole + (max_context or 0) > self.highest:
            raise self._out_of_range(delta + (max_context or 0))
        if mark:
            fraction |= 1
        return (fraction << self.integer_bits) + whole

    def marks(self, encoded: torch.Tensor) -> torch.Tensor:
        """1 where the mark is set, else 0; an integer tensor of the shape and dtype of ``encoded``."""
        return ((encoded - self.lowest) >> self.integer_bits) & 1

    def decode(self, encoded: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Decode an int32 or int64 tensor of any shape, on its device, into positions.

        ``dtype`` is float32 (default) or float64.  float32 is what the reference models hold
        positions in; it is the exact value rounded once (so integers above 2**24 round, as
        they do there).  float64 is exact up to 2**22 with all 30 fraction bits.  Values that
        ``encode`` cannot produce (padding of an uninitialised buffer) decode to something
        finite.
        """
        import torch

        target = torch.float32 if dtype is None else dtype
        # 32-bit parts (19 and 12 bits) are exact in float32; 64-bit ones need float64 so that
        # the only rounding is the last one.
        work = target if self.bits == 32 else torch.float64
        shifted = (encoded if self.bits == 32 else encoded.to(torch.int64)) - self.lowest
        whole = (shifted & ((1 << self.integer_bits) - 1)) + self.lowest
        fraction = (shifted >> self.integer_bits).to(work) * 2.0**-self.fraction_bits
        return (fraction + whole).to(target)

    def _split(self, values: NDArray[np.float64] | np.float64,
               step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Integer part, and fraction rounded to multiples of ``step * 2**-F``."""
        floor = np.floor(values)
        scale = 1 << self.fraction_bits
        fraction = np.rint((values - floor) * (scale // step)).astype(np.int64) * step
        # A fraction that rounds up to one whole goes into the integer part.
        carry = fraction >> self.fraction_bits
        return floor.astype(np.int64) + carry, fraction & (scale - 1)

    def _out_of_range(self, value: float | np.floating) -> EncodingError:
        fix = "use 64-bit positions or a shorter input" if self.bits == 32 else "check the variant's strides"
        return EncodingError(f"position {float(value):.10g} is outside {self.lowest} to {self.highest}, the range of "
                             f"{self.bits}-bit encoded positions: {fix}")
