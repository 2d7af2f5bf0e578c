"""Fractional and negative positions survive the engine's integers, and its arithmetic on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from mmrope_eval.rope.encoding import EncodingError, PositionCodec


def encode(positions: np.ndarray, bits: int = 64) -> np.ndarray:
    return PositionCodec(bits).encode(positions)


def encode_delta(
    delta: float, bits: int = 64, *, min_context: int | None = None, max_context: int | None = None
) -> int:
    return PositionCodec(bits).encode_delta(delta, min_context=min_context, max_context=max_context)


def decode(encoded: torch.Tensor, bits: int = 64, dtype: torch.dtype | None = None) -> torch.Tensor:
    return PositionCodec(bits).decode(encoded, dtype)


INT32 = np.iinfo(np.int32)
# bits, lowest and highest integer part, promised rounding error
WINDOWS = [(32, -(2**16), 2**19 - 2**16 - 1, 2.0**-13), (64, -(2**31), 2**31 - 1, 2.0**-31)]
BITS = [32, 64]


def exact(encoded: np.ndarray | np.integer[Any] | int, bits: int) -> np.ndarray:
    return decode(torch.as_tensor(np.asarray(encoded)), bits, torch.float64).numpy()


@pytest.mark.parametrize(("bits", "lowest", "highest", "error"), WINDOWS)
def test_the_windows_are_as_documented(bits: int, lowest: int, highest: int, error: float) -> None:
    codec = PositionCodec(bits)
    assert (codec.lowest, codec.highest) == (lowest, highest)
    assert 2.0 ** -(codec.fraction_bits + 1) == error
    assert lowest < 0 and highest >= 2**18, "what the project promises: positions to 2**18, and negative ones"
    assert error <= 2.0**-12
    ends = encode(np.array([lowest, highest, lowest + 0.5, highest + 0.5]), bits)
    assert np.abs(exact(ends, bits) - [lowest, highest, lowest + 0.5, highest + 0.5]).max() == 0
    if bits == 32:
        assert ends.min() >= INT32.min and encode(np.array([highest + 1 - 2 * error]), 32)[0] <= INT32.max


@pytest.mark.parametrize(("bits", "lowest", "highest", "error"), WINDOWS)
@given(data=st.data())
def test_round_trip(bits: int, lowest: int, highest: int, error: float, data: st.DataObject) -> None:
    values = st.floats(lowest, min(highest, 2**22), allow_subnormal=False)
    positions = np.array(data.draw(st.lists(values, min_size=1, max_size=9)))
    encoded = encode(positions, bits)
    assert encoded.dtype == np.int64
    assert np.abs(exact(encoded, bits) - positions).max() <= error
    if bits == 32:
        assert encoded.min() >= INT32.min and encoded.max() <= INT32.max
        narrow = torch.from_numpy(encoded.astype(np.int32))
        assert torch.equal(decode(narrow, 32), decode(torch.from_numpy(encoded), 32))


@pytest.mark.parametrize(("bits", "lowest", "highest", "error"), WINDOWS)
@given(data=st.data())
def test_integers_encode_as_themselves(bits: int, lowest: int, highest: int, error: float, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(lowest, highest), min_size=1)), dtype=np.int64)
    assert np.array_equal(encode(positions, bits), positions)
    assert np.array_equal(exact(positions, bits), positions)


@pytest.mark.parametrize(("bits", "lowest", "highest", "error"), WINDOWS)
@given(data=st.data())
def test_the_engine_adds_context_lengths(
    bits: int, lowest: int, highest: int, error: float, data: st.DataObject
) -> None:
    """A generated token sits at context_len + delta; delta alone may lie far outside the window."""
    delta = data.draw(st.floats(-400_000, 200_000, allow_subnormal=False))
    context = data.draw(st.integers(0, 600_000))
    assume(lowest + 1 <= delta + context <= highest)
    encoded = encode_delta(delta, bits, min_context=context, max_context=context)
    assert abs(exact(encoded + context, bits) - (delta + context)) <= error
    assert abs(exact(np.int64(encoded) + np.int32(context), bits) - (delta + context)) <= error
    if bits == 32:
        # Runners that stage both as int32: NumPy raises on overflow of the scalar and would wrap in the sum.
        staged = np.array([encoded], dtype=np.int32) + np.array([context], dtype=np.int32)
        assert staged.dtype == np.int32 and staged[0] == encoded + context
        assert abs(exact(staged, 32)[0] - (delta + context)) <= error


@pytest.mark.parametrize("bits", BITS)
@given(position=st.floats(-60_000, 300_000, allow_subnormal=False), shift=st.integers(0, 100_000))
def test_adding_an_integer_moves_the_position_and_keeps_the_fraction(bits: int, position: float, shift: int) -> None:
    encoded = encode(np.array([position]), bits)
    assert exact(encoded + shift, bits)[0] == exact(encoded, bits)[0] + shift


@pytest.mark.parametrize(
    ("position", "whole"), [(4.99999, 5), (-0.00001, 0), (-3.00001, -3), (7 - 2**-14, 7), (262143.99999, 262144)]
)
def test_a_fraction_that_rounds_to_one_carries(position: float, whole: int) -> None:
    assert encode(np.array([position]), 32).tolist() == [whole]
    assert encode_delta(position, 32) == whole


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("beyond", [0.0001, 1.0, 1e6, 1e300, float("inf")])
def test_out_of_range_is_an_error_and_never_wraps(bits: int, beyond: float) -> None:
    codec = PositionCodec(bits)
    # One fraction step inside the top still fits; what rounds up to the next integer does not.
    for value in (codec.highest + 1 - 2.0**-40 + beyond, codec.lowest - beyond):
        with pytest.raises(EncodingError, match=rf"outside {codec.lowest} to {codec.highest}, .* {bits}-bit"):
            codec.encode(np.array([[0.0, value], [1.0, 2.0]]))


def test_not_a_number_is_an_error() -> None:
    for bits in BITS:
        with pytest.raises(EncodingError, match="position nan"):
            encode(np.array([1.0, np.nan]), bits)
        with pytest.raises(EncodingError):
            encode_delta(float("nan"), bits)


def test_a_carry_out_of_the_top_is_an_error() -> None:
    top = PositionCodec(32).highest
    assert exact(encode(np.array([top + 0.9998]), 32), 32)[0] == pytest.approx(top + 0.9998, abs=2**-13)
    with pytest.raises(EncodingError):
        encode(np.array([top + 0.99999]), 32)


@pytest.mark.parametrize(
    ("delta", "limits", "sentence"),
    [
        (-300_000.5, {"min_context": 100_000}, "position -200000.5 is outside -65536"),
        (-300_000.5, {"min_context": 300_000}, None),
        (10.25, {"max_context": 458_742}, "position 458752.25 is outside"),
        (10.25, {"max_context": 458_741}, None),
        (500_000.0, {}, "position 500000 is outside"),
    ],
)
def test_a_delta_is_judged_by_its_sum(delta: float, limits: dict[str, int], sentence: str | None) -> None:
    if sentence is None:
        assert isinstance(encode_delta(delta, 32, **limits), int)
    else:
        with pytest.raises(EncodingError, match=sentence):
            encode_delta(delta, 32, **limits)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (3, 7), (2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shapes_and_types(bits: int, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    positions = np.random.default_rng(0).uniform(-9, 9, shape)
    decoded = decode(torch.from_numpy(encode(positions, bits)), bits, dtype)
    assert decoded.dtype == dtype and tuple(decoded.shape) == shape
    np.testing.assert_allclose(decoded.numpy(), positions, rtol=0, atol=2.0**-12)


def test_float32_is_the_exact_value_rounded_once() -> None:
    positions = np.random.default_rng(1).uniform(0, 2**18, 10_000)
    for bits in BITS:
        encoded = encode(positions, bits)
        assert np.array_equal(decode(torch.from_numpy(encoded), bits).numpy(), exact(encoded, bits).astype(np.float32))
    # Beyond 2**24 float32 skips integers, in the reference models too; float64 does not.
    large = np.array([2**24 + 1, 2**30 + 3])
    assert exact(encode(large), 64).tolist() == large.tolist()
    assert decode(torch.from_numpy(encode(large)), 64).tolist() == large.astype(np.float32).tolist()


def test_garbage_in_an_unused_buffer_decodes_to_something_finite() -> None:
    for bits, kind in ((32, torch.int32), (32, torch.int64), (64, torch.int64)):
        info = torch.iinfo(kind)
        assert torch.isfinite(decode(torch.tensor([info.min, info.max, -1], dtype=kind), bits)).all()


def test_other_widths_do_not_exist() -> None:
    with pytest.raises(ValueError, match="32 or 64 bits, not 16"):
        PositionCodec(16)


@pytest.mark.parametrize("bits", [32, 64])
def test_a_mark_in_the_delta_tells_generated_tokens_from_prompt_tokens(bits: int) -> None:
    codec = PositionCodec(bits)
    prompt = torch.from_numpy(codec.encode(np.array([0.0, 17.0, -3.0, 9.5, 4.0 - 2.0**-12]), spare_mark=True))
    delta = codec.encode_delta(-300_000.0, mark=True)
    generated = torch.arange(delta + 300_005, delta + 300_009)
    assert codec.marks(prompt).tolist() == [0] * 5
    thirds = np.arange(300) / 3
    spared = codec.decode(torch.from_numpy(codec.encode(thirds, spare_mark=True)), torch.float64).numpy()
    assert np.abs(spared - thirds).max() <= 2.0**-codec.fraction_bits <= 2.0**-12
    assert codec.marks(generated).tolist() == [1] * 4
    position = codec.decode(generated, torch.float64) - 2.0**-codec.fraction_bits
    assert position.tolist() == [5, 6, 7, 8]
