"""Plans by prompt family, remembered in the user's cache.

A plan needs lmms-eval (seconds to import) and every image's hash. Both are spared when the same code plans the same
task file over the same data files again, which is what resuming a run does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.data.places import NotHereError
from mmrope_eval.errors import PlaceError, UserError
from mmrope_eval.messages import Generation
from mmrope_eval.task.dataset import find_data, load_docs, media_folder, require, require_columns, table_state
from mmrope_eval.task.parts import LazyDocs
from mmrope_eval.task.plan import TaskPlan, plan_samples
from mmrope_eval.task.registry import Family, TaskSpec
from mmrope_eval.task.sample import Sample, digest, generation_key
from mmrope_eval.task.yaml_text import own_code
from mmrope_eval.util.files import whole
from mmrope_eval.util.paths import cache_home

PLANNING_ROOMS = ("data", "engine", "lmms", "media", "models", "scorer", "task")
"""Rooms of the package whose code a plan may depend on."""


class Plans:
    """Every task's plan for each family that is asked for; UserError when data are missing."""

    def __init__(self, specs: Sequence[TaskSpec], data_root: Path | None, limit: Limit | None, seed: int = 0,
                 limits: Mapping[str, Limit] = MappingProxyType({})) -> None:
        """`limits`: those of single tasks, before `limit`, which is that of all others."""
        self._specs, self._data_root, self._seed = specs, data_root, seed
        self._limits = {spec.name: limits.get(spec.name, limit) for spec in specs}
        self._made: dict[Family, dict[str, TaskPlan]] = {}
        self.failed: dict[str, str] = {}
        """Tasks whose rows cannot be read, each with the cause; the others are planned."""

    def of(self, family: Family) -> Mapping[str, TaskPlan]:
        """Plans by task name, without the tasks that failed. UserError when all did, PlaceError for a full disk."""
        if family not in self._made:
            for spec in self._specs:
                require(spec, self._data_root)  # all missing datasets are known before the first one is loaded
            self._made[family] = {}
            for spec in self._specs:
                try:
                    self._made[family][spec.name] = self._plan(spec, family)
                except PlaceError:
                    raise
                except UserError as error:
                    self.failed[spec.name] = str(error)
                    if len(self.failed) == len(self._specs):
                        raise
        return self._made[family]

    def _plan(self, spec: TaskSpec, family: Family) -> TaskPlan:
        docs = LazyDocs(functools.partial(load_docs, spec, self._data_root, family))
        key = self._key(spec, family)
        memo = cache_home() / "plans" / f"{key}.json"
        samples = read_samples(memo) if key is not None else None
        if samples is None:
            require_columns(spec, docs.get())
            made = plan_samples(spec, docs.get(), family, self._limits[spec.name], self._seed)
            samples = made.samples
            if made.lasting and key is not None:
                write_samples(memo, samples)
        return TaskPlan(spec, family, samples, docs)

    def _key(self, spec: TaskSpec, family: Family) -> str | None:
        """A hash over all that a plan depends on; None where the rows are still to be fetched."""
        try:
            tables = table_state(find_data(spec, self._data_root))
        except NotHereError:
            return None
        files = list(media_folder(spec, self._data_root).index.state) if "video" in spec.media else []
        content, limit = spec.planned_by(), str(self._limits[spec.name])
        return digest([code_state(), content, own_code(content), dataclasses.asdict(family), limit, self._seed, tables,
                       files])  # fmt: skip


@functools.cache
def code_state() -> str:
    """sha256 over the source of everything that makes a plan."""
    package = Path(__file__).resolve().parents[1]
    files = sorted(path for room in PLANNING_ROOMS for path in (package / room).rglob("*.py"))
    return digest([[str(path.relative_to(package)), path.read_text(encoding="utf-8")] for path in files])


def read_samples(path: Path) -> tuple[Sample, ...] | None:
    """A remembered plan, or None when there is none that is as it was written."""
    if not path.is_file():
        return None
    samples: list[Sample] = []
    shared = functools.cache(Generation)  # by the samples of a task
    content = hashlib.sha256()
    try:
        with path.open("rb") as lines:
            for line in lines:
                entry = json.loads(line)
                if SUM in entry:
                    return tuple(samples) if entry[SUM] == content.hexdigest() else None
                content.update(line)
                samples.append(_sample(entry, shared))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return None


SUM = "sha256"
"""The last line's only key: of all lines before it, so that a damaged file is no plan, nor one that lacks its end."""


def _sample(entry: dict[str, Any], shared: Callable[..., Generation]) -> Sample:
    generation, problem = entry["generation"], entry["problem"]
    return Sample(
        **{**entry, "media": tuple(entry["media"]),
           "generation": shared(*generation[:2], tuple(generation[2]), *generation[3:]),
           "problem": (problem[0], problem[1]) if problem else None}
    )  # fmt: skip


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Remember a plan, one sample a line, whole or not at all; a cache that cannot be written only costs time."""
    # What JSON cannot hold (TypeError, UnicodeError) is planned anew each time.
    with contextlib.suppress(OSError, TypeError, UnicodeError), whole(path) as draft:
        content = hashlib.sha256()
        with draft.open("wb") as stream:
            for sample in samples:
                entry = {name: getattr(sample, name) for name in Sample.__slots__}
                entry["generation"] = generation_key(sample.generation)
                line = (json.dumps(entry, ensure_ascii=False) + "\n").encode()
                content.update(line)
                stream.write(line)
            stream.write(json.dumps({SUM: content.hexdigest()}).encode())
