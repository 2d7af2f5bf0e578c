"""`mmrope-eval check RUN --against BASELINE`: fail where a run is shown to be worse, say what cannot be told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mmrope_eval.errors import UserError
from mmrope_eval.record.protocols import load_protocol
from mmrope_eval.report.compare.outcome import Outcome, junit, lines, markdown
from mmrope_eval.report.compare.pairing import Matched, match, match_cells
from mmrope_eval.report.compare.protocol_notes import about_checkpoints, departures_of
from mmrope_eval.report.compare.reported import UNKNOWN, ReportedCell, reported_cells
from mmrope_eval.report.compare.verdict import against_reported, against_run, check_trainings, refuse_unlike
from mmrope_eval.report.options import CheckOptions, Rules
from mmrope_eval.report.published import Published, load_published
from mmrope_eval.report.runs import Run, load_run
from mmrope_eval.util.console import say, write_file

YAML = (".yaml", ".yml")


def main(args: CheckOptions) -> int:
    """Check, print, write the files asked for; 0 nothing failed, 1 something did, 3 what was asked cannot be told."""
    outcome = check(args.run, args.against, args)
    say(*lines(outcome))
    for path, text in ((args.junit, junit(outcome)), (args.summary, markdown(outcome))):
        if path is not None:
            write_file(path, text)
    return outcome.code


def check(run_path: Path, against: Path, rules: Rules) -> Outcome:
    """The outcome of a run against another run or against published scores. UserError for what cannot be compared."""
    run = load_run(run_path)
    if run.failed or any(cell.record.scores.failed_tasks for cell in run.cells):
        raise UserError(f"{run_path} cannot be checked: {run.left_out()[-1]}; start its command again.")
    if against.is_dir():
        if rules.table is not None:
            raise UserError(f"--table is for a file of reported scores; {against} is a run.")
        baseline = load_run(against)
        if rules.seeds == "mean":
            verdicts, notes = check_trainings(run, baseline, rules)
        else:
            matched = match(baseline, run)
            unlike = ((pair.column, pair.unlike) for pair in matched.pairs)
            refuse_unlike(unlike, rules.allow_different, run_path, against, "both")
            verdicts, notes = against_run(matched, rules), run_notes(baseline, run, matched)
    else:
        if rules.seeds == "mean":
            raise UserError(f"--seeds mean needs trainings on both sides; {against} is a file of reported scores.")
        if not against.exists() and (against.suffix in YAML or len(against.parts) > 1):
            raise UserError(f"{against} does not exist; name a run's folder or a file of reported scores.")
        published = load_published(str(against))
        cells = reported_cells(run, published, rules.table)
        refuse_partial(cells, rules.allow_different, run_path)
        verdicts = against_reported([cell for cell in cells if not cell.unknown], rules)
        notes = reported_notes(run, published, cells, rules)
    unfinished = tuple(f"{sentence}; it is not in this check." for sentence in run.left_out())
    outcome = Outcome(str(run_path), str(against), rules, tuple(verdicts), (*notes, *unfinished))
    if not outcome.compared:
        names = ", ".join(verdict.name for verdict in verdicts)
        raise UserError(f"{run_path} has none of the cells of {against}: {names}.")
    return outcome


# --------------------------------------------------------------------------------------------------------------


def refuse_partial(cells: Iterable[ReportedCell], allowed: Collection[str], run: Path) -> None:
    """UserError where the run asked only a part of a benchmark that was reported on the whole."""
    partial = list(dict.fromkeys(column for cell in cells for column in cell.partial))
    if partial and "data" not in allowed:
        raise UserError(f"{run} asked only a part of {', '.join(partial)}, and the reported scores are of the whole; "
                        "evaluate all of it, or pass --allow-different data.")


def reported_notes(run: Run, published: Published, cells: Sequence[ReportedCell], rules: Rules) -> tuple[str, ...]:
    """What a reader of the verdicts must know about the published scores and how this run was asked."""
    table = published.tables[rules.table] if rules.table else next(iter(published.tables.values()))
    models = f" are of {table.model} and" if table.model else ""
    notes = [f"The scores of {published.paper}{models} come without prompts, scorers and samples: only the numbers "
             "were compared, and each is taken to have as large an error as this run's own.",
             "Published models are other trainings than this run's. What another training changes is in no p-value "
             "here: a cell can be worse by it alone, and the more questions it has, the sooner it is."]
    unknown: dict[str, list[str]] = {}
    for cell in cells:
        if cell.unknown:
            unknown.setdefault(cell.column, []).append(cell.cell)
    notes += [f"{column} of {', '.join(names)} was not compared: {UNKNOWN}." for column, names in unknown.items()]
    if published.protocol is not None:
        protocol = load_protocol(published.protocol)
        departed = {departure for cell in run.cells for departure in departures_of(cell, protocol)}
        if departed:
            notes.append(f"This run was not asked as protocol {protocol.name} has it: {'; '.join(sorted(departed))}.")
    return tuple(notes)


def run_notes(baseline: Run, run: Run, matched: Matched) -> tuple[str, ...]:
    """What a reader of the verdict must know about the two runs."""
    notes = list(about_checkpoints((before, after) for _, before, after in match_cells(baseline, run)))
    for kind in sorted({kind for pair in matched.pairs for kind in pair.unlike}):
        columns = ", ".join(dict.fromkeys(pair.column for pair in matched.pairs if kind in pair.unlike))
        notes.append(f"Different {kind}, as allowed: {columns}.")
    for where, which in (("the baseline", "only_first"), ("this run", "only_second")):
        counts = [(pair.name, len(getattr(pair, which))) for pair in matched.pairs if getattr(pair, which)]
        if counts:
            notes.append(f"Samples only in {where}, left out: {', '.join(f'{name} {n:,}' for name, n in counts)}.")
    for name, side in (("The baseline", baseline), ("This run", run)):
        failed = side.scores["failed"].fillna(0).sum()
        if failed:
            notes.append(f"{name} has {int(failed):,} samples that failed and count as wrong.")
        notes += [f"{sentence}." for sentence in side.assumptions()]
    return tuple(notes)
