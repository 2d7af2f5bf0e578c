"""Figures of the analysis without a model: positions, frequency allocation, attention decay. Readable in greyscale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from mmrope_eval.analysis.measures import AXIS_NAMES, BANDS, Analysis, band_edges, decay
from mmrope_eval.analysis.tables import FURTHEST, Report
from mmrope_eval.report.sweep.figures import save
from mmrope_eval.rope import Vision
from mmrope_eval.rope.positions import Floats
from mmrope_eval.util.console import writing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GREYS = {0: "#1a1a1a", 1: "#7f7f7f", 2: "#cfcfcf", -1: "#ffffff"}
"""Shade of pairs that read t, h, w, none."""
TEXT_MARK: dict[str, Any] = {"marker": ".", "color": "#000000", "markersize": 3.5, "label": "text"}
VISION_MARK: dict[str, Any] = {"marker": "s", "color": "#9a9a9a", "markersize": 3, "markerfacecolor": "none",
                               "markeredgewidth": 0.6, "label": "vision"}  # fmt: skip
DPI = 130
SMOOTHING = 1.25
"""Decay curves ripple; the figure shows means over distances within this factor, the tables the curves themselves."""
STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 3)), (0, (8, 2)))
MARKERS = ("", "o", "s", "^", "x", "D", "v", "+")


def write_figures(report: Report, folder: Path) -> list[Path]:
    """positions, frequencies and decay as PDF (vector) and PNG; returns the paths written."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    figures = {"positions": positions_figure, "frequencies": frequencies_figure, "decay": decay_figure}
    return [path for name, figure in figures.items() for path in save(figure(report), folder, name, DPI)]


def positions_figure(report: Report) -> Figure:
    """A panel for each variant: where text and vision tokens sit in the plane of t and h."""
    columns = min(len(report.analyses), 4)
    rows = math.ceil(len(report.analyses) / columns)
    figure = Figure(figsize=(2.7 * columns, 2.7 * rows + 0.5), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for panel, analysis in zip(panels.flat, report.analyses, strict=False):
        is_vision = np.repeat([isinstance(s, Vision) for s in analysis.segments], [s.n for s in analysis.segments])
        for which, style in ((is_vision, VISION_MARK), (~is_vision, TEXT_MARK)):
            # Cells of one row differ in w only: drawn once.
            points = np.unique(np.round(analysis.positions[:2, which], 3), axis=1)
            panel.plot(*points, linestyle="none", rasterized=points.shape[1] > 5000, **style)
        panel.set_title(analysis.variant.name, fontsize=10)
        panel.tick_params(labelsize=8)
        _quiet(panel)
    for panel in list(panels.flat)[len(report.analyses) :]:
        panel.set_axis_off()
    figure.supxlabel("t", fontsize=9)
    figure.supylabel("h", fontsize=9)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside upper center", ncols=2, frameon=False)
    return figure


def frequencies_figure(report: Report) -> Figure:
    """A strip for each variant and kind of KV head: the axis that each pair reads, from fast to slow."""
    strips = [strip for analysis in report.analyses for strip in head_rows(analysis)]
    figure = Figure(figsize=(8.4, 0.36 * len(strips) + 1.3), layout="constrained")
    panel = figure.subplots()
    pairs = max(len(row) for _, row in strips)
    for y, (_, row) in enumerate(strips):
        panel.bar(range(len(row)), 0.8, 1.0, bottom=y - 0.4, align="edge", color=[GREYS[int(a)] for a in row],
                  edgecolor="#999999", linewidth=0.3)  # fmt: skip
    for band in range(1, BANDS):
        panel.axvline(pairs * band / BANDS, color="#1a1a1a", linewidth=0.8, linestyle=(0, (2, 2)))
    panel.set_yticks(range(len(strips)), [name for name, _ in strips], fontsize=9)
    panel.set_ylim(len(strips) - 0.5, -0.5)
    panel.set_xlim(0, pairs)
    edges = np.exp(band_edges(report.analyses[0].geometry))
    ticks = [pairs * band / BANDS for band in range(BANDS + 1)]
    panel.set_xticks(ticks, [f"{edge:,.0f}" for edge in edges], fontsize=8)
    panel.set_xlabel("wavelength in positions of an unscaled table (fast to slow; dashed: the four bands)", fontsize=9)
    legend = [Patch(facecolor=GREYS[a], edgecolor="#999999") for a in (0, 1, 2, -1)]
    figure.legend(legend, ["t", "h", "w", "not rotated"], loc="outside upper center", ncols=4, frameon=False)
    _quiet(panel, left=False)
    return figure


def head_rows(analysis: Analysis) -> Iterator[tuple[str, np.ndarray]]:
    """A label and the axis of every pair, for each distinct KV head."""
    first, row_of_head = analysis.table.distinct_rows
    for row, representative in enumerate(first):
        heads = int((row_of_head == row).sum())
        label = analysis.variant.name if len(first) == 1 else f"{analysis.variant.name}, {heads} heads"
        yield label, analysis.table.axis[representative]


def decay_figure(report: Report) -> Figure:
    """A panel for each axis and one for text; variants with the same curve share a line."""
    every = np.arange(FURTHEST + 1, dtype=np.float64)
    distances = np.unique(np.round(np.geomspace(1, FURTHEST / SMOOTHING, 120)))
    figure = Figure(figsize=(9.2, 6.6), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True)
    curves = [(a.variant.name, {axis: smooth(curve, distances) for axis, curve in decay(a.table, every).items()})
              for a in report.analyses]  # fmt: skip
    for panel, axis in zip(panels.flat, (*AXIS_NAMES, "text"), strict=True):
        different: list[tuple[list[str], Floats]] = []
        for name, by_axis in curves:
            if axis not in by_axis:
                continue
            same = next((names for names, curve in different if np.allclose(curve, by_axis[axis], atol=1e-9)), None)
            if same is None:
                different.append(([name], by_axis[axis]))
            else:
                same.append(name)
        for number, (names, curve) in enumerate(different):
            panel.plot(distances, curve, color=str(0.55 * (number % 3) / 2), linewidth=1.3,
                       linestyle=STYLES[number % len(STYLES)], marker=MARKERS[number % len(MARKERS)], markersize=4,
                       markevery=(number * 4, 24), label=", ".join(names))  # fmt: skip
        panel.axhline(0, color="#999999", linewidth=0.6)
        panel.set_xscale("log", base=4)
        panel.set_ylim(-0.75, 1.05)  # room for the legend
        panel.minorticks_off()
        panel.set_title("text: all axes at once" if axis == "text" else f"along {axis}", fontsize=10)
        panel.tick_params(labelsize=8)
        panel.legend(fontsize=7, loc="lower left", frameon=False)
        _quiet(panel)
    figure.supxlabel(f"distance in positions (mean over distances within a factor of {SMOOTHING:g})", fontsize=9)
    figure.supylabel("expected q.k of equal unit vectors", fontsize=9)
    return figure


def smooth(curve: Floats, distances: Floats) -> Floats:
    """Means of a curve given at 0, 1, 2 ... over the whole distances from d / SMOOTHING to d * SMOOTHING."""
    total = np.concatenate(([0.0], np.cumsum(curve)))
    low = np.ceil(distances / SMOOTHING).astype(int)
    high = np.floor(distances * SMOOTHING).astype(int) + 1
    means: Floats = (total[high] - total[low]) / (high - low)
    return means


def _quiet(panel: Axes, left: bool = True) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines["left"].set_visible(left)
