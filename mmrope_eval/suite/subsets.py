"""Tasks of several configurations, by their old name."""

from __future__ import annotations

from mmrope_eval.lmms.subsets import LocalTask as LocalTask
from mmrope_eval.lmms.subsets import SubsetTask as SubsetTask
from mmrope_eval.suite import warn

warn(__name__)
