"""What the store of a row has for a command, and what it lacks: said before anything is asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mmrope_eval.messages import Failure, Response
from mmrope_eval.record.schema import SCORES
from mmrope_eval.run.asked_again import explanations, lost_answers, moved_helpers
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import Cell, Work, remaining
from mmrope_eval.run.manifest import read_manifest
from mmrope_eval.run.merging import Earlier, drop_aside
from mmrope_eval.store.store import ResponseStore
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.sample import Key
from mmrope_eval.util.console import say


def begin(config: RunConfig, cell: Cell, plans: Mapping[str, TaskPlan], store: ResponseStore) -> Work:
    """What is still to be asked; prints what must be known of the answers that are kept."""
    for note in store.notes:
        say(f"{cell.label}: {note}", file=sys.stderr)
    work = remaining(cell, plans, store)
    if config.fresh:
        moved = store.set_aside((key.identity, sample) for sample, key in work.keys.items())
        work = remaining(cell, plans, store)
        done = f"; {len(work.kept)} are already" if work.kept else ""
        say(f"{cell.label}: --fresh sets {moved} kept answers aside until all are given anew{done}", file=sys.stderr)
        return work
    earlier = read_manifest(cell.folder)
    lost = [] if store.notes or store.has_aside() else lost_answers(cell, plans, work, store, earlier)
    for sentence in (*lost, *explanations(cell, work, store, earlier), *moved_helpers(cell, work, store)):
        say(sentence, file=sys.stderr)
    return work


def end(cell: Cell, work: Work, store: ResponseStore, before: Earlier) -> None:
    """Now that everything is answered and written: let go of what was set aside, and say what else the scores hold."""
    store.drop_aside((key.identity, sample) for sample, key in work.keys.items())
    for note in before.notes:
        say(f"{cell.label}: {note}", file=sys.stderr)
    if before.scores:
        drop_aside(cell.folder)
        say(f"{cell.label}: {cell.folder / SCORES} also holds what other commands scored: {', '.join(before.scores)}",
            file=sys.stderr)  # fmt: skip


@dataclass(frozen=True)
class Kept(Mapping[str, Response | Failure]):
    """The outcomes in a store by sample, each read when it is asked for."""

    store: ResponseStore
    wanted: Mapping[str, Key]

    def __getitem__(self, sample: str) -> Response | Failure:
        stored = self.store.read(self.wanted[sample].identity, sample)
        if stored is None:
            raise RuntimeError(f"{sample} came back with neither answer nor failure")
        return stored.result

    def __iter__(self) -> Iterator[str]:
        return iter(self.wanted)

    def __len__(self) -> int:
        return len(self.wanted)
