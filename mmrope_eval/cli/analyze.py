"""`mmrope-eval analyze`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import group_options, key_options, names, options_as, positive, rate
from mmrope_eval.run.keys import LIMIT

EXAMPLES = """\
examples:
  the three guidelines, position growth, overlap, frequencies and decay, with figures
    mmrope-eval analyze mrope mrope-i hope --figures figures
  of a checkpoint's own RoPE, in its own geometry, two of these tables
    mmrope-eval analyze --model CKPT --section guidelines,growth
  attention on visual tokens with and without spatial reset; as JSON it fills table attention
    mmrope-eval analyze mrope-i qwen3-vl --model CKPT --tasks docvqa --limit 50 --format json --output mrope-i.json
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `analyze`: which variants, for which model and layout; with --tasks, attention of a real model."""
    parser.epilog = EXAMPLES
    parser.add_argument("variants", metavar="VARIANT", nargs="*",
                        help="names or YAML paths; default: with --model what the checkpoint says, else the rows of "
                             "the paper's Table 2")
    key_options(parser, set="override one parameter of every variant; may be repeated")
    parser.add_argument("--format", choices=["text", "markdown", "csv", "json"], default="text",
                        help="default: %(default)s")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write here instead of printing")
    shape = parser.add_argument_group("without tasks: positions and frequencies")
    shape.add_argument("--section", metavar="NAME[,NAME...]", type=names, action="extend",
                       help="only these tables: guidelines, table1, growth, overlap, spectrum, decay; default: all")
    shape.add_argument("--layout", metavar="PARTS",
                       help="text:N, image:HxW and video:TxHxW@STEP in merged grid cells, for example 'text:12 "
                            "image:9x7 text:20'; default: one image and one video, printed above the tables")
    shape.add_argument("--head-dim", metavar="N", type=positive, help="default: 128 (Qwen2.5-VL-7B), or --model's")
    shape.add_argument("--kv-heads", metavar="N", type=positive, help="default: 4, or --model's")
    shape.add_argument("--theta", metavar="F", type=rate, help="rotary base; default: 1000000, or --model's")
    shape.add_argument("--figures", metavar="DIR", type=Path, help="also draw figures there, as PDF and PNG")
    own = parser.add_argument_group("a checkpoint")
    own.add_argument("--model", metavar="CKPT", help="whose RoPE and geometry are analysed, with --tasks its attention")
    key_options(own, "assume_stock")
    model = parser.add_argument_group("with tasks: attention on visual tokens")
    key_options(model, "tasks_dir", "dtype", data_root="local mirror of the datasets; default: the hub",
                tasks="comma-separated tasks, suites, globs and paths of task files on whose samples attention is "
                      "measured")
    model.add_argument("--limit", metavar="N", help=f"{LIMIT}; default: 16")
    group_options(parser.add_argument_group("images and videos"))


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `analysis.command`)."""
    from mmrope_eval.analysis.command import AnalyzeOptions, main

    return main(options_as(AnalyzeOptions, args))
