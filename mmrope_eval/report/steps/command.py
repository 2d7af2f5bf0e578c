"""`mmrope-eval steps`: scores over the steps of trainings, printed and drawn."""

from __future__ import annotations

import sys
from typing import Final, Literal

from mmrope_eval.errors import UserError
from mmrope_eval.report.published import load_published
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.steps.steps import load_steps
from mmrope_eval.report.table.render import render
from mmrope_eval.util.console import say
from mmrope_eval.util.keys import Keys, Names, Place, Places, argument, option

SUFFIXES: Final = (".png", ".pdf")


class StepsOptions(Keys):
    """What `steps` is asked."""

    run: Places = argument("--output folders of runs", metavar="RUN", nargs="+")
    columns: Names = option(
        "comma-separated averages, benchmarks or tasks; default: Overall,Image,Video,Grounding", [], metavar="LIST")
    partial: bool = option("average over the benchmarks that every step has, where some are missing", False)
    model: Names = option("only checkpoints of these names", [], metavar="GLOB")
    reported: bool = option("set the paper's scores beside ours, in the figure as thin lines", False)
    figure: Place | None = option("also draw the scores over steps: .png or .pdf", metavar="FILE")
    format: Literal["markdown", "csv", "json"] = option("default: %(default)s", "markdown")


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
