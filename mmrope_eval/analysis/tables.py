"""`mmrope-eval analyze VARIANT...`: positions and frequencies of variants side by side, measured without a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmrope_eval.analysis.measures import AXIS_NAMES, BANDS, TEXT_LENGTH, Analysis, analyze, decay
from mmrope_eval.analysis.sections import UNKNOWN, Row, Section, dash, percent, yes_or_no
from mmrope_eval.analysis.table1 import COLUMNS, PRINTED, Marks, marks
from mmrope_eval.errors import UserError
from mmrope_eval.rope import Segment, Text, Variant, Vision, load_variant
from mmrope_eval.rope.geometry import DEFAULT_GEOMETRY, Geometry, fit_heads
from mmrope_eval.rope.positions import Floats

DEFAULT_VARIANTS = ("vanilla", "mrope", "videorope", "hope", "circlerope", "mhrope", "mrope-i")
"""The rows of the paper's Table 2."""
TABLE_1 = tuple(PRINTED)
"""The rows of the paper's Table 1, which `analyze table1` means."""
DEFAULT_LAYOUT = "text:12 image:9x7 text:20 video:16x6x8@2 text:20"
DISTANCES = (1, 4, 16, 64, 256, 1024, 4096, 16384)
FURTHEST = 32768
"""Distances beyond this one are not looked at: the context that the paper's models were trained on."""

_PART = re.compile(
    r"text:(?P<text>\d+)|image:(?:1x)?(?P<rows>\d+)x(?P<columns>\d+)"
    r"|video:(?P<t>\d+)x(?P<h>\d+)x(?P<w>\d+)(?:@(?P<step>\d+(?:\.\d+)?))?"
)

CRITERIA = (
    "structure: the cells of a block spread in as many independent directions, on the axes that rotate, as its grid "
    "has sides longer than one cell (a video: 3).",
    "no shared place: no text token and no other vision token has a vision token's coordinates on all rotating axes.",
    "text past vision: text after a block lies past all of its cells on every axis that rotates; else later text takes "
    "positions that vision holds (modality confusion).",
    "1 coherence: the three before it.",
    f"2 full spectrum: every axis with coordinates of its own turns pairs in each of {BANDS} bands of wavelength, "
    "equally wide on a log scale, from fast (1) to slow. Axes that agree on every token count as one.",
    f"3 text prior: cos and sin of {TEXT_LENGTH} text tokens equal unscaled vanilla RoPE's in every bit; else the "
    "largest difference.",
)

TABLE_1_NOTES = (
    "structure: rows and columns of a single frame spread in directions of their own, on the axes that rotate.",
    "interval: cells lie between the text before and the text behind, on every rotating axis on which both move on, "
    "and the block takes no more positions than its longest side; else how far it reaches into text, or what is left "
    "over.",
    f"range: every axis that rotates and has coordinates of its own turns pairs in each of the {BANDS} bands.",
    "granularity: every such axis turns all frequencies of the model, in one head or another.",
    "text: as guideline 3. An em dash: the column is about several axes, and this variant has one.",
    "printed: whether the paper's own marks are these; an em dash where it has no such row.",
)


@dataclass(frozen=True)
class Report:
    """The analyses, and what must be said about how they were made."""

    analyses: tuple[Analysis, ...]
    layout: str
    notes: tuple[str, ...] = ()


def parse_layout(text: str) -> tuple[Segment, ...]:
    """`text:N`, `image:HxW` and `video:TxHxW[@STEP]`, in merged grid cells; STEP is a frame's step in positions.

    UserError naming the part that cannot be read, or when nothing is seen.
    """
    segments: list[Segment] = []
    for part in text.split():
        match = _PART.fullmatch(part)
        sizes = [int(match[name]) for name in _PART.groupindex if name != "step" and match[name]] if match else []
        if match is None or 0 in sizes:
            raise UserError(f"layout part '{part}' cannot be read: write text:N, image:HxW or video:TxHxW@STEP with "
                            f"whole numbers above zero, for example '{DEFAULT_LAYOUT}'")
        if match["text"]:
            segments.append(Text(sizes[0]))
        else:
            t, h, w = sizes if len(sizes) == 3 else (1, *sizes)
            segments.append(Vision(t, h, w, float(match["step"] or 1)))
    if not any(isinstance(s, Vision) for s in segments):
        raise UserError(f"layout '{text}' has no image and no video: add one, for example '{DEFAULT_LAYOUT}'")
    return tuple(segments)


def make_report(variants: Sequence[str | Variant], layout: str = DEFAULT_LAYOUT, geometry: Geometry = DEFAULT_GEOMETRY,
                overrides: Mapping[str, Any] | None = None, *, fixed_heads: bool = False) -> Report:
    """Analyse variants by name or path, under `overrides`, or as they are. VariantError for one that does not fit.

    Unless `fixed_heads`, a variant that assigns more KV heads than the model has is analysed with as many as it
    assigns, and a note says so.
    """
    segments = parse_layout(layout)
    analyses, notes = [], []
    for name in variants or DEFAULT_VARIANTS:
        variant = name if isinstance(name, Variant) else load_variant(name, **dict(overrides or {}))
        fitted = geometry if fixed_heads else fit_heads(variant, geometry)
        if fitted != geometry:
            notes.append(f"{variant.name} assigns {fitted.num_kv_heads} KV heads, the model has "
                         f"{geometry.num_kv_heads}: analysed with {fitted.num_kv_heads}.")
        analyses.append(analyze(variant, segments, fitted))
    return Report(tuple(analyses), layout, tuple(notes))


def sections(report: Report) -> list[Section]:
    """The report's tables."""
    analyses = report.analyses
    first = analyses[0]
    return [
        Section("guidelines", "The three guidelines", [guideline_row(a) for a in analyses], shown_guideline,
                ("variant",), CRITERIA),
        Section("table1", "The paper's Table 1, measured", [table1_row(a) for a in analyses], shown_table1,
                ("variant",), TABLE_1_NOTES),
        Section("growth", "Position growth: how far an image or a video moves the next text position",
                [row for a in analyses for row in growth_rows(a)], shown_growth, ("variant", "block"),
                ("extent: largest minus smallest coordinate of the block's cells on t, h, w.",)),
        Section("overlap", f"Overlap of {first.overlap.text} text tokens with {first.overlap.vision} vision tokens",
                [overlap_row(a) for a in analyses], shown_overlap, ("variant",),
                ("same id: text tokens whose coordinate on one axis a vision token has too; harmless where the whole "
                 "place differs.",
                 "not past: text tokens after a block that lie at or before its last coordinate on one axis.")),
        Section("spectrum", "Frequency coverage: which wavelengths turn with which axis",
                [row for a in analyses for row in spectrum_rows(a)], shown_spectrum, ("variant", "axis"),
                ("wavelengths in positions; bands: the axis's share of the model's pairs from fast (1) to slow.",
                 "evenness: entropy of the axis's pairs over the bands, 1 = evenly spread; gap: widest stretch of the "
                 "log spectrum without one.")),
        Section("decay", "Attention decay: expected q.k of equal unit vectors at a distance",
                [row for a in analyses for row in decay_rows(a)], shown_decay, ("variant", "axis"),
                ("t, h, w: mean of cos(distance / wavelength * 2 pi) over the axis's pairs, the other axes equal.",
                 "text: all pairs, the distance on all axes at once, as between two text tokens.",
                 f"half: first distance up to {FURTHEST} at which the curve lies below 0.5.")),
    ]  # fmt: skip


def header(report: Report) -> list[str]:
    """What the numbers hold for."""
    g = report.analyses[0].geometry
    heads = min(a.geometry.num_kv_heads for a in report.analyses)
    partial = f", rotary_dim {g.rotary_dim}" if g.rotary_dim and g.rotary_dim != g.head_dim else ""
    return [f"model: head_dim {g.head_dim}{partial}, {heads} KV heads, rope_theta {g.rope_theta:g}",
            f"layout: {report.layout}", *report.notes]


def guideline_row(a: Analysis) -> Row:
    """Every criterion's measurement and verdict."""
    return {
        "variant": a.variant.name, "rank": a.structure.rank, "rank_needed": a.structure.needed,
        "structure": a.keeps_structure, "text_on_vision": a.overlap.shared, "vision_on_vision": a.overlap.doubled,
        "no_shared_place": a.unambiguous,
        "not_past": ", ".join(f"{axis} {n}" for axis, n in zip(AXIS_NAMES, a.overlap.not_past, strict=True) if n),
        "text_past_vision": a.in_order, "coherent": a.coherent,
        "missing_bands": "; ".join(f"{axes}: {', '.join(map(str, bands))}" for axes, bands in a.missing_bands),
        "full_spectrum": a.full_spectrum, "text_deviation": a.text_deviation, "text_prior": a.keeps_text,
    }


def shown_guideline(row: Row) -> Row:
    """A verdict in each cell, with the measurement where it is a no."""
    return {
        "variant": row["variant"],
        "structure": yes_or_no(row["structure"], f"{row['rank']} of {row['rank_needed']}"),
        "no shared place": yes_or_no(row["no_shared_place"],
                               f"{row['text_on_vision']} text, {row['vision_on_vision']} vision"),
        "text past vision": yes_or_no(row["text_past_vision"], f"not {row['not_past']}"),
        "1 coherence": yes_or_no(row["coherent"]),
        "2 full spectrum": yes_or_no(row["full_spectrum"], f"lacks {row['missing_bands']}"),
        "3 text prior": yes_or_no(row["text_prior"], f"{row['text_deviation']:.2g}"),
    }


def table1_row(a: Analysis) -> Row:
    """The five columns, what decides the second, and the printed marks."""
    marks_made = marks(a)
    return {
        "variant": a.variant.name, **{column: getattr(marks_made, column) for column in COLUMNS},
        "why": interval_words(marks_made), "marks": marks_made.spelled, "printed": PRINTED.get(a.variant.name),
    }


def interval_words(row_marks: Marks) -> str:
    """The worst of what keeps blocks from fitting."""
    into = max((-min(interval.before, interval.after) for _, interval in row_marks.intervals), default=0.0)
    spare = max((interval.spare for _, interval in row_marks.intervals), default=0.0)
    reaches = any(min(interval.before, interval.after) <= 0 for _, interval in row_marks.intervals)
    return f"{into:.4g} into text" if reaches else f"{spare:.4g} left over"


def shown_table1(row: Row) -> Row:
    """Verdicts in words."""
    why = {"interval": row["why"]}
    cells = {column: UNKNOWN if row[column] is None else yes_or_no(row[column], why.get(column, ""))
             for column in COLUMNS}  # fmt: skip
    differing = [column for column, made, other in zip(COLUMNS, row["marks"], row["printed"] or "", strict=False)
                 if made != other]  # fmt: skip
    same = UNKNOWN if row["printed"] is None else "differs: " + ", ".join(differing) if differing else "the same"
    return {"variant": row["variant"], **cells, "printed": same}


def growth_rows(a: Analysis) -> Iterable[Row]:
    """One row a kind of block."""
    for g in a.growth:
        yield {
            "variant": a.variant.name, "block": block_name(g.block), "tokens": g.block.n, "advance": g.advance,
            "per_token": g.per_token,
            **{f"extent_{axis}": value for axis, value in zip(AXIS_NAMES, g.extent, strict=True)},
        }


def shown_growth(row: Row) -> Row:
    """Numbers short, the extents in one cell."""
    extents = " ".join(f"{row[f'extent_{axis}']:.4g}" for axis in AXIS_NAMES)
    return {
        "variant": row["variant"], "block": row["block"], "tokens": row["tokens"],
        "next text position": f"+{row['advance']:.4g}", "per token": f"{row['per_token']:.3f}", "extent t h w": extents,
    }


def block_name(block: Vision) -> str:
    """A block as `parse_layout` reads it."""
    step = "" if block.step == 1 else f"@{block.step:g}"
    return f"image:{block.h}x{block.w}" if block.t == 1 else f"video:{block.t}x{block.h}x{block.w}{step}"


def overlap_row(a: Analysis) -> Row:
    """Counts of tokens."""
    o = a.overlap
    return {
        "variant": a.variant.name, "text_on_vision": o.shared, "vision_on_vision": o.doubled,
        **{f"same_id_{axis}": n for axis, n in zip(AXIS_NAMES, o.same_id, strict=True)},
        **{f"not_past_{axis}": n for axis, n in zip(AXIS_NAMES, o.not_past, strict=True)},
    }


def shown_overlap(row: Row) -> Row:
    """The three axes in one cell."""
    return {
        "variant": row["variant"], "text on a vision place": row["text_on_vision"],
        "vision on another's": row["vision_on_vision"],
        "same id t h w": " ".join(dash(row[f"same_id_{axis}"]) for axis in AXIS_NAMES),
        "not past t h w": " ".join(dash(row[f"not_past_{axis}"]) for axis in AXIS_NAMES),
    }


def spectrum_rows(a: Analysis) -> Iterable[Row]:
    """One row an axis."""
    for s in a.spectra:
        yield {
            "variant": a.variant.name, "axis": s.axis, "pairs": s.pairs, "share": s.share, "shortest": s.shortest,
            "longest": s.longest, **{f"band_{number}": share for number, share in enumerate(s.bands, 1)},
            "evenness": s.entropy, "gap": s.gap,
        }


def shown_spectrum(row: Row) -> Row:
    """Shares in per cent."""
    return {
        "variant": row["variant"], "axis": row["axis"], "pairs": row["pairs"], "share %": percent(row["share"]),
        "shortest": dash(row["shortest"], ".3g"), "longest": dash(row["longest"], ",.0f"),
        **{f"band {band} %": percent(row[f"band_{band}"]) for band in range(1, BANDS + 1)},
        "evenness": dash(row["evenness"], ".2f"), "gap %": percent(row["gap"]),
    }


def decay_rows(a: Analysis) -> Iterable[Row]:
    """One row an axis, and one for text."""
    every = np.arange(FURTHEST + 1, dtype=np.float64)
    for axis, curve in decay(a.table, every).items():
        yield {
            "variant": a.variant.name, "axis": axis, "half": half_distance(curve, every),
            **{f"d_{d}": float(curve[d]) for d in DISTANCES},
        }


def half_distance(curve: Floats, distances: Floats) -> float | None:
    """The first distance at which a curve lies below one half; None where it never does."""
    below = np.flatnonzero(curve < 0.5)
    return float(distances[below[0]]) if len(below) else None


def shown_decay(row: Row) -> Row:
    """Two decimals."""
    return {
        "variant": row["variant"], "axis": row["axis"], "half": dash(row["half"], ".0f"),
        **{f"{d}": f"{row[f'd_{d}']:.2f}" for d in DISTANCES},
    }
