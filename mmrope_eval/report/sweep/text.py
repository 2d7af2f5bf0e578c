"""A sweep's tables on the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import pandas as pd
from tabulate import tabulate

from mmrope_eval.report.sweep.read import SweepResult
from mmrope_eval.util.unread import MARK, WARNING, remedy, too_many

Point: TypeAlias = "pd.Series[Any]"
DASH: Final = "—"
RULES: Final = {
    "reach": "by reach: the factor is how much further the variant's own positions reach than in the trained context",
    "context": "by context: the factor is how much longer the context is than the trained one",
}
WORDS: Final = {"memory": "does not fit in memory", "no room": "no room for the video", "excluded": "not started",
                "failed": "could not be asked"}  # fmt: skip


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


def pivot(points: pd.DataFrame, show: Callable[[Point | None], str]) -> str:
    """A line per variant and scaling, a column per context."""
    contexts = sorted(points["context"].unique())
    body = []
    for (label, scaling), rows in points.groupby(["label", "scaled"], sort=False):
        by = {row["context"]: row for _, row in rows.iterrows()}
        body.append([label, scaling, *(show(by.get(context)) for context in contexts)])
    headers = ["variant", "scaling", *map(context_label, contexts)]
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
        lines.append([context_label(context), f"{rows['frames'].max():g}", f"{low:,.0f}", f"{middle:,.0f}",
                      f"{high:,.0f}"])
    budget = tabulate(lines, ["context", "frames", "tokens, least", "median", "most"], tablefmt="simple",
                      colalign=["right"] * 5, disable_numparse=True)  # fmt: skip
    positions = pivot(done, lambda row: DASH if row is None or pd.isna(row.get("max_position"))
                      else f"{row['max_position']:,.5g} x{row['factor']:.3g}")  # fmt: skip
    return f"{budget}\n\nlargest position, and the factor scaled by\n{positions}"


def score(row: Point | None) -> str:
    """One number; a dash with a mark where there is none."""
    if row is None:
        return DASH
    if row["status"] != "done":
        return f"{DASH} {row['status']}"
    if row.isna()["score"]:
        return DASH
    return f"{row['score']:.1f}{'*' if row['failed'] else ''}{MARK if hardly_read(row) else ''}"


def hardly_read(row: Point) -> bool:
    """Whether too many of a point's answers are unread for its number to go without a word."""
    return row["status"] == "done" and too_many(int(row["unparsed"]), int(row["n"] - row["failed"]))


def unread_remarks(points: pd.DataFrame) -> list[str]:
    """Where answers are unread, by column; where they are too many with the likely cause."""
    lines = []
    answered = points.assign(answers=points["n"] - points["failed"])
    unread = answered[answered["unparsed"].fillna(0) > 0]
    for column, every in unread.groupby("column", sort=False):
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
    contexts = ", ".join(map(context_label, sorted(rows["context"].unique())))
    return f"{int(rows[part].sum()):,} of {int(rows[whole].sum()):,}{which} ({contexts})"


def remarks(sweep: SweepResult) -> list[str]:
    """What a reader of the tables must know."""
    lines = [RULES[rule] for rule in RULES if sweep.points["scaled"].str.endswith(f" by {rule}").any()]
    lines += [f"no checkpoint is of {', '.join(sweep.empty)}: rows of this sweep without points"] if sweep.empty else []
    for (status, cause), rows in sweep.points[sweep.points["status"] != "done"].groupby(["status", "cause"]):
        where = sorted({f"{row['column']} at {context_label(row['context'])}" for _, row in rows.iterrows()})
        lines.append(f"{DASH} {status}: {WORDS.get(str(status), status)} ({', '.join(where)}): {cause}")
    if "unparsed" in sweep.points:
        for column, rows in sweep.points[sweep.points["failed"].fillna(0) > 0].groupby("column", sort=False):
            causes = "see failures.jsonl of the points"
            lines.append(f"* failed and counted wrong: {column} {spread(rows, 'failed', 'n')}; {causes}")
        lines += unread_remarks(sweep.points)
    if "assumed" in sweep.points and sweep.points["assumed"].fillna(False).any():
        taken = sweep.points[sweep.points["assumed"].fillna(False).astype(bool)]
        names = sorted({f"{row['model']} ({row['variant']})" for _, row in taken.iterrows()})
        lines.append(f"the variant of {', '.join(names)} is assumed from the model type, as no config.json names one")
    return lines


def context_label(context: float) -> str:
    """32768 as 32K, 160 as 160."""
    return f"{context / 1024:g}K" if context >= 1024 and context % 1024 == 0 else f"{context:g}"
