"""The register of model families."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mmrope_eval.errors import UserError
from mmrope_eval.models.family import ModelFamily
from mmrope_eval.models.qwen2_5_vl import QWEN2_5_VL
from mmrope_eval.models.qwen2_vl import QWEN2_VL
from mmrope_eval.models.qwen3_vl import QWEN3_VL

FAMILIES: Final[tuple[ModelFamily, ...]] = (QWEN2_VL, QWEN2_5_VL, QWEN3_VL)

BY_MODEL_TYPE: Final[Mapping[str, ModelFamily]] = {family.model_type: family for family in FAMILIES}
BY_NAME: Final[Mapping[str, ModelFamily]] = {family.name: family for family in FAMILIES}

DEFAULT_FAMILY: Final = QWEN2_5_VL
"""Whose wording, coordinates and geometry are shown where no checkpoint is named: the paper's."""


def family_of(model_type: str, where: str) -> ModelFamily:
    """The family of config.json's `model_type`. Raises `UserError` naming `where` for any other."""
    if model_type not in BY_MODEL_TYPE:
        known = ", ".join(BY_MODEL_TYPE)
        raise UserError(f"{where} is of model type '{model_type}': this project evaluates {known}")
    return BY_MODEL_TYPE[model_type]
