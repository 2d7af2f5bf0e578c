"""What a sweep measured, as a frame, as tables on the screen and as CSV."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
from tabulate import tabulate

from mmrope_eval.errors import UserError
from mmrope_eval.record.read import read_record
from mmrope_eval.record.schema import SCORES, SWEEP, SweepPoint, SweepRecord
from mmrope_eval.record.seal import seal_holds
from mmrope_eval.report.csv_text import csv_text
from mmrope_eval.report.published import Published
from mmrope_eval.report.runs import Cell, load_cell, none_of, sample_rows
from mmrope_eval.util.console import write_file
from mmrope_eval.util.unread import MARK, WARNING, remedy, too_many
from mmrope_eval.words import shown

AGAIN: Final = "start the sweep's command again"
CSV: Final = "sweep.csv"
DEPTHS: Final = "needle.csv"
DASH: Final = "—"
RULES: Final = {
    "reach": "by reach: the factor is how much further the variant's own positions reach than in the trained context",
    "context": "by context: the factor is how much longer the context is than the trained one",
}
WORDS: Final = {"memory": "does not fit in memory", "no room": "no room for the video", "excluded": "not started",
                "failed": "could not be asked"}  # fmt: skip


@dataclass(frozen=True)
class SweepResult:
    """A sweep's points and needle depths.

    `points`: one row per point with model, variant, scaling, task, column, context, frames, factor, status, cause,
    score, chance, n, failed; achieved tokens (least, median, most) and the largest position id. `depths`: one row per
    needle point and depth with its score. Scores are on a 0-100 scale.
    """

    title: str
    train_context: int
    points: pd.DataFrame
    depths: pd.DataFrame
    empty: tuple[str, ...] = ()
    """Variants that the sweep's file names as rows and no checkpoint is of."""


def load_sweep(folder: str | Path) -> SweepResult:
    """The sweep in a folder. UserError when there is none, or a record of it is damaged or does not fit the others."""
    path = Path(folder) / SWEEP
    if not os.path.lexists(path):
        raise UserError(f"{folder} holds no {SWEEP}; name the --output of a sweep.")
    stored = read_record(path, SweepRecord, AGAIN)
    record = stored.record
    if record.sha256 is not None and not seal_holds(stored.raw, SWEEP):
        raise UserError(f"{path} is not as the sweep wrote it (its own sha256 differs); {AGAIN}.")
    if not record.points:
        raise UserError(f"{path} has no points yet; {AGAIN}.")
    cells = [cell_of(path, point) for point in record.points]
    rows = [point_row(list(told), point, cell)
            for told, point, cell in zip(stored.raw["points"], record.points, cells, strict=True)]
    depths = [row for point, cell in zip(record.points, cells, strict=True) for row in depth_rows(path, point, cell)]
    points = with_labels(pd.DataFrame(rows))
    return SweepResult(record.title, record.train_context, points,
                       with_labels(pd.DataFrame(depths)) if depths else pd.DataFrame(), record.empty)


def cell_of(path: Path, point: SweepPoint) -> Cell | None:
    """The cell of a point that was measured. UserError where its records are damaged, or not of the point's task."""
    if point.status != "done" or point.folder is None:
        return None
    folder = path.parent / point.folder
    cell = load_cell(folder)
    if point.task not in cell.tasks:
        raise UserError(f"{path}: a point of {point.task} is said to be in {point.folder}, whose {SCORES} has "
                        f"{', '.join(cell.tasks) or 'no task'}; {AGAIN}.")
    return cell


def with_labels(points: pd.DataFrame) -> pd.DataFrame:
    """With `label`: the variant, and the model's name where it says more; and `scaled`: the scaling and its rule."""
    several = points.groupby("variant")["model"].nunique().max() > 1
    labels = points["model"] + ": " + points["variant"] if several else points["variant"]
    rules = points["factor_rule"] if "factor_rule" in points else [None] * len(points)
    scaled = [scaling_label(scaling, rule) for scaling, rule in zip(points["scaling"], rules, strict=True)]
    return points.assign(label=labels, scaled=scaled)


def scaling_label(scaling: str, rule: str | None) -> str:
    """A scaling with the rule of its factor: `yarn by context`, `yarn x4`."""
    if scaling == "none" or not isinstance(rule, str):
        return scaling if scaling == "none" else f"{scaling} by reach"  # the only rule that there once was
    return f"{scaling} {rule}" if rule.startswith("x") else f"{scaling} by {rule}"


def point_row(columns: list[str], point: SweepPoint, cell: Cell | None) -> dict[str, Any]:
    """One row of `SweepResult.points`, the point's own columns first and in their order."""
    values = point.model_dump()
    row = {name: values[name] for name in columns}
    if cell is None:
        return row
    row["assumed"] = cell.assumed
    entry = cell.record.scores.tasks[point.task]
    samples = pd.DataFrame(sample_rows(cell))
    tokens = samples["prompt_tokens"].dropna() if len(samples) else pd.Series(dtype=float)
    positions = samples["max_position"].dropna() if len(samples) else pd.Series(dtype=float)
    row |= {
        "metric": entry.main,
        "score": entry.metrics[entry.main].value,
        "stderr": none_of(cell.record.errors[point.task]),
        "n": entry.n,
        "failed": entry.n_failed or 0,
        "unparsed": entry.n_unparsed or 0,
        "truncated": entry.n_truncated or 0,
    }
    if len(tokens):
        row |= {"tokens_min": int(tokens.min()), "tokens_median": int(tokens.median()), "tokens_max": int(tokens.max())}
    if len(positions):
        row["max_position"] = float(positions.max())
    return row


def depth_rows(path: Path, point: SweepPoint, cell: Cell | None) -> list[dict[str, Any]]:
    """The score at every depth of a needle point. UserError for a depth that is none."""
    if point.task != "needle" or cell is None:
        return []
    head = {"model": point.model, "variant": point.variant, "scaling": point.scaling,
            "factor_rule": point.factor_rule, "context": point.context}
    groups = cell.record.scores.tasks["needle"].groups
    return [{**head, "depth": depth_of(path, depth), "score": part.value, "n": part.n}
            for depth, part in groups.items()]


def depth_of(path: Path, name: str) -> float:
    """A depth, 0 to 100 per cent, from the name of its group."""
    try:
        depth = float(name)
    except ValueError:
        depth = math.nan
    if not 0 <= depth <= 100:
        raise UserError(f"{path}: a needle's group is called {shown(name)}, which is no depth; {AGAIN}.")
    return depth


def report(sweep: SweepResult) -> str:
    """Scores, and what was really reached, task by task; then what did not run, with its cause."""
    parts = [sweep.title]
    for column in sweep.points["column"].unique():
        points = sweep.points[sweep.points["column"] == column]
        parts += [f"{column}, {metric(points)}", pivot(points, score), reached(points)]
    return "\n\n".join([*parts, *remarks(sweep)]) + "\n"


def metric(points: pd.DataFrame) -> str:
    """The metric's name and chance level."""
    names = list(points["metric"].dropna()) if "metric" in points else []
    chance = points["chance"].dropna()
    return (str(names[0]) if names else "score") + (f" (chance {chance.iloc[0]:g})" if len(chance) else "")


def pivot(points: pd.DataFrame, show: Any) -> str:
    """A line per variant and scaling, a column per context."""
    contexts = sorted(points["context"].unique())
    body = []
    for (label, scaling), rows in points.groupby(["label", "scaled"], sort=False):
        by = {row["context"]: row for _, row in rows.iterrows()}
        body.append([label, scaling, *(show(by.get(context)) for context in contexts)])
    headers = ["variant", "scaling", *map(short, contexts)]
    align = ["left", "left", *["right"] * len(contexts)]
    return tabulate(body, headers, tablefmt="simple", colalign=align, disable_numparse=True)


def reached(points: pd.DataFrame) -> str:
    """Per context: frames asked for, tokens achieved; per variant: the largest position, and the factor derived."""
    done = points[points["status"] == "done"]
    if not len(done) or "tokens_median" not in done:
        return "nothing was measured"
    lines = []
    for context in sorted(done["context"].unique()):
        rows = done[done["context"] == context]
        low, middle, high = rows["tokens_min"].min(), rows["tokens_median"].median(), rows["tokens_max"].max()
        lines.append([short(context), f"{rows['frames'].max():g}", f"{low:,.0f}", f"{middle:,.0f}", f"{high:,.0f}"])
    budget = tabulate(lines, ["context", "frames", "tokens, least", "median", "most"], tablefmt="simple",
                      colalign=["right"] * 5, disable_numparse=True)  # fmt: skip
    positions = pivot(done, lambda row: DASH if row is None or pd.isna(row.get("max_position"))
                      else f"{row['max_position']:,.5g} x{row['factor']:.3g}")  # fmt: skip
    return f"{budget}\n\nlargest position, and the factor scaled by\n{positions}"


def score(row: Any) -> str:
    """One number; a dash with a mark where there is none."""
    if row is None or row["status"] != "done" or pd.isna(row["score"]):
        return f"{DASH} {row['status']}" if row is not None and row["status"] != "done" else DASH
    return f"{row['score']:.1f}{'*' if row['failed'] else ''}{MARK if hardly_read(row) else ''}"


def hardly_read(row: Any) -> bool:
    """Whether too many of a point's answers are unread for its number to go without a word."""
    return row["status"] == "done" and too_many(int(row["unparsed"]), int(row["n"] - row["failed"]))


def failed_remarks(points: pd.DataFrame) -> list[str]:
    """How many samples failed, by column, and where their causes are."""
    some = points[points["failed"].fillna(0) > 0]
    return [f"* failed and counted wrong: {column} {spread(rows, 'failed', 'n')}; see failures.jsonl of the points"
            for column, rows in some.groupby("column", sort=False)]  # fmt: skip


def unread_remarks(points: pd.DataFrame) -> list[str]:
    """Where answers are unread, by column; where they are too many with the likely cause."""
    lines = []
    answered = points.assign(answers=points["n"] - points["failed"])
    found = answered[answered["unparsed"].fillna(0) > 0]
    for column, every in found.groupby("column", sort=False):
        marked = every.apply(hardly_read, axis=1)
        if (rows := every[marked]).size:
            where = f"{column} {spread(rows, 'unparsed', 'answers', ' in the points so marked')}"
            cause = remedy(int(rows["unparsed"].sum()), int(rows["truncated"].sum()))
            lines.append(f"{MARK} {WARNING}: {where}; {cause}")
        if (rows := every[~marked]).size:
            lines.append(f"unread and counted wrong: {column} {spread(rows, 'unparsed', 'answers')}")
    return lines


def spread(rows: pd.DataFrame, part: str, whole: str, which: str = "") -> str:
    """So many of so many, and at which contexts."""
    contexts = ", ".join(map(short, sorted(rows["context"].unique())))
    return f"{int(rows[part].sum()):,} of {int(rows[whole].sum()):,}{which} ({contexts})"


def remarks(sweep: SweepResult) -> list[str]:
    """What a reader of the tables must know."""
    lines = [RULES[rule] for rule in RULES if sweep.points["scaled"].str.endswith(f" by {rule}").any()]
    lines += [f"no checkpoint is of {', '.join(sweep.empty)}: rows of this sweep without points"] if sweep.empty else []
    for (status, cause), rows in sweep.points[sweep.points["status"] != "done"].groupby(["status", "cause"]):
        where = sorted({f"{row['column']} at {short(row['context'])}" for _, row in rows.iterrows()})
        lines.append(f"{DASH} {status}: {WORDS.get(str(status), status)} ({', '.join(where)}): {cause}")
    if "unparsed" in sweep.points:
        lines += [*failed_remarks(sweep.points), *unread_remarks(sweep.points)]
    if "assumed" in sweep.points and sweep.points["assumed"].fillna(False).any():
        taken = sweep.points[sweep.points["assumed"].fillna(False).astype(bool)]
        names = sorted({f"{row['model']} ({row['variant']})" for _, row in taken.iterrows()})
        lines.append(f"the variant of {', '.join(names)} is assumed from the model type, as no config.json names one")
    return lines


def short(context: float) -> str:
    """32768 as 32K, 160 as 160."""
    return f"{context / 1024:g}K" if context >= 1024 and context % 1024 == 0 else f"{context:g}"


def write_files(sweep: SweepResult, folder: str | Path, axis: str = "context",
                published: Published | None = None) -> list[Path]:
    """CSV and figures into the folder; their paths.

    `axis`: what score is drawn over, `context` or `tokens`; `published`: scores that are drawn beside.
    """
    from mmrope_eval.report.sweep.figures import draw_depths, draw_lengths

    out = Path(folder)
    write_file(out / CSV, csv_text(sweep.points))
    written = [out / CSV]
    if len(sweep.depths):
        write_file(out / DEPTHS, csv_text(sweep.depths))
        written.append(out / DEPTHS)
        written += draw_depths(sweep, out)
    return [*written, *draw_lengths(sweep, out, axis, published)]
