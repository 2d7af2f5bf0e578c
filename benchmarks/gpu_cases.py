"""What the kernels are tried on: attention shapes, the catalogue's tables, and q and k inside a packed projection.

The tables are in gpu_tables.json, so that nothing but numpy and torch is needed to have them all. It is written by
`python benchmarks/gpu.py --write-tables`, and a test compares it with the catalogue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TABLES_FILE = Path(__file__).with_name("gpu_tables.json")
HEAD_DIM, KV_HEADS, THETA = 128, 8, 1e6
AXES = "thw"


@dataclass(frozen=True)
class Shape:
    """The heads of one model on one device; `pairs` of them rotate."""

    model: str
    heads: int
    kv_heads: int
    head_dim: int = HEAD_DIM
    pairs: int = HEAD_DIM // 2

    @property
    def widths(self) -> tuple[int, int, int]:
        """Channels of q, k and v."""
        return self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.head_dim


SHAPES = (
    Shape("Qwen2.5-VL-7B", 28, 4),
    Shape("Qwen2.5-VL-3B", 16, 2),
    Shape("Qwen2.5-VL-72B on 8 GPUs", 8, 1),
    Shape("Qwen3-VL-8B", 32, 8),
    Shape("Qwen3-VL-235B-A22B", 64, 4),
    Shape("a quarter of the channels rotate", 16, 8, 128, 16),
    Shape("heads of 80 channels, 3 KV heads", 6, 3, 80, 40),
    Shape("the tiny checkpoint", 4, 2, 32, 16),
)


@dataclass(frozen=True)
class Table:
    """What `CosSinPlan` and `SharedRotary` read of a `RotaryTable`."""

    names: tuple[str, ...]
    """The variants that have it."""
    axis: NDArray[np.int8]
    inv_freq: NDArray[np.float32]
    attention_factor: float = 1.0

    def cut(self, kv_heads: int, pairs: int) -> Table:
        """Its first rows and pairs, for a model with other heads; rows begin again where it has too few."""
        rows = np.arange(kv_heads) % self.axis.shape[0]
        return Table(self.names, np.ascontiguousarray(self.axis[rows, :pairs]),
                     np.ascontiguousarray(self.inv_freq[rows, :pairs]), self.attention_factor)  # fmt: skip

    @property
    def distinct(self) -> int:
        """How many rows differ."""
        return len(np.unique(np.concatenate((self.axis.astype(np.float32), self.inv_freq), axis=1), axis=0))


def catalogue() -> list[Table]:
    """All different tables of the catalogue, from the variants themselves. Needs pydantic."""
    from mmrope_eval.rope import load_variant, variant_names

    table_by_content: dict[bytes, Table] = {}
    for name in variant_names():
        table = load_variant(name).table(HEAD_DIM, KV_HEADS, THETA)
        key = table.axis.tobytes() + table.inv_freq.tobytes() + np.float64(table.attention_factor).tobytes()
        before = table_by_content[key].names if key in table_by_content else ()
        table_by_content[key] = Table((*before, name), table.axis, table.inv_freq, table.attention_factor)
    return list(table_by_content.values())


def written(tables: list[Table]) -> str:
    """The file's content, one table a line; rows that are all alike are written once."""
    head = {"head_dim": HEAD_DIM, "num_kv_heads": KV_HEADS, "rope_theta": THETA}
    lines = ",\n".join(json.dumps(_plain(table)) for table in tables)
    return json.dumps(head).removesuffix("}") + f', "tables": [\n{lines}\n]}}\n'


def _plain(table: Table) -> dict[str, Any]:
    rows = [{"axis": "".join("-" if a < 0 else AXES[a] for a in axis), "inv_freq": [float(f) for f in freq]}
            for axis, freq in zip(table.axis, table.inv_freq, strict=True)]  # fmt: skip
    alike = all(row == rows[0] for row in rows)
    return {"variants": table.names, "attention_factor": table.attention_factor, "rows": rows[:1] if alike else rows}


def read_tables(path: Path = TABLES_FILE) -> list[Table]:
    """The tables of the file."""
    return [_read(entry) for entry in json.loads(path.read_text())["tables"]]


def _read(entry: Mapping[str, Any]) -> Table:
    axis = np.array([[AXES.find(letter) for letter in row["axis"]] for row in entry["rows"]], np.int8)
    freq = np.array([row["inv_freq"] for row in entry["rows"]], np.float32)
    repeats = (KV_HEADS if len(axis) == 1 else 1, 1)
    return Table(tuple(entry["variants"]), np.tile(axis, repeats), np.tile(freq, repeats), entry["attention_factor"])


@dataclass(frozen=True)
class Given:
    """One layer's q and k as views of a packed projection, and the step's cos and sin."""

    packed: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor

    def again(self) -> Given:
        """The same on a copy of the projection, which may be overwritten."""
        packed = self.packed.clone()
        ends = self.q.shape[1], self.q.shape[1] + self.k.shape[1]
        return Given(packed, packed[:, : ends[0]], packed[:, ends[0] : ends[1]], self.cos, self.sin)


def given(shape: Shape, table: Table, tokens: int, dtype: torch.dtype, device: str) -> Given:
    """Random q, k and v; cos and sin of random positions, whole and fractional, as the engine fills them."""
    from mmrope_eval.rope.kernels import CosSinPlan

    q, k, v = shape.widths
    packed = torch.randn(tokens, q + k + v, generator=torch.Generator(device).manual_seed(tokens), device=device)
    packed = packed.to(dtype)
    cut_table = table.cut(shape.kv_heads, shape.pairs)
    positions = positions_of(tokens, torch.Generator().manual_seed(tokens)).to(device)
    shared = cut_table.distinct == 1 and tokens % 2 == 0
    base = [torch.empty(tokens, 1 if shared else shape.kv_heads, shape.pairs, device=device) for _ in range(2)]
    cos, sin = (b.expand(-1, shape.kv_heads, -1) for b in base)
    plan = CosSinPlan.build(cut_table.axis, cut_table.inv_freq, cut_table.attention_factor, device)
    plan.fill(positions, cos, sin)
    return Given(packed, packed[:, :q], packed[:, q : q + k], cos, sin)


def positions_of(tokens: int, generator: torch.Generator) -> torch.Tensor:
    """float32 (3, tokens): up to 262,144, every second one with a fraction, the first negative."""
    whole = torch.randint(0, 1 << 18, (3, tokens), generator=generator).float()
    whole[:, 1::2] = whole[:, 1::2] / 64 + 0.375
    whole[:, 0] = torch.tensor([5.0, -3.5, -4.0])
    return whole
