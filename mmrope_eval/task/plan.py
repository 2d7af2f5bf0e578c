"""What a run will ask of a task: its samples, made from the rows, their media and targets.

A sample is light (no pixels): media are read again from the dataset when its request is made.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmrope_eval.data.choice_of_rows import Limit, choose
from mmrope_eval.data.media_files import ContentHashes
from mmrope_eval.data.places import Located
from mmrope_eval.data.tables import reopened
from mmrope_eval.errors import SampleError, UserError, sentence
from mmrope_eval.media.policy import MediaError
from mmrope_eval.messages import Generation, ImageSource, Request
from mmrope_eval.task.clusters import PLACE_MARK, VIDEO_MARK, named_cluster
from mmrope_eval.task.dataset import TaskRows
from mmrope_eval.task.parts import (
    LazyDocs,
    Reader,
    build_parts,
    check_made,
    check_question,
    image_fingerprint,
    locate_video,
    with_subtitles,
)
from mmrope_eval.task.registry import Family, TaskSpec
from mmrope_eval.task.sample import Sample, Stage, digest, digest_of, generation_key
from mmrope_eval.task.targets import check_target
from mmrope_eval.task.template import Doc, build_target, expression_fields, render

SEPARATOR = "/"
PLACEHOLDER = "<image {}>"
"""Of MMMU."""

VideoHashes = Mapping[Located, str | UserError]
"""The sha256 of every video of a plan, or why it cannot be read."""


@dataclass(frozen=True)
class TaskPlan:
    """One task's samples, and the rows they come from."""

    spec: TaskSpec
    family: Family
    samples: tuple[Sample, ...]
    docs: LazyDocs
    task_generation: Generation | None = None
    """How the task itself has its answers decoded, where `samples` have another way (`limited`, `heated`)."""

    def limited(self, max_tokens: int) -> TaskPlan:
        """Give all questions another answer limit, which is part of a response's identity."""
        return self._decoded(max_tokens=max_tokens)

    def heated(self, temperature: float, seed: int) -> TaskPlan:
        """Have all questions answered at another temperature, which with its seed is part of a response's identity.
        Greedy decoding (0) draws nothing, so it has no seed."""
        return self._decoded(temperature=temperature, seed=seed if temperature > 0 else 0)

    def _decoded(self, **changes: Any) -> TaskPlan:
        """With some of the generation settings, which all samples share, changed."""
        before = self.samples[0].generation if self.samples else self.spec.generation
        now = dataclasses.replace(before, **changes)
        if now == before:
            return self
        of_task = self.task_generation or before
        samples = tuple(dataclasses.replace(sample, generation=now) for sample in self.samples)
        return dataclasses.replace(self, samples=samples, task_generation=None if now == of_task else of_task)

    @property
    def generation(self) -> Generation:
        """How answers are decoded: as the task says, or as this plan has it."""
        return self.spec.generation if self.task_generation is None or not self.samples else self.samples[0].generation

    def fingerprint(self) -> str:
        """sha256 over the questions, media and targets: two runs with the same one measured the same thing, if perhaps
        with other answer limits, or at another temperature."""
        return digest_of([s.content_key(), s.target] for s in self._as_its_own())

    def prompt_hash(self) -> str:
        """sha256 over the rendered prompts, the task's own generation settings, and what the chat template is told."""
        thinking = self.family.enable_thinking
        asked = ([s.prompt, s.system, generation_key(s.generation)] for s in self._as_its_own())
        return digest_of(asked) if thinking is None else digest([list(asked), thinking])

    def _as_its_own(self) -> tuple[Sample, ...]:
        if self.task_generation is None:
            return self.samples
        return tuple(dataclasses.replace(sample, generation=self.task_generation) for sample in self.samples)

    @functools.cached_property
    def reader(self) -> Reader:
        """What makes the samples' requests, here or in another process."""
        return Reader(self.spec.media, self.family.enable_thinking, self.docs)

    def request(self, sample: Sample) -> Request:
        """The engine's request for a sample. SampleError when its media are gone since the plan was made."""
        return self.reader.request(sample)


@dataclass(frozen=True)
class Planned:
    """A task's samples, and whether they would be the same another time over the same files."""

    samples: tuple[Sample, ...]
    lasting: bool = True
    """False where a file could not be read just now."""


def plan_samples(spec: TaskSpec, docs: TaskRows, family: Family, limit: Limit | None, seed: int = 0) -> Planned:
    """The task's samples under a limit (all without one), in the order of its rows."""
    # Greedy decoding draws nothing, so another seed must not make another response of it.
    generation = dataclasses.replace(spec.generation, seed=seed if spec.generation.temperature > 0 else 0)
    rows = chosen_rows(spec, docs, limit)
    hashes = video_hashes(spec, docs, rows)
    samples = tuple(plan_sample(spec, part, family, row, generation, hashes) for part,
                    some in parts_of(spec, docs, rows) for row in some)
    unread = any(isinstance(content, UserError) for content in hashes.values())
    # What is in a table stays so while the table is the same; a picture's own file is nobody's to watch.
    loose = "video" not in spec.media and any(s.problem is not None and s.problem[0] == "media" for s in samples)
    return Planned(samples, not unread and not loose)


ROWS_AT_A_TIME = 512


def parts_of(spec: TaskSpec, docs: TaskRows, rows: Sequence[int]) -> Iterator[tuple[TaskRows, Sequence[int]]]:
    """Rows with pictures, some at a time over mappings of their own: gigabytes of pictures are read once and let go."""
    if "video" in spec.media:
        yield docs, rows
        return
    for start in range(0, len(rows), ROWS_AT_A_TIME):
        yield dataclasses.replace(docs, rows=reopened(docs.rows)), rows[start : start + ROWS_AT_A_TIME]


def chosen_rows(spec: TaskSpec, docs: TaskRows, limit: Limit | None) -> list[int]:
    """The rows that a limit takes, over the groups that the task declares."""
    count = len(docs.rows)
    if limit is None or limit.count >= count or limit.how == "first":
        return choose(limit, spec.name, [None] * count)
    group = spec.strata or spec.target.get("group")
    groups = row_values(docs, group) if group else [""] * count
    units = row_values(docs, spec.together) if spec.together else None
    where = f"{spec.dataset}/{spec.subset}/{spec.split}"
    return choose(limit, where, groups, units)


def row_values(docs: TaskRows, expression: str) -> list[str]:
    """A Jinja expression over every row, as text; "" where it cannot be computed. Reads the fields that it names."""
    fields = sorted(expression_fields(expression) & set(docs.rows.column_names))
    light = docs.rows.with_format(None).select_columns(fields)

    def value(row: Doc) -> str:
        try:
            return str(build_target({"value": expression}, row)["value"])
        except SampleError:
            return ""

    return [value(row) for row in light]


def video_hashes(spec: TaskSpec, docs: TaskRows, rows: Sequence[int]) -> VideoHashes:
    """The content of every video that the rows show, each read once, many at a time."""
    if "video" not in spec.media:
        return {}
    videos = []
    for row in rows:
        try:
            videos.append(locate_video(spec.media, docs.rows[row], docs.files)[0])
        except Exception:  # noqa: BLE001 - whatever is wrong with a row, plan_sample says it
            continue
    return ContentHashes().of_many(videos)


def plan_sample(spec: TaskSpec, docs: TaskRows, family: Family, index: int, generation: Generation,
                hashes: VideoHashes) -> Sample:
    """One sample. Whatever is wrong with the row, or the task's own code does with it, becomes its `problem`."""
    prompt = ""
    media: tuple[str, ...] = ()
    target: dict[str, Any] | None = None
    problem: tuple[Stage, str] | None = None
    cluster: str | None = None
    try:
        row = docs.rows[index]
        check_made(row)
        cluster = named_cluster(spec, row)
        row = with_subtitles(spec.media, row, docs.files)
        values = build_target(spec.target, row)
        check_target(spec.scorer, values)
        target = values
        prompt = render(spec.prompt(family.prompts), row)
        check_question(spec.question, row)
        media = fingerprints(spec, docs, prompt, row, hashes)
    except SampleError as error:
        problem = (error.stage, str(error))
    except (MediaError, UserError) as error:
        problem = ("media", str(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - a task's code may even call sys.exit; one row must not end a run
        problem = ("prompt", f"the row cannot be read ({sentence(error)}).")
    name = f"{spec.name}{SEPARATOR}{index}"
    return Sample(name, spec.name, index, prompt, family.system, media, generation, target, problem, cluster)


def fingerprints(spec: TaskSpec, docs: TaskRows, prompt: str, row: Doc, hashes: VideoHashes) -> tuple[str, ...]:
    """Every medium of a row before any policy: sha256 of an image's bytes, or of a video's with the span asked for.
    Raises SampleError for a medium that is not there, MediaError or UserError for one that cannot be read."""
    if "video" in spec.media:
        file, start, end = locate_video(spec.media, row, docs.files)
        content = hashes[file]
        if isinstance(content, UserError):
            raise content
        return (f"{content}{VIDEO_MARK}{start}-{end}",)
    with_places, before = tells_places(spec.media, prompt), 0
    prints = []
    for part in build_parts(spec.media, prompt, row, docs.files):
        if isinstance(part, ImageSource):
            prints.append(f"{image_fingerprint(part)}{PLACE_MARK}{before}" if with_places else image_fingerprint(part))
        elif isinstance(part, str):
            before += len(part)
    return tuple(prints)


def tells_places(media: Mapping[str, Any], prompt: str) -> bool:
    """Whether the places of pictures in a prompt are part of the question. They follow from the prompt where MMMU's
    placeholder is all that a task file may name, as up to version 0.3, whose answers are kept without them."""
    if "placeholder" in media:
        return bool(media["placeholder"] != PLACEHOLDER)
    return re.search(PLACEHOLDER.format("[0-9]+"), prompt) is not None
