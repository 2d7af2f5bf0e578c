"""A row is asked: every answer is stored as it arrives, dead engines are replaced, and the row ends after 3 deaths of
engines, 32 first failures or --max-failures.

Answers are stored by a thread of their own, in groups, and count only when their group is on disk (see `store.store`).

An engine that dies is replaced, and what it had not answered is asked again. What was in flight when one died is
suspected: it is asked again alone, after everything else, so that a sample is given up, as a failure, only when a
second engine died while it worked on nothing else. After `MAX_DEATHS` the row ends.

A row whose first `FIRST` samples all fail, for other causes than their own files, ends as well. The first ones are
taken from all tasks in turns, so that one task that cannot be asked does not speak for the others. Failures before the
first answer are kept only once there is one: of a row that ends so, nothing counts as tried.

Rows follow each other by weights, variant and media policy. Samples that show the same stand together, and the longest
videos come first: neighbours share the engine's caches and decoded frames. A long video that is begun last keeps one
replica busy when all others are done.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import sys
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from mmrope_eval.data.media_files import content_size
from mmrope_eval.engine.backend import Engine, EngineHolder, RowError, Timings
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import kind, sentence
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, Response
from mmrope_eval.run.execute import Cell, MaxFailures, PendingWork
from mmrope_eval.run.progress import Progress
from mmrope_eval.run.runlog import ErrorLog
from mmrope_eval.store.store import Outcome, ResponseStore, Writer
from mmrope_eval.task.parts import locate_video
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.sample import Sample, shows_video
from mmrope_eval.util.console import say


def in_turns(samples: Sequence[Sample], first: int) -> list[Sample]:
    """The samples in their order, but the first ones taken from all tasks in turns."""
    by_task: dict[str, list[Sample]] = {}
    for sample in samples:
        by_task.setdefault(sample.task, []).append(sample)
    turns = (sample for turn in itertools.zip_longest(*by_task.values()) for sample in turn if sample is not None)
    ahead = list(itertools.islice(turns, first))
    taken = {sample.id for sample in ahead}
    return [*ahead, *(sample for sample in samples if sample.id not in taken)]


def neighbours(samples: Sequence[Sample], weights: Mapping[str, float]) -> list[Sample]:
    """Samples that show the same first medium next to each other, heaviest first, else in their order. `weights` by
    sample id; a group weighs what its heaviest sample does, and one that is not named weighs nothing."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        shown = sample.media[0] if sample.media else sample.id
        groups.setdefault((sample.task, shown), []).append(sample)
    heaviest = sorted(groups.values(), key=lambda group: -max(weights.get(sample.id, 0.0) for sample in group))
    return [sample for group in heaviest for sample in group]


def video_weights(samples: Sequence[Sample], plans: Mapping[str, TaskPlan]) -> dict[str, int]:
    """Bytes of the video that each sample shows: about what decoding it costs. Samples without one are not named."""
    weights: dict[str, int] = {}
    for sample in samples:
        if not shows_video(sample):
            continue
        plan = plans[sample.task]
        try:
            docs = plan.docs.get()
            video = locate_video(plan.spec.media, docs.rows[sample.index], docs.files)[0]
            weights[sample.id] = content_size(video)
        except Exception:  # noqa: BLE001 - what is wrong with a row is said where it is asked
            continue
    return weights


def schedule(cells: Sequence[Cell]) -> list[int]:
    """The places of all rows, in the order of asking: by weights, then variant, then media policy. Each is taken in the
    order in which it first appears, and rows that agree in all three stay in theirs. So no weights are loaded twice,
    and the rows of one checkpoint and variant follow each other whatever run they are of."""
    weights = _ranks(cell.checkpoint.fingerprint for cell in cells)
    variants = _ranks(cell.variant.fingerprint for cell in cells)
    policies = _ranks(repr(cell.policy) for cell in cells)
    return sorted(range(len(cells)), key=lambda at: (weights[at], variants[at], policies[at]))


def _ranks(values: Iterable[Hashable]) -> list[int]:
    """For every value, how many different ones appeared before it first did."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(value, len(seen)) for value in values]


FIRST = 32
MAX_DEATHS = 3


@dataclass
class Deaths:
    """The engines that died on one row, and what was in flight then."""

    count: int = 0
    seen: collections.Counter[str] = field(default_factory=collections.Counter)
    """By sample: at how many deaths it was in flight."""

    def note(self, in_flight: Sequence[str]) -> str | None:
        """Count one more death; the sample to blame, if that is certain: it was alone, and not for the first time."""
        self.count += 1
        self.seen.update(in_flight)
        return in_flight[0] if len(in_flight) == 1 and self.seen[in_flight[0]] > 1 else None


class Kept(NamedTuple):
    """An outcome on its way to the store, and whether it counts when it is there; one that counted before does not."""

    outcome: Outcome
    asked: bool = True
    counts: bool = True


@dataclass
class RowAsker:
    """One pass over a cell's pending samples."""

    cell: Cell
    options: EngineOptions
    plans: Mapping[str, TaskPlan]
    store: ResponseStore
    work: PendingWork
    progress: Progress
    max_failures: MaxFailures
    timings: Timings
    errors: ErrorLog
    context: str = ""
    """Under what the store describes the row's context."""
    failed: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    """Of this pass, by sample."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the videos that samples show (`video_weights`)."""
    left: dict[str, Sample] = field(default_factory=dict)
    """What is asked and has no outcome yet, in the order of asking."""
    withheld: dict[str, Failure] = field(default_factory=dict)
    """Failures before the row's first answer."""
    first: dict[str, str] = field(default_factory=dict)
    """Task by sample, of those that are asked first."""
    answered: bool = False
    deaths: Deaths = field(default_factory=Deaths)
    writer: Writer[Kept] = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(lambda group: self.store.put_all([kept.outcome for kept in group]))

    def run(self, holder: EngineHolder) -> None:
        """Ask everything that is pending; once. Every outcome is stored when this returns, or raises. Raises `RowError`
        where the row cannot go on, `TooManyFailuresError` where it should not."""
        retried = {sample.id for sample in self.work.pending}
        kept = self.work.kept.items()
        self.failed = sum(outcome.failed and name not in retried for name, outcome in kept)
        self.answered = any(not outcome.failed for _, outcome in kept)
        askable = [sample for sample in self.work.pending if sample.problem is None]
        first = max(FIRST, len({sample.task for sample in askable}))
        self.weights = video_weights(askable, self.plans)
        ordered = in_turns(neighbours(askable, self.weights), first)
        self.first = {sample.id: sample.task for sample in ordered[:first]}
        self.left = {sample.id: sample for sample in ordered}
        self.timings.asked = len(askable)
        try:
            with self.writer:
                for sample in self.work.pending:
                    if sample.problem is not None:
                        self.keep(Failure(sample.id, *sample.problem), asked=False)
                self.ask(holder)
                self.release()
        finally:
            self.count()

    def ask(self, holder: EngineHolder) -> None:
        """Ask what is left, of as many engines as it takes."""
        engine: Engine | None = None
        cell = self.cell
        options = dataclasses.replace(self.options, policy=cell.policy, questions=self.timings.asked)
        while self.left:
            unsuspected = [sample for name, sample in self.left.items() if name not in self.deaths.seen]
            group = unsuspected or [next(iter(self.left.values()))]
            try:
                engine = engine or holder.ready(cell.label, cell.checkpoint, cell.variant, options, self.timings)
                self.answer(engine, group)
            except EngineDiedError as error:
                engine = None
                holder.close()
                self.died(error, group)
            else:
                for sample in group:  # one without an outcome is noticed where the row is scored
                    self.left.pop(sample.id, None)

    def answer(self, engine: Engine, group: Sequence[Sample]) -> None:
        """Ask these samples in one stream and keep what comes."""
        began, died_before = time.perf_counter(), engine.deaths
        try:
            with closing(engine.stream(self.feed(group))) as stream:
                for result in outcomes(stream):
                    self.keep(result)
                    self.count()
            self.writer.flush()
        finally:
            self.timings.generation += time.perf_counter() - began
            self.timings.deaths += engine.deaths - died_before

    def died(self, error: EngineDiedError, group: Sequence[Sample]) -> None:
        """Note an engine's death and blame the sample that is certain to have caused it. RowError for one too many."""
        suspects = [sample.id for sample in group] if error.in_flight is None else error.in_flight
        in_flight = [name for name in suspects if name in self.left]
        self.timings.deaths += 1
        self.errors.note(f"{self.cell.label}: the engine died", error)
        blamed = self.deaths.note(in_flight)
        if blamed is not None:
            cause = f"two engines died while they worked on it, the second on nothing else: {error}"
            self.keep(Failure(blamed, "engine", cause))
        if self.left and self.deaths.count >= MAX_DEATHS:
            raise RowError(f"{self.deaths.count} engines died on this row, the last one so: {error}. "
                           f"{len(self.left)} samples are not answered; the same command asks them.") from error
        if self.left:
            then = " and asked for them, one at a time, after the others" if in_flight else ""
            say(f"{self.cell.label}: the engine died with {len(in_flight)} samples in flight: {error}. Another one is "
                f"started{then}.", file=sys.stderr)  # fmt: skip

    def feed(self, samples: Iterable[Sample]) -> Iterator[Deferred]:
        """Requests, their media read where they are answered, when it is their turn."""
        for sample in samples:
            shown = sample.media[0] if sample.media else ""
            weight = self.weights.get(sample.id, 0)
            yield Deferred(sample.id, self.plans[sample.task].reader, sample, shown, weight)

    def keep(self, result: Response | Failure, *, asked: bool = True) -> None:
        """Have one outcome stored; `count` counts it when it is. TooManyFailuresError when it was one too many,
        RowError when none is answered."""
        self.left.pop(result.id, None)
        if isinstance(result, Response):
            self.put(result, asked=asked)
            if not self.answered:
                self.answered = True
                self.release()
            return
        self.errors.note(result.id, result.trace)
        result = dataclasses.replace(result, trace="")
        self.failures[result.id] = result
        self.failed += 1
        if asked and not self.answered:
            self.withheld[result.id] = result
            self.progress.advance(failed=True, asked=asked)
        else:
            self.put(result, asked=asked)
        self.max_failures.check(self.failed, len(self.work.keys))
        if not self.answered:
            self.check_first()

    def put(self, result: Response | Failure, *, asked: bool = True, counts: bool = True) -> None:
        """Hand one outcome to the writer."""
        key = self.work.keys[result.id]
        self.writer.put(Kept(Outcome(key.identity, result, key.question, self.context), asked, counts))

    def count(self) -> None:
        """Count what is on disk by now."""
        for kept in self.writer.written():
            if kept.counts:
                self.progress.advance(failed=isinstance(kept.outcome.result, Failure), asked=kept.asked)

    def release(self) -> None:
        """Store what was withheld."""
        for result in self.withheld.values():
            self.put(result, counts=False)
        self.withheld.clear()

    def check_first(self) -> None:
        """RowError when the first samples all failed, and it was not for their own files. A task of which nothing else
        is known than that files cannot be read has all of its first samples tried."""
        counted = {name: fault.cause for name, fault in self.withheld.items() if fault.stage not in ("media", "target")}
        if len(counted) < FIRST:
            return
        telling = {self.first[name] for name in counted if name in self.first}
        if any(task not in telling and name not in self.withheld for name, task in self.first.items()):
            return
        causes = list(counted.values())
        frequent, number = collections.Counter(map(kind, causes)).most_common(1)[0]
        cause = next(cause for cause in causes if kind(cause) == frequent)
        raise RowError(f"its first {len(self.withheld)} samples all failed, {number} of them so: {cause}")


def outcomes(stream: Iterator[Response | Failure]) -> Iterator[Response | Failure]:
    """What an engine's stream gives. RowError for an exception of the stream's but the engine's death."""
    while True:
        try:
            result = next(stream)
        except StopIteration:
            return
        except EngineDiedError:
            raise
        except Exception as error:
            raise RowError(f"the engine stopped answering: {sentence(error)}") from error
        yield result
