"""What lmms-eval asks of a task, by its old name."""

from __future__ import annotations

from mmrope_eval.suite import warn
from mmrope_eval.task.lmms_hooks import doc_to_target as doc_to_target
from mmrope_eval.task.lmms_hooks import doc_to_text as doc_to_text
from mmrope_eval.task.lmms_hooks import doc_to_visual as doc_to_visual

warn(__name__)
