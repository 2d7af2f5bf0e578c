"""`mmrope-eval data check`: are a task's rows, pictures, videos and right answers whole?

`check` reads every row as a run would (question, target, media), loads every picture by the code that a run uses, and
decodes the first and the last frame of every video. `check_before_run` is the cheap part, which every run does before
an engine starts.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from mmrope_eval.data.places import NotHereError, hub_home
from mmrope_eval.errors import PlaceError, SampleError, UserError
from mmrope_eval.messages import ImageSource, Part, VideoSource
from mmrope_eval.models.families import DEFAULT_FAMILY
from mmrope_eval.task.dataset import TaskRows, find_data, load_docs, missing_columns
from mmrope_eval.task.mirror_plan import folder_bytes, task_commands
from mmrope_eval.task.options import CheckOptions
from mmrope_eval.task.parts import build_parts, check_made, check_question, with_subtitles
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.registry import TaskSpec, open_registry
from mmrope_eval.task.targets import check_target
from mmrope_eval.task.template import build_target, render
from mmrope_eval.util.console import say
from mmrope_eval.words import size_text

_AHEAD = 64
"""So many pictures may wait: those of large data sets do not fit in memory together."""


class PictureCheck:
    """Collects what is wrong with rows, in their order, while their pictures are loaded beside the reading. A context
    manager: leaving it ends its threads."""

    def __init__(self, decode: bool = True) -> None:
        self._decode = decode
        self._pool = ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1))
        self._known: dict[str, Future[str | None]] = {}
        self._found: list[tuple[int, str | Future[str | None]]] = []
        self._waiting: deque[Future[str | None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def add(self, row: int, source: ImageSource) -> None:
        """Load a picture of a row in the background; one that was loaded before only counts for this row as well."""
        key = str(source.data) if isinstance(source.data, Path) else hashlib.sha256(source.data).hexdigest()
        if key not in self._known:
            if len(self._waiting) >= _AHEAD:
                self._waiting.popleft().result()
            self._known[key] = self._pool.submit(picture_fault, source, self._decode)
            self._waiting.append(self._known[key])
        self._found.append((row, self._known[key]))

    def add_problem(self, row: int, cause: str) -> None:
        """Something else that is wrong with a row."""
        self._found.append((row, cause))

    def problems(self) -> Iterator[tuple[int, str]]:
        """(row, cause) of all that is wrong, a row's first fault only; waits for the pictures."""
        last = -1
        for row, verdict in self._found:
            cause = verdict if isinstance(verdict, str) else verdict.result()
            if cause and row != last:
                last = row
                yield row, cause


def picture_fault(source: ImageSource, decode: bool) -> str | None:
    """Why a run could not show a picture (with the default limits and the default family's grid), or without `decode`
    why its head cannot be read; None when it can."""
    from mmrope_eval.media.image import MediaError, MediaPolicy, image_size, load_image

    try:
        if decode:
            load_image(source, MediaPolicy(), DEFAULT_FAMILY.published)
        else:
            image_size(source)
    except MediaError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a damaged file must not end the check of the others
        return f"its picture cannot be loaded ({type(error).__name__})."
    return None


SHOWN = 5
"""How many problems of a task are printed; --json lists all."""


@dataclass
class TaskReport:
    """What was found of one task."""

    task: str
    dataset: str
    present: bool
    bytes: int | None = None
    """Of the data set's folder on disk, all its tasks together."""
    counts: dict[str, int] = field(default_factory=dict)
    expected: dict[str, int] = field(default_factory=dict)
    missing_columns: list[str] = field(default_factory=list)
    videos: int = 0
    problems: list[str] = field(default_factory=list)
    fetch: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is missing and nothing is broken."""
        return self.present and not self.problems and not self.missing_columns and not self.differing

    @property
    def differing(self) -> list[str]:
        """The counts that are not those of the published split, each as a clause."""
        return [f"{self.counts[name]} {name} instead of {published}" for name, published in self.expected.items()
                if name in self.counts and self.counts[name] != published]


def check(args: CheckOptions) -> int:
    """The command: exit code 0 fine, 1 something is missing or broken; bad input raises UserError (2)."""
    registry = open_registry(args.tasks, args.tasks_dir)
    specs = registry.select(args.tasks or ["*"])
    if args.data_root is not None and not args.data_root.is_dir():
        raise UserError(f"--data-root {args.data_root} is not a folder; `mmrope-eval data plan` prints how to make it.")
    family = registry.family(DEFAULT_FAMILY.name)
    reports = []
    for spec in specs:
        report = check_task(spec, args.data_root, lambda s: load_docs(s, args.data_root, family), not args.no_decode)
        report.fetch = [] if report.ok else task_commands(spec, args.data_root, registry.tasks.values())
        reports.append(report)
        if not args.as_json:
            say("\n".join(report_lines(report)), flush=True)
    good = sum(report.ok for report in reports)
    if args.as_json:
        tasks = [{**asdict(report), "ok": report.ok} for report in reports]
        say(json.dumps({"ok": good == len(reports), "tasks": tasks}, indent=2, ensure_ascii=False))
    else:
        say(f"{good} of {len(reports)} tasks are whole", file=sys.stderr)
    return 0 if good == len(reports) else 1


# ---------------------------------------------------------------------------------------------------------------- check


def check_task(spec: TaskSpec, root: Path | None, load: Callable[[TaskSpec], TaskRows],
               decode: bool = True) -> TaskReport:
    """Everything about one task's data; never an exception for what is wrong with them. PlaceError where the
    cache cannot be written."""
    try:
        located = find_data(spec, root)
    except (NotHereError, UserError) as error:
        cause = str(error) or f"there is no folder {spec.dataset} in {root or hub_home()}."
        return TaskReport(spec.name, spec.dataset, False, problems=[cause])
    size = folder_bytes(located.place.folder)
    report = TaskReport(spec.name, spec.dataset, True, size, expected=expected_counts(spec, root))
    try:
        docs = load(spec)
    except PlaceError:  # the cache's fault, which no other copy of the data would mend
        raise
    except UserError as error:
        report.problems.append(str(error))
    else:
        report.counts = found_counts(spec, docs)
        report.problems += docs.remarks
        report.missing_columns = missing_columns(spec, docs)
        if not report.missing_columns:
            videos = check_rows(spec, docs, report.problems, decode)
            report.videos = len(videos)
            report.problems += decode_ends(videos) if decode else []
    return report


def expected_counts(spec: TaskSpec, root: Path | None) -> dict[str, int]:
    """The split's published counts; in a generated miniature (`demo data`) those that its world.json gives."""
    if root is None:
        return dict(spec.expected)
    try:
        made = json.loads((root / "world.json").read_text(encoding="utf-8"))["columns"].values()
        alike = [column for column in made if (column["dataset"], column["split"]) == (spec.dataset, spec.split)]
        rows = next(int(column["rows"]) for column in alike if len(alike) == 1 or column["config"] == spec.subset)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return dict(spec.expected)
    return {"objects" if "objects" in spec.expected else "samples": rows}


def found_counts(spec: TaskSpec, docs: TaskRows) -> dict[str, int]:
    """Samples, and for referring expressions their objects."""
    total = len(docs.rows)
    if "source_row" not in docs.rows.column_names:
        return {"samples": total}
    light = docs.rows.with_format(None).select_columns(["source_row"])
    return {"objects": len(set(light["source_row"])), "expressions": total}


def check_rows(spec: TaskSpec, docs: TaskRows, problems: list[str], decode: bool = True) -> dict[Path, int]:
    """Read every row as a run would, and its pictures whole (their heads without `decode`); appends to `problems`.
    Returns the videos found, each with its first row."""
    videos: dict[Path, int] = {}
    with PictureCheck(decode) as pictures:
        for index in range(len(docs.rows)):
            try:
                parts = read_row(spec, docs, index)
            except SampleError as error:
                pictures.add_problem(index, str(error))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a data set's rows may raise anything
                cause = f"it cannot be read ({type(error).__name__}: {' '.join(str(error).split())})."
                pictures.add_problem(index, cause)
            else:
                for part in parts:
                    if isinstance(part, VideoSource):
                        videos.setdefault(part.path, index)
                    elif isinstance(part, ImageSource):
                        pictures.add(index, part)
        problems += [f"row {index}: {cause}" for index, cause in pictures.problems()]
    return videos


def read_row(spec: TaskSpec, docs: TaskRows, index: int) -> tuple[Part, ...]:
    """A row's parts, with its question and its target tried as well. SampleError when one of them is unusable."""
    row = docs.rows[index]
    check_made(row)
    row = with_subtitles(spec.media, row, docs.files)
    check_target(spec.scorer, build_target(spec.target, row))
    check_question(spec.question, row)
    return build_parts(spec.media, render(spec.prompt("default"), row), row, docs.files)


def decode_ends(videos: Mapping[Path, int]) -> list[str]:
    """Decode the first and last frame of every video, several at a time; one sentence for each that fails."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        causes = pool.map(broken_video, videos)
        return [f"row {row}: {cause}" for row, cause in zip(videos.values(), causes, strict=True) if cause]


def broken_video(path: Path) -> str | None:
    """Why the first or the last frame of a video cannot be decoded, by the code that a run uses; None when both can."""
    import numpy as np

    from mmrope_eval.media.frames import IndexMismatchError, index_by_decoding, index_frames, read_frames
    from mmrope_eval.media.policy import MediaError, MediaPolicy

    limit, cell = MediaPolicy().decode_max_pixels, DEFAULT_FAMILY.published.factor
    try:
        for make_index in (index_frames, index_by_decoding):
            index = make_index(path, limit)
            try:
                read_frames(path, index, np.array([0, len(index.pts) - 1]), (cell, cell))
            except IndexMismatchError:
                continue  # as in a run: ask the decoder itself
            return None
    except MediaError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a damaged file must not end the check of the others
        return f"{path}: {type(error).__name__}: {' '.join(str(error).split())}."
    return f"{path}: its last frame cannot be decoded."


def report_lines(report: TaskReport) -> Iterator[str]:
    """A task in words."""
    state = "ok     " if report.ok else "broken " if report.present else "missing"
    facts = [f"{count} {name}" for name, count in report.counts.items()]
    facts += [f"{report.videos} videos"] if report.videos else []
    facts += [size_text(report.bytes)] if report.bytes is not None else []
    yield f"{state} {report.task}  {report.dataset}  {', '.join(facts)}".rstrip()
    yield from (f"  rows: {clause}, the published split" for clause in report.differing)
    if report.missing_columns:
        yield f"  columns missing: {', '.join(report.missing_columns)}"
    yield from (f"  {problem}" for problem in report.problems[:SHOWN])
    if len(report.problems) > SHOWN:
        yield f"  ... and {len(report.problems) - SHOWN} more (--json lists all)"
    yield from (f"  $ {command}" for command in report.fetch)


# --------------------------------------------------------------------------------------------------------- before a run


def check_before_run(plans: Iterable[TaskPlan]) -> Iterator[str]:
    """Load every task's rows; one sentence for each task some of whose samples cannot be asked or that is not whole."""
    for plan in plans:
        docs, spec = plan.docs.get(), plan.spec
        yield from (f"Task {spec.name}: {remark}" for remark in docs.remarks)
        broken = [sample for sample in plan.samples if sample.problem is not None]
        if broken:
            assert broken[0].problem is not None
            yield (f"Task {spec.name}: {len(broken)} of {len(plan.samples)} samples cannot be asked and count as "
                   f"wrong; the first, {broken[0].id}: {broken[0].problem[1]}")
