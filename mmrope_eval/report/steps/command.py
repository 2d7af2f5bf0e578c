"""`mmrope-eval steps`: scores over the steps of trainings, printed and drawn."""

from __future__ import annotations

import sys
from typing import Final

from mmrope_eval.errors import UserError
from mmrope_eval.report.options import StepsOptions
from mmrope_eval.report.published import load_published
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.steps.steps import load_steps
from mmrope_eval.report.table.render import render
from mmrope_eval.util.console import say

SUFFIXES: Final = (".png", ".pdf")


def main(args: StepsOptions) -> int:
    """Print the table; draw the figure where one is asked for. Exit code 0."""
    if args.figure is not None and args.figure.suffix.lower() not in SUFFIXES:
        raise UserError(f"--figure {args.figure}: name a file that ends in {' or '.join(SUFFIXES)}.")
    runs = [load_run(path) for path in args.run]
    for sentence in (sentence for run in runs for sentence in run.left_out()):
        say(f"mmrope-eval: {sentence}; it is not in the table.", file=sys.stderr)
    published = load_published() if args.reported else None
    result = load_steps(runs, args.columns, partial=args.partial, models=args.model, reported=published)
    say(render(result.table, args.format))
    if args.figure is not None:
        from mmrope_eval.report.steps.figure import draw

        draw(result, args.figure)
        say(f"mmrope-eval: figure: {args.figure}", file=sys.stderr)
    return 0
