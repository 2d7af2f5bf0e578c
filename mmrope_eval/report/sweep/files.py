"""The files that a sweep leaves for people: CSV and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mmrope_eval.report.csv_text import csv_text
from mmrope_eval.report.published import Published
from mmrope_eval.report.sweep.figures import draw_depths, draw_lengths
from mmrope_eval.report.sweep.read import SweepResult
from mmrope_eval.util.console import write_file

CSV: Final = "sweep.csv"
DEPTHS: Final = "needle.csv"


def write_files(sweep: SweepResult, folder: str | Path, axis: str = "context",
                published: Published | None = None) -> list[Path]:
    """CSV and figures into the folder; their paths.

    `axis`: what score is drawn over, `context` or `tokens`; `published`: scores that are drawn beside.
    """
    out = Path(folder)
    write_file(out / CSV, csv_text(sweep.points))
    written = [out / CSV]
    if len(sweep.depths):
        write_file(out / DEPTHS, csv_text(sweep.depths))
        written.append(out / DEPTHS)
        written += draw_depths(sweep, out)
    return [*written, *draw_lengths(sweep, out, axis, published)]
