"""What each subcommand accepts. Values arrive at the handlers parsed and checked; names are the options' own."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmrope_eval.cli.argument_types import (
    Settings,
    factor,
    failures,
    fraction,
    names,
    pixels,
    positive,
    rate,
    replicas,
    seeds,
    setting,
    token_limits,
    tolerated,
)
from mmrope_eval.cli.model_arguments import naming_options
from mmrope_eval.cli.talk_arguments import talk
from mmrope_eval.engine.backends import BACKENDS
from mmrope_eval.models.default_family import DEFAULT_FAMILY_NAME

RUN_EXAMPLES = """\
examples:
  one checkpoint, its own RoPE, three ways to name tasks
    python evaluate.py --model CKPT --tasks grounding
    python evaluate.py --model CKPT --tasks 'refcoco*,chartqa'
    python evaluate.py --model CKPT --tasks image,-chartqa --limit 200
  one checkpoint under several variants, one engine start
    python evaluate.py --model CKPT --variant mrope,mrope-i,hope --tasks video
  several checkpoints, a variant changed in one parameter, data from a local mirror
    python evaluate.py --model CKPT_A CKPT_B --variant mrope-i --set temporal_stride=0.5 --tasks image --data-root DIR

A run that was stopped continues where it was: start the same command again.
"""

ANALYZE_EXAMPLES = """\
examples:
  the three guidelines, position growth, overlap, frequencies and decay, with figures
    mmrope-eval analyze mrope mrope-i hope --figures figures
  attention on visual tokens with and without spatial reset; as JSON it fills table attention
    mmrope-eval analyze mrope-i qwen3-vl --model CKPT --tasks docvqa --limit 50 --format json --output mrope-i.json
"""

STUDY_EXAMPLES = """\
examples:
  all runs of a file, each checkpoint's weights loaded once; the same command continues
    mmrope-eval study study.yaml --replicas auto
  how far it is, from another shell
    mmrope-eval status results/study
"""

ROOT_HELP = (
    "where the data sets are: a mirror (org/name/...), a hub cache, an HF_HOME, or VLMEvalKit's LMUData"
)
LIMIT_HELP = (
    "ask N samples of each task: the same ones every time, spread over the benchmark's own groups, and with a larger N "
    "those of the smaller one; first:N takes the first N rows"
)
SOME_LIMITS = "for some tasks TASK:N, as in '200,chartqa:50' (tasks, suites and globs)"

SCORE_FORMAT = """\
a line of FILE:
  {"doc": {the data set's own fields}, "response": "text, or null where there is none", "id": anything, if wanted,
   "thought_open": true where the prompt ended inside a thought that the chat template opened}
  for boxes also the picture's size, "image_size": [width, height], and with coordinates in pixels of the resized
  picture "used_size": [width, height]; in the line or in doc. `media` of a run's samples/*.jsonl has both.
"""


def run(parser: argparse.ArgumentParser) -> None:
    """Arguments of `run`: what to evaluate, on which data, how media are read, how the engine runs."""
    parser.epilog = RUN_EXAMPLES
    what = parser.add_argument_group("what to evaluate")
    _model_arguments(what)
    what.add_argument("--variant", metavar="NAME[,NAME...]", type=names, action="extend", default=[],
                      help="RoPE variants by name or YAML path (see 'mmrope-eval list variants'); "
                           "default: what each checkpoint's config.json says")
    what.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings, default={},
                      help="override one parameter of every variant chosen; may be repeated")
    what.add_argument("--tasks", metavar="LIST", type=names, action="extend", required=True,
                      help="comma-separated tasks, suites, globs and paths of task files; '-name' takes one out")
    tasks_dir(what)
    what.add_argument("--limit", metavar="N", type=names, action="extend", default=[],
                      help=f"{LIMIT_HELP}; {SOME_LIMITS}")
    what.add_argument("--protocol", metavar="NAME",
                      help="ask as a published evaluation did: a name in configs/protocols (paper, for example), "
                           "or as a YAML file says; single options still go before it, and are named with the scores")
    what.add_argument("--prompts", metavar="FAMILY",
                      help="prompt family (see configs/families); default: that of the checkpoint")
    what.add_argument("--coordinates", choices=["absolute", "thousand", "unit"],
                      help="how the checkpoint writes boxes: pixels of the resized image, 0-1000, 0-1; default: its "
                           "config.json's mm_coordinates, else its family's (configs/families)")
    _answer_arguments(parser)
    _data_arguments(parser)
    _scorer_argument(parser)
    _engine_arguments(parser)
    talk(parser)


def study(parser: argparse.ArgumentParser) -> None:
    """Arguments of `study`: its file, where results go, how the engine runs."""
    parser.epilog = STUDY_EXAMPLES
    parser.add_argument("file", metavar="FILE", type=Path, help="the study's YAML file (docs/study.md)")
    parser.add_argument("--output", metavar="DIR", type=Path, help="where results go; default: the file's `output`")
    parser.add_argument("--data-root", metavar="DIR", type=Path, help=f"{ROOT_HELP}; default: the file's `data_root`")
    tasks_dir(parser)
    cache_option(parser)
    _fresh_option(parser)
    parser.add_argument("--max-failures", metavar="N", type=failures,
                        help="give a row up once more than N of its samples have failed (0.05: more than 5 %% of them)")
    parser.add_argument("--no-cache", action="store_true", help="decode videos anew instead of using the disk cache")
    _engine_arguments(parser)
    talk(parser)


def status(parser: argparse.ArgumentParser) -> None:
    """Arguments of `status`: a folder of results."""
    parser.add_argument("output", metavar="OUTPUT", type=Path, help="the --output of a run or a study")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _answer_arguments(parser: argparse.ArgumentParser) -> None:
    answers = parser.add_argument_group("answers")
    answers.add_argument("--max-tokens", metavar="N", type=token_limits, action="extend", default=[],
                         help="most tokens of an answer, in place of the tasks' own limits; for some tasks TASK:N, as "
                              "in '512,mmmu:4096' (tasks, suites and globs)")
    answers.add_argument("--system", metavar="TEXT|FILE",
                         help="system prompt in place of the one that the chat template has, as words or as a text "
                              "file; '' is an empty one (recorded)")
    answers.add_argument("--temperature", metavar="F", type=tolerated,
                         help="draw answers at this temperature in place of the tasks' own; 0: greedy decoding, which "
                              "is what the shipped tasks have (recorded, and noted below tables)")
    answers.add_argument("--thinking", nargs="?", choices=["on", "off", "auto"], const="on",
                         help="on (or no value): checkpoints think first, in answers of up to 32,768 tokens; off: the "
                              "chat template is told not to; auto: on for those whose template knows thoughts; "
                              "default: as the template has it, under the tasks' own limits")


def tasks_dir(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """What every command that knows tasks accepts."""
    parser.add_argument("--tasks-dir", metavar="DIR", type=Path, action="append", default=[],
                        help="add the task files in DIR to the shipped ones (docs/benchmark.md); may be repeated")


def _model_arguments(what: argparse._ArgumentGroup) -> None:
    what.add_argument("--model", metavar="CKPT", nargs="+", action="extend", default=[],
                      help="checkpoints: folders, quoted globs, runs with "
                           "checkpoint-* folders, LoRA adapters, hub names with @revision; CKPT=VARIANT names its RoPE")
    naming_options(what)


def _scorer_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scorer", choices=["strict", "stock", "vlmevalkit"], default="strict",
                        help="also print another harness' own number from the same responses: stock is lmms-eval, "
                             "vlmevalkit VLMEvalKit's rules without its judge (an extra) (default: %(default)s)")


def score(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`: a task, a file of responses, how boxes are read."""
    parser.epilog = SCORE_FORMAT
    parser.add_argument("task", metavar="TASK", help="the task whose scorer reads the responses, or its file")
    tasks_dir(parser)
    parser.add_argument("file", metavar="FILE", type=Path, help="JSON lines with `doc` and `response`")
    _scorer_argument(parser)
    parser.add_argument("--prompts", metavar="FAMILY", default=DEFAULT_FAMILY_NAME,
                        help="family whose coordinates the boxes are written in (default: %(default)s)")
    parser.add_argument("--coordinates", choices=["absolute", "thousand", "unit"],
                        help="how boxes are written, where it is not the family's way")
    parser.add_argument("--thought-open", action="store_true",
                        help="responses begin inside a thought that the prompt opened, where their line says nothing")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the scored lines here; default: stdout")


def rescore(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rescore`: a stored run, or a folder of them."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    _scorer_argument(parser)
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


def cache_option(parser: argparse._ActionsContainer) -> None:
    """`--cache-dir`, which all commands that read data share."""
    parser.add_argument("--cache-dir", metavar="DIR", type=Path,
                        help="where tables, frames, unpacked videos and hashes are kept; default: $MMROPE_CACHE, "
                             "else mmrope-eval in $XDG_CACHE_HOME")


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data and results")
    data.add_argument("--data-root", metavar="DIR", type=Path, help=f"{ROOT_HELP}; default: HF_HOME, then the hub")
    cache_option(data)
    data.add_argument("--output", metavar="DIR", type=Path, default=Path("runs/default"),
                      help="where responses, scores and samples go, and where a run resumes (default: %(default)s)")
    _fresh_option(data)
    data.add_argument("--max-failures", metavar="N", type=failures,
                      help="stop once more than N samples of a row have failed (0.05: more than 5 %% of them); "
                           "default: list them and go on")
    data.add_argument("--no-cache", action="store_true", help="decode videos anew instead of using the disk cache")
    _media_arguments(parser)


def _fresh_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    parser.add_argument("--fresh", action="store_true",
                        help="ask everything again; kept answers are set aside, and go when all are given anew")


def _media_arguments(parser: argparse.ArgumentParser) -> None:
    media = parser.add_argument_group("images and videos")
    media.add_argument("--min-pixels", metavar="N", type=pixels,
                       help="smallest image in pixels, e.g. 256*28*28; smaller ones are enlarged (recorded)")
    media.add_argument("--max-pixels", metavar="N", type=pixels,
                       help="largest image in pixels, e.g. 1280*28*28; larger ones are shrunk (recorded)")
    media.add_argument("--fps", metavar="F", type=rate, help="video frames per second")
    media.add_argument("--max-frames", metavar="N", type=positive, help="most frames taken from one video")
    media.add_argument("--video-tokens", metavar="N", type=positive, help="most vision tokens for one video")
    media.add_argument("--min-frame-pixels", metavar="N", type=pixels,
                       help="smallest video frame in pixels; smaller ones are enlarged (recorded)")
    media.add_argument("--max-frame-pixels", metavar="N", type=pixels, help="largest video frame in pixels")


def _engine_arguments(parser: argparse.ArgumentParser) -> None:
    engine = parser.add_argument_group("engine")
    engine.add_argument("--max-model-len", metavar="N", type=positive,
                        help="context length in tokens; default: what the checkpoint allows")
    engine.add_argument("--dtype", choices=["auto", "bfloat16", "float16", "float32"], default="auto",
                        help="weights and activations (default: %(default)s, what the checkpoint says)")
    engine.add_argument("--head-dtype", choices=["auto", "float32"], default="auto",
                        help="output matrix (default: %(default)s, as --dtype); float32 keeps logits apart that "
                             "bfloat16 rounds to a tie")
    engine.add_argument("--tensor-parallel-size", metavar="N", type=positive, default=1,
                        help="GPUs to split the model over, or shares of the cores on CPU (default: %(default)s)")
    engine.add_argument("--replicas", metavar="N|auto", type=replicas,
                        help="engines side by side, each with GPUs, or a share of the cores, of its own; auto: as many "
                             "as there are GPUs for (default: one, inside the run)")
    engine.add_argument("--backend", choices=[*BACKENDS], help="what runs engines: "
                        + "; ".join(f"{backend.name}: {backend.summary}" for backend in BACKENDS.values())
                        + " (default: inside, with --replicas processes)")
    engine.add_argument("--ray-address", metavar="HOST:PORT",
                        help="the cluster's (default: RAY_ADDRESS, or the one that this machine belongs to)")
    engine.add_argument("--gpu-memory-utilization", metavar="F", type=fraction, default=0.9,
                        help="share of each GPU's memory that vLLM may take (default: %(default)s)")
    engine.add_argument("--max-num-seqs", metavar="N", type=positive,
                        help="answers in one step (default: 256 on a GPU; on CPU 32, for tiny models 128)")
    engine.add_argument("--max-num-batched-tokens", metavar="N", type=positive,
                        help="tokens in one step; default: room for the largest picture or video, at least 2048")
    engine.add_argument("--workers", action=argparse.BooleanOptionalAction,
                        help="run vLLM in processes of its own (default: on a GPU, and with several ranks)")
    engine.add_argument("--request-timeout", metavar="S", type=rate,
                        help="give a request up after S seconds, and replace an engine that gave out nothing for so "
                             "long; default: 10 minutes, more for long prompts and large models")
    engine.add_argument("--start-timeout", metavar="S", type=rate,
                        help="end an engine that takes more than S seconds to start or to load other weights; default: "
                             "10 minutes, more for large models")
    engine.add_argument("--trust-remote-code", action="store_true",
                        help="run Python code out of the checkpoint's folder, as whoever made it wrote it")
    engine.add_argument("--seed", metavar="N[,N...]", type=seeds, default=(0,),
                        help="of answers that are drawn (--temperature); each of several has rows of its own, below "
                             "OUTPUT/seed-N (default: 0)")


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
    parser.add_argument("--prompts", metavar="FAMILY", default=DEFAULT_FAMILY_NAME,
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
    _media_arguments(parser)


def sweep(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep`: a sweep file, checkpoints, where results go."""
    parser.add_argument("config", metavar="FILE", help="a sweep's YAML file, or a name in configs/sweeps")
    _model_arguments(parser.add_argument_group("checkpoints"))
    parser.add_argument("--variant", metavar="NAME[,NAME...]", type=names, action="extend", default=[],
                        help="RoPE variants for every checkpoint; default: the file's, else what each checkpoint says")
    tasks_dir(parser)
    parser.add_argument("--factor", metavar="RULE", type=factor,
                        help="scale by the reach of the variant's positions, by the length of the context, or by a "
                             "number: reach, context or NUMBER; default: the file's")
    parser.add_argument("--axis", choices=["context", "tokens"], default="context",
                        help="the figure's horizontal axis: contexts as planned, or the tokens of the median prompt "
                             "(default: %(default)s)")
    parser.add_argument("--limit", metavar="N", type=names, action="extend", default=[],
                      help=f"{LIMIT_HELP}; {SOME_LIMITS}")
    parser.add_argument("--prompts", metavar="FAMILY", help="prompt family; default: that of the checkpoint")
    parser.add_argument("--data-root", metavar="DIR", type=Path,
                        help="local mirror of the datasets; default: the hub (needles are generated below --output)")
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("runs/sweep"),
                        help="where points, table and figures go, and where a sweep resumes (default: %(default)s)")
    _fresh_option(parser)
    parser.add_argument("--no-cache", action="store_true", help="decode videos anew instead of using the disk cache")
    parser.add_argument("--reported", action="store_true", help="draw the paper's scores at 256K as crosses")
    parser.add_argument("--report-only", action="store_true", help="measure nothing: show and draw what --output holds")
    _answer_arguments(parser)
    _engine_arguments(parser)
    talk(parser)


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
