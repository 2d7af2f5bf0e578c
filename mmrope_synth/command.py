"""`mmrope-eval demo data` and `demo needle`: the small world as files, also where the rest of the demo is not."""

from __future__ import annotations

import argparse

from mmrope_synth.columns import COLUMNS
from mmrope_synth.errors import SynthError
from mmrope_synth.needle import Haystack, build_needles
from mmrope_synth.sheet import contact_sheet
from mmrope_synth.writer import build_world


def make_data(args: argparse.Namespace) -> int:
    """`mmrope-eval demo data`: write the miniature benchmarks, and the page of samples where it is wanted.

    SynthError for a column that is none, and where neither is wanted.
    """
    if args.out is None and args.sheet is None:
        raise SynthError("demo data: name a folder with --out DIR, a page of samples with --sheet PNG, or both.")
    unknown = [name for name in args.columns or () if name not in COLUMNS]
    if unknown:
        raise SynthError(f"demo data: there is no column '{unknown[0]}'; choose from {', '.join(COLUMNS)}.")
    if args.out is not None:
        build_world(args.out, n=args.n, seed=args.seed, columns=args.columns)
        print(f"miniature benchmarks in {args.out}: evaluate on them with --data-root {args.out}")
    if args.sheet is not None:
        print(f"samples to look at: {contact_sheet(args.sheet, seed=args.seed, columns=args.columns)}")
    return 0


def make_needles(args: argparse.Namespace) -> int:
    """`mmrope-eval demo needle`: write needle videos of one length. SynthError for depths that are no numbers."""
    try:
        depths = tuple(map(float, args.depths))
    except ValueError as error:
        raise SynthError(f"demo needle: --depths takes numbers from 0 to 100 ({error}).") from error
    haystack = Haystack(args.frames, args.size, args.fps, depths=depths, questions=args.n, distractors=args.distractors,
                        seed=args.seed)
    made = build_needles(args.out, haystack)
    print(f"needles in {made}: evaluate on them with --tasks needle --data-root {args.out}")
    return 0
