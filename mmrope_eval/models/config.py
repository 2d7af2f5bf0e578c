"""config.json as typed objects: the numbers that decide the shapes of a network's tensors.

Keys that are absent have the value that transformers' own configuration classes give them (a test compares every one),
since `save_pretrained` leaves such keys out of nested configurations. Everything else in the file is left alone here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmrope_eval.errors import UserError

Count = Annotated[int, Field(gt=0, lt=2**31)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]

MAX_DEPTH = 64
"""Levels of a JSON file; real ones have at most ten."""

Part = TypeVar("Part", bound=BaseModel)


class ConfigPart(BaseModel):
    """A part of config.json: read-only, its types exact, keys that do not bear on shapes ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class TextConfig(ConfigPart):
    """The language model's part. Defaults are Qwen2-VL's and Qwen2.5-VL's in transformers."""

    vocab_size: Count = 152064
    hidden_size: Count = 8192
    intermediate_size: Count = 29568
    num_hidden_layers: Count = 80
    num_attention_heads: Count = 64
    num_key_value_heads: Count | None = 8
    """None: as many as query heads."""
    head_dim: Count | None = None
    """None: hidden_size / num_attention_heads, which is what these two families have whatever the key says."""
    max_position_embeddings: Count = 32768

    @property
    def kv_heads(self) -> int:
        """Number of KV heads."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Channels of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads


class VisionConfig(ConfigPart):
    """What the vision encoders of all families have in common."""

    depth: Count = 32
    hidden_size: Count = 3584
    num_heads: Count = 16
    in_channels: Count = 3
    patch_size: Count = 14
    spatial_merge_size: Count = 2
    temporal_patch_size: Count = 2

    @property
    def merged_width(self) -> int:
        """Channels of a merged cell before the merger's linear layers."""
        return self.hidden_size * self.spatial_merge_size**2


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises `UserError` naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read as JSON ({' '.join(str(error).split()) or type(error).__name__}): copy it again "
            "from where the checkpoint comes from"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not {type(content).__name__}: copy it again from where the "
                        "checkpoint comes from")  # fmt: skip
    if _too_deep(content):
        raise UserError(f"{path} is nested more than {MAX_DEPTH} levels deep, which no checkpoint's file is: copy it again "
                        "from where the checkpoint comes from")  # fmt: skip
    return content


def _too_deep(content: Any) -> bool:
    """Whether what walks over the content level by level would run out of levels."""
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [inner for item in level if isinstance(item, dict | list)
                 for inner in (item.values() if isinstance(item, dict) else item)]  # fmt: skip
    return bool(level)


def parse_part(kind: type[Part], content: Mapping[str, Any], where: str) -> Part:
    """A part of a JSON file as `kind`. Raises `UserError` naming `where`, the key and what it takes."""
    try:
        return kind.model_validate(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        given = "" if first["type"] == "missing" else f", not {_short(first['input'])}"
        raise UserError(f"{where}: '{key}' is wrong ({first['msg'].lower()}{given})") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of config.json; the flat layout of older files keeps it at the top."""
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config
