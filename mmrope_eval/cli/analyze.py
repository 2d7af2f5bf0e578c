"""`mmrope-eval analyze`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.argument_types import Settings, names, positive, rate, setting
from mmrope_eval.cli.options import LIMIT_HELP, media_options, options_as, tasks_dir

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
    parser.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings,
                        help="override one parameter of every variant; may be repeated")
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
    own.add_argument("--assume-stock", action="store_true",
                       help="take a checkpoint that names no RoPE for a stock one, whatever its folder is called")
    model = parser.add_argument_group("with tasks: attention on visual tokens")
    model.add_argument("--tasks", metavar="LIST", type=names, action="extend",
                       help="comma-separated tasks, suites, globs and paths of task files on whose samples attention "
                            "is measured")
    tasks_dir(model)
    model.add_argument("--limit", metavar="N", help=f"{LIMIT_HELP}; default: 16")
    model.add_argument("--data-root", metavar="DIR", type=Path, help="local mirror of the datasets; default: the hub")
    model.add_argument("--dtype", choices=["auto", "bfloat16", "float16", "float32"], default="auto",
                       help="weights and activations (default: %(default)s, what the checkpoint says)")
    media_options(parser)


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `analysis.command`)."""
    from mmrope_eval.analysis.command import AnalyzeOptions, main

    return main(options_as(AnalyzeOptions, args))
