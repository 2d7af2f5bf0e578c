"""`mmrope-eval stamp`: its options."""

from __future__ import annotations

import argparse

from mmrope_eval.cli.options import key_options, options_as

EXAMPLES = """\
examples:
  say once with which RoPE a checkpoint was trained
    mmrope-eval stamp CKPT mrope-i
    mmrope-eval stamp CKPT v2pe --set visual_stride=64
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `stamp`: a checkpoint, a variant."""
    parser.epilog = EXAMPLES
    parser.add_argument("model", metavar="CKPT", help="a checkpoint's folder, a training's folder or a quoted glob")
    parser.add_argument("variant", metavar="VARIANT", help="a variant by name or YAML path")
    key_options(parser, set="override one parameter of the variant; may be repeated")
    parser.add_argument("--force", action="store_true", help="write it although config.json names another variant")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `models.stamp`)."""
    from mmrope_eval.models.stamp import StampOptions, main

    return main(options_as(StampOptions, args))
