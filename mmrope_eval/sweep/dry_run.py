"""The dry run of a sweep (`sweep --dry-run`): the points that it would measure, and which it has. Nothing is asked or
written."""

from __future__ import annotations

from collections.abc import Iterator

from mmrope_eval.record.files import raw_record
from mmrope_eval.record.schema import SWEEP, SweepRecord
from mmrope_eval.run.cells import Rows, make_cells
from mmrope_eval.run.dry_run import absences, missing_data, table
from mmrope_eval.run.prepared import with_task_limits
from mmrope_eval.sweep.sweep import NEEDLE, Sweep, plans_of, run_of
from mmrope_eval.words import counted, visible

HEAD = ("row", "task", "context", "frames", "samples", "scalings", "measured", "remark")


def dry_run(sweep: Sweep) -> Iterator[str]:
    """Lines that say what a sweep would do. UserError for what it would refuse."""
    sweep.run = with_task_limits(sweep.run, sweep.tasks, sweep.registry)
    rows = make_cells(run_of(sweep), sweep.registry)
    absent = absences([spec for spec in sweep.tasks if spec.name != NEEDLE], sweep.run.data_root)
    if absent:
        yield from missing_data(sweep.tasks, absent, sweep.run.data_root)
        yield "dry run: without these data no prompt can be counted, nor the frames that fit beside it"
        return
    points = list(_points(sweep, rows))
    scalings = len(sweep.config.scaling)
    measured = sum(int(point[6]) for point in points)
    counts = ((rows.cells, "row"), (sweep.tasks, "task"), (sweep.config.contexts, "context"),
              (sweep.config.scaling, "scaling"))  # fmt: skip
    yield (f"dry run: {', '.join(counted(len(things), noun) for things, noun in counts)}: "
           f"{counted(len(points) * scalings, 'point')}, of which {measured:,} {'is' if measured == 1 else 'are'} "
           "measured")  # fmt: skip
    yield from table(HEAD, points)
    yield from (f"{row.label} cannot be evaluated: {visible(row.cause)}" for row in rows.failed)


def _points(sweep: Sweep, rows: Rows) -> Iterator[tuple[str, ...]]:
    plans = plans_of(sweep)
    before = raw_record(sweep.run.output / SWEEP, SweepRecord).get("points", ())
    for cell in rows.cells:
        for (name, context), budget in sweep.budgets(cell, plans).items():
            place = (str(cell.checkpoint.path), cell.variant.name, name, context)
            kept = [point for point in before
                     if (point.get("checkpoint"), point["variant"], point["task"], point["context"]) == place]
            done = {point["scaling"] for point in kept if point["status"] == "done"} & {*sweep.config.scaling}
            if name == NEEDLE and sweep.config.needle is not None:
                made, limit = len(sweep.needles.rows(sweep.config.needle)), sweep.run.limit_of(name)
                samples = made if limit is None else min(made, limit.count)
            else:
                samples = len(plans[name].of(cell.family)[name].samples)
            yield (cell.label, name, f"{context}", f"{budget.frames}", f"{samples}", ", ".join(sweep.config.scaling),
                   f"{len(done)}", (sweep.without(budget) or {"cause": ""})["cause"])  # fmt: skip
