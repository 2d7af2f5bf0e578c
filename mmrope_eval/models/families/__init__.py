"""The register of model families: every file of this folder declares one, as `FAMILY`, and no other file names it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Final

from mmrope_eval.errors import UserError
from mmrope_eval.models.default_family import DEFAULT_FAMILY_NAME
from mmrope_eval.models.family import FAMILY_KEY, ModelFamily
from mmrope_eval.words import shown


def read_families(folders: list[str], package: str) -> tuple[ModelFamily, ...]:
    """The `FAMILY` of every module in a package's folders, by the families' titles.

    TypeError for a module without one, and for two families of one name or model type.
    """
    families: list[ModelFamily] = []
    for module in (module.name for module in pkgutil.iter_modules(folders)):
        family = getattr(importlib.import_module(f"{package}.{module}"), "FAMILY", None)
        if not isinstance(family, ModelFamily):
            raise TypeError(f"{package}.{module} declares no FAMILY, a ModelFamily")
        if any(family.name == other.name or family.model_type == other.model_type for other in families):
            raise TypeError(f"{package}.{module} declares '{family.name}', which there is already")
        families.append(family)
    return tuple(sorted(families, key=lambda family: family.title))


FAMILIES: Final = read_families(list(__path__), __name__)

BY_MODEL_TYPE: Final[Mapping[str, ModelFamily]] = {family.model_type: family for family in FAMILIES}
BY_NAME: Final[Mapping[str, ModelFamily]] = {family.name: family for family in FAMILIES}

DEFAULT_FAMILY: Final = BY_NAME[DEFAULT_FAMILY_NAME]
"""Whose wording, coordinates and geometry are shown where no checkpoint is named: the paper's."""


def asked_as(prompt_family: str) -> ModelFamily:
    """The family whose checkpoints a file of configs/families is for. Raises `UserError` where none says so."""
    for family in FAMILIES:
        if prompt_family in (family.name, *family.also_asked_as):
            return family
    raise UserError(f"no model family is asked as '{prompt_family}': name it as `also_asked_as` of one in "
                    "mmrope_eval/models/families")  # fmt: skip


def family_of_config(config: Any) -> ModelFamily:
    """The family of a transformers configuration object, as loaded from `Checkpoint.served`."""
    return family_of(getattr(config, FAMILY_KEY, config.model_type), "the model's configuration")


def family_of(model_type: object, where: str) -> ModelFamily:
    """The family of config.json's `model_type`. Raises `UserError` naming `where` for anything else."""
    if not isinstance(model_type, str) or model_type not in BY_MODEL_TYPE:
        name = model_type if isinstance(model_type, str) and model_type.isprintable() else shown(model_type)
        raise UserError(f"{where} is of model type '{name}': this project evaluates {', '.join(BY_MODEL_TYPE)}")
    return BY_MODEL_TYPE[model_type]
