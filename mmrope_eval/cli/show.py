"""`mmrope-eval show`: its options."""

from __future__ import annotations

import argparse

from mmrope_eval.cli.options import key_options, options_as, positive
from mmrope_eval.models.default_family import DEFAULT_FAMILY_NAME


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `show`: one name, and overrides for a variant."""
    parser.add_argument("name", metavar="NAME", help="a variant, task or suite, or the path of its YAML file")
    parser.add_argument("--n", metavar="N", type=positive,
                        help="also show a task's first N samples as they are asked (default: none, with --model 1)")
    parser.add_argument("--model", metavar="CKPT",
                        help="show a task's samples as this checkpoint is asked them: its wording, coordinates and "
                             "media limits, and the whole prompt as its chat template writes it")
    key_options(parser, "tasks_dir", set="override one parameter of the variant; may be repeated",
                prompts="family whose wording the samples show, and without --model whose coordinates (default: "
                        f"--model's, else {DEFAULT_FAMILY_NAME})",
                data_root="local mirror to read samples from")


def main(args: argparse.Namespace) -> int:
    """The command: its exit code (see `cli.catalogue`)."""
    from mmrope_eval.cli.catalogue import ShowOptions, show

    return show(options_as(ShowOptions, args))
