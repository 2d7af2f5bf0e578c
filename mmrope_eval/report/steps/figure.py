"""Scores over training steps as a figure: a panel for each column, a line for each training. Readable in greyscale."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from mmrope_eval.errors import UserError
from mmrope_eval.report.steps.steps import StepsResult
from mmrope_eval.report.sweep.figures import frame, handles_of, legend, save_one, style
from mmrope_eval.report.table.page import chance_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REPORTED = "reported for this design"
ACROSS = 3
"""Panels side by side; four make two rows of two."""
FEW = 5
"""So many steps have a tick each, where they do not crowd."""
MANY = 15
"""More points than this on a line have small markers."""
SPACE = 0.16
"""Smallest distance of two ticks, as a share of the panel's width."""


def draw(result: StepsResult, path: Path) -> None:
    """Write the figure, as PNG or PDF by the file's name."""
    columns = [column for column in result.table.columns
               if any(result.points(curve, column) for curve in result.curves)]
    across = 2 if len(columns) in (2, 4) else min(ACROSS, len(columns))
    down = math.ceil(len(columns) / across)
    labels = [curve.label for curve in result.curves]
    beside = max(1, min(4, int(52 * across / (max(map(len, labels)) + 9))))  # names that fit side by side
    figure = Figure(figsize=(3.1 * across + 0.4, 2.3 * down + 0.35 + 0.2 * math.ceil((len(labels) + 1) / beside)),
                    layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True)
    for number, panel in enumerate(panels.flat):
        if number >= len(columns):
            panel.set_axis_off()
            continue
        draw_panel(panel, result, columns[number])
        panel.tick_params(labelbottom=number + across >= len(columns))
        if number + across >= len(columns):
            panel.set_xlabel("training step", fontsize=9)
    drawn = handles_of(panels)
    handles = {name: drawn[name] for name in (*labels, REPORTED, "chance") if name in drawn}
    legend(figure, handles, min(beside, len(handles)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_one(figure, path)
    except OSError as error:
        raise UserError(f"--figure {path} cannot be written ({error.strerror}).") from error


def draw_panel(panel: Axes, result: StepsResult, column: str) -> None:
    """One column's scores: a line for each training, and the level of chance."""
    for number, curve in enumerate(result.curves):
        points = result.points(curve, column)
        look = style(number) | ({"markersize": 2.5} if len(points) > MANY else {})
        panel.plot([step for step, _ in points], [score for _, score in points], label=curve.label, **look)
        reported = result.reported(curve, column)
        if not math.isnan(reported):
            panel.axhline(reported, color=look["color"], linewidth=0.9, linestyle=(0, (1, 2)), zorder=1, label=REPORTED)
    frame(panel, chance_of(result.table, column))
    panel.set_title(result.table.labels[column], fontsize=9)
    panel.set_ylabel("score, %", fontsize=9)
    panel.yaxis.set_major_locator(MaxNLocator(5))
    ticks(panel, sorted({step for curve in result.curves for step in curve.steps}))


def ticks(panel: Axes, steps: list[int]) -> None:
    """The steps themselves where they are few and apart, else round numbers."""
    width = max(steps[-1] - steps[0], 1)
    apart = all(after - before >= SPACE * width for before, after in itertools.pairwise(steps))
    panel.xaxis.set_major_locator(FixedLocator(steps) if len(steps) <= FEW and apart
                                  else MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    if len(steps) == 1:
        panel.set_xlim(steps[0] - 1, steps[0] + 1)
