"""`mmrope-eval data check` and `data plan`: is a local mirror whole, and which commands make one.

`check` reads every row as a run would (question, target, media), loads every picture by the code that a run uses, and
decodes the first and the last frame of every video (picturecheck.py has the pictures). `check_before_run` is the cheap
part, which every run does before an engine starts.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mmrope_eval.engine.types import ImageSource, Part, VideoSource
from mmrope_eval.errors import UserError
from mmrope_eval.models.families import DEFAULT_FAMILY
from mmrope_eval.suite.data import Docs, fetch_command, load_docs, mirror_folder
from mmrope_eval.suite.picturecheck import PictureCheck
from mmrope_eval.suite.plan import TaskPlan
from mmrope_eval.suite.protocol import (
    SampleError,
    build_parts,
    build_target,
    check_question,
    render,
    template_fields,
    with_subtitles,
)
from mmrope_eval.suite.registry import Registry, TaskSpec

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
        return [f"{self.counts[name]} {name} instead of {wanted}" for name, wanted in self.expected.items()
                if name in self.counts and self.counts[name] != wanted]


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0 fine, 1 something is missing or broken; bad input raises UserError (2)."""
    registry = Registry()
    specs = registry.select(args.tasks or ["*"])
    if args.action == "plan":
        return print_plan(plan_entries(specs, args.data_root, args.sizes), args.json)
    if not args.data_root.is_dir():
        raise UserError(f"--data-root {args.data_root} is not a folder; `mmrope-eval data plan` prints how to make it.")
    family = registry.family(DEFAULT_FAMILY.name)
    reports = []
    for spec in specs:
        report = check_task(spec, args.data_root, lambda s: load_docs(s, args.data_root, family), not args.no_decode)
        reports.append(report)
        if not args.json:
            print("\n".join(report_lines(report)), flush=True)
    good = sum(report.ok for report in reports)
    if args.json:
        tasks = [{**asdict(report), "ok": report.ok} for report in reports]
        print(json.dumps({"ok": good == len(reports), "tasks": tasks}, indent=2, ensure_ascii=False))
    else:
        print(f"{good} of {len(reports)} tasks are whole", file=sys.stderr)
    return 0 if good == len(reports) else 1


# --------------------------------------------------------------------------------------------------------------
# Check


def check_task(spec: TaskSpec, root: Path, load: Any, decode: bool = True) -> TaskReport:
    """Everything about one task's data; never an exception for what is wrong with them."""
    folder = mirror_folder(spec, root)
    fetch = fetch_commands(spec, root)
    if not folder.is_dir():
        return TaskReport(spec.name, spec.dataset, False, problems=[f"there is no folder {folder}."], fetch=fetch)
    report = TaskReport(spec.name, spec.dataset, True, folder_bytes(folder), expected=expected_counts(spec, root))
    try:
        docs = load(spec)
    except UserError as error:
        report.problems.append(str(error))
    else:
        report.counts = found_counts(spec, docs)
        report.missing_columns = missing_columns(spec, docs)
        if not report.missing_columns:
            videos = check_rows(spec, docs, report.problems, decode)
            report.videos = len(videos)
            report.problems += decode_ends(videos) if decode else []
    report.fetch = [] if report.ok else fetch
    return report


def expected_counts(spec: TaskSpec, root: Path) -> dict[str, int]:
    """The split's published counts; in a generated miniature (`demo data`) those that its world.json gives."""
    try:
        made = json.loads((root / "world.json").read_text(encoding="utf-8"))["columns"]
        rows = int(made[spec.name if spec.name in made else spec.name.partition("_")[0]]["rows"])
    except (OSError, ValueError, KeyError, TypeError):
        return dict(spec.expected)
    return {"objects" if "objects" in spec.expected else "samples": rows}


def found_counts(spec: TaskSpec, docs: Docs) -> dict[str, int]:
    """Samples, and for referring expressions their objects."""
    total = len(docs.rows)
    if "source_row" not in docs.rows.column_names:
        return {"samples": total}
    light = docs.rows.with_format(None).select_columns(["source_row"])
    return {"objects": len(set(light["source_row"])), "expressions": total}


def columns_of(docs: Docs) -> list[str]:
    """The fields of a row; those that are only attached when a row is read among them."""
    return list(docs.rows[0]) if len(docs.rows) else list(docs.rows.column_names)


def missing_columns(spec: TaskSpec, docs: Docs) -> list[str]:
    """Fields that prompts, target or media of the task use and the data set does not have."""
    return sorted(needed_columns(spec) - set(columns_of(docs)))


def needed_columns(spec: TaskSpec) -> set[str]:
    """Fields that the task file reads of a row."""
    needed = {name for text in spec.prompts.values() for name in template_fields(text)}
    needed |= {name for text in spec.target.values() for name in template_fields("{{" + text + "}}")}
    needed |= {spec.question} if spec.question else set()
    for key in ("image", "images", "video", "start", "end", "subtitles"):
        named = spec.media.get(key, [])
        for name in [named] if isinstance(named, str) else named:
            needed |= template_fields(name) if "{{" in name else {name}
    return needed - ({"subtitles"} if "subtitles" in spec.media else set())


def check_rows(spec: TaskSpec, docs: Docs, problems: list[str], decode: bool = True) -> dict[Path, int]:
    """Read every row as a run would, and its pictures whole (their heads without `decode`); appends to `problems`.

    Returns the videos found, each with its first row.
    """
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


def read_row(spec: TaskSpec, docs: Docs, index: int) -> tuple[Part, ...]:
    """A row's parts, with its question and its target tried as well. SampleError when one of them is unusable."""
    row = with_subtitles(spec.media, docs.rows[index], docs.videos)
    build_target(spec.target, row)
    check_question(spec.question, row)
    return build_parts(spec.media, render(spec.prompt("default"), row), row, docs.videos)


def decode_ends(videos: Mapping[Path, int]) -> list[str]:
    """Decode the first and last frame of every video, several at a time; one sentence for each that fails."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        causes = pool.map(broken_video, videos)
        return [f"row {row}: {cause}" for row, cause in zip(videos.values(), causes, strict=True) if cause]


def broken_video(path: Path) -> str | None:
    """Why the first or the last frame of a video cannot be decoded, by the code that a run uses; None when both can."""
    import numpy as np

    from mmrope_eval.engine.media_frames import IndexMismatchError, index_by_decoding, index_frames, read_frames
    from mmrope_eval.engine.media_policy import MediaError, MediaPolicy

    limit = MediaPolicy().decode_max_pixels
    try:
        for make_index in (index_frames, index_by_decoding):
            index = make_index(path, limit)
            try:
                read_frames(path, index, np.array([0, len(index.pts) - 1]), (28, 28))
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


# --------------------------------------------------------------------------------------------------------------
# Plan


@dataclass(frozen=True)
class PlanEntry:
    """One data set of a mirror."""

    dataset: str
    tasks: tuple[str, ...]
    licence: str | None
    folder: str
    present: bool
    bytes_here: int | None
    bytes_on_hub: int | None
    commands: tuple[str, ...]


def plan_entries(specs: Sequence[TaskSpec], root: Path, ask_hub: bool = False) -> list[PlanEntry]:
    """One entry a data set and revision, in the order of the tasks."""
    by_commands: dict[tuple[str, ...], list[TaskSpec]] = {}
    for spec in specs:
        by_commands.setdefault(tuple(fetch_commands(spec, root)), []).append(spec)
    entries = []
    for commands, group in by_commands.items():
        folder = mirror_folder(group[0], root)
        size = hub_bytes(group[0]) if ask_hub else None
        ask_hub = ask_hub and size is not None  # an unreachable hub is asked once
        entries.append(PlanEntry(
            group[0].dataset, tuple(spec.name for spec in group), group[0].licence, str(folder), folder.is_dir(),
            folder_bytes(folder) if folder.is_dir() else None, size, commands,
        ))  # fmt: skip
    return entries


def fetch_commands(spec: TaskSpec, root: Path) -> list[str]:
    """The commands that put a task's data set into a mirror; the second unpacks its videos."""
    folder = shlex.quote(str(mirror_folder(spec, root)))
    commands = [fetch_command(spec, root)]
    if "video" in spec.media:
        commands.append(f"find {folder} -name '*.zip' -execdir unzip -n -q {{}} ';'")
    return commands


def hub_bytes(spec: TaskSpec) -> int | None:
    """How many bytes a data set has on the hub; None when the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        info = HfApi().dataset_info(
            spec.dataset, revision=spec.dataset_kwargs.get("revision"), files_metadata=True, timeout=10
        )
    except Exception:  # noqa: BLE001 - however it fails, the size stays unknown
        return None
    return sum(file.size or 0 for file in info.siblings or ())


def print_plan(entries: Sequence[PlanEntry], as_json: bool) -> int:
    """Print the plan; 0 when every data set has its folder, else 1."""
    if as_json:
        print(json.dumps({"datasets": [asdict(entry) for entry in entries]}, indent=2, ensure_ascii=False))
    else:
        for entry in entries:
            here = f"here ({size_text(entry.bytes_here or 0)})" if entry.present else "missing"
            size = f", {size_text(entry.bytes_on_hub)} on the hub" if entry.bytes_on_hub is not None else ""
            print(f"# {entry.dataset}: {here}{size}; {', '.join(entry.tasks)}; {entry.licence or 'licence unknown'}")
            print("\n".join(entry.commands) + "\n")
        print("# A zip archive is also read as it is; unpacking it saves the cache a copy of every video.")
    return 0 if all(entry.present for entry in entries) else 1


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def size_text(size: int) -> str:
    """A size in the largest unit that leaves a number of at least one."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


# --------------------------------------------------------------------------------------------------------------
# Before a run


def check_before_run(plans: Iterable[TaskPlan]) -> Iterator[str]:
    """Load every task's rows; one sentence for each task some of whose samples cannot be asked or that is not whole.

    UserError when rows cannot be loaded or lack a field that the task uses: no sample of it could be right.
    """
    for plan in plans:
        docs, spec = plan.docs.get(), plan.spec
        lacking = missing_columns(spec, docs)
        if lacking:
            raise UserError(f"Task {spec.name}: dataset {spec.dataset} has no column '{lacking[0]}', which the task "
                            f"uses; it has {', '.join(columns_of(docs))}.")
        broken = [sample for sample in plan.samples if sample.problem is not None]
        if broken:
            assert broken[0].problem is not None
            yield (f"Task {spec.name}: {len(broken)} of {len(plan.samples)} samples cannot be asked and count as "
                   f"wrong; the first, {broken[0].id}: {broken[0].problem[1]}")
