"""What each subcommand accepts. Values arrive at the handlers parsed and checked; names are the options' own."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.argument_types import (
    Settings,
    names,
    positive,
    rate,
    setting,
    tolerated,
)
from mmrope_eval.cli.options import LIMIT_HELP, ROOT_HELP, cache_option, media_options, scorer_option, tasks_dir

ANALYZE_EXAMPLES = """\
examples:
  the three guidelines, position growth, overlap, frequencies and decay, with figures
    mmrope-eval analyze mrope mrope-i hope --figures figures
  attention on visual tokens with and without spatial reset; as JSON it fills table attention
    mmrope-eval analyze mrope-i qwen3-vl --model CKPT --tasks docvqa --limit 50 --format json --output mrope-i.json
"""


SCORE_FORMAT = """\
a line of FILE:
  {"doc": {the data set's own fields}, "response": "text, or null where there is none", "id": anything, if wanted,
   "thought_open": true where the prompt ended inside a thought that the chat template opened}
  for boxes also the picture's size, "image_size": [width, height], and with coordinates in pixels of the resized
  picture "used_size": [width, height]; in the line or in doc. `media` of a run's samples/*.jsonl has both.
"""


def status(parser: argparse.ArgumentParser) -> None:
    """Arguments of `status`: a folder of results."""
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="the --output of a run or a study")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def score(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`: a task, a file of responses, how boxes are read."""
    parser.epilog = SCORE_FORMAT
    parser.add_argument("task", metavar="TASK", help="the task whose scorer reads the responses, or its file")
    tasks_dir(parser)
    parser.add_argument("file", metavar="FILE", type=Path, help="JSON lines with `doc` and `response`")
    scorer_option(parser)
    parser.add_argument("--prompts", metavar="FAMILY", default="qwen2.5-vl",
                        help="family whose coordinates the boxes are written in (default: %(default)s)")
    parser.add_argument("--coordinates", choices=["absolute", "thousand", "unit"],
                        help="how boxes are written, where it is not the family's way")
    parser.add_argument("--thought-open", action="store_true",
                        help="responses begin inside a thought that the prompt opened, where their line says nothing")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the scored lines here; default: stdout")


def rescore(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rescore`: a stored run, or a folder of them."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    scorer_option(parser)
    parser.add_argument("--output", metavar="DIR", type=Path, help="write here instead of into the run")
    parser.add_argument("--data-root", metavar="DIR", type=Path,
                        help="local mirror of the datasets; default: where the run had it")
    tasks_dir(parser)


def data(parser: argparse.ArgumentParser) -> None:
    """Arguments of `data`: check local data, print how to make a mirror, or free what the cache holds of them."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    check = actions.add_parser("check", help="check every row, picture and video of a local mirror", allow_abbrev=False)
    plan = actions.add_parser("plan", help="print the commands that make a local mirror", allow_abbrev=False)
    prune = actions.add_parser("prune", help="free what the cache holds and can make again", allow_abbrev=False)
    for sub in (check, plan):
        sub.add_argument("--tasks", metavar="LIST", type=names, action="extend",
                         help="comma-separated tasks, suites, globs and paths of task files; default: all")
        tasks_dir(sub)
    for sub in (check, plan, prune):
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        cache_option(sub)
    prune.add_argument("kinds", metavar="KIND", nargs="*",
                       help="datasets, unpacked, frames, plans, hashes, merged, served; default: all")
    prune.add_argument("--older-than", metavar="DAYS", type=tolerated, default=0.0,
                       help="only what was not used for so many days (default: %(default)s, everything)")
    prune.add_argument("--dry-run", action="store_true", help="remove nothing, say what would go")
    check.add_argument("--data-root", metavar="DIR", type=Path, help=f"{ROOT_HELP}; default: HF_HOME")
    check.add_argument("--no-decode", action="store_true",
                       help="read pictures' heads only, and do not decode the videos' first and last frames")
    plan.add_argument("--data-root", metavar="DIR", type=Path, default=Path("data"),
                      help="where the mirror is or shall be (default: %(default)s)")
    plan.add_argument("--sizes", action="store_true", help="ask the hub how large each dataset is")


def list_names(parser: argparse.ArgumentParser) -> None:
    """Arguments of `list`: which kind of name."""
    parser.add_argument("kind", nargs="?", choices=["variants", "tasks", "suites"], help="default: all three")
    parser.add_argument("--data-root", metavar="DIR", type=Path, help="say which tasks' data this local mirror holds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    tasks_dir(parser)


def show(parser: argparse.ArgumentParser) -> None:
    """Arguments of `show`: one name, and overrides for a variant."""
    parser.add_argument("name", metavar="NAME", help="a variant, task or suite, or the path of its YAML file")
    parser.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings, default={},
                        help="override one parameter of the variant; may be repeated")
    parser.add_argument("--n", metavar="N", type=positive, help="also show a task's first N samples as they are asked")
    parser.add_argument("--prompts", metavar="FAMILY", default="qwen2.5-vl",
                        help="family whose wording and coordinates the samples show (default: %(default)s)")
    parser.add_argument("--data-root", metavar="DIR", type=Path, help="local mirror to read samples from")
    tasks_dir(parser)


def analyze(parser: argparse.ArgumentParser) -> None:
    """Arguments of `analyze`: which variants, for which model and layout; with --tasks, attention of a real model."""
    parser.epilog = ANALYZE_EXAMPLES
    parser.add_argument("variants", metavar="VARIANT", nargs="*",
                        help="names or YAML paths; default: the rows of the paper's Table 2, with --tasks what the "
                             "checkpoint says")
    parser.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings, default={},
                        help="override one parameter of every variant; may be repeated")
    parser.add_argument("--format", choices=["text", "markdown", "csv", "json"], default="text",
                        help="default: %(default)s")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write here instead of printing")
    shape = parser.add_argument_group("without tasks: positions and frequencies")
    shape.add_argument("--layout", metavar="PARTS",
                       help="text:N, image:HxW and video:TxHxW@STEP in merged grid cells, for example 'text:12 "
                            "image:9x7 text:20'; default: one image and one video, printed above the tables")
    shape.add_argument("--head-dim", metavar="N", type=positive, help="default: 128 (Qwen2.5-VL-7B), or --model's")
    shape.add_argument("--kv-heads", metavar="N", type=positive, help="default: 4, or --model's")
    shape.add_argument("--theta", metavar="F", type=rate, help="rotary base; default: 1000000, or --model's")
    shape.add_argument("--figures", metavar="DIR", type=Path, help="also draw figures there, as PDF and PNG")
    model = parser.add_argument_group("with tasks: attention on visual tokens")
    model.add_argument("--model", metavar="CKPT", help="a checkpoint")
    model.add_argument("--assume-stock", action="store_true",
                       help="take a checkpoint that names no RoPE for a stock one, whatever its folder is called")
    model.add_argument("--tasks", metavar="LIST", type=names, action="extend",
                       help="comma-separated tasks, suites, globs and paths of task files on whose samples attention "
                            "is measured")
    tasks_dir(model)
    model.add_argument("--limit", metavar="N", help=f"{LIMIT_HELP}; default: 16")
    model.add_argument("--data-root", metavar="DIR", type=Path, help="local mirror of the datasets; default: the hub")
    model.add_argument("--dtype", choices=["auto", "bfloat16", "float16", "float32"], default="auto",
                       help="weights and activations (default: %(default)s, what the checkpoint says)")
    media_options(parser)


def doctor(parser: argparse.ArgumentParser) -> None:
    """Arguments of `doctor`: how deep, and which data."""
    parser.add_argument("--data-root", metavar="DIR", type=Path, help="local mirror whose datasets are to be checked")
    tasks_dir(parser)
    parser.add_argument("--deep", action="store_true",
                        help="also import vLLM, transformers' video processors and lmms-eval (half a minute)")
    nodes = parser.add_argument_group("the nodes of a Ray cluster instead (docs/cluster.md)")
    nodes.add_argument("--ray", action="store_true",
                       help="compare every node with this machine: versions, code, checkpoints, data, GPUs, disk")
    nodes.add_argument("--ray-address", metavar="HOST:PORT",
                       help="the cluster's (default: RAY_ADDRESS, or the one that this machine belongs to)")
    nodes.add_argument("--model", metavar="CKPT", nargs="+", type=Path, default=[],
                       help="checkpoint folders that every node must have")
