"""`mmrope-eval inspect`: its options."""

from __future__ import annotations

import argparse

from mmrope_eval.cli.options import key_options, options_as

EXAMPLES = """\
examples:
  what a checkpoint holds, under which RoPE and how it would be asked
    mmrope-eval inspect CKPT
  what is asked differently from one to another, and whether one engine serves them
    mmrope-eval inspect CKPT_A CKPT_B=mrope-i 'RUN/checkpoint-*'

Exit code 0, 1 where a checkpoint is broken or cannot be evaluated without an answer from you, 2 for bad input.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `inspect`: checkpoints, as `run` takes them."""
    parser.epilog = EXAMPLES
    parser.add_argument("model", metavar="CKPT", nargs="*",
                        help="checkpoints, named as for --model of 'run': folders, quoted globs, runs with "
                             "checkpoint-* folders, LoRA adapters, hub names, CKPT=VARIANT")
    key_options(parser, "models", "assume_stock", set="override one parameter of every variant; may be repeated")
    parser.add_argument("--variant", metavar="NAME",
                        help="RoPE variant by name or YAML path, as if 'run' were given it")
    parser.add_argument("--no-weights", action="store_true",
                        help="read headers only: no fingerprint, no check for values that are not finite")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `cli.inspection`)."""
    from mmrope_eval.cli.inspection import InspectOptions, main

    return main(options_as(InspectOptions, args))
