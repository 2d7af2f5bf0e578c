"""`mmrope-eval table`: fill one of the paper's tables from finished runs and print it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mmrope_eval.errors import UserError
from mmrope_eval.record.protocols import load_protocol
from mmrope_eval.report.definitions import TableDefinition, load_definition
from mmrope_eval.report.formats import FORMATS
from mmrope_eval.report.options import TableOptions
from mmrope_eval.report.published import load_published
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.sweep.table import sweep_table
from mmrope_eval.report.table.as_latex import advice, foreign_letters
from mmrope_eval.report.table.attention import attention_table
from mmrope_eval.report.table.build import Options, Table, build
from mmrope_eval.report.table.page import page_of
from mmrope_eval.report.table.render import written
from mmrope_eval.util.console import say, write_file

LEVEL: Final = 0.95


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
