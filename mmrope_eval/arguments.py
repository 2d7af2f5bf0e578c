"""What each subcommand accepts. Values arrive at the handlers parsed and checked; names are the options' own."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

RUN_EXAMPLES = """\
examples:
  one checkpoint, its own RoPE, three ways to name tasks
    python evaluate.py --model CKPT --tasks grounding
    python evaluate.py --model CKPT --tasks 'refcoco*,chartqa'
    python evaluate.py --model CKPT --tasks image,-chartqa --limit 200
  one checkpoint under several variants, one engine start
    python evaluate.py --model CKPT --variant mrope,mrope-i,hope --tasks video
  several checkpoints, a variant changed in one parameter, data from a local mirror
    python evaluate.py --model CKPT_A CKPT_B --variant v2pe --set temporal_stride=0.5 --tasks image --data-root DIR

A run that was stopped continues where it was: start the same command again.
"""

ANALYZE_EXAMPLES = """\
examples:
  the three guidelines, position growth, overlap, frequencies and decay, with figures
    mmrope-eval analyze mrope mrope-i hope --figures figures
  attention on visual tokens with and without spatial reset (Table 5)
    mmrope-eval analyze mrope-i qwen3-vl --model CKPT --tasks docvqa --limit 50 --data-root DIR
"""

SCORE_FORMAT = """\
a line of FILE:
  {"doc": {the data set's own fields}, "response": "text, or null where there is none", "id": anything, if wanted}
  for boxes also the picture's size, "image_size": [width, height], and with coordinates in pixels of the resized
  picture "used_size": [width, height]; in the line or in doc. `media` of a run's samples/*.jsonl has both.
"""


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above zero")
    return int(text)


def whole(text: str) -> int:
    """A whole number, zero or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def pixels(text: str) -> int:
    """A pixel count, as a number (1003520) or as a product (1280*28*28)."""
    return math.prod(positive(factor.strip()) for factor in text.split("*"))


def rate(text: str) -> float:
    """A finite number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above zero")
    return value


def tolerated(text: str) -> float:
    """A finite number, zero or more."""
    return 0.0 if text.strip("0.") == "" and "0" in text else rate(text)


def kinds(text: str) -> list[str]:
    """A comma-separated list of what two runs may differ in."""
    found = names(text)
    for name in found:
        if name not in ("prompts", "scorers", "data"):
            raise argparse.ArgumentTypeError(f"'{name}' is none of prompts, scorers, data")
    return found


def fraction(text: str) -> float:
    """A number above zero, at most one."""
    value = rate(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0 and 1")
    return value


def failures(text: str) -> int | float:
    """A count (whole number, 0 allowed) or a share (a number between 0 and 1, with a point)."""
    return int(text) if text.isdecimal() else fraction(text)


def names(text: str) -> list[str]:
    """A comma-separated list."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("the list is empty")
    return found


def setting(text: str) -> tuple[str, object]:
    """One `key=value`; the value is read as JSON where it is JSON (2, 0.5, true, [24, 20, 20]), else as a string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form key=value")
    try:
        return key.strip(), json.loads(value)
    except json.JSONDecodeError:
        return key.strip(), value


class Settings(argparse.Action):
    """Collects repeated `key=value` options into one dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add one parsed setting to those before it; the last one of a name wins."""
        key, value = cast("tuple[str, object]", values)
        setattr(namespace, self.dest, {**getattr(namespace, self.dest), key: value})


def run(parser: argparse.ArgumentParser) -> None:
    """Arguments of `run`: what to evaluate, on which data, how media are read, how the engine runs."""
    parser.epilog = RUN_EXAMPLES
    what = parser.add_argument_group("what to evaluate")
    what.add_argument("--model", metavar="CKPT", nargs="+", action="extend", required=True,
                      help="checkpoint folders (Qwen2.5-VL or Qwen3-VL layout, safetensors)")
    what.add_argument("--variant", metavar="NAME[,NAME...]", type=names, action="extend", default=[],
                      help="RoPE variants by name or YAML path (see 'mmrope-eval list variants'); "
                           "default: what each checkpoint's config.json says")
    what.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings, default={},
                      help="override one parameter of every variant chosen; may be repeated")
    what.add_argument("--tasks", metavar="LIST", type=names, action="extend", required=True,
                      help="comma-separated tasks, suites and globs; '-name' takes one out")
    what.add_argument("--limit", metavar="N", type=positive, help="evaluate exactly the first N samples of each task")
    what.add_argument("--prompts", metavar="FAMILY",
                      help="prompt family (see configs/families); default: that of the checkpoint")
    what.add_argument("--coordinates", choices=["absolute", "thousand", "unit"],
                      help="how the checkpoint writes boxes: pixels of the resized image, 0-1000, 0-1; default: its "
                           "config.json's mm_coordinates, else its family's (configs/families)")
    _data_arguments(parser)
    _scorer_argument(parser)
    _engine_arguments(parser)


def _scorer_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scorer", choices=["strict", "stock"], default="strict",
                        help="stock: also print lmms-eval's own number from the same responses (default: %(default)s)")


def score(parser: argparse.ArgumentParser) -> None:
    """Arguments of `score`: a task, a file of responses, how boxes are read."""
    parser.epilog = SCORE_FORMAT
    parser.add_argument("task", metavar="TASK", help="the task whose scorer reads the responses")
    parser.add_argument("file", metavar="FILE", type=Path, help="JSON lines with `doc` and `response`")
    _scorer_argument(parser)
    parser.add_argument("--prompts", metavar="FAMILY", default="qwen2.5-vl",
                        help="family whose coordinates the boxes are written in (default: %(default)s)")
    parser.add_argument("--coordinates", choices=["absolute", "thousand", "unit"],
                        help="how boxes are written, where it is not the family's way")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write the scored lines here; default: stdout")


def rescore(parser: argparse.ArgumentParser) -> None:
    """Arguments of `rescore`: a stored run, or a folder of them."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    _scorer_argument(parser)
    parser.add_argument("--output", metavar="DIR", type=Path, help="write here instead of into the run")
    parser.add_argument("--data-root", metavar="DIR", type=Path,
                        help="local mirror of the datasets; default: where the run had it")


def compare(parser: argparse.ArgumentParser) -> None:
    """Arguments of `compare`: two runs."""
    parser.add_argument("a", metavar="A", type=Path, help="the --output of a run, or one of its rows")
    parser.add_argument("b", metavar="B", type=Path, help="another; differences are B minus A")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with every sample in one run only")
    _statistics_arguments(parser)


def check(parser: argparse.ArgumentParser) -> None:
    """Arguments of `check`: a run, what it must not fall behind, how far, and where the outcome is written."""
    parser.add_argument("run", metavar="RUN", type=Path, help="the --output of a run, or one of its rows")
    parser.add_argument("--against", metavar="BASELINE", type=Path, required=True,
                        help="another run, or a file of reported scores such as results/reported/huang2025.yaml")
    parser.add_argument("--tolerance", metavar="POINTS", type=tolerated, default=0.5,
                        help="a loss of at most this many points passes (default: %(default)s)")
    parser.add_argument("--allow-different", metavar="KINDS", type=kinds, action="extend", default=[],
                        help="compare although prompts, scorers or data differ (comma-separated)")
    parser.add_argument("--require-all", action="store_true", help="fail also when a cell of the baseline is missing")
    parser.add_argument("--junit", metavar="FILE", type=Path, help="write a JUnit XML file, one test case a cell")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="write a markdown summary for a pull request")
    _statistics_arguments(parser)


def _statistics_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--alpha", metavar="F", type=fraction, default=0.05,
                        help="chance of calling any equal pair different (default: %(default)s)")
    parser.add_argument("--seed", metavar="N", type=whole, default=0,
                        help="of everything drawn at random (default: %(default)s)")


def data(parser: argparse.ArgumentParser) -> None:
    """Arguments of `data`: check a local mirror, or print how to make one."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    check = actions.add_parser("check", help="check every row, picture and video of a local mirror", allow_abbrev=False)
    plan = actions.add_parser("plan", help="print the commands that make a local mirror", allow_abbrev=False)
    for sub in (check, plan):
        sub.add_argument("--tasks", metavar="LIST", type=names, action="extend",
                         help="comma-separated tasks, suites and globs; default: all")
        sub.add_argument("--json", action="store_true", help="print one JSON object")
    check.add_argument("--data-root", metavar="DIR", type=Path, required=True, help="the mirror")
    check.add_argument("--no-decode", action="store_true", help="do not decode the videos' first and last frames")
    plan.add_argument("--data-root", metavar="DIR", type=Path, default=Path("data"),
                      help="where the mirror is or shall be (default: %(default)s)")
    plan.add_argument("--sizes", action="store_true", help="ask the hub how large each dataset is")


def _data_arguments(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("data and results")
    data.add_argument("--data-root", metavar="DIR", type=Path,
                      help="local mirror of the datasets in the hub's layout (org/name/...); default: the hub")
    data.add_argument("--output", metavar="DIR", type=Path, default=Path("runs/default"),
                      help="where responses, scores and samples go, and where a run resumes (default: %(default)s)")
    data.add_argument("--max-failures", metavar="N", type=failures,
                      help="stop once more than N samples of a row have failed (0.05: more than 5 %% of them); "
                           "default: list them and go on")
    data.add_argument("--no-cache", action="store_true", help="decode videos anew instead of using the disk cache")
    _media_arguments(parser)


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
                        help="GPUs to split the model over (default: %(default)s)")
    engine.add_argument("--gpu-memory-utilization", metavar="F", type=fraction, default=0.9,
                        help="share of each GPU's memory that vLLM may take (default: %(default)s)")
    engine.add_argument("--workers", action="store_true",
                        help="run vLLM in worker processes instead of inside this one")
    engine.add_argument("--trust-remote-code", action="store_true",
                        help="allow Python code shipped inside a checkpoint to run")
    engine.add_argument("--seed", metavar="N", type=int, default=0,
                        help="for tasks that sample (default: %(default)s)")


def list_names(parser: argparse.ArgumentParser) -> None:
    """Arguments of `list`: which kind of name."""
    parser.add_argument("kind", nargs="?", choices=["variants", "tasks", "suites"], help="default: all three")
    parser.add_argument("--data-root", metavar="DIR", type=Path, help="say which tasks' data this local mirror holds")


def show(parser: argparse.ArgumentParser) -> None:
    """Arguments of `show`: one name, and overrides for a variant."""
    parser.add_argument("name", metavar="NAME", help="a variant, task or suite")
    parser.add_argument("--set", metavar="KEY=VALUE", type=setting, action=Settings, default={},
                        help="override one parameter of the variant; may be repeated")
    parser.add_argument("--n", metavar="N", type=positive, help="also show a task's first N samples as they are asked")
    parser.add_argument("--prompts", metavar="FAMILY", default="qwen2.5-vl",
                        help="family whose wording and coordinates the samples show (default: %(default)s)")
    parser.add_argument("--data-root", metavar="DIR", type=Path, help="local mirror to read samples from")


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
    shape = parser.add_argument_group("without tasks: positions and frequencies")
    shape.add_argument("--layout", metavar="PARTS",
                       help="text:N, image:HxW and video:TxHxW@STEP in merged grid cells, for example 'text:12 "
                            "image:9x7 text:20'; default: one image and one video, printed above the tables")
    shape.add_argument("--head-dim", metavar="N", type=positive, help="default: 128 (Qwen2.5-VL-7B), or --model's")
    shape.add_argument("--kv-heads", metavar="N", type=positive, help="default: 4, or --model's")
    shape.add_argument("--theta", metavar="F", type=rate, help="rotary base; default: 1000000, or --model's")
    shape.add_argument("--figures", metavar="DIR", type=Path, help="also draw figures there, as PDF and PNG")
    model = parser.add_argument_group("with tasks: attention on visual tokens")
    model.add_argument("--model", metavar="CKPT", help="a checkpoint folder")
    model.add_argument("--tasks", metavar="LIST", type=names, action="extend",
                       help="comma-separated tasks, suites and globs on whose samples attention is measured")
    model.add_argument("--limit", metavar="N", type=positive, help="samples of each task; default: 16")
    model.add_argument("--data-root", metavar="DIR", type=Path, help="local mirror of the datasets; default: the hub")
    model.add_argument("--dtype", choices=["auto", "bfloat16", "float16", "float32"], default="auto",
                       help="weights and activations (default: %(default)s, what the checkpoint says)")
    _media_arguments(parser)


def sweep(parser: argparse.ArgumentParser) -> None:
    """Arguments of `sweep`: a sweep file, checkpoints, where results go."""
    parser.add_argument("config", metavar="FILE", help="a sweep's YAML file, or a name in configs/sweeps")
    parser.add_argument("--model", metavar="CKPT", nargs="+", action="extend", default=[], help="checkpoint folders")
    parser.add_argument("--variant", metavar="NAME[,NAME...]", type=names, action="extend", default=[],
                        help="RoPE variants for every checkpoint; default: the file's, else what each checkpoint says")
    parser.add_argument("--limit", metavar="N", type=positive, help="ask the first N samples of each task only")
    parser.add_argument("--prompts", metavar="FAMILY", help="prompt family; default: that of the checkpoint")
    parser.add_argument("--data-root", metavar="DIR", type=Path,
                        help="local mirror of the datasets; default: the hub (needles are generated below --output)")
    parser.add_argument("--output", metavar="DIR", type=Path, default=Path("runs/sweep"),
                        help="where points, table and figures go, and where a sweep resumes (default: %(default)s)")
    parser.add_argument("--no-cache", action="store_true", help="decode videos anew instead of using the disk cache")
    parser.add_argument("--report-only", action="store_true", help="measure nothing: show and draw what --output holds")
    _engine_arguments(parser)


def table(parser: argparse.ArgumentParser) -> None:
    """Arguments of `table`: which table, from which runs, what it shows besides scores."""
    parser.add_argument("table", metavar="TABLE", help="2, 3, 4, 6 or 7, or a YAML file like those of configs/tables")
    parser.add_argument("run", metavar="RUN", type=Path, nargs="+", help="--output folders of runs")
    parser.add_argument("--format", choices=["markdown", "latex", "csv", "html", "json"], default="markdown")
    parser.add_argument("--baseline", metavar="ROW", help="also show differences from this row, for example vanilla")
    parser.add_argument("--reported", action="store_true", help="set the paper's scores beside ours")
    parser.add_argument("--intervals", action="store_true", help="95 %% intervals, clustered by picture and video")
    parser.add_argument("--model", metavar="GLOB", type=names, action="extend", default=[],
                        help="only checkpoints of these names")
    parser.add_argument("--seeds", choices=["one", "mean"], default="one",
                        help="several runs of one cell: refuse, or show their mean (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="add variants of the runs that the table does not list")
    parser.add_argument("--partial", action="store_true",
                        help="average over the benchmarks that every row has, where some are missing")
    parser.add_argument("--chance", action=argparse.BooleanOptionalAction, default=True, help="show chance levels")
    parser.add_argument("--standalone", action="store_true", help="LaTeX that compiles by itself")
    parser.add_argument("--output", metavar="FILE", type=Path, help="write here instead of printing")


def doctor(parser: argparse.ArgumentParser) -> None:
    """Arguments of `doctor`: how deep, and which data."""
    parser.add_argument("--data-root", metavar="DIR", type=Path, help="local mirror whose datasets are to be checked")
    parser.add_argument("--deep", action="store_true",
                        help="also import vLLM, transformers' video processors and lmms-eval (half a minute)")
