"""A dry run (`--dry-run`): what a command would ask, and what it has already. Its output is only read.

Plans and tables are remembered in the cache, as by a run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmrope_eval.errors import UserError
from mmrope_eval.record.files import read_record
from mmrope_eval.record.schema import MANIFEST, STORE, Manifest, Session
from mmrope_eval.run.answer_limits import with_limits, with_temperature
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell, remaining
from mmrope_eval.run.prepared import Prepared, place_all
from mmrope_eval.store.store import ResponseStore
from mmrope_eval.task.dataset import absence, fetch_command, find_data
from mmrope_eval.task.mirror_plan import folder_bytes, to_fetch
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.spec import TaskSpec
from mmrope_eval.words import counted, size_text, visible

HEAD = ("row", "task", "samples", "kept", "to ask", "data")


@dataclass(frozen=True)
class Share:
    """One task of one row: its samples, and how many of them have an answer that counts."""

    row: str
    folder: Path
    task: str
    samples: int | None
    """None where neither the data set is here nor the task's file says it."""
    about: bool
    """Whether `samples` is what the task's file says, as the rows of the data set cannot be read."""
    kept: int
    data: str

    @property
    def pending(self) -> int | None:
        """Samples that would be asked."""
        return None if self.samples is None else self.samples - self.kept

    def in_words(self, number: int | None) -> str:
        """A number of its samples, which may be estimated or unknown."""
        return "?" if number is None else f"{'about ' if self.about and number else ''}{number:,}"


def dry_run(runs: Sequence[Prepared]) -> Iterator[str]:
    """Lines that say what runs would do. UserError for what they would refuse."""
    placed = place_all(runs, write=False)
    data = [(run, absences(run.specs, run.config.data_root)) for run in placed]
    shares = [share for run, absent in data for share in _shares(run, absent)]
    rows = sum(len(run.rows.folders) for run in placed)
    specs = {spec.name: spec for run in placed for spec in run.specs}
    samples, kept = sum(share.samples or 0 for share in shares), sum(share.kept for share in shares)
    about = "about " if any(share.about and share.samples for share in shares) else ""
    unknown = dict.fromkeys(share.task for share in shares if share.samples is None)
    yield (f"dry run: {counted(rows, 'row')}, {counted(len(specs), 'task')}, {about}{counted(samples, 'sample')}, of "
           f"which {kept:,} {'is' if kept == 1 else 'are'} kept and {about}{samples - kept:,} would be asked"
           + (f", without those of {', '.join(unknown)}, whose number is not known here" if unknown else ""))
    yield from table(HEAD, [(share.row, share.task, share.in_words(share.samples), f"{share.kept:,}",
                             share.in_words(share.pending), share.data) for share in shares])  # fmt: skip
    for run in placed:
        yield from (f"{row.label} cannot be evaluated: {visible(row.cause)}" for row in run.rows.failed)
        yield from (f"{task} was not planned: {visible(cause)}" for task, cause in run.plans.failed.items())
    absent_anywhere = {task: why for _, absent in data for task, why in absent.items()}
    yield from missing_data([*specs.values()], absent_anywhere, placed[0].config.data_root)
    yield from _sizes(data)
    yield from estimate(shares)


def absences(specs: Sequence[TaskSpec], data_root: Path | None) -> dict[str, str]:
    """By task whose data are not here, what is in their place. Folders are read for it."""
    return {spec.name: why for spec in specs if (why := absence(spec, data_root)) is not None}


def _shares(run: Prepared, absent: Mapping[str, str]) -> Iterator[Share]:
    config = run.config
    present = [spec for spec in run.specs if spec.name not in absent]
    plans = Plans(present, config.data_root, config.limit, config.seed, dict(config.limits))
    for cell, (limits, _) in zip(run.rows.cells, run.limits, strict=True):
        try:
            planned = with_limits(plans.of(cell.family), limits) if present else {}
            planned = with_temperature(planned, config.temperature, config.seed)
        except UserError:  # of all tasks; `failed` has the causes
            planned = {}
        kept = {} if config.fresh else _kept(cell, planned)
        for spec in run.specs:
            plan = planned.get(spec.name)
            data = "missing" if spec.name in absent else "present" if plan is not None else "broken"
            samples = expected(spec, config) if plan is None else len(plan.samples)
            yield Share(cell.label, cell.folder, spec.name, samples, plan is None, kept.get(spec.name, 0), data)
    run.plans.failed.update(plans.failed)


def expected(spec: TaskSpec, config: RunConfig) -> int | None:
    """About how many samples a run asks of a task whose rows are not here; None where nothing says it."""
    limit = config.limit_of(spec.name)
    counts = [count for count in (spec.expected_samples, None if limit is None else limit.count) if count is not None]
    return min(counts, default=None)


def _kept(cell: Cell, plans: Mapping[str, TaskPlan]) -> dict[str, int]:
    """How many samples of each task the row's store has an outcome for that counts."""
    if not (cell.folder / STORE).is_file():
        return {}
    with ResponseStore(cell.folder / STORE, read_only=True) as store:
        return {name: len(plan.samples) - len(remaining(cell, {name: plan}, store).pending)
                for name, plan in plans.items()}  # fmt: skip


def missing_data(specs: Sequence[TaskSpec], absent: Mapping[str, str], data_root: Path | None) -> Iterator[str]:
    """A line for every task whose data are not here (`absences`), with the command that fetches them; and how large
    these are, as far as the tasks' files say it."""
    missing = [spec for spec in specs if spec.name in absent]
    for spec in missing:
        about = f" ({visible(absent[spec.name])})" if absent[spec.name] else ""
        yield f"{spec.name}: its data are not here{about}: {fetch_command(spec, data_root)}"
    sizes = {spec.files or (spec.dataset,): spec.bytes for spec in missing if spec.generated is None and not spec.local}
    if sizes:
        yield f"to fetch: {to_fetch(sizes.values())}"


def _sizes(data: Sequence[tuple[Prepared, Mapping[str, str]]]) -> Iterator[str]:
    """How much lies in the folders of the data sets, all their splits together."""
    folders = {find_data(spec, run.config.data_root).place.folder
               for run, absent in data for spec in run.specs if spec.name not in absent}  # fmt: skip
    if folders:
        size = size_text(sum(folder_bytes(folder) for folder in folders))
        yield f"data: {size} on disk, in {counted(len(folders), 'folder')}, with what other tasks use of them"


def estimate(shares: Sequence[Share]) -> Iterator[str]:
    """How long it would take, which earlier commands into these folders measured."""
    pending = sum(share.pending or 0 for share in shares)
    folders = dict.fromkeys(share.folder for share in shares)
    sessions = [session for folder in folders for session in _sessions(folder)]
    asked = sum(session.asked for session in sessions)
    seconds = sum(session.generation for session in sessions)
    if not pending:
        return
    if not asked or not seconds:
        yield "time: unknown, as no earlier command asked anything here; --limit N asks a few and measures it"
        return
    devices = ", ".join(dict.fromkeys(session.device for session in sessions))
    yield (f"time: about {duration(pending * seconds / asked)} for {pending:,} samples, at the {seconds / asked:.3g} s "
           f"of one when earlier commands asked {asked:,} here ({devices}); starts of engines come on top")


def _sessions(folder: Path) -> tuple[Session, ...]:
    """What earlier commands took; nothing where there is no manifest, or a damaged one."""
    try:
        return read_record(folder / MANIFEST, Manifest).record.sessions
    except UserError:
        return ()


def duration(seconds: float) -> str:
    """Seconds in the largest unit that leaves a number of at least one."""
    for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{max(1, round(seconds))} s"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Text in columns; numbers to the right."""
    from tabulate import tabulate

    sides = ["right" if all(re.fullmatch(r"(about )?[\d,]+|\?", cell) for cell in column) else "left"
             for column in zip(*rows, strict=True)]  # fmt: skip
    text = tabulate(rows, head, tablefmt="plain", disable_numparse=True, colalign=sides)
    return map(str.rstrip, text.splitlines())

