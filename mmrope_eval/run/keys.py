"""The words that configure a run: one set of keys for the command line, a YAML file and Python.

A key is declared once, below. It is an option of `mmrope-eval run` with `-` for `_` (`variants` is --variant), see
`util.keys`. docs/configuration.md has the list.
"""

from __future__ import annotations

import glob
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mmrope_eval.engine.backends import BACKENDS
from mmrope_eval.errors import UserError
from mmrope_eval.util.keys import (
    CACHE_DIR,
    DATA_ROOT,
    TASKS_DIR,
    Entries,
    Fraction,
    Keys,
    Names,
    NotNegative,
    Paths,
    PathText,
    Positive,
    Rate,
    Seeds,
    Share,
    Text,
    Whole,
    Words,
    by_field,
    comma_separated,
    given_keys,
    option,
)  # fmt: skip


def _product(value: Any) -> Any:
    """A pixel count, also as a product: 1280*28*28."""
    factors = [factor.strip() for factor in value.split("*")] if isinstance(value, str) else []
    return math.prod(map(int, factors)) if factors and all(factor.isdecimal() for factor in factors) else value


def _limits(value: Any) -> Any:
    """Answer limits as pairs: a number for all tasks, a mapping by task, or what stands after --max-tokens."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _limits(str(value))
    if isinstance(value, Mapping):
        for name, limit in value.items():
            if type(limit) is not int or limit < 1:
                raise ValueError(f"has {limit!r} for {name}: give a whole number of tokens above 0")
        return tuple(value.items())
    if isinstance(value, str):
        cut = [part.rpartition(":") for part in comma_separated(value)]
        if not all(number.strip().isdecimal() and int(number) and (name.strip() or not colon)
                   for name, colon, number in cut):
            raise ValueError("must be a number of tokens, TASK:N, or several of them with commas between, not "
                             f"'{value}'")
        return tuple((name.strip() or None, int(number)) for name, _, number in cut)
    return tuple(map(tuple, value)) if isinstance(value, list | tuple) else value


def _limit_words(value: Any) -> Any:
    """The words of --limit: a number, a mapping by task, or text."""
    if isinstance(value, Mapping):
        return tuple(f"{name}:{limit}" for name, limit in value.items())
    if isinstance(value, str):
        return tuple(comma_separated(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return (str(value),)
    return tuple(value) if isinstance(value, list) else value


def _thinking(value: Any) -> Any:
    """YAML reads on and off as true and false."""
    return ("on" if value else "off") if isinstance(value, bool) else value


def _backend(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"is '{name}', which is none of {', '.join(BACKENDS)}")
    return name


Pixels = Annotated[int, BeforeValidator(_product), Field(gt=0)]
Limit = Annotated[tuple[Text, ...], BeforeValidator(_limit_words)]
DRY_RUN: Final = "print what would be asked, what is kept and which data are missing, and stop there"
Scorer = Literal["strict", "stock", "vlmevalkit"]
Coordinates = Literal["absolute", "thousand", "unit"]
Dtype = Literal["auto", "bfloat16", "float16", "float32"]

_what = partial(option, group="what to evaluate")
_answers = partial(option, group="answers")
_data = partial(option, group="data and results")
_media = partial(option, group="images and videos")
_engine = partial(option, group="engine")
_talk = partial(option, group="what is said")

LIMIT: Final = (
    "ask N samples of each task: the same ones every time, spread over the benchmark's own groups, and with a larger N "
    "those of the smaller one; first:N takes the first N rows"
)


class LogKeys(Keys):
    """How much is said, and where."""

    verbose: bool = _talk("also print what vLLM says and all tracebacks, as they reach the logs", False)
    log_file: PathText | None = _talk("write the log there (default: OUTPUT/log.txt)", metavar="FILE")


class TalkKeys(LogKeys):
    """How much a command prints, and where the log is."""

    quiet: bool = _talk("print results, errors, failed rows and warnings; the log has the rest", False)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.quiet and self.verbose:
            raise ValueError("--quiet and --verbose exclude each other: give one of them")
        return self


class MediaKeys(Keys):
    """Limits on pictures and videos, which go before what checkpoints and protocols say."""

    min_pixels: Pixels | None = _media(
        "smallest image in pixels, e.g. 256*28*28; smaller ones are enlarged (recorded)", policy="image_min_pixels")
    max_pixels: Pixels | None = _media(
        "largest image in pixels, e.g. 1280*28*28; larger ones are shrunk (recorded)", policy="image_max_pixels")
    fps: Rate | None = _media("video frames per second", metavar="F", policy="video_fps")
    max_frames: Positive | None = _media("most frames taken from one video", policy="video_max_frames")
    video_tokens: Positive | None = _media("most vision tokens for one video", policy="video_max_tokens")
    min_frame_pixels: Pixels | None = _media(
        "smallest video frame in pixels; smaller ones are enlarged (recorded)", policy="frame_min_pixels")
    max_frame_pixels: Pixels | None = _media("largest video frame in pixels", policy="frame_max_pixels")


class AnswerKeys(Keys):
    """How answers are given."""

    max_tokens: Annotated[tuple[tuple[Text | None, Positive], ...], BeforeValidator(_limits)] = _answers(
        "most tokens of an answer, in place of the tasks' own limits; for some tasks TASK:N, as in '512,mmmu:4096' "
        "(tasks, suites and globs)", (), also=("max_new_tokens",))
    """A number for all tasks, a mapping by task, suite or glob, or text as after --max-tokens."""
    system: str | None = _answers(
        "system prompt in place of the one that the chat template has, as words or as a text file; '' is an empty one "
        "(recorded)", metavar="TEXT|FILE")
    temperature: NotNegative | None = _answers(
        "draw answers at this temperature in place of the tasks' own; 0: greedy decoding, which is what the shipped "
        "tasks have (recorded, and noted below tables)", metavar="F")
    thinking: Annotated[Literal["on", "off", "auto"] | None, BeforeValidator(_thinking)] = _answers(
        "on (or no value): checkpoints think first, in answers of up to 32,768 tokens; off: the chat template is told "
        "not to; auto: on for those whose template knows thoughts; default: as the template has it, under the tasks' "
        "own limits", nargs="?", const="on")


class AskedKeys(AnswerKeys, MediaKeys):
    """How checkpoints are asked. In a study one run may have its own."""

    variants: Names = _what(
        "RoPE variants by name or YAML path (see 'mmrope-eval list variants'); default: what each checkpoint's "
        "config.json says", [], metavar="NAME[,NAME...]", name="variant")
    set: dict[str, Any] = _what(
        "override one parameter of every variant chosen; may be repeated", {}, metavar="KEY=VALUE")
    limit: Limit = _what(
        f"{LIMIT}; for some tasks TASK:N, as in '200,chartqa:50' (tasks, suites and globs)", ())
    """A number for all tasks, a mapping by task, suite or glob, or text as after --limit."""
    protocol: Text | None = _what(
        "ask as a published evaluation did: a name in configs/protocols (paper, for example), or as a YAML file says; "
        "single options still go before it, and are named with the scores", metavar="NAME")
    prompts: Text | None = _what(
        "prompt family (see configs/families); default: that of the checkpoint", metavar="FAMILY")
    coordinates: Coordinates | None = _what(
        "how the checkpoint writes boxes: pixels of the resized image, 0-1000, 0-1; default: its config.json's "
        "mm_coordinates, else its family's (configs/families)")


class SubjectKeys(Keys):
    """Which checkpoints are asked which tasks."""

    model: Words | None = _what(
        "checkpoints: folders, quoted globs, runs with checkpoint-* folders, LoRA adapters, hub names with @revision; "
        "CKPT=VARIANT names its RoPE", metavar="CKPT", nargs="+")
    models: Paths | None = _what(
        "YAML list of checkpoints: path, variant, label, coordinates, prompts", metavar="FILE")
    tasks: Names = _what(
        "comma-separated tasks, suites, globs and paths of task files; '-name' takes one out", [], metavar="LIST")


class EngineKeys(Keys):
    """How the engine runs."""

    max_model_len: Positive | None = _engine("context length in tokens; default: what the checkpoint allows")
    dtype: Dtype = _engine(
        "weights and activations (default: %(default)s, what the checkpoint says)", "auto")
    head_dtype: Literal["auto", "float32"] = _engine(
        "output matrix (default: %(default)s, as --dtype); float32 keeps logits apart that bfloat16 rounds to a tie",
        "auto")
    tensor_parallel_size: Positive = _engine(
        "GPUs to split the model over, or shares of the cores on CPU (default: %(default)s)", 1)
    replicas: Positive | Literal["auto"] | None = _engine(
        "engines side by side, each with GPUs, or a share of the cores, of its own; auto: as many as there are GPUs "
        "for (default: one, inside the run)", metavar="N|auto")
    backend: Annotated[str, AfterValidator(_backend)] | None = _engine(
        f"what runs engines: {'; '.join(f'{backend.name}: {backend.summary}' for backend in BACKENDS.values())} "
        "(default: inside, with --replicas processes)", choices=[*BACKENDS])
    ray_address: Text | None = _engine(
        "the cluster's (default: RAY_ADDRESS, or the one that this machine belongs to)", metavar="HOST:PORT")
    gpu_memory_utilization: Fraction = _engine(
        "share of each GPU's memory that vLLM may take (default: %(default)s)", 0.9, metavar="F")
    max_num_seqs: Positive | None = _engine(
        "answers in one step (default: 256 on a GPU; on CPU 32, for tiny models 128)")
    max_num_batched_tokens: Positive | None = _engine(
        "tokens in one step; default: room for the largest picture or video, at least 2048")
    workers: bool | None = _engine("run vLLM in processes of its own (default: on a GPU, and with several ranks)")
    request_timeout: Rate | None = _engine(
        "give a request up after S seconds, and replace an engine that gave out nothing for so long; default: 10 "
        "minutes, more for long prompts and large models", metavar="S")
    start_timeout: Rate | None = _engine(
        "end an engine that takes more than S seconds to start or to load other weights; default: 10 minutes, more for "
        "large models", metavar="S")
    trust_remote_code: bool = _engine(
        "run Python code out of the checkpoint's folder, as whoever made it wrote it", False)


class CommandKeys(AskedKeys, EngineKeys, LogKeys):
    """What a run and a study have in common."""

    checkpoints: Entries | None = None
    """Entries as in a --models file; no option."""
    assume_stock: bool = _what(
        "take a checkpoint that names no RoPE for a stock one, whatever its folder is called", False)
    tasks_dir: Paths | None = _what(
        TASKS_DIR, metavar="DIR")
    data_root: PathText | None = _data(DATA_ROOT, metavar="DIR")
    cache_dir: PathText | None = _data(CACHE_DIR, metavar="DIR")
    output: PathText | None = _data(
        "where responses, scores and samples go, and where a run resumes (default: runs/default)", metavar="DIR")
    fresh: bool = _data("ask everything again; kept answers are set aside, and go when all are given anew", False)
    max_failures: Whole | Share | None = _data(
        "stop once more than N samples of a row have failed (0.05: more than 5 %% of them); default: list them and go "
        "on")
    no_cache: bool = _data("decode videos anew instead of using the disk cache", False)


class RunKeys(CommandKeys, SubjectKeys):
    """A run."""

    scorer: Scorer = _data(
        "also print another harness' own number from the same responses: stock is lmms-eval, vlmevalkit VLMEvalKit's "
        "rules without its judge (an extra) (default: %(default)s)", "strict")
    seed: Seeds = _engine(
        "of answers that are drawn (--temperature); each of several has rows of its own, below OUTPUT/seed-N (default: "
        "0)", (0,), metavar="N[,N...]", action="store")


K = TypeVar("K", bound=Keys)

ADDED: Final = ("max_tokens", "tasks_dir")
"""Keys of which those of the command line join those of the file, and come after them."""
CHECKPOINTS: Final = ("model", "models", "checkpoints")
"""Of these the command line's take the place of all of the file's."""


def with_flags(file: Keys, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file with those of a command line, which go before them."""
    keys, flags = given_keys(file), by_field(type(file), flags)
    if any(name in flags for name in CHECKPOINTS):
        keys = {name: value for name, value in keys.items() if name not in CHECKPOINTS}
    added: dict[str, Any] = {name: [*keys[name], *flags[name]] for name in ADDED if name in flags and keys.get(name)}
    overrides = {"set": {**keys.get("set", {}), **flags["set"]}} if "set" in flags else {}
    return {**keys, **flags, **added, **overrides}


def beside_file(keys: K, folder: Path, where: str) -> K:
    """The keys of a file in `folder` with the paths that it means: beside it first, else from the working folder. What
    is written, `output`, `log_file` and `cache_dir`, starts at the file's folder. UserError, beginning with `where`,
    for a folder of data or tasks that is in neither place."""
    from mmrope_eval.rope import beside

    places: dict[str, Any] = {
        "variants": lambda names: [beside(name, folder) for name in names],
        "tasks": lambda names: [task_beside(name, folder) for name in names],
        "protocol": lambda name: beside(name, folder),
        "model": lambda words: [_checkpoint_beside(word, folder) for word in words],
        "models": lambda names: [_path_beside(name, folder) for name in names],
        "tasks_dir": lambda names: [_folder_beside(name, folder, f"{where}: tasks_dir") for name in names],
        "data_root": lambda name: _folder_beside(name, folder, f"{where}: data_root"),
        "system": lambda word: _text_beside(word, folder),
        **dict.fromkeys(("output", "log_file", "cache_dir"), lambda name: str(folder / Path(name).expanduser())),
    }
    changed = {name: places[name](value) for name, value in given_keys(keys).items()
               if name in places and value is not None}
    return keys.model_copy(update=changed)


def task_beside(task: str, folder: Path) -> str:
    """A task's file as a file in `folder` means it; a task taken out, `-name`, may be a file too."""
    from mmrope_eval.rope import beside

    return f"-{beside(task[1:], folder)}" if task.startswith("-") else beside(task, folder)


def _path_beside(name: str, folder: Path) -> str:
    path = folder / Path(name).expanduser()
    return str(path) if path.exists() else name


def _checkpoint_beside(word: str, folder: Path) -> str:
    """A folder, a glob or FOLDER=VARIANT that matches something beside the file; else the word as it is."""
    for name in (word, word.rpartition("=")[0]):
        # Path.glob knows neither absolute patterns nor '..'.
        if name and ((folder / name).exists() or glob.glob(name, root_dir=folder)):  # noqa: PTH207
            return str(folder / word)
    return word


def _text_beside(word: str, folder: Path) -> str:
    """A system prompt: the file beside of this name, else the words, which may be another file's name."""
    path = folder / word
    try:
        return str(path) if word and path.is_file() else word
    except (OSError, ValueError):  # words that no file can be called
        return word


def _folder_beside(name: str, folder: Path, where: str) -> str:
    for place in (folder / Path(name).expanduser(), Path(name).expanduser()):
        if place.is_dir():
            return str(place)
    raise UserError(f"{where} '{name}' is not a folder, neither beside the file nor in the working folder")
