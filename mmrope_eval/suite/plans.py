"""Plans by prompt family, remembered in the user's cache.

A plan needs lmms-eval (seconds to import) and every image's hash. Both are spared when the same code plans the same
task file over the same data files again, which is what resuming a run does.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrope_eval import __version__
from mmrope_eval.engine.types import Generation
from mmrope_eval.models.files import cache_home
from mmrope_eval.suite.data import data_folders, load_docs, require
from mmrope_eval.suite.plan import LazyDocs, Sample, TaskPlan, digest, plan_samples
from mmrope_eval.suite.registry import Family, TaskSpec, read_yaml

PLANNING_CODE = ("data.py", "plan.py", "plans.py", "protocol.py", "rows.py", "subsets.py", "videos.py")


class Plans:
    """Every task's plan for each family that is asked for; UserError when data are missing."""

    def __init__(self, specs: Sequence[TaskSpec], data_root: Path | None, limit: int | None, seed: int = 0) -> None:
        self._specs, self._data_root, self._limit, self._seed = specs, data_root, limit, seed
        self._made: dict[Family, dict[str, TaskPlan]] = {}

    def of(self, family: Family) -> Mapping[str, TaskPlan]:
        """Plans by task name."""
        if family not in self._made:
            for spec in self._specs:
                require(spec, self._data_root)  # all missing datasets are known before the first one is loaded
            self._made[family] = {spec.name: self._plan(spec, family) for spec in self._specs}
        return self._made[family]

    def _plan(self, spec: TaskSpec, family: Family) -> TaskPlan:
        docs = LazyDocs(lambda: load_docs(spec, self._data_root, family))
        memo = cache_home() / "plans" / f"{self._key(spec, family)}.json"
        samples = read_samples(memo)
        if samples is None:
            samples = plan_samples(spec, docs.get(), family, self._limit, self._seed)
            if not any(sample.problem for sample in samples):  # a problem may have gone by the next start
                write_samples(memo, samples)
        return TaskPlan(spec, family, samples, docs)

    def _key(self, spec: TaskSpec, family: Family) -> str:
        files = [signature(folder) for folder in data_folders(spec, self._data_root)]
        code = [hashlib.sha256((Path(__file__).parent / name).read_bytes()).hexdigest() for name in PLANNING_CODE]
        wording = dataclasses.asdict(family)
        return digest([__version__, code, read_yaml(spec.path), wording, self._limit, self._seed, files])


def signature(folder: Path) -> list[tuple[str, int, int]]:
    """Name, size and modification time of every file below a folder: changes whenever the data may have."""
    return sorted(_walk(folder))


def _walk(folder: Path) -> Iterator[tuple[str, int, int]]:
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                stat = (Path(root) / name).stat()
            except OSError:
                continue  # a lock or temporary file that just went away
            yield f"{root}/{name}", stat.st_size, stat.st_mtime_ns


def read_samples(path: Path) -> tuple[Sample, ...] | None:
    """A remembered plan, or None when there is no usable one."""
    try:
        return tuple(_sample(entry) for entry in json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _sample(entry: dict[str, Any]) -> Sample:
    generation = entry.pop("generation")
    problem = entry.pop("problem")
    return Sample(
        **{**entry, "media": tuple(entry["media"])},
        generation=Generation(**{**generation, "stop": tuple(generation["stop"])}),
        problem=(problem[0], problem[1]) if problem else None,
    )


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Remember a plan, whole or not at all; a cache that cannot be written only costs time."""
    try:
        text = json.dumps([dataclasses.asdict(sample) for sample in samples], ensure_ascii=False)
    except TypeError:
        return  # a target that JSON cannot hold: planned anew each time
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        pass
