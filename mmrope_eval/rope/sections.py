"""The three sections of a variant's definition: reading them, laying one over another, and their flat form.

A section is a mapping with a tag (`layout`, `allocation`, `type`) that says which class reads the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import TypeAdapter, ValidationError

from mmrope_eval.rope.frequencies import (
    AlternatingAllocation,
    ChunkedAllocation,
    FrequencyAllocation,
    HeadsAllocation,
    InterleavedAllocation,
    PatternAllocation,
    SingleAllocation,
)
from mmrope_eval.rope.parameters import Parameters, VariantError, did_you_mean
from mmrope_eval.rope.positions import CircleLayout, DiagonalLayout, FlatLayout, GridLayout, PositionDesign
from mmrope_eval.rope.scaling import ContextScaling, LinearScaling, NoScaling, NtkScaling, YarnScaling
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

# The patterns of `grape` and `ilrope-like`, and the section that their files once inherited and no pattern reads:
# without it they mean the same, and their answers are found under the fingerprints that hold it.
_ONCE_INHERITED: Final = {"thw": (16, 24, 24), "t*16 hw*24": (24, 20, 20)}


@dataclass(frozen=True)
class SectionKind:
    """One of the three sections: its tag, and the class that reads each value of the tag."""

    name: Literal["position", "frequency", "scaling"]
    tag: str
    adapter: TypeAdapter[Any]
    classes: Mapping[str, type[Parameters]]
    carried: tuple[str, ...] = ()
    """Parameters that another tag does not start anew, as they are no matter of the tag."""

    @property
    def fields(self) -> dict[str, list[str]]:
        """Every parameter of any class -> the tags whose class reads it."""
        found: dict[str, list[str]] = {}
        for tag, cls in self.classes.items():
            for field in cls.model_fields:
                found.setdefault(field, []).append(tag)
        return found

    def content(self, definition: Mapping[str, Any], variant: str) -> dict[str, Any]:
        """This section of a definition, without what its class never read in a flat record. Raises `VariantError`."""
        content = definition.get(self.name)
        if content is None:
            return {}
        if not isinstance(content, Mapping):
            raise VariantError(f"variant {shown(variant)}: {self.name} must be a mapping, not {shown(content)}")
        for key in content:
            if not isinstance(key, str):
                raise VariantError(f"variant {shown(variant)}: {self.name} has the key {shown(key)}: keys are text")
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

    def read(self, definition: Mapping[str, Any], variant: str) -> Any:
        """The typed section of a definition. Raises `VariantError` naming the parameter and the fix."""
        content = {self.tag: _FLAT[self.name][self.tag], **self.content(definition, variant)}
        tag = content[self.tag]
        if self.class_of(content) is None:
            hint = did_you_mean(tag, self.classes) if isinstance(tag, str) else ""
            raise VariantError(
                f"variant {shown(variant)}: {self.name}.{self.tag} cannot be {shown(tag)}; "
                f"it is one of {', '.join(self.classes)}{hint}"
            )
        try:
            return self.adapter.validate_python(content)
        except ValidationError as error:
            raise VariantError(f"variant {shown(variant)}: {self._sentence(error, tag)}") from None

    def _sentence(self, error: ValidationError, tag: str) -> str:
        first = error.errors(include_url=False)[0]
        # The place starts with the tag; a check of several parameters together has no field and names them itself.
        place = first["loc"][1:]
        key = str(place[0]) if place else ""
        if first["type"] == "extra_forbidden":
            return self._not_read(key, tag)
        if first["type"] == "missing":
            example = (self.classes[tag].model_fields[key].examples or [""])[0]
            return f"{self.tag} '{tag}' needs {self.name}.{key}, for example {example}"
        message = str(first["ctx"]["error"]) if "ctx" in first and "error" in first["ctx"] else first["msg"]
        return f"{self.name}.{key} {message}" if key else f"{self.name}.{message}"

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


def _by_tag(tag: str, *classes: type[Parameters]) -> dict[str, type[Parameters]]:
    return {cls.model_fields[tag].default: cls for cls in classes}


SECTIONS: Final = (
    SectionKind("position", "layout", TypeAdapter(PositionDesign),
                _by_tag("layout", FlatLayout, GridLayout, DiagonalLayout, CircleLayout), carried=("time",)),
    SectionKind("frequency", "allocation", TypeAdapter(FrequencyAllocation),
                _by_tag("allocation", SingleAllocation, ChunkedAllocation, InterleavedAllocation,
                        AlternatingAllocation, PatternAllocation, HeadsAllocation)),
    SectionKind("scaling", "type", TypeAdapter(ContextScaling),
                _by_tag("type", NoScaling, LinearScaling, NtkScaling, YarnScaling)),
)  # fmt: skip
"""The sections in the order in which they are shown."""
