"""Groups of options that several commands share.

An option that is also a key of a file (`run.keys`) has no default here: what a command line does not say is None, and
the keys know what it means then. A test holds the defaults that the help tells to those of the keys.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from mmrope_eval.cli.argument_types import (
    fraction,
    names,
    pixels,
    positive,
    rate,
    replicas,
    seeds,
    token_limits,
    tolerated,
)
from mmrope_eval.engine.backends import BACKENDS

if TYPE_CHECKING:
    from pydantic import BaseModel


class DataClass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=DataClass)

ROOT_HELP = ("where the data sets are: a mirror (org/name/...), a hub cache, an HF_HOME, or VLMEvalKit's LMUData")
LIMIT_HELP = (
    "ask N samples of each task: the same ones every time, spread over the benchmark's own groups, and with a larger N "
    "those of the smaller one; first:N takes the first N rows"
)


def model_options(what: argparse._ArgumentGroup) -> None:
    """Which checkpoints."""
    what.add_argument("--model", metavar="CKPT", nargs="+", action="extend",
                      help="checkpoints: folders, quoted globs, runs with "
                           "checkpoint-* folders, LoRA adapters, hub names with @revision; CKPT=VARIANT names its RoPE")
    naming_options(what)


def limit_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """`--limit`, of all tasks or of some."""
    parser.add_argument("--limit", metavar="N", type=names, action="extend",
                        help=f"{LIMIT_HELP}; for some tasks TASK:N, as in '200,chartqa:50' (tasks, suites and globs)")


def talk_options(parser: argparse.ArgumentParser) -> None:
    """`--quiet`, `--verbose` and `--log-file`: how much a command says, and where."""
    group = parser.add_argument_group("what is said")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--quiet", action="store_true",
                        help="print results, errors, failed rows and warnings; the log has the rest")
    either.add_argument("--verbose", action="store_true", default=None,
                        help="also print what vLLM says and all tracebacks, as they reach the logs")
    group.add_argument("--log-file", metavar="FILE", type=Path, help="write the log there (default: OUTPUT/log.txt)")


def naming_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """What every command that takes checkpoints accepts beside their names."""
    parser.add_argument("--models", metavar="FILE", type=Path, action="append",
                        help="YAML list of checkpoints: path, variant, label, coordinates, prompts")
    parser.add_argument("--assume-stock", action="store_true", default=None,
                        help="take a checkpoint that names no RoPE for a stock one, whatever its folder is called")


def tasks_dir(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """What every command that knows tasks accepts."""
    parser.add_argument("--tasks-dir", metavar="DIR", type=Path, action="append",
                        help="add the task files in DIR to the shipped ones (docs/benchmark.md); may be repeated")


def cache_option(parser: argparse._ActionsContainer) -> None:
    """`--cache-dir`, which all commands that read data share."""
    parser.add_argument("--cache-dir", metavar="DIR", type=Path,
                        help="where tables, frames, unpacked videos and hashes are kept; default: $MMROPE_CACHE, "
                             "else mmrope-eval in $XDG_CACHE_HOME")


def fresh_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """`--fresh`."""
    parser.add_argument("--fresh", action="store_true", default=None,
                        help="ask everything again; kept answers are set aside, and go when all are given anew")


def dry_run_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """`--dry-run`."""
    parser.add_argument("--dry-run", action="store_true",
                        help="print what would be asked, what is kept and which data are missing, and stop there")


def answer_options(parser: argparse.ArgumentParser) -> None:
    """How long answers may be, and thoughts."""
    answers = parser.add_argument_group("answers")
    answers.add_argument("--max-tokens", metavar="N", type=token_limits, action="extend",
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


def media_options(parser: argparse.ArgumentParser) -> None:
    """Limits on pictures and videos."""
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


def engine_options(parser: argparse.ArgumentParser) -> None:
    """How the engine runs."""
    engine = parser.add_argument_group("engine")
    engine.add_argument("--max-model-len", metavar="N", type=positive,
                        help="context length in tokens; default: what the checkpoint allows")
    engine.add_argument("--dtype", choices=["auto", "bfloat16", "float16", "float32"],
                        help="weights and activations (default: auto, what the checkpoint says)")
    engine.add_argument("--head-dtype", choices=["auto", "float32"],
                        help="output matrix (default: auto, as --dtype); float32 keeps logits apart that "
                             "bfloat16 rounds to a tie")
    engine.add_argument("--tensor-parallel-size", metavar="N", type=positive,
                        help="GPUs to split the model over, or shares of the cores on CPU (default: 1)")
    engine.add_argument("--replicas", metavar="N|auto", type=replicas,
                        help="engines side by side, each with GPUs, or a share of the cores, of its own; auto: as many "
                             "as there are GPUs for (default: one, inside the run)")
    engine.add_argument("--backend", choices=[*BACKENDS], help="what runs engines: "
                        + "; ".join(f"{backend.name}: {backend.summary}" for backend in BACKENDS.values())
                        + " (default: inside, with --replicas processes)")
    engine.add_argument("--ray-address", metavar="HOST:PORT",
                        help="the cluster's (default: RAY_ADDRESS, or the one that this machine belongs to)")
    engine.add_argument("--gpu-memory-utilization", metavar="F", type=fraction,
                        help="share of each GPU's memory that vLLM may take (default: 0.9)")
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
    engine.add_argument("--trust-remote-code", action="store_true", default=None,
                        help="run Python code out of the checkpoint's folder, as whoever made it wrote it")
    engine.add_argument("--seed", metavar="N[,N...]", type=seeds,
                        help="of answers that are drawn (--temperature); each of several has rows of its own, below "
                             "OUTPUT/seed-N (default: 0)")


def scorer_option(parser: argparse.ArgumentParser) -> None:
    """`--scorer`."""
    parser.add_argument("--scorer", choices=["strict", "stock", "vlmevalkit"],
                        help="also print another harness' own number from the same responses: stock is lmms-eval, "
                             "vlmevalkit VLMEvalKit's rules without its judge (an extra) (default: strict)")


RENAMED = {"variant": "variants"}
"""Options whose keys have other names."""


def flags(args: argparse.Namespace, kind: type[BaseModel], *more: str) -> dict[str, Any]:
    """What a command line says, as keys of a `kind` of file; and the options named `more`."""
    given = {RENAMED.get(name, name): value for name, value in vars(args).items() if value is not None}
    return {name: value for name, value in given.items() if name in kind.model_fields or name in more}


def options_as(kind: type[T], args: argparse.Namespace) -> T:
    """A command line as the typed options of a command: by name, checked, lists as tuples; what is None is not said."""
    from pydantic import TypeAdapter

    given = vars(args)
    fields = [field.name for field in dataclasses.fields(kind)]
    return TypeAdapter(kind).validate_python({name: given[name] for name in fields if given.get(name) is not None})
