"""The files that a sweep leaves for people: CSV, and figures, readable in greyscale: score over context,
and needles by depth and context."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from mmrope_eval.report.csv_text import csv_text
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.report.published import Published
from mmrope_eval.report.sweep.read import SweepResult
from mmrope_eval.report.sweep.text import context_label
from mmrope_eval.util.console import write_file, writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

MARKERS: Final = "os^DvP*X<>dhp"
DASHES: Final = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 1)))
COLORS: Final = ("#000000", "#b2182b", "#2166ac", "#7a7a7a", "#1b7837", "#d6604d", "#4393c3", "#762a83", "#b8860b")
"""Of different lightness, so that neighbours differ in print too; line style and marker tell lines apart without."""
SCALINGS: Final = {"none": "no scaling", "linear": "linear", "ntk": "NTK", "yarn": "YaRN"}
YARN: Final = "yarn"
"""The published table of a context."""
ACROSS: Final = 4
"""Heat maps side by side."""
DPI: Final = 160
AXES: Final = {"context": "context, tokens", "tokens": "median prompt, tokens"}


def shown(scaling: str) -> str:
    """A scaling and its rule as a panel is called: `YaRN by context`."""
    kind, _, rule = scaling.partition(" ")
    return f"{SCALINGS.get(kind, kind)} {rule}".rstrip()


def over(points: pd.DataFrame, axis: str) -> pd.DataFrame:
    """With `at`: where on the horizontal axis a point is; not a number where its prompts' tokens are not known."""
    return points.assign(at=points["context"] if axis == "context" else points.get("tokens_median", math.nan))


def style(number: int) -> dict[str, Any]:
    """How the line of the n-th variant looks."""
    return {
        "marker": MARKERS[number % len(MARKERS)], "markersize": 4.5,
        "markerfacecolor": "white" if number // len(MARKERS) % 2 else None,
        "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.3, "color": COLORS[number % len(COLORS)],
    }


def draw_lengths(sweep: SweepResult, folder: Path, axis: str = "context",
                 published: Published | None = None) -> list[Path]:
    """Score over context: a row of panels for each task, a panel for each scaling, a line for each variant.

    `axis` "tokens" puts each point where its median prompt was, not where its context ends. What was `published` of
    these variants at one of these contexts is a cross.
    """
    points = over(sweep.points, axis)
    tasks = list(points["column"].unique())
    scalings = list(points["scaled"].unique())
    labels = list(points["label"].unique())
    size = (2.2 * len(scalings) + 0.9, 1.9 * len(tasks) + 0.7 + 0.18 * math.ceil(len(labels) / 4))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(len(tasks), len(scalings), squeeze=False, sharex=True, sharey="row")
    for row, task in enumerate(tasks):
        for column, scaling in enumerate(scalings):
            panel = panels[row][column]
            chosen = points[(points["column"] == task) & (points["scaled"] == scaling)]
            draw_panel(panel, chosen, labels, sweep.train_context)
            if published is not None:
                draw_reported(panel, chosen, labels, published)
            if row == 0:
                panel.set_title(shown(scaling), fontsize=9)
            if column == 0:
                panel.set_ylabel(f"{task}, %", fontsize=9)
            if row == len(tasks) - 1:
                panel.set_xlabel(AXES[axis], fontsize=9)
            ticks(panel, sorted(points["context"].unique()))
    handles = handles_of(panels)
    across = max(1, min(4, len(handles), int(size[0] / (0.065 * max(map(len, handles)) + 0.6))))  # inches at 8 points
    legend(figure, handles, across)
    return save(figure, folder, "sweep")


def handles_of(panels: np.ndarray) -> dict[str, Any]:
    """What is drawn on any of the panels, by the name that a legend has for it."""
    return {name: handle for panel in panels.flat
            for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)}


def legend(figure: Figure, handles: Mapping[str, Any], across: int) -> None:
    """One legend for all panels, below them."""
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=across, fontsize=8,
                  frameon=False, handlelength=3.2)  # fmt: skip


def draw_panel(panel: Axes, points: pd.DataFrame, labels: list[str], trained: int) -> None:
    """One panel: its lines, the trained context and the level of chance."""
    for number, label in enumerate(labels):
        rows = points[points["label"] == label].sort_values("context")
        scores = rows["score"].to_numpy(dtype=float) if "score" in rows else np.full(len(rows), np.nan)
        panel.plot(rows["at"].to_numpy(dtype=float), scores, label=label, **style(number))
    panel.axvline(trained, color="#555555", linewidth=0.8, linestyle=(0, (2, 2)), label="trained context")
    chance = points["chance"].dropna()
    frame(panel, float(chance.iloc[0]) if len(chance) else math.nan)


def frame(panel: Axes, chance: float) -> None:
    """The level of chance, where it is a number, and the grid of a panel."""
    if not math.isnan(chance):
        panel.axhline(chance, color="#aaaaaa", linewidth=2.2, zorder=0, label="chance")
    panel.grid(axis="y", linewidth=0.4, color="#dddddd")
    panel.tick_params(labelsize=8)
    panel.spines[["top", "right"]].set_visible(False)


def draw_reported(panel: Axes, points: pd.DataFrame, labels: list[str], published: Published) -> None:
    """The published numbers of a panel's variants, in their colours."""
    definition = load_definition(YARN)
    context = definition.context
    if context is None or context not in set(points["context"]) or YARN not in published.tables:
        return
    for row in definition.rows:
        in_row = points[(points["variant"] == (row.variant and row.variant.name)) & (points["scaling"] == row.scaling)]
        cells = published.tables[YARN].cells.get(row.label, {})
        for label, column in in_row[["label", "column"]].drop_duplicates().itertuples(index=False):
            if column in cells:
                panel.plot([context], [cells[column][0]], marker="x", markersize=8, linestyle="none",
                           markeredgewidth=1.6, color=style(labels.index(label))["color"], label=f"{label}, reported")


def ticks(panel: Axes, contexts: list[int]) -> None:
    """Contexts on a logarithmic scale, each with its name."""
    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_locator(FixedLocator(contexts))
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xticks(contexts, [context_label(context) for context in contexts])


def draw_depths(sweep: SweepResult, folder: Path) -> list[Path]:
    """Needles by depth and context: a heat map for each variant and scaling, the numbers written in."""
    depths = sweep.depths
    pairs = list(depths[["label", "scaled"]].drop_duplicates().itertuples(index=False, name=None))
    across = min(ACROSS, len(pairs), max(depths.groupby("label")["scaled"].nunique().max(), 1))
    rows = math.ceil(len(pairs) / across)
    levels, contexts = sorted(depths["depth"].unique()), sorted(depths["context"].unique())
    size = (across * (0.55 * len(contexts) + 0.5) + 1.3, rows * (0.28 * len(levels) + 0.6) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, across, squeeze=False, sharex=True, sharey=True)
    image = None
    for number, panel in enumerate(panels.flat):
        if number >= len(pairs):
            panel.set_axis_off()
            continue
        label, scaling = pairs[number]
        chosen = depths[(depths["label"] == label) & (depths["scaled"] == scaling)]
        grid = chosen.pivot_table(index="depth", columns="context", values="score").reindex(levels, columns=contexts)
        image = heat(panel, grid.to_numpy(dtype=float))
        panel.set_title(f"{label}, {shown(scaling)}", fontsize=8)
        panel.set_xticks(range(len(contexts)), [context_label(context) for context in contexts], fontsize=7)
        panel.set_yticks(range(len(levels)), [f"{level:g}" for level in levels], fontsize=7)
        if number % across == 0:
            panel.set_ylabel("depth, %", fontsize=8)
    figure.supxlabel("context, tokens", fontsize=8)
    if image is not None:
        bar = figure.colorbar(image, ax=panels, shrink=min(1.0, 2.0 / rows + 0.3), aspect=25)
        bar.set_label("needle found, %", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    return save(figure, folder, "needle")


def heat(panel: Axes, grid: np.ndarray) -> AxesImage:
    """One heat map: white is 100 %, black 0 %; what was not measured is hatched."""
    image = panel.imshow(grid, cmap="gray", vmin=0, vmax=100, aspect="auto")
    panel.patch.set(facecolor="white", hatch="/////", edgecolor="#b0b0b0")
    for (row, column), value in np.ndenumerate(grid):
        if not math.isnan(value):
            color = "white" if value < 55 else "black"
            panel.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=7, color=color)
    return image


def save(figure: Figure, folder: Path, name: str, dpi: int = DPI) -> list[Path]:
    """A figure as PDF (vector) and PNG; the paths. UserError where one cannot be written."""
    paths = [folder / f"{name}.{suffix}" for suffix in ("pdf", "png")]
    for path in paths:
        with writing(path):
            save_one(figure, path, dpi)
    return paths


def save_one(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """A figure in the format that the file's name ends in; without dates, so that equal scores give equal bytes."""
    figure.savefig(path, dpi=dpi, metadata={"CreationDate": None} if path.suffix.lower() == ".pdf" else None)


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
