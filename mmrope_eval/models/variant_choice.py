"""Which variant a checkpoint is evaluated under, and why. It is never guessed without a word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmrope_eval.errors import UserError
from mmrope_eval.models.checkpoint import Checkpoint
from mmrope_eval.models.config import read_json
from mmrope_eval.models.families import FAMILIES
from mmrope_eval.models.rope_config import VARIANT_KEY
from mmrope_eval.rope import Variant, VariantError, load_variant, load_variant_beside, variant_aliases, variant_names
from mmrope_eval.util.row_names import step_of_name

_MOMENT = re.compile(r"epoch[-_]?\d+|final|best|last|hf|merged", re.IGNORECASE)
"""Folder names that say which moment of a training it is, beside its steps; the folder above says which training."""


@dataclass(frozen=True)
class VariantChoice:
    """The variant of one checkpoint."""

    variant: Variant
    how: str
    """Where it was chosen: the command line, a key of config.json, or the model type."""
    assumed: bool = False
    """Whether nothing names it, so that it is what stock checkpoints of this model type are trained with."""


def resolve_variant(checkpoint: Checkpoint, requested: str | None, overrides: Mapping[str, Any] | None = None, *,
                    assume_stock: bool = False) -> VariantChoice:
    """The variant to use: --variant, else what config.json names, else what the model type is trained with.

    A checkpoint's own `mrope_section` is used where the model type decides. Context scaling (YaRN and such) that
    config.json asks for applies to a variant that has none of its own. Raises `VariantError` for a variant that cannot
    be, `UserError` where config.json or the folder's name leave a question; `assume_stock` answers the folder's name.
    """
    given = dict(overrides or {})
    rope, where = checkpoint.rope, checkpoint.path / "config.json"
    if requested is not None:
        choice = VariantChoice(load_variant(requested, **given), "--variant")
    elif rope.questions:
        raise UserError(f"{rope.questions[0]}: say which variant it was trained with, --variant NAME")
    elif rope.named is not None:
        named = _load_named(rope.named, given, _naming_folder(checkpoint), f"{where}, {rope.named_by}")
        choice = VariantChoice(named, f"config.json ({rope.named_by})")
    else:
        choice = _stock(checkpoint, given, assume_stock)
    if "scaling" in given or choice.variant.scaling.type != "none":
        return choice
    if rope.scaling_problem is not None:
        raise UserError(rope.scaling_problem)
    if rope.scaling is None:
        return choice
    scaled = Variant.from_dict({**choice.variant.to_dict(), "scaling": dict(rope.scaling)})
    return replace(choice, variant=scaled, how=f"{choice.how}, {rope.scaling['type']} scaling of config.json")


def _naming_folder(checkpoint: Checkpoint) -> Path:
    """The folder of the config.json that names the variant: of an adapter's own key, else of its base."""
    base, config_path = (checkpoint.adapter or {}).get("base_path"), checkpoint.path / "config.json"
    of_base = base is not None and not (config_path.is_file() and VARIANT_KEY in read_json(config_path))
    return Path(str(base)) if of_base else checkpoint.path


def video_time(variant: Variant, tokens_per_second: float) -> str | None:
    """How far apart the frames of a video stand, in words; None where a model measures no time or a variant reads
    none. `tokens_per_second` is the checkpoint's."""
    stride = getattr(variant.position, "temporal_stride", None)
    if stride is None or not tokens_per_second:
        return None
    if variant.time == "index":
        return f"by index, {stride:g} a grid (time: index)"
    return f"by the clock, {stride * tokens_per_second:g} a second (time: seconds)"


def _load_named(spec: str | Mapping[str, Any], given: Mapping[str, Any], folder: Path, where: str) -> Variant:
    try:
        return load_variant_beside(folder, spec, **given)
    except VariantError as error:
        raise UserError(f"{where}: {error}; --variant decides otherwise") from error


def _stock(checkpoint: Checkpoint, given: Mapping[str, Any], assume_stock: bool) -> VariantChoice:
    family = checkpoint.family
    called = None if assume_stock else named_in_path(checkpoint.path, family.stock_variant)
    if called is not None:
        raise UserError(f"checkpoint '{checkpoint.path}' says nowhere in config.json how it was trained, but is called "
                        f"'{called[0]}': say --variant {called[1]} if that is its RoPE, or --assume-stock if it is "
                        f"{family.title}'s own ('mmrope-eval stamp CKPT {called[1]}' writes it into config.json)")
    variant = load_variant(family.stock_variant, **given)
    how = f"model type ({family.model_type})"
    section = checkpoint.rope.section
    if section and not {"mrope_section", "allocation", "pattern"} & set(given):
        sectioned = load_variant(family.stock_variant, **given, mrope_section=list(section))
        if not _same_axes(sectioned, variant, checkpoint):
            variant, how = sectioned, f"{how}, mrope_section {list(section)} of config.json"
    return VariantChoice(variant, how, assumed=True)


def _same_axes(first: Variant, other: Variant, checkpoint: Checkpoint) -> bool:
    pairs = checkpoint.rotary_dim // 2
    try:
        return bool((first.frequency.axis_map(pairs, 1) == other.frequency.axis_map(pairs, 1)).all())
    except VariantError:
        return False


def named_in_path(path: Path, stock: str) -> tuple[str, str] | None:
    """(folder name, variant) where a checkpoint's folder is called like a variant other than the stock one.

    Read are the folder's own name and, where that is a training step's, the run's above it.
    """
    parts = dict.fromkeys(part for spelling in (path, path.resolve()) for part in _telling(spelling))
    return _first_named(list(parts), load_variant(stock))


def _telling(path: Path) -> list[str]:
    if path.parent.name == "snapshots":  # of the hub's cache: models--ORG--NAME/snapshots/COMMIT
        return [path.parent.parent.name.rpartition("--")[2]]
    parts = [path.name]
    for parent in path.parents:
        if step_of_name(parts[-1]) is None and not _MOMENT.fullmatch(parts[-1]):
            break
        parts.append(parent.name)
    return parts


def _first_named(parts: Sequence[str], stock: Variant) -> tuple[str, str] | None:
    families = {_spelled(word) for family in FAMILIES for word in (family.name, family.model_type)}
    canonical = {name: name for name in variant_names()} | variant_aliases()
    spellings = sorted(((_spelled(word), name) for word, name in canonical.items() if _spelled(word) not in families),
                       key=lambda pair: len(pair[0]), reverse=True)  # fmt: skip
    for part in parts:
        for word, name in spellings:
            if re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", _spelled(part)):
                if load_variant(name).fingerprint != stock.fingerprint:
                    return part, name
                break
    return None


def _spelled(word: str) -> str:
    return re.sub(r"[_\s]+", "-", word.lower())
