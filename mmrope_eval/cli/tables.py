"""`mmrope-eval table`: fill one of the paper's tables from finished runs and print it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

from mmrope_eval.errors import UserError
from mmrope_eval.record.protocols import load_protocol
from mmrope_eval.report.candidates import SeedRule
from mmrope_eval.report.definitions import TableDefinition, load_definition
from mmrope_eval.report.published import load_published
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.sweep.table import sweep_table
from mmrope_eval.report.table.as_latex import advice, foreign_letters
from mmrope_eval.report.table.attention import attention_table
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.report.table.formats import FORMATS
from mmrope_eval.report.table.page import page_of
from mmrope_eval.report.table.render import written
from mmrope_eval.util.console import say, write_file
from mmrope_eval.util.keys import Keys, Names, Pairs, Place, Places, Positive, Step, argument, option

LEVEL: Final = 0.95


EXAMPLES: Final = """\
examples:
  every benchmark, the paper's scores beside, rows marked that were not asked as the paper asks
    mmrope-eval table overall RUN... --reported --protocol paper
  the table that v3 of the paper calls 4
    mmrope-eval table 4 RUN... --numbering v3
  YaRN at 256K from a sweep, attention on visual tokens from analyses
    mmrope-eval table yarn SWEEP --reported
    mmrope-eval table attention mhrope.json mrope-i.json --reported
"""


class TableOptions(Keys):
    """What `table` is asked."""

    epilog = EXAMPLES
    table: str = argument(
        "overall, position, frequency, yarn, attention, ratio, stride, families, families-4b or families-8b; its "
        "number in the paper; or a YAML file like those of configs/tables", metavar="TABLE")
    run: Places = argument(
        "--output folders of runs; for yarn those of sweeps, for attention files of 'analyze --tasks docvqa --format "
        "json'", metavar="RUN", nargs="+")
    numbering: Literal["v2", "v3"] = option(
        "the version of the paper whose numbers TABLE means (default: %(default)s)", "v2")
    format: str = option("default: %(default)s", "markdown", choices=[*FORMATS])
    baseline: str | None = option("also show differences from this row, for example vanilla", metavar="ROW")
    reported: bool = option("set the paper's scores beside ours", False)
    intervals: bool = option("95 %% intervals, clustered by picture and video", False)
    model: Names = option("only checkpoints of these names", [], metavar="GLOB")
    seeds: SeedRule = option(
        "several runs of one cell: refuse, or show their mean (default: %(default)s)", "one")
    step: Step | None = option(
        "checkpoints of one training: show step N, each training's last, or a line for each step", metavar="N|last|all")
    all: bool = option("show every variant of the runs, and rows and columns that no run fills", False)
    protocol: str | None = option(
        "mark rows that were not asked as a protocol of configs/protocols has it, such as paper", metavar="NAME")
    group: Pairs = option("in a table of groups (families): checkpoints of these names are of that group", [],
                          metavar="NAME=GLOB")
    context: Positive | None = option(
        "in a table of a sweep (yarn): the context shown; default: the table's", metavar="TOKENS")
    partial: bool = option("average over the benchmarks that every row has, where some are missing", False)
    chance: bool = option("show chance levels", True)
    notes: bool = option(
        "show the notes below the table and their letters; without them, stderr says how many there were", True)
    standalone: bool = option("LaTeX that compiles by itself", False)
    output: Place | None = option("write here instead of printing", metavar="FILE")


def main(args: TableOptions) -> int:
    """Print the table, or write it to --output. Exit code 0."""
    if args.standalone and not FORMATS[args.format].standalone:
        documents = " or ".join(name for name, form in FORMATS.items() if form.standalone)
        raise UserError(f"--standalone is for --format {documents}, not {args.format}.")
    definition = load_definition(args.table, args.numbering)
    refuse_foreign(definition, args)
    table = filled(definition, args.run, options_of(args), args.context)
    page = page_of(table, with_notes=args.notes)
    text = written(page, args.format, standalone=args.standalone)
    if page.notes_left_out:
        number = page.notes_left_out
        say(f"mmrope-eval: {number} note{'s'[: number > 1]} on these scores left out (--no-notes).", file=sys.stderr)
    letters = foreign_letters(text) if args.format == "latex" else ""
    if letters:
        say(f"mmrope-eval: {advice(letters)}.", file=sys.stderr)
    if args.output is None:
        say(text)
    else:
        write_file(args.output, text.rstrip("\n") + "\n")
    return 0


def options_of(args: TableOptions) -> Options:
    """What the command line asks a table to show."""
    groups: dict[str, tuple[str, ...]] = {}
    for name, glob in args.group:
        groups[name] = (*groups.get(name, ()), glob)
    return Options(
        baseline=args.baseline,
        reported=load_published() if args.reported else None,
        level=LEVEL if args.intervals else None,
        seeds=args.seeds,
        step=args.step,
        models=tuple(args.model),
        every_variant=args.all,
        trim=not args.all,
        partial=args.partial,
        chance=args.chance,
        groups=groups,
        protocol=load_protocol(args.protocol) if args.protocol is not None else None,
    )


def refuse_foreign(definition: TableDefinition, args: TableOptions) -> None:
    """UserError for an option that means nothing to this table."""
    takes = definition.takes
    foreign = {
        "--context": args.context is not None and takes != "sweep",
        "--group": bool(args.group) and not definition.groups,
        "--step": args.step is not None and takes != "runs",
        "--intervals": args.intervals and takes == "attention",
        "--protocol": args.protocol is not None and takes == "attention",
        "--partial": args.partial and takes == "attention",
        "--model": bool(args.model) and takes == "attention",
        "--seeds mean": args.seeds == "mean" and takes == "attention",
    }
    for name, given in foreign.items():
        if given:
            raise UserError(f"{name} has no meaning for table {definition.name}; leave it out.")


def filled(definition: TableDefinition, paths: Sequence[Path], options: Options, context: int | None) -> Table:
    """The table from what it takes: runs, sweeps or analyses."""
    if definition.takes == "sweep":
        return sweep_table(definition, paths, options, context)
    if definition.takes == "attention":
        return attention_table(definition, paths, options)
    runs = [load_run(path) for path in paths]
    for sentence in (line for run in runs for line in run.left_out()):
        say(f"mmrope-eval: {sentence}; it is not in the table.", file=sys.stderr)
    return build(definition, runs, options)
