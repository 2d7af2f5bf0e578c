"""`mmrope-eval sweep`: measure every point, then show and draw what was measured."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmrope_eval.console import say
from mmrope_eval.data.choice_of_rows import read_limit
from mmrope_eval.errors import UserError
from mmrope_eval.suite.sweep_config import Needle
from mmrope_synth.errors import SynthError
from mmrope_synth.needle import Haystack, build_needles, needle_row_text


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0, or 1 when samples failed for another reason than memory."""
    from mmrope_eval.report.published import load_published
    from mmrope_eval.report.sweep import load_sweep, report, write_files

    failed = 0
    if not args.report_only:
        failed = measure(args)
    sweep = load_sweep(args.output)
    say(report(sweep))
    for path in write_files(sweep, args.output, args.axis, load_published() if args.reported else None):
        say(str(path))
    return 1 if failed else 0


def measure(args: argparse.Namespace) -> int:
    """Run the sweep; how many samples failed."""
    from mmrope_eval.suite.engines import start_engine
    from mmrope_eval.suite.sweep import Sweep, prompt_writer
    from mmrope_eval.suite.sweep_config import read_sweep

    if not args.model and not args.models:
        raise UserError("sweep: name at least one checkpoint with --model.")
    config = read_sweep(args.config)
    if args.factor is not None:
        config = dataclasses.replace(config, factor=args.factor)
    sweep = Sweep(config, run_config(args), GeneratedNeedles(), start_engine, prompt_writer)
    sweep.go()
    return sweep.failed


def run_config(args: argparse.Namespace) -> Any:
    """The command line as what every point's run shares."""
    from mmrope_eval.suite.options import RunConfig, engine_options

    return RunConfig(
        models=tuple(args.model),
        model_files=tuple(args.models),
        assume_stock=args.assume_stock,
        tasks=(),
        tasks_dirs=tuple(args.tasks_dir),
        output=args.output,
        variants=tuple(args.variant),
        data_root=args.data_root,
        limit=read_limit(args.limit),
        prompts=args.prompts,
        seed=args.seed,
        max_tokens=tuple(args.max_tokens),
        thinking=args.thinking,
        fresh=args.fresh,
        options=engine_options(args),
        command=tuple(sys.argv),
    )


@contextlib.contextmanager
def said_to_the_user() -> Iterator[None]:
    """Makes a UserError of what the miniature world refuses."""
    try:
        yield
    except SynthError as error:
        raise UserError(str(error)) from error


class GeneratedNeedles:
    """Needles of the small world."""

    def rows(self, needle: Needle) -> Sequence[Mapping[str, Any]]:
        """The questions; they do not depend on the videos' length."""
        with said_to_the_user():
            haystack = Haystack(1 << 10, **dataclasses.asdict(needle))
            return [needle_row_text(haystack, serial) for serial in range(needle.questions)]

    def build(self, data_root: Path, dataset: str, needle: Needle, shape: tuple[int, int], fps: float) -> None:
        """Write the videos of one length."""
        with said_to_the_user():
            build_needles(data_root, Haystack(shape[0], shape[1], fps, **dataclasses.asdict(needle)), dataset)
