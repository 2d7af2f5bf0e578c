"""`mmrope-eval demo data` and `demo needle`: the small world as files, also where the rest of the demo is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmrope_synth.columns import COLUMNS
from mmrope_synth.errors import SynthError
from mmrope_synth.needle import Haystack, build_needles
from mmrope_synth.sheet import contact_sheet
from mmrope_synth.writer import build_world


def make_data(*, out: Path | None, n: int, columns: Sequence[str], seed: int, sheet: Path | None) -> int:
    """`mmrope-eval demo data`: write the miniature benchmarks, and the page of samples where it is wanted.

    SynthError for a column that is none, and where neither is wanted.
    """
    if out is None and sheet is None:
        raise SynthError("demo data: name a folder with --out DIR, a page of samples with --sheet PNG, or both.")
    unknown = [name for name in columns if name not in COLUMNS]
    if unknown:
        raise SynthError(f"demo data: there is no column '{unknown[0]}'; choose from {', '.join(COLUMNS)}.")
    if out is not None:
        build_world(out, n=n, seed=seed, columns=list(columns) or None)
        print(f"miniature benchmarks in {out}: evaluate on them with --data-root {out}")
    if sheet is not None:
        print(f"samples to look at: {contact_sheet(sheet, seed=seed, columns=list(columns) or None)}")
    return 0


def make_needles(
    *, out: Path, depths: Sequence[str], frames: int, size: int, fps: float, n: int, distractors: int, seed: int
) -> int:
    """`mmrope-eval demo needle`: write needle videos of one length. SynthError for depths that are no numbers."""
    try:
        cards = tuple(map(float, depths))
    except ValueError as error:
        raise SynthError(f"demo needle: --depths takes numbers from 0 to 100 ({error}).") from error
    haystack = Haystack(frames, size, fps, depths=cards, questions=n, distractors=distractors, seed=seed)
    made = build_needles(out, haystack)
    print(f"needles in {made}: evaluate on them with --tasks needle --data-root {out}")
    return 0
