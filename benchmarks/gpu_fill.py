"""Filling cos and sin once a step: what it costs as torch operations, and as the one kernel that it could be.

The product fills with torch (docs/fidelity.md says why). `fill_in_one_kernel` is here to be measured against it:
encoded positions in, cos and sin out, equal to `SharedRotary.fill` to one unit in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from gpu_cases import KV_HEADS, Table, positions_of
from gpu_lines import Line, skipped, verdict
from gpu_speed import best_times
from torch.utils._python_dispatch import TorchDispatchMode

from mmrope_eval.engine.rotary import SharedRotary
from mmrope_eval.rope.encoding import PositionCodec

PART = "fill"
UNIT = 1.2e-7
"""Of float32 at 1."""
LAUNCH = 1.5e-6
"""Seconds of a small kernel inside a CUDA graph: an estimate, for docs/fidelity.md."""
NO_KERNEL = frozenset({"aten.t", "aten.view", "aten.select", "aten.slice", "aten.transpose", "aten._unsafe_view",
                       "aten.unsqueeze", "aten.expand", "aten.detach", "aten.alias", "aten.empty"})  # fmt: skip
"""Operations that only look at a tensor another way."""


@dataclass(frozen=True)
class Decoder:
    """The matrices of a language model that a decode step reads, whatever its batch."""

    name: str
    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int

    @property
    def bytes(self) -> int:
        """In bfloat16; heads have 128 channels."""
        attention = 128 * self.hidden * (2 * self.heads + 2 * self.kv_heads)
        return 2 * (self.layers * (attention + 3 * self.hidden * self.inner) + self.vocabulary * self.hidden)


DECODERS = (
    Decoder("Qwen2-VL-2B", 28, 1536, 8960, 12, 2, 151936),
    Decoder("Qwen2.5-VL-3B", 36, 2048, 11008, 16, 2, 151936),
    Decoder("Qwen2.5-VL-7B", 28, 3584, 18944, 28, 4, 152064),
)
"""From the published config.json of each."""


class _Operations(TorchDispatchMode):
    """Notes every operation that launches a kernel, and the bytes of its tensors."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        # A copy of a tensor onto itself is what indexed assignment leaves of an operation in place.
        onto_itself = func is torch.ops.aten.copy_.default and args[0].data_ptr() == args[1].data_ptr()
        if str(func.overloadpacket) not in NO_KERNEL and not onto_itself:
            self.names.append(str(func))
            read = [x for x in args if isinstance(x, torch.Tensor)]
            self.bytes += sum(x.numel() * x.element_size() for x in (*read, result))
        return result


def operations(function: Callable[[], object]) -> tuple[list[str], int]:
    """The torch operations of a call that launch a kernel each on a GPU, and the bytes that they read and write."""
    with _Operations() as recorder:
        function()
    return recorder.names, recorder.bytes


def rotary_of(table: Table, tokens: int, codec: PositionCodec, device: str, *, reset: bool = False) -> SharedRotary:
    """As the engine makes it where steps are replayed from CUDA graphs."""
    rows, pairs = table.axis.shape
    with torch.device(device):
        rotary = SharedRotary(rows, pairs, tokens, codec, full_rows=True, captured=True)
    rotary.set_table(cast("Any", table), text_spatial_reset=reset)
    return rotary


def encoded_positions(tokens: int, codec: PositionCodec, device: str, *, marked: bool = False) -> torch.Tensor:
    """Random ones in the integers that an engine carries, int32 or int64 (3, tokens); every third token is marked."""
    positions = positions_of(tokens, torch.Generator().manual_seed(tokens)).double().numpy()
    encoded = codec.encode(positions, spare_mark=marked)
    if marked:
        encoded[:, ::3] += np.int64(1) << codec.integer_bits
    return torch.from_numpy(encoded).to(torch.int32 if codec.bits == 32 else torch.int64).to(device)


def fill_in_one_kernel(rotary: SharedRotary, encoded: torch.Tensor) -> None:
    """What `rotary.fill(encoded)` does, in one launch."""
    import triton
    from gpu_fill_kernel import fill_kernel

    n, (rows, pairs), codec = encoded.shape[1], rotary.cos.shape[1:], rotary.codec
    padded = triton.next_power_of_2(pairs)
    tokens = max(1, 512 // padded) if n > 256 else 1
    fill_kernel[(triton.cdiv(n, tokens), rows)](
        encoded, rotary._axis, rotary._freq, rotary._factor, rotary._reset, rotary.cos, rotary.sin, n,
        encoded.stride(0), encoded.stride(1), rotary.cos.stride(0), rotary.cos.stride(1),
        LOWEST=codec.lowest, INTEGER_BITS=codec.integer_bits, FRACTION=2.0**-codec.fraction_bits,
        WIDE=codec.bits == 64, PAIRS=pairs, PADDED=padded, TOKENS=tokens,
        num_warps=1 if tokens == 1 else 4,
    )  # fmt: skip


def check(tables: list[Table], device: str) -> Iterator[Line]:
    """Whether the one kernel fills as torch does, for both widths of positions, with and without marks."""
    for bits in (64, 32):
        worst = 0.0
        for table in tables:
            for reset in (False, True):
                worst = float(np.max([worst, apart(table, PositionCodec(bits), device, reset=reset)]))
        yield verdict(PART, f"one kernel against torch, {bits}-bit positions", worst <= UNIT,
                      f"{2 * len(tables)} fills, worst difference {worst:.1e}", error=worst)  # fmt: skip


def apart(table: Table, codec: PositionCodec, device: str, *, reset: bool, tokens: int = 300) -> float:
    """Largest difference of both fills of the same positions."""
    encoded = encoded_positions(tokens, codec, device, marked=reset)
    fills = []
    for fill in (SharedRotary.fill, fill_in_one_kernel):
        rotary = rotary_of(table, tokens, codec, device, reset=reset)
        fill(rotary, encoded)
        fills.append((rotary.cos.double(), rotary.sin.double()))
    return float(np.max([float((a - b).abs().max()) for a, b in zip(*fills, strict=True)]))


def measure(tables: list[Table], device: str) -> Iterator[Line]:
    """The time of both, beside the time in which a decode step reads its matrices at a copy's speed."""
    if device != "cuda":
        yield skipped(PART, "its time", "there is no CUDA device")
        return
    table = max(tables, key=lambda t: t.distinct)
    for tokens in (1, 256, 8192):
        took = timed(table, tokens, device)
        words = f"torch {took['torch'] * 1e6:.1f} us, one kernel {took['one kernel'] * 1e6:.1f} us"
        numbers = {f"us_{name.replace(' ', '_')}": seconds * 1e6 for name, seconds in took.items()}
        yield Line(PART, f"{tokens} tokens, {KV_HEADS} KV heads", "measured", words, numbers)
        if tokens == 256:
            yield from steps(took, copy_rate(device))


def timed(table: Table, tokens: int, device: str, rounds: int = 10) -> dict[str, float]:
    """Seconds of both fills."""
    codec = PositionCodec()
    rotary, encoded = rotary_of(table, tokens, codec, device), encoded_positions(tokens, codec, device)
    both = {"torch": lambda: rotary.fill(encoded), "one kernel": lambda: fill_in_one_kernel(rotary, encoded)}
    return best_times(both, device, rounds)


def copy_rate(device: str, size: int = 1 << 29) -> float:
    """Bytes a second that a copy reads and writes."""
    source = torch.empty(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / best_times({"copy": lambda: target.copy_(source)}, device, 5)["copy"]


def steps(took: Mapping[str, float], rate: float) -> Iterator[Line]:
    """The fill's share of the shortest decode step that there can be, for each model."""
    for model in DECODERS:
        step = model.bytes / rate
        shares = {name: seconds / step for name, seconds in took.items()}
        words = f"torch {shares['torch']:.2%}, one kernel {shares['one kernel']:.2%} of {step * 1e3:.2f} ms"
        numbers = {"step_ms": step * 1e3, "share_torch": shares["torch"], "share_one_kernel": shares["one kernel"]}
        yield Line(PART, f"share of a decode step, {model.name}", "measured", words, numbers)
