"""The model families for vLLM with a variant inside. Imported by vLLM, in whichever process runs the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from mmrope_eval.engine import vllm_model
from mmrope_eval.engine.positions import PositionLog, prompt_key, prompt_positions
from mmrope_eval.engine.rotary import SharedRotary, kv_head_rows
from mmrope_eval.models.families import FAMILIES
from mmrope_eval.models.family import ModelFamily
from mmrope_eval.rope import RotaryTable, Variant
from mmrope_eval.rope.encoding import PositionCodec


class VariantModel:
    """What all families share: positions by the variant, one rotary module for all layers, a record of positions."""

    _shape: vllm_model.ModelShape
    _log: PositionLog
    codec: PositionCodec
    variant: Variant
    rotary: SharedRotary

    def install(self, vllm_config: Any) -> None:
        """Put the shared rotary module into every layer of this rank, with the variant that the config names.

        The vision encoder keeps its rotation, in float32.
        """
        self._shape = shape = vllm_model.model_shape(vllm_config)
        self._log = PositionLog()
        self.codec = PositionCodec(shape.position_bits)
        rows = kv_head_rows(shape.num_kv_heads, shape.rank, shape.world)
        self.rotary = SharedRotary(rows.stop - rows.start, shape.rotary_dim // 2, shape.max_tokens, self.codec,
                                   full_rows=shape.compiled, captured=shape.captured)
        for attention in vllm_model.attention_modules(self):
            attention.rotary_emb = self.rotary
        vllm_model.rotate_vision_in_float32(self)
        self.set_variant(vllm_model.configured_variant(vllm_config), shape.rope_theta)

    def set_variant(self, variant: Variant, rope_theta: float) -> None:
        """Use another variant for requests that arrive from now on. Raises `VariantError` where it does not fit."""
        shape = self._shape
        table = variant.table(shape.head_dim, shape.num_kv_heads, rope_theta, rotary_dim=shape.rotary_dim)
        mine = kv_head_rows(shape.num_kv_heads, shape.rank, shape.world)
        rank_table = RotaryTable(table.axis[mine], table.inv_freq[mine], table.attention_factor)
        self.rotary.set_table(rank_table, text_spatial_reset=variant.position.text_spatial_reset)
        self.variant = variant

    def drain_positions(self) -> list[tuple[str, str, float, float]]:
        """What `PositionLog.drain` returns."""
        return self._log.drain()

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: list[Any]) -> tuple[torch.Tensor, Any]:
        """vLLM's hook: encoded positions, int64 (3, n), and the encoded offset of generated tokens."""
        spans = vllm_model.media_spans(mm_features, self._shape)
        placed = prompt_positions(self.variant, input_tokens, spans, self.codec)
        self._log.add(prompt_key(input_tokens, spans), placed.facts)
        return torch.from_numpy(placed.ids), vllm_model.as_delta(placed.delta, self.codec.bits)

    def forward(self, input_ids: torch.Tensor | None, positions: torch.Tensor, intermediate_tensors: Any = None,
                inputs_embeds: torch.Tensor | None = None, **kwargs: object) -> Any:
        """The outer, uncompiled forward: cos and sin once, then the family's own network."""
        self.rotary.fill(positions)
        return super().forward(  # type: ignore[misc]
            input_ids, positions, intermediate_tensors=intermediate_tensors, inputs_embeds=inputs_embeds, **kwargs
        )


def with_variant(family: ModelFamily) -> type:
    """vLLM's class of a family with `VariantModel` before it, under our own name."""

    def __init__(self: Any, *, vllm_config: Any, prefix: str = "") -> None:  # noqa: N807 - a class's own
        base.__init__(self, vllm_config=vllm_config, prefix=prefix)
        self.install(vllm_config)

    base = vllm_model.base_model(family)
    content = {"__init__": __init__, "__module__": __name__, "__doc__": f"{family.title} with a variant inside."}
    return type(family.architecture, (VariantModel, base), content)


# One class a family, by the name under which vLLM's registry looks for it in this module.
globals().update({family.architecture: with_variant(family) for family in FAMILIES})


class WorkerExtension:
    """Methods that vLLM adds to its workers, for `collective_rpc`; arguments and results are plain values."""

    model_runner: Any

    def mmrope_set_variant(self, definition: Mapping[str, Any], rope_theta: float) -> None:
        """Position design and rotary table in one step."""
        self.model_runner.get_model().set_variant(Variant.from_dict(definition), rope_theta)

    def mmrope_load_weights(self, path: str) -> None:
        """Replace the weights by those of another checkpoint of the same shapes."""
        vllm_model.reload_weights(self.model_runner, path)

    def mmrope_drain_positions(self) -> list[tuple[str, str, float, float]]:
        """Records of the positions used since the last call."""
        records: list[tuple[str, str, float, float]] = self.model_runner.get_model().drain_positions()
        return records

    def mmrope_state(self) -> dict[str, Any]:
        """How this worker runs: bits of its positions, shape, variant."""
        model = self.model_runner.get_model()
        return {**dataclasses.asdict(model._shape), "variant": model.variant.fingerprint}
