"""What the commands about checkpoints themselves accept: `inspect` and `stamp`."""

from __future__ import annotations

import argparse

from mmrope_eval.cli.argument_types import Settings, setting
from mmrope_eval.cli.options import naming_options

INSPECT_EXAMPLES = """\
examples:
  what a checkpoint holds, under which RoPE and how it would be asked
    mmrope-eval inspect CKPT
  what is asked differently from one to another, and whether one engine serves them
    mmrope-eval inspect CKPT_A CKPT_B=mrope-i 'RUN/checkpoint-*'

Exit code 0, 1 where a checkpoint is broken or cannot be evaluated without an answer from you, 2 for bad input.
"""

STAMP_EXAMPLES = """\
examples:
  say once with which RoPE a checkpoint was trained
    mmrope-eval stamp CKPT mrope-i
    mmrope-eval stamp CKPT v2pe --set visual_stride=64
"""


def inspect(parser: argparse.ArgumentParser) -> None:
    """Arguments of `inspect`: checkpoints, as `run` takes them."""
    parser.epilog = INSPECT_EXAMPLES
    parser.add_argument("model", metavar="CKPT", nargs="*",
                        help="checkpoints, named as for --model of 'run': folders, quoted globs, runs with "
                             "checkpoint-* folders, LoRA adapters, hub names, CKPT=VARIANT")
    naming_options(parser)
    parser.add_argument("--variant", metavar="NAME",
                        help="RoPE variant by name or YAML path, as if 'run' were given it")
    parser.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings, default={},
                        help="override one parameter of every variant; may be repeated")
    parser.add_argument("--no-weights", action="store_true",
                        help="read headers only: no fingerprint, no check for values that are not finite")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def stamp(parser: argparse.ArgumentParser) -> None:
    """Arguments of `stamp`: a checkpoint, a variant."""
    parser.epilog = STAMP_EXAMPLES
    parser.add_argument("model", metavar="CKPT", help="a checkpoint's folder, a training's folder or a quoted glob")
    parser.add_argument("variant", metavar="VARIANT", help="a variant by name or YAML path")
    parser.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings, default={},
                        help="override one parameter of the variant; may be repeated")
    parser.add_argument("--force", action="store_true", help="write it although config.json names another variant")
