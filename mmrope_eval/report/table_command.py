"""`mmrope-eval table`: fill one of the paper's tables from finished runs and print it."""

from __future__ import annotations

import argparse
import sys
from typing import Final

from mmrope_eval.console import say, write_file
from mmrope_eval.errors import UserError
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.report.latex_letters import advice, foreign_letters
from mmrope_eval.report.published import load_published
from mmrope_eval.report.render import render
from mmrope_eval.report.results import load_run
from mmrope_eval.report.tables import Options, build

LEVEL: Final = 0.95


def main(args: argparse.Namespace) -> int:
    """Print the table, or write it to --output. Exit code 0."""
    if args.standalone and args.format != "latex":
        raise UserError(f"--standalone is for --format latex, not {args.format}.")
    definition = load_definition(args.table)
    options = Options(
        baseline=args.baseline,
        reported=load_published() if args.reported else None,
        level=LEVEL if args.intervals else None,
        seeds=args.seeds,
        step=args.step,
        models=tuple(args.model),
        every_variant=args.all,
        partial=args.partial,
        chance=args.chance,
    )
    runs = [load_run(path) for path in args.run]
    for sentence in (one for run in runs for one in run.left_out()):
        say(f"mmrope-eval: {sentence}; it is not in the table.", file=sys.stderr)
    text = render(build(definition, runs, options), args.format, standalone=args.standalone)
    letters = foreign_letters(text) if args.format == "latex" else ""
    if letters:
        say(f"mmrope-eval: {advice(letters)}.", file=sys.stderr)
    if args.output is None:
        say(text)
    else:
        write_file(args.output, text.rstrip("\n") + "\n")
    return 0
