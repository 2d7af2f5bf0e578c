"""Recipes of rows, by their old name."""

from __future__ import annotations

from mmrope_eval.data.rows import blink as blink
from mmrope_eval.data.rows import encoded as encoded
from mmrope_eval.data.rows import one_per_expression as one_per_expression
from mmrope_eval.data.rows import refcoco_val as refcoco_val
from mmrope_eval.data.rows import refcocog_val as refcocog_val
from mmrope_eval.suite import warn

warn(__name__)
