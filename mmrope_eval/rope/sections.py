"""A variant's definition as a mapping: its keys, its three sections, laying one definition over another, the flat form.

A section is a mapping with a tag (`layout`, `allocation`, `type`) that says which class reads the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from mmrope_eval.rope.frequencies import FrequencyAllocation, HeadsAllocation, PatternAllocation
from mmrope_eval.rope.parameters import Parameters, VariantError, did_you_mean
from mmrope_eval.rope.positions import PositionDesign
from mmrope_eval.rope.scaling import ContextScaling
from mmrope_eval.words import shown

# Answers and scores on disk are filed under fingerprints that version 0.2 took of flat definitions: all parameters of
# all kinds in one mapping, with these defaults. They are history and never change. A parameter that is younger takes
# part only where it differs from its default.
_FLAT: Final[Mapping[str, Mapping[str, Any]]] = {
    "position": {
        "layout": "flat", "visual_stride": None, "temporal_stride": 1.0, "integer_time": False, "spatial_reset": False,
        "position_scale": (1.0, 1.0, 1.0), "modality_interval": 0.0, "text_spatial_reset": False, "alpha": 0.5,
        "radius": 10.0, "dff_rate": False, "method": "circle", "move_to_origin": True, "move_to_positive": False,
    },
    "frequency": {
        "allocation": "single", "mrope_section": None, "pattern": None, "no_rotation": "", "log_freq_scale": 1.0,
        "spatial_rope_theta": None, "exact": False,
    },
    "scaling": {
        "type": "none", "factor": 1.0, "original_max_position": 32768, "beta_fast": 32.0, "beta_slow": 1.0,
        "attention_factor": None,
    },
}  # fmt: skip

_BOUNDS: Final = ("greater_than", "greater_than_equal", "less_than_equal")
"""pydantic's errors of a bound (`parameters.Must`)."""

# The patterns of `grape` and `ilrope-like`, and the section that their files once inherited and no pattern reads:
# without it they mean the same, and their answers are found under the fingerprints that hold it.
_ONCE_INHERITED: Final = {"thw": (16, 24, 24), "t*16 hw*24": (24, 20, 20)}


@dataclass(frozen=True)
class SectionKind:
    """One of the three sections: its tag, and the class that reads each value of the tag."""

    name: Literal["position", "frequency", "scaling"]
    tag: str
    classes: Mapping[str, type[Parameters]]
    carried: tuple[str, ...] = ()
    """Parameters that another tag does not start anew, as they are no matter of the tag."""

    @property
    def fields(self) -> dict[str, list[str]]:
        """Every parameter of any class -> the tags whose class reads it."""
        sections: dict[str, list[str]] = {}
        for tag, cls in self.classes.items():
            for field in cls.model_fields:
                sections.setdefault(field, []).append(tag)
        return sections

    def content(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """This section of a definition, without what its class never read in a flat record. Raises `VariantError`."""
        content = definition.get(self.name)
        if content is None:
            return {}
        if not isinstance(content, Mapping):
            raise VariantError(f"{called(definition)}: {self.name} must be a mapping, not {shown(content)}")
        for key in content:
            if not isinstance(key, str):
                raise VariantError(f"{called(definition)}: {self.name} has the key {shown(key)}: keys are text")
        cls = self.class_of(content)
        # Only a record holds every parameter of every kind; whoever writes a definition by hand writes a few.
        if cls is not None and content.keys() >= _FLAT[self.name].keys():
            return {key: value for key, value in content.items() if key in cls.model_fields or key not in self.fields}
        return dict(content)

    def class_of(self, content: Mapping[str, Any]) -> type[Parameters] | None:
        """The class that reads a section, if its tag names one."""
        tag = content.get(self.tag, _FLAT[self.name][self.tag])
        return self.classes.get(tag) if isinstance(tag, str) else None

    def laid_over(self, base: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
        """`content` over `base`; another tag starts anew, for nothing that the old one read means the same there.

        But for what is `carried`: which clock a checkpoint was trained with does not depend on the layout.
        """
        if self.tag in content and content[self.tag] != base.get(self.tag, _FLAT[self.name][self.tag]):
            cls = self.class_of(content)
            read = () if cls is None else cls.model_fields
            return {**{key: base[key] for key in self.carried if key in base and key in read}, **content}
        return {**base, **content}

    def tagged(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """This section of a definition with its tag, which a class reads. Raises `VariantError`."""
        content = {self.tag: _FLAT[self.name][self.tag], **self.content(definition)}
        tag = content[self.tag]
        if self.class_of(content) is None:
            hint = did_you_mean(tag, self.classes) if isinstance(tag, str) else ""
            raise VariantError(f"{called(definition)}: {self.name}.{self.tag} cannot be {shown(tag)}; it is one of "
                               f"{', '.join(self.classes)}{hint}")
        return content

    def sentence(self, error: Any, content: Mapping[str, Any]) -> str:
        """What is wrong with the parameter that a class refused, from the first of pydantic's errors, and the fix."""
        tag = content[self.tag]
        # The place starts with section and tag; a check of several parameters has no field and names them itself.
        place = error["loc"][2:]
        key = str(place[0]) if place else ""
        if error["type"] == "extra_forbidden":
            return self._not_read(key, tag)
        if error["type"] == "missing" and len(place) == 1:
            example = (self.classes[tag].model_fields[key].examples or [""])[0]
            return f"{self.tag} '{tag}' needs {self.name}.{key}, for example {example}"
        if error["type"] == "value_error":
            message = str(error["ctx"]["error"])
            return f"{self.name}.{key} {message}" if key else f"{self.name}.{message}"
        # Only what is of the right type is held to the bounds of a number.
        refusal = self.classes[tag].refusal(key, content[key], is_bound=len(place) == 1 and error["type"] in _BOUNDS)
        return f"{self.name}.{key} {refusal or error['msg']}"

    def _not_read(self, key: str, tag: str) -> str:
        readers = self.fields.get(key)
        if readers is None:
            return f"unknown {self.name} parameter {shown(key)}{did_you_mean(key, self.fields)}"
        *others, last = readers
        who = f"{', '.join(others)} and {last} read it" if others else f"{last} reads it"
        return f"{self.name}.{key} is not read by {self.tag} '{tag}' ({who}): leave it out"

    def flat(self, part: Parameters) -> dict[str, Any]:
        """The section as version 0.2 wrote it, which fingerprints are taken of."""
        flat = dict(_FLAT[self.name])
        for key, value in part:
            if key in flat or value != type(part).model_fields[key].default:
                flat[key] = value
        if isinstance(part, PatternAllocation) and not part.exact:
            flat["mrope_section"] = _ONCE_INHERITED.get(part.pattern)
        return flat


def _section(name: Literal["position", "frequency", "scaling"], tag: str, kinds: Any,
             carried: tuple[str, ...] = ()) -> SectionKind:
    """A section that is one of `kinds`, a union of classes that the tag tells apart: whoever joins it can be read."""
    classes = get_args(get_args(kinds)[0])
    return SectionKind(name, tag, {cls.model_fields[tag].default: cls for cls in classes}, carried)


SECTIONS: Final = (
    _section("position", "layout", PositionDesign, carried=("time",)),
    _section("frequency", "allocation", FrequencyAllocation),
    _section("scaling", "type", ContextScaling),
)
"""The sections in the order in which they are shown."""


class _Sections(BaseModel):
    """The typed sections of a definition."""

    model_config = ConfigDict(strict=True, frozen=True)

    position: PositionDesign
    frequency: FrequencyAllocation
    scaling: ContextScaling


WORDS: Final = ("name", "summary", "source")
"""What a definition says in words, which decides nothing."""


def read_definition(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The words and the typed sections of a full definition, by the names of a variant's fields.

    Raises `VariantError` naming the bad key.
    """
    name = name_of(definition)
    check_keys(definition)
    words = {key: definition.get(key, "") for key in WORDS[1:]}
    for key, text in words.items():
        if not isinstance(text, str):
            raise VariantError(f"{called(definition)}: {key} must be text, not {shown(text)}")
    contents = {section.name: section.tagged(definition) for section in SECTIONS}
    parts = {"name": name, **{key: text.strip() for key, text in words.items()}}
    # YAML and JSON write a tuple as a list.
    values = {section: {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
              for section, content in contents.items()}
    try:
        return parts | dict(_Sections.model_validate(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        section = next(section for section in SECTIONS if section.name == first["loc"][0])
        raise VariantError(f"{called(definition)}: {section.sentence(first, contents[section.name])}") from None


def check_keys(definition: Mapping[str, Any], *also: str) -> None:
    """Raises `VariantError` for a key that no definition has, and that is none of `also`."""
    keys = [*WORDS, *(section.name for section in SECTIONS), *also]
    for key in definition:
        if key not in keys:
            hint = did_you_mean(key, keys) if isinstance(key, str) else ""
            if not hint and "name" not in definition and isinstance(definition[key], str):
                hint = ": the key of its name is 'name'"
            raise VariantError(f"{called(definition)} has an unknown key {shown(key)}{hint}")


def name_of(definition: Any) -> str:
    """The name that a definition gives itself. Raises `VariantError` where it is none, or no definition."""
    if not isinstance(definition, Mapping):
        raise VariantError(f"a variant's definition must be a mapping, not {shown(definition)}")
    name = definition.get("name", "unnamed")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise VariantError(f"a variant's name must be text on one line, not {shown(name)}")
    return name


def called(definition: Any) -> str:
    """What messages call a definition. Raises `VariantError` as `name_of` does."""
    name = name_of(definition)
    return f"variant {shown(name)}" if "name" in definition else "a variant without a name"


def merged(layers: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The full definition of layers of which each extends the next, laid over one another section by section.

    Raises `VariantError` for a key that no definition has.
    """
    for layer in layers:
        check_keys(layer, "extends", "aliases")
    *above, definition = layers
    for layer in reversed(above):
        definition = {**layer, **{section.name: section.laid_over(section.content(definition), section.content(layer))
                                  for section in SECTIONS}}  # fmt: skip
    sections: dict[str, Any] = {section.name: section.content(definition) for section in SECTIONS}
    definition = {**definition, **sections}
    if not HeadsAllocation.model_fields.keys() <= definition["frequency"].keys():
        _check_exact(definition)
    return definition


def _check_exact(definition: Mapping[str, Any]) -> None:
    """Refuse an `exact` that was written for counts of heads: nothing reads it there, and only records hold it."""
    if definition["frequency"].get("allocation") == "heads" and "exact" in definition["frequency"]:
        raise VariantError(f"{called(definition)}: frequency.exact is not read by allocation 'heads', "
                           "whose counts never scale: leave it out")  # fmt: skip


def overridden(definition: dict[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A definition with single parameters changed, all of them at once. Raises `VariantError` for unknown ones."""
    laid: dict[str, dict[str, Any]] = {}
    result = dict(definition)
    section_of = {field: section.name for section in SECTIONS if section.name != "scaling" for field in section.fields}
    for key, value in overrides.items():
        if key == "scaling":
            result["scaling"] = value
        elif key in section_of:
            laid.setdefault(section_of[key], {})[key] = value
        else:
            hint = did_you_mean(key, [*section_of, "scaling"]) if isinstance(key, str) else ""
            raise VariantError(f"{called(definition)} has no parameter {shown(key)}{hint}")
    if {"mrope_section", "pattern"} & overrides.keys():
        # Counts given on the side are meant for one model; those of a variant's own file are a ratio.
        laid["frequency"].setdefault("exact", True)
    for section in SECTIONS:
        if section.name in laid:
            result[section.name] = section.laid_over(section.content(definition), laid[section.name])
    if "exact" in overrides:
        _check_exact(result)
    return result
