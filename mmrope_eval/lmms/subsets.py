"""Our rows as lmms-eval tasks: from files of this machine, and from data sets of several configurations.

lmms-eval loads one configuration a task, and a whole data set at once. Importing this module imports lmms-eval
(seconds); task files and task/dataset.py name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lmms_eval.api.task import ConfigurableTask

from mmrope_eval.data.rows import round_robin
from mmrope_eval.data.tables import SplitFiles, read_split
from mmrope_eval.errors import SampleError


class _Task(ConfigurableTask):  # type: ignore[misc]
    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config={key: value for key, value in config.items() if key != "class"})


class SubsetTask(_Task):
    """All configurations that the task file's `metadata: subsets` names, in turns, so that a part has some of each.

    `subsets` maps a configuration to the folder of its media; rows get the two as `subset` and `folder`.
    """

    def download(self, dataset_kwargs: Mapping[str, Any] | None = None) -> None:
        """Load every configuration as lmms-eval loads one. Raises what lmms-eval raises for the first that fails."""
        from datasets import DatasetDict

        split = self.config.test_split
        parts = {}
        for name in self.config.metadata["subsets"]:
            self.DATASET_NAME = name
            # lmms-eval removes entries from what it is given.
            super().download(dict(dataset_kwargs) if dataset_kwargs is not None else None)
            parts[name] = self.dataset[split]  # type: ignore[has-type]
        self.dataset = DatasetDict({split: round_robin(parts, self.config.metadata["subsets"])})
        self.dataset_no_image = self.dataset


class LocalTask(_Task):
    """A task whose rows are read from known files, which `dataset_kwargs` lists: no hub, no other split."""

    def download(self, dataset_kwargs: Mapping[str, Any] | None = None) -> None:
        """Read the split. TableError for a damaged file, and whatever the task's own `process_docs` raises."""
        from datasets import DatasetDict

        assert dataset_kwargs is not None
        split = self.config.test_split or self.config.validation_split
        parts = {}
        for name, part in dataset_kwargs["parts"].items():
            files = SplitFiles(part["format"], tuple(map(Path, part["files"])))
            rows = read_split(files, split, Path(dataset_kwargs["cache_dir"]))
            parts[name] = self.config.process_docs(rows) if self.config.process_docs is not None else rows
        subsets = (self.config.metadata or {}).get("subsets")
        rows = round_robin(parts, subsets) if subsets else next(iter(parts.values()))
        self.dataset = self.dataset_no_image = DatasetDict({split: rows})

    def doc_to_text(self, doc: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """lmms-eval tries the first row while a task is made: a bad one is a failed sample and no end of the task."""
        try:
            return super().doc_to_text(doc, *args, **kwargs)
        except SampleError:
            return ""

    def doc_to_target(self, doc: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The target of a row; "" where the row cannot be read, as for `doc_to_text`."""
        try:
            return super().doc_to_target(doc, *args, **kwargs)
        except SampleError:
            return ""
