"""A variant is data: a position design, a frequency allocation and a context scaling."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmrope_eval.rope.frequencies import FrequencyAllocation, SingleAllocation
from mmrope_eval.rope.positions import FlatLayout, Floats, PositionDesign, positions
from mmrope_eval.rope.scaling import ContextScaling, NoScaling
from mmrope_eval.rope.sections import SECTIONS, WORDS, read_definition
from mmrope_eval.rope.segments import Segment
from mmrope_eval.rope.table import RotaryTable, axis_map, build_table


@dataclass(frozen=True)
class Variant:
    """A multimodal RoPE: everything that decides positions and frequencies, and nothing else."""

    name: str
    position: PositionDesign = field(default_factory=FlatLayout)
    frequency: FrequencyAllocation = field(default_factory=SingleAllocation)
    scaling: ContextScaling = field(default_factory=NoScaling)
    summary: str = ""
    source: str = ""

    def positions(self, segments: Iterable[Segment]) -> tuple[Floats, float]:
        """float64 (3, n) coordinates in the order t, h, w, and delta: the next token sits at n + delta on all axes."""
        return positions(self.position, segments)

    def table(self, head_dim: int, num_kv_heads: int, rope_theta: float, *,
              rotary_dim: int | None = None) -> RotaryTable:
        """The rotary table for one model; `rotary_dim` < `head_dim` leaves the other channels alone (partial rotary).

        Raises `VariantError` where the variant does not fit the model: sections that do not add up, too few KV heads.
        """
        return build_table(self.frequency, self.scaling, rotary_dim=rotary_dim or head_dim, num_kv_heads=num_kv_heads,
                           rope_theta=rope_theta)

    def check_fit(self, rotary_dim: int, num_kv_heads: int) -> None:
        """Raises the `VariantError` that `table` would, without the table, which needs torch."""
        axis_map(self.frequency, rotary_dim, num_kv_heads)

    @property
    def time(self) -> str | None:
        """What frames are counted in, ``index`` or ``seconds``; None for a layout that knows no frames."""
        return getattr(self.position, "time", None)

    def to_dict(self) -> dict[str, Any]:
        """The full definition, JSON-able, with the parameters that are read; `from_dict` reads it back."""
        words = {key: getattr(self, key) for key in WORDS}
        return {**words, **{section.name: getattr(self, section.name).model_dump(mode="json") for section in SECTIONS}}

    @classmethod
    def from_dict(cls, definition: Mapping[str, Any]) -> Variant:
        """Read a definition: a YAML file's content, `to_dict`'s, or the flat one of version 0.2's manifests.

        Raises `VariantError` naming the bad key.
        """
        return cls(**read_definition(definition))

    @property
    def fingerprint(self) -> str:
        """sha256 of all that decides a rotation; the name, the summary and the source are words only."""
        flat = {section.name: section.flat(getattr(self, section.name)) for section in SECTIONS}
        return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()

    @property
    def timeless_fingerprint(self) -> str:
        """The fingerprint without `time`, which decides nothing where no clock is read: on text and pictures, and on
        the videos of families that carry no seconds. It is what versions without `time` called the fingerprint."""
        if self.time is None:
            return self.fingerprint
        return replace(self, position=self.position.model_copy(update={"time": "seconds"})).fingerprint
