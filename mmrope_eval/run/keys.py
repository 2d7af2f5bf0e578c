"""The words that configure a run: one set of keys for the command line, a YAML file and Python.

A key is an option of `mmrope-eval run` with `_` for `-`; `variants` is --variant. docs/configuration.md has the list.
Values are what YAML has for them: numbers, text, lists, mappings.
"""

from __future__ import annotations

import glob
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mmrope_eval.engine.backends import BACKENDS
from mmrope_eval.errors import UserError
from mmrope_eval.rope import beside


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _words(value: Any) -> Any:
    value = _text(value)
    return [value] if isinstance(value, str) else _list(value)


def _list(value: Any) -> Any:
    return [_text(one) for one in value] if isinstance(value, list | tuple) else value


def _names(value: Any) -> Any:
    value = _text(value)
    return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else _list(value)


def _product(value: Any) -> Any:
    """A pixel count, also as a product: 1280*28*28."""
    parts = [part.strip() for part in value.split("*")] if isinstance(value, str) else []
    return math.prod(map(int, parts)) if parts and all(part.isdecimal() for part in parts) else value


def _limits(value: Any) -> Any:
    """Answer limits as pairs: a number for all tasks, a mapping by task, or what stands after --max-tokens."""
    if isinstance(value, int) and not isinstance(value, bool):
        return ((None, value),)
    if isinstance(value, Mapping):
        for name, limit in value.items():
            if type(limit) is not int or limit < 1:
                raise ValueError(f"has {limit!r} for {name}: give a whole number of tokens above 0")
        return tuple(value.items())
    if isinstance(value, str):
        cut = [part.strip().rpartition(":") for part in value.split(",") if part.strip()]
        if not all(number.strip().isdecimal() and (name.strip() or not colon) for name, colon, number in cut):
            raise ValueError("must be a number of tokens, TASK:N, or several of them with commas between")
        return tuple((name.strip() or None, int(number)) for name, _, number in cut)
    return tuple(map(tuple, value)) if isinstance(value, list | tuple) else value


def _limit_words(value: Any) -> Any:
    """The words of --limit: a number, a mapping by task, or text."""
    if isinstance(value, Mapping):
        return tuple(f"{name}:{limit}" for name, limit in value.items())
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, int) and not isinstance(value, bool):
        return (str(value),)
    return tuple(value) if isinstance(value, list) else value


def _seeds(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _thinking(value: Any) -> Any:
    """YAML reads on and off as true and false."""
    return ("on" if value else "off") if isinstance(value, bool) else value


def _backend(name: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"is '{name}', which is none of {', '.join(BACKENDS)}")
    return name


Text = Annotated[str, BeforeValidator(_text), Field(min_length=1)]
Words = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_words), Field(min_length=1)]
Names = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_names)]
Positive = Annotated[int, Field(gt=0)]
Pixels = Annotated[int, BeforeValidator(_product), Field(gt=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Entries = Annotated[list[Any], BeforeValidator(_words), Field(min_length=1)]


class Keys(BaseModel):
    """Keys of a file; one that nothing reads is an error."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class MediaKeys(Keys):
    """Limits on pictures and videos, which go before what checkpoints and protocols say."""

    min_pixels: Pixels | None = None
    max_pixels: Pixels | None = None
    fps: Rate | None = None
    max_frames: Positive | None = None
    video_tokens: Positive | None = None
    min_frame_pixels: Pixels | None = None
    max_frame_pixels: Pixels | None = None


MEDIA: Final[Mapping[str, str]] = {
    "min_pixels": "image_min_pixels", "max_pixels": "image_max_pixels", "fps": "video_fps",
    "max_frames": "video_max_frames", "video_tokens": "video_max_tokens", "min_frame_pixels": "frame_min_pixels",
    "max_frame_pixels": "frame_max_pixels",
}  # fmt: skip
"""Keys on pictures and videos, and their fields in a media policy."""


class AskedKeys(MediaKeys):
    """How checkpoints are asked. In a study one run may have its own."""

    variants: Names = []
    """Names or YAML paths; none: what each checkpoint says."""
    set: dict[str, Any] = {}
    """Parameters of every variant, by name."""
    protocol: Text | None = None
    """A name in configs/protocols, or a YAML path."""
    limit: Annotated[tuple[Text, ...], BeforeValidator(_limit_words)] = ()
    """A number for all tasks, a mapping by task, suite or glob, or text as after --limit."""
    prompts: Text | None = None
    coordinates: Literal["absolute", "thousand", "unit"] | None = None
    max_tokens: Annotated[tuple[tuple[Text | None, Positive], ...], BeforeValidator(_limits)] = ()
    """A number for all tasks, a mapping by task, suite or glob, or text as after --max-tokens."""
    system: str | None = None
    """Words, or the path of a text file."""
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    thinking: Annotated[Literal["on", "off", "auto"] | None, BeforeValidator(_thinking)] = None


class EngineKeys(Keys):
    """How the engine runs."""

    max_model_len: Positive | None = None
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    head_dtype: Literal["auto", "float32"] = "auto"
    tensor_parallel_size: Positive = 1
    replicas: Positive | Literal["auto"] | None = None
    backend: Annotated[str, AfterValidator(_backend)] | None = None
    ray_address: Text | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.9
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    workers: bool | None = None
    request_timeout: Rate | None = None
    start_timeout: Rate | None = None
    trust_remote_code: bool = False


class CommandKeys(AskedKeys, EngineKeys):
    """What a run and a study have in common."""

    checkpoints: Entries | None = None
    """Entries as in a --models file."""
    output: Text | None = None
    data_root: Text | None = None
    cache_dir: Text | None = None
    tasks_dir: Words | None = None
    assume_stock: bool = False
    max_failures: Annotated[int, Field(ge=0)] | Share | None = None
    fresh: bool = False
    no_cache: bool = False
    verbose: bool = False
    log_file: Text | None = None


class RunKeys(CommandKeys):
    """A run."""

    model: Words | None = None
    """Checkpoints as after --model."""
    models: Words | None = None
    """YAML lists of checkpoints, as after --models."""
    tasks: Names = []
    seed: Annotated[tuple[Seed, ...], BeforeValidator(_seeds), Field(min_length=1)] = (0,)
    """One, or several with rows of their own."""
    scorer: Literal["strict", "stock", "vlmevalkit"] = "strict"


K = TypeVar("K", bound=Keys)

ADDED: Final = ("max_tokens", "tasks_dir")
"""Keys of which those of the command line join those of the file, and come after them."""
CHECKPOINTS: Final = ("model", "models", "checkpoints")
"""Of these the command line's take the place of all of the file's."""


def said(keys: Keys) -> dict[str, Any]:
    """The keys that were given."""
    return {name: getattr(keys, name) for name in type(keys).model_fields if name in keys.model_fields_set}


def with_flags(file: Keys, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a file with those of a command line, which go before them."""
    found = said(file)
    if any(name in flags for name in CHECKPOINTS):
        found = {name: value for name, value in found.items() if name not in CHECKPOINTS}
    for name, value in flags.items():
        if name == "set":
            found[name] = {**found.get(name, {}), **value}
        elif name in ADDED and found.get(name):
            found[name] = [*found[name], *value]
        else:
            found[name] = value
    return found


def beside_file(keys: K, folder: Path, where: str) -> K:
    """The keys of a file in `folder` with the paths that it means: beside it first, else from the working folder. What
    is written, `output`, `log_file` and `cache_dir`, starts at the file's folder. UserError, beginning with `where`,
    for a folder of data or tasks that is in neither place."""
    found = said(keys)
    places: dict[str, Any] = {
        "variants": lambda names: [beside(name, folder) for name in names],
        "tasks": lambda names: [task_beside(name, folder) for name in names],
        "protocol": lambda name: beside(name, folder),
        "model": lambda words: [_checkpoint_beside(word, folder) for word in words],
        "models": lambda names: [_path_beside(name, folder) for name in names],
        "tasks_dir": lambda names: [_folder_beside(name, folder, f"{where}: tasks_dir") for name in names],
        "data_root": lambda name: _folder_beside(name, folder, f"{where}: data_root"),
        "system": lambda word: _text_beside(word, folder),
        "output": lambda name: str(folder / Path(name).expanduser()),
        "log_file": lambda name: str(folder / Path(name).expanduser()),
        "cache_dir": lambda name: str(folder / Path(name).expanduser()),
    }
    changed = {name: places[name](value) for name, value in found.items() if name in places and value is not None}
    return keys.model_copy(update=changed)


def task_beside(task: str, folder: Path) -> str:
    """A task's file as a file in `folder` means it; a task taken out, `-name`, may be a file too."""
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
