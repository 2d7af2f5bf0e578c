"""`mmrope-eval data`: its options, and which part does what."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.options import key_options, options_as, tolerated
from mmrope_eval.run.keys import ROOT


def arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `data`: check local data, print how to make a mirror, or free what the cache holds of them."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    check = actions.add_parser("check", help="check every row, picture and video of a local mirror", allow_abbrev=False)
    plan = actions.add_parser("plan", help="print the commands that make a local mirror", allow_abbrev=False)
    prune = actions.add_parser("prune", help="free what the cache holds and can make again", allow_abbrev=False)
    for sub in (check, plan):
        key_options(sub, "tasks_dir",
                    tasks="comma-separated tasks, suites, globs and paths of task files; default: all")
    for sub in (check, plan, prune):
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        key_options(sub, "cache_dir")
    prune.add_argument("kinds", metavar="KIND", nargs="*",
                       help="datasets, unpacked, frames, plans, hashes, merged, served; default: all")
    prune.add_argument("--older-than", metavar="DAYS", type=tolerated, default=0.0,
                       help="only what was not used for so many days (default: %(default)s, everything)")
    prune.add_argument("--dry-run", action="store_true", help="remove nothing, say what would go")
    key_options(check, data_root=f"{ROOT}; default: HF_HOME")
    check.add_argument("--no-decode", action="store_true",
                       help="read pictures' heads only, and do not decode the videos' first and last frames")
    plan.add_argument("--data-root", metavar="DIR", type=Path, default=Path("data"),
                      help="where the mirror is or shall be (default: %(default)s)")
    plan.add_argument("--sizes", action="store_true", help="ask the hub how large each dataset is")


def main(args: argparse.Namespace) -> int:
    """The command: exit code 0 fine, 1 something is missing or broken."""
    if args.action == "check":
        from mmrope_eval.task.mirror import CheckOptions, check

        return check(options_as(CheckOptions, args))
    from mmrope_eval.task.mirror_plan import PlanOptions, PruneOptions, plan, prune

    if args.action == "plan":
        return plan(options_as(PlanOptions, args))
    return prune(options_as(PruneOptions, args))
