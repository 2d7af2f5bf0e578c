"""What a config.json says about rotation, in whatever way its writer put it, and which variant follows.

Nothing is guessed: a key with "rope" in its name is read, or it is a question that `--variant` answers. Two places that
disagree are named both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

from mmrope_eval.errors import UserError
from mmrope_eval.models.config import TextConfig
from mmrope_eval.models.family import ModelFamily
from mmrope_eval.rope import VariantError, load_variant, split_model_arguments
from mmrope_eval.words import shown

VARIANT_KEY: Final = "mm_rope"
"""Our key of config.json: a name, or a mapping."""

_KNOWN_TO_TRANSFORMERS = {"rope_theta", "rope_scaling", "rope_parameters", "partial_rotary_factor"}
_READ = {VARIANT_KEY, "circle_rope", "rope_pos_id_version", "rope_pos_id_stride"}
_SCALING_KEYS = {
    "type", "rope_type", "factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor",
    "mrope_section", "mrope_interleaved", "rope_theta", "partial_rotary_factor", "finetuned",
}  # fmt: skip
_OTHER_SCALING_KEYS = {"short_factor", "long_factor", "low_freq_factor", "high_freq_factor", "mscale", "mscale_all_dim",
                       "truncate"}
"""Of kinds that are refused by name where they are asked for."""
_PLAIN = {"default", "mrope"}
_SCALINGS = {
    "linear": {"factor"}, "ntk": {"factor"},
    "yarn": {"factor", "original_max_position_embeddings", "beta_fast", "beta_slow", "attention_factor"},
}  # fmt: skip
_PACKAGE_FIELDS = {"alpha", "radius", "method", "move_to_origin", "dff_rate", "move_to_positive"}


@dataclass(frozen=True)
class RopeConfig:
    """Rotation by config.json."""

    theta: float
    rotary_dim: int
    section: tuple[int, ...] | None
    """`mrope_section`, as written."""
    scaling: Mapping[str, Any] | None
    """Context scaling in our terms; None for none."""
    scaling_problem: str | None
    """Why its context scaling cannot be obeyed; another, given with `--set scaling`, is what helps."""
    named: str | Mapping[str, Any] | None
    """The variant that the file names, as `load_variant` takes it."""
    named_by: str = ""
    """The key that names it."""
    questions: tuple[str, ...] = field(default=())
    """What only `--variant` can decide; one sentence each."""


def read_rope(config: Mapping[str, Any], family: ModelFamily, text: TextConfig, where: str) -> RopeConfig:
    """Rotation by config.json. Raises `UserError` naming `where` and the keys, for what --variant cannot decide."""
    places = _places(config)
    scaled = _scaling_places(places, where)
    theta = _theta(places, scaled, where)
    partial = _agreeing("partial_rotary_factor", [*places, *scaled], where)
    section = _agreeing("mrope_section", scaled, where)
    if section is not None and not (isinstance(section, list) and len(section) == 3
                                    and all(type(n) is int and n >= 0 for n in section)):
        raise UserError(f"{where}: mrope_section must be three counts of rotary pairs, not {shown(section)}")
    named, by, questions = _named_variant(places, where)
    if isinstance(named, Mapping):
        named, questions = _for_this_model(named, {"head_dim": text.head_size, "num_kv_heads": text.kv_heads,
                                                   "rope_theta": theta}, f"{where}, {by}")  # fmt: skip
    elif named is None:
        questions += _foreign_keys(config, places, scaled, where) + _architecture(config, family, where)
        questions += _interleaving(scaled, family, where)
    try:
        scaling, problem = _scaling(scaled, text.max_position_embeddings, where), None
    except UserError as error:
        scaling, problem = None, str(error)
    return RopeConfig(theta=theta, rotary_dim=_rotary_dim(text.head_size, partial, where),
                      section=tuple(section) if section else None, scaling=scaling, scaling_problem=problem,
                      named=named, named_by=by, questions=tuple(questions))


Place = tuple[str, Mapping[str, Any]]


def _places(config: Mapping[str, Any]) -> list[Place]:
    """Where the language model's keys may stand, each with a name for messages."""
    nested = config.get("text_config")
    places: list[Place] = [("the top", config)]
    return [*places, ("text_config", nested)] if isinstance(nested, Mapping) else places


def _scaling_places(places: Sequence[Place], where: str) -> list[Place]:
    scalings = [(f"{key} of {name}", part[key]) for name, part in places for key in ("rope_parameters", "rope_scaling")
             if part.get(key) is not None]  # fmt: skip
    for name, part in scalings:
        if not isinstance(part, Mapping):
            raise UserError(f"{where}: {name} must be a mapping, not {shown(part)}")
    return scalings


def _agreeing(key: str, places: Sequence[Place], where: str) -> Any:
    """The one value that all places give a key; None where none does. `UserError` naming two that disagree."""
    given = [(name, part[key]) for name, part in places if part.get(key) is not None]
    for name, value in given[1:]:
        if value != given[0][1]:
            raise UserError(f"{where} has two copies of {key} that disagree: {shown(given[0][1])} at {given[0][0]} and "
                            f"{shown(value)} at {name}; make them one")  # fmt: skip
    return given[0][1] if given else None


def _theta(places: Sequence[Place], scaled: Sequence[Place], where: str) -> float:
    theta = _agreeing("rope_theta", [*places, *scaled], where)
    if theta is None:
        raise UserError(f"{where} has no rope_theta, the rotary base: put the number that the model was trained with "
                        "there")  # fmt: skip
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 1 < theta < 2**63:
        raise UserError(f"{where}: rope_theta must be a number above one, not {shown(theta)}")
    return float(theta)


def _rotary_dim(head_dim: int, partial: Any, where: str) -> int:
    share = 1 if partial is None else partial
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise UserError(f"{where}: partial_rotary_factor must be a share between 0 and 1, not {shown(partial)}")
    rotary = int(head_dim * share)
    if rotary < 2 or rotary % 2:
        raise UserError(f"{where}: partial_rotary_factor {partial} of heads of {head_dim} channels rotates {rotary}, "
                        "which are no pairs: it must make an even number")  # fmt: skip
    return rotary


def _named_variant(places: Sequence[Place], where: str) -> tuple[str | Mapping[str, Any] | None, str, list[str]]:
    """(the variant, the key that names it, questions); keys of the top and of text_config must agree."""
    readings: list[tuple[str, str | Mapping[str, Any]]] = []
    questions: list[str] = []
    for name, part in places:
        for key, read in ((VARIANT_KEY, _mm_rope), ("circle_rope", _circle_rope), ("rope_pos_id_version", _v2pe)):
            if part.get(key) is None:
                continue
            try:
                readings.append((f"{key} of {name}", read(part)))
            except VariantError as error:
                questions.append(f"{where}, {key} of {name}: {error}")
    for name, spec in readings[1:]:
        if not _same(spec, readings[0][1]):
            questions.append(f"{where} names two variants: {_spelled(readings[0][1])} at {readings[0][0]} and "
                             f"{_spelled(spec)} at {name}")  # fmt: skip
    if questions or not readings:
        return None, "", questions
    return readings[0][1], readings[0][0].removesuffix(" of the top"), []


def _for_this_model(named: Mapping[str, Any], model: Mapping[str, float],
                    where: str) -> tuple[Mapping[str, Any] | None, list[str]]:
    """A variant without the published package's arguments that describe the model, which must be this one's."""
    try:
        variant, model_arguments = split_model_arguments(named)
    except VariantError as error:
        return None, [f"{where}: {error}"]
    wrong = [f"{where} is for a model whose {name} is {value:g}, and this one's is {model[name]:g}"
             for name, value in model_arguments.items() if value != model[name]]  # fmt: skip
    return (None, wrong) if wrong else (variant, [])


def _same(first: str | Mapping[str, Any], other: str | Mapping[str, Any]) -> bool:
    try:
        return load_variant(first).fingerprint == load_variant(other).fingerprint
    except VariantError:
        return first == other


def _spelled(spec: str | Mapping[str, Any]) -> str:
    return shown(spec if isinstance(spec, str) else dict(spec))


def _mm_rope(part: Mapping[str, Any]) -> str | Mapping[str, Any]:
    named = part[VARIANT_KEY]
    if not isinstance(named, str | Mapping) or not named:
        raise VariantError(f"it must be a variant's name or a mapping, not {shown(named)}")
    return named


def _circle_rope(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """CircleRoPE's own key (lose4578/CircleRoPE, code/config.json)."""
    settings = part["circle_rope"]
    if not isinstance(settings, Mapping):
        raise VariantError(f"it must be a mapping, not {shown(settings)}")
    if settings.get("AGE_mode") not in (None, False, ""):
        raise VariantError(f"AGE_mode {shown(settings['AGE_mode'])} rotates some layers by the circle and others by "
                           "MRoPE's grid, and a variant here is one for all layers: this checkpoint cannot be "
                           "evaluated as it was trained")
    unknown = sorted(settings.keys() - _PACKAGE_FIELDS - {"AGE_mode"})
    if unknown:
        raise VariantError(f"{shown(unknown[0])} is not known")
    # What the author's code takes where a key is absent: radius and alpha of -1, no move to the origin.
    unsaid = {"radius": -1, "alpha": -1, "move_to_origin": False}
    return {"name": "circlerope", **unsaid, **{k: v for k, v in settings.items() if k != "AGE_mode"}}


def _v2pe(part: Mapping[str, Any]) -> str | Mapping[str, Any]:
    """V2PE's own keys (OpenGVLab/V2PE, modeling_internvl_chat.py): 256 tokens of a tile share `stride` positions."""
    version, stride = part["rope_pos_id_version"], part.get("rope_pos_id_stride")
    if version == "default":
        return "vanilla"
    if version in ("v2pe_fix", "v2pe_rnd") and _is_number(stride):
        return {"name": "v2pe", "visual_stride": float(stride)}
    if version in ("v2pe_fix", "v2pe_rnd"):
        raise VariantError(f"{shown(version)} needs rope_pos_id_stride, the positions of one block; say it with "
                           "--variant v2pe --set visual_stride=N")  # fmt: skip
    raise VariantError(f"{shown(version)} is none of default, v2pe_fix and v2pe_rnd")


def _foreign_keys(config: Mapping[str, Any], places: Sequence[Place], scaled: Sequence[Place], where: str) -> list[str]:
    vision = config.get("vision_config")
    everywhere = [*places, ("vision_config", vision)] if isinstance(vision, Mapping) else places
    keys = [(key, part[key], name) for name, part in everywhere for key in part
             if _names_a_rotation(str(key)) and key not in _KNOWN_TO_TRANSFORMERS | _READ
             and part[key] is not None]  # fmt: skip
    lost = [("rope_pos_id_stride", part["rope_pos_id_stride"], name) for name, part in places
            if part.get("rope_pos_id_stride") is not None and part.get("rope_pos_id_version") is None]
    inside = [(key, value, name) for name, part in scaled for key, value in part.items()
              if key not in _SCALING_KEYS | _OTHER_SCALING_KEYS and value is not None]  # fmt: skip
    return [f"{where} has {shown(key)}: {shown(value)} at {name}, which names a rotation that neither transformers nor "
            f"this project reads{_offer(value)}" for key, value, name in [*keys, *lost, *inside]]  # fmt: skip


def _names_a_rotation(key: str) -> bool:
    """Whether a key speaks of RoPE; a 'property' and 'Europe' do not."""
    return re.search(r"(?<!p)(?<!eu)rope|rotary", key, re.IGNORECASE) is not None


def _offer(value: Any) -> str:
    """A variant whose name the value is."""
    try:
        return f" (--variant {load_variant(value).name}?)" if isinstance(value, str) else ""
    except VariantError:
        return ""


def _architecture(config: Mapping[str, Any], family: ModelFamily, where: str) -> list[str]:
    given = config.get("architectures")
    names = [name for name in (given if isinstance(given, list) else [given]) if name is not None]
    foreign = [name for name in names if name not in (family.hf_class, family.architecture)]
    return [f"{where} names the class {shown(name)} in architectures, which is not {family.title}'s own"
            for name in foreign[:1]]  # fmt: skip


def _interleaving(scaled: Sequence[Place], family: ModelFamily, where: str) -> list[str]:
    """mrope_interleaved, where it contradicts what the family's own code does."""
    stock = load_variant(family.stock_variant).frequency.allocation == "interleaved"
    given = [(name, part["mrope_interleaved"]) for name, part in scaled if part.get("mrope_interleaved") is not None]
    for name, value in given:
        if not isinstance(value, bool):
            return [f"{where}: mrope_interleaved at {name} must be true or false, not {shown(value)}"]
    return [f"{where} has mrope_interleaved: {str(value).lower()} at {name}: transformers' {family.title} does not "
            f"read that key and trains with {'interleaved' if stock else 'chunked'} pairs, vLLM's obeys it (--variant "
            f"{'qwen3-vl' if value else 'mrope'} for what it says, --variant {family.stock_variant} for what "
            "transformers does)" for name, value in given if value != stock][:1]  # fmt: skip


def _scaling(scaled: Sequence[Place], max_position: int, where: str) -> dict[str, Any] | None:
    """config.json's own context scaling in our terms. `UserError` for kinds and keys that are not obeyed here."""
    kinds = [(f"{key} in {name}", part[key]) for name, part in scaled for key in ("rope_type", "type")
             if key in part]  # fmt: skip
    for place, kind in kinds:
        if not isinstance(kind, str):
            raise UserError(f"{where}: {place} must be a kind of context scaling by name, not {shown(kind)}")
    stretched = [(place, kind) for place, kind in kinds if kind not in _PLAIN]
    for place, kind in kinds:
        if stretched and kind != stretched[0][1]:
            raise UserError(f"{where} contradicts itself: {stretched[0][0]} is {shown(stretched[0][1])} and {place} is "
                            f"{shown(kind)}; leave the one that the model was trained with, or say "
                            "--set scaling='{\"type\": ...}'")  # fmt: skip
    if not stretched:
        return None
    place, kind = stretched[0]
    if kind not in _SCALINGS:
        raise UserError(f"{where}, {place}: {_unknown_scaling(kind)}")
    # Several copies of one scaling agree key by key, or are refused.
    parameters = {key: _agreeing(key, scaled, where) for key in _SCALINGS[kind]}
    unread = sorted({key for _, part in scaled for key in part} - _SCALING_KEYS)
    if unread:
        raise UserError(f"{where}: {shown(unread[0])} of its {kind} scaling is not known here; say --set scaling='...' "
                        "instead")  # fmt: skip
    for key, value in parameters.items():
        if value is not None and not _is_number(value):
            raise UserError(f"{where}: {key} of its {kind} scaling must be a number, not {shown(value)}")
    if parameters["factor"] is None:
        raise UserError(f"{where} asks for {kind} scaling without a factor: say by how much the context is stretched")
    result: dict[str, Any] = {"type": kind, "factor": float(parameters["factor"])}
    if kind == "yarn":
        result["original_max_position"] = int(parameters["original_max_position_embeddings"] or max_position)
        factors = ("beta_fast", "beta_slow", "attention_factor")
        result |= {key: float(parameters[key]) for key in factors if parameters[key]}
    return result


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether a value of a JSON file is a number to calculate with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e300 < value < 1e300


def _unknown_scaling(kind: str) -> str:
    if kind == "dynamic":
        return ("'dynamic' scaling changes the frequencies with every prompt's length, which a fixed table cannot: say "
                "--set scaling='{\"type\": \"ntk\", \"factor\": F}' for one length, or take it out")
    try:
        name = load_variant(kind).name
    except VariantError:
        return (f"context scaling of type {shown(kind)} is not known: {', '.join(_SCALINGS)} are, or say --set "
                "scaling='{\"type\": \"none\"}'")  # fmt: skip
    return f"{shown(kind)} is a variant, no context scaling: say --variant {name}, and 'default' here"
