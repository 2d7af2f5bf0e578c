"""config.json as typed objects: the numbers that decide a network's tensors, and what an engine cannot start with.

Keys that are absent have the value that transformers' own configuration classes give them (a test compares every one),
since `save_pretrained` leaves such keys out of nested configurations. Everything else in the file is left alone here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mmrope_eval.errors import UserError
from mmrope_eval.util.config import sentence
from mmrope_eval.words import flat, mended

Count = Annotated[int, Field(gt=0, lt=2**31)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]

Epsilon = Annotated[float, Field(gt=0, lt=1)]

MAX_DEPTH = 64
"""Levels of a JSON file; real ones have at most ten."""

Part = TypeVar("Part", bound=BaseModel)
JsonFiles = Mapping[str, Mapping[str, Any]]
"""JSON files of a checkpoint's folder by name, those that it has."""


class ConfigPart(BaseModel):
    """A part of config.json: read-only, its types exact, keys that do not bear on shapes ignored."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)


class TextConfig(ConfigPart):
    """The language model's part. A family gives the values of keys that its files may leave out."""

    vocab_size: Count
    hidden_size: Count
    intermediate_size: Count
    num_hidden_layers: Count
    num_attention_heads: Count
    num_key_value_heads: Count | None
    """None: as many as query heads."""
    head_dim: Count | None = None
    """None: hidden_size / num_attention_heads."""
    max_position_embeddings: Count
    hidden_act: Literal["silu"] = "silu"
    rms_norm_eps: Epsilon
    use_cache: bool = True
    initializer_range: float = 0.02
    attention_dropout: float | None = 0.0
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    own_head_size: ClassVar[bool] = False
    """Whether heads may be of another size than an even share of hidden_size."""

    @property
    def kv_heads(self) -> int:
        """Number of KV heads."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_size(self) -> int:
        """Channels of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    def problem(self) -> str | None:
        """Why no network has these numbers together; None when one can."""
        heads = self.num_attention_heads
        if heads % self.kv_heads:
            return (f"{heads} query heads (num_attention_heads) cannot share {self.kv_heads} KV heads "
                    "(num_key_value_heads): the one must be a multiple of the other")  # fmt: skip
        if not self.own_head_size and self.head_size * heads != self.hidden_size:
            return (f"{heads} heads (num_attention_heads) of {self.head_size} channels (head_dim, or an even share) "
                    f"do not make hidden_size {self.hidden_size}")  # fmt: skip
        if self.head_size % 2:
            return f"heads of {self.head_size} channels (head_dim) have no pairs to rotate: it must be an even number"
        return None


class VisionConfig(ConfigPart):
    """What the vision encoders of all families have in common; a family gives the values of keys that may be absent."""

    depth: Count
    hidden_size: Count
    num_heads: Count
    in_channels: Count = 3
    patch_size: Count
    spatial_merge_size: Count
    temporal_patch_size: Count
    hidden_act: Annotated[str, Field(min_length=1)]
    initializer_range: float = 0.02

    @property
    def merged_width(self) -> int:
        """Channels of a merged cell before the merger's linear layers."""
        return self.width * self.spatial_merge_size**2

    @property
    def width(self) -> int:
        """Channels of a patch."""
        return self.hidden_size

    @property
    def inner_width(self) -> int:
        """Channels inside a block's feed-forward layers."""
        raise NotImplementedError

    @property
    def out_width(self) -> int:
        """Channels of what the language model gets."""
        raise NotImplementedError

    def problem(self, text: TextConfig) -> str | None:
        """Why no network has these numbers together, beside that language model; None when one can."""
        if self.width % (4 * self.num_heads):
            return (f"{self.width} channels of a patch are no {self.num_heads} heads (num_heads) with rotary pairs "
                    "for rows and columns: their size must be a multiple of 4")  # fmt: skip
        if self.out_width != text.hidden_size:
            return (f"its pictures have {self.out_width} channels for the language model, whose hidden_size is "
                    f"{text.hidden_size}")  # fmt: skip
        return None


class WideVisionConfig(VisionConfig):
    """A vision encoder that says its feed-forward layers' width, and the width of what it gives."""

    intermediate_size: Count
    out_hidden_size: Count = 3584

    @property
    def inner_width(self) -> int:
        """Channels inside a block's feed-forward layers."""
        return self.intermediate_size

    @property
    def out_width(self) -> int:
        """Channels of what the language model gets."""
        return self.out_hidden_size


def read_jsons(folder: Path, names: Iterable[str]) -> JsonFiles:
    """Read the JSON files of these names that a folder has. Raises `UserError` naming the file."""
    return {name: read_json(folder / name) for name in names if (folder / name).is_file()}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises `UserError` naming the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON ({flat(error) or type(error).__name__}): "
                        f"{mended(path, 'copy it again from where the checkpoint comes from')}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, not {type(content).__name__}: copy it again from where the "
                        "checkpoint comes from")  # fmt: skip
    if _too_deep(content):
        raise UserError(f"{path} is nested more than {MAX_DEPTH} levels deep, which no checkpoint's file is: copy it "
                        "again from where the checkpoint comes from")  # fmt: skip
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
        raise UserError(f"{where}: {sentence(error, kind)}; copy the file from where the checkpoint comes "
                        "from") from error


def text_part(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's part of config.json; the flat layout of older files keeps it at the top."""
    nested = config.get("text_config")
    return nested if isinstance(nested, Mapping) else config


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a model whose output matrix is not the word embeddings."""
    nested = config.get("text_config")
    inner = {"text_config": {**nested, "tie_word_embeddings": False}} if isinstance(nested, Mapping) else {}
    return {**config, "tie_word_embeddings": False, **inner}
