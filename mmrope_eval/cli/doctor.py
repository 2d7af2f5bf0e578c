"""`mmrope-eval doctor`: its options."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import key_options, options_as


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `doctor`: how deep, and which data."""
    key_options(parser, "tasks_dir", data_root="local mirror whose datasets are to be checked")
    parser.add_argument("--deep", action="store_true",
                        help="also import vLLM, transformers' video processors and lmms-eval (half a minute)")
    nodes = parser.add_argument_group("the nodes of a Ray cluster instead (docs/cluster.md)")
    nodes.add_argument("--ray", action="store_true",
                       help="compare every node with this machine: versions, code, checkpoints, data, GPUs, disk")
    key_options(nodes, "ray_address")
    nodes.add_argument("--model", metavar="CKPT", nargs="+", type=Path,
                       help="checkpoint folders that every node must have")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `cli.machine`)."""
    from mmrope_eval.cli.machine import DoctorOptions, main

    return main(options_as(DoctorOptions, args))
