"""What a run depends on: one object, whether it is configured on the command line, in a YAML file or from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError
from mmrope_eval.models.naming import ModelChoice, listed_models
from mmrope_eval.record.protocols import Protocol, load_protocol
from mmrope_eval.run.answer_limits import Asked, Given
from mmrope_eval.run.execute import MaxFailures
from mmrope_eval.run.keys import EngineKeys, MediaKeys, RunKeys, beside_file, with_flags
from mmrope_eval.task.by_task import read_limits
from mmrope_eval.task.yaml_text import read_yaml
from mmrope_eval.util.config import typed
from mmrope_eval.util.keys import Place, given_keys
from mmrope_eval.util.paths import cache_at, cache_home

OUTPUT = Path("runs/default")
"""Where a run goes that names no place."""
PAGE = " (docs/configuration.md)"
Texts = Annotated[tuple[str, ...], Field(strict=False)]
Places = Annotated[tuple[Place, ...], Field(strict=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class RunConfig:
    """Everything a run depends on."""

    models: Texts
    """Checkpoints as people name them (see `models.naming`)."""
    tasks: Texts
    """Names, suites, globs, and paths of task files."""
    output: Place
    variants: Texts = ()
    """Names or YAML paths; empty: what each checkpoint says."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    data_root: Place | None = None
    limit: Limit | None = None
    """Of every task, where `limits` has no other."""
    limits: tuple[tuple[str, Limit], ...] = ()
    """Of some tasks, by name, suite or glob; of two for one task the later counts."""
    prompts: str | None = None
    coordinates: str | None = None
    system: str | None = None
    """The system prompt in place of the family's; None: as the family has it."""
    max_failures: MaxFailures = field(default_factory=MaxFailures)
    seed: int = 0
    seeds: tuple[int, ...] = ()
    """Each with rows of its own (see `seeds`); empty: `seed` alone."""
    max_tokens: Given = ()
    """Answer limits in place of the tasks' own."""
    temperature: float | None = None
    """At which answers are drawn, in place of the tasks' own; 0: greedy decoding."""
    thinking: Asked | None = None
    """Whether checkpoints shall think before they answer; None: as their chat templates have it, under the tasks'
    answer limits."""
    fresh: bool = False
    """Whether everything is asked, whatever answers are kept."""
    assume_stock: bool = False
    """Whether a checkpoint that names no variant may be called like one that it is not."""
    media: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `MediaPolicy` that go before what each checkpoint and the protocol say."""
    protocol: Protocol | None = None
    """Its limits, wording and answer limit go before the checkpoints' own, and single options before them."""
    options: EngineOptions = field(default_factory=EngineOptions)
    """How the engine runs; a media policy in it takes the place of what the checkpoints and `media` say."""
    command: tuple[str, ...] = ()
    model_files: Places = ()
    """YAML lists of further checkpoints."""
    tasks_dirs: Places = ()
    """Folders of task files beside the shipped ones."""
    listed: tuple[ModelChoice, ...] = ()
    """Checkpoints that a file lists."""
    own_folders: bool = False
    """Whether a row gets a folder of its own below `output` also where it is the only one."""
    log_file: Place | None = None
    """Where the log goes; None: into `output`."""
    verbose: bool = False
    """Whether what others write into the logs is also shown."""
    label_end: str = ""
    """What follows the name of each of its rows, where another run has the same rows."""
    cache_dir: Place | None = None
    """Where tables, frames, unpacked videos and hashes are kept; None: `util.paths.cache_home`."""
    scorer: Literal["strict", "stock", "vlmevalkit"] = "strict"
    """Another harness whose own number is printed beside ours."""
    said: Mapping[str, Any] = field(default_factory=dict)
    """The keys that configured it, as a file would hold them (see `run.keys`); empty where it was built otherwise."""

    def limit_of(self, task: str) -> Limit | None:
        """The limit of a task, once `limits` has the names of tasks only (`prepared.with_task_limits`)."""
        return dict(self.limits).get(task, self.limit)

    @property
    def limit_words(self) -> str | None:
        """`--limit` in words; None where there is none."""
        everywhere = [str(self.limit)] if self.limit is not None else []
        return ",".join([*everywhere, *(f"{name}:{limit}" for name, limit in self.limits)]) or None

    @property
    def answer_limits(self) -> Given:
        """The protocol's answer limit, then those of the command line, of which the later counts."""
        demanded = None if self.protocol is None else self.protocol.max_tokens
        return self.max_tokens if demanded is None else ((None, demanded), *self.max_tokens)


def read_config(flags: Mapping[str, Any], file: Path | None = None, command: Sequence[str] = ()) -> RunConfig:
    """A run by its keys: those of a YAML file, if there is one, and `flags`, which go before them. UserError names the
    file and the key that is wrong, with the nearest key there is."""
    folder, where = Path(), "run"
    keys = RunKeys()
    if file is not None:
        folder, where = file.resolve().parent, f"config {file}"
        if not file.is_file():
            raise UserError(f"there is no config file {file}: give the path of a YAML file{PAGE}")
        keys = beside_file(typed(RunKeys, read_yaml(file), where, PAGE), folder, where)
        where += " and what is said beside it"
    keys = typed(RunKeys, with_flags(keys, flags), where, PAGE)
    if not keys.tasks:
        raise UserError(f"{where}: name what is asked: --tasks LIST, or `tasks` in a config file{PAGE}")
    named = "checkpoints" if file is None else f"config {file}, checkpoints"
    return config_of(keys, listed_models(keys.checkpoints or (), named, folder), command)


def config_of(keys: RunKeys, listed: Sequence[ModelChoice] = (), command: Sequence[str] = ()) -> RunConfig:
    """A run by its keys, with the checkpoints that they list. UserError for a protocol or limit that is none."""
    data_root = None if keys.data_root is None else Path(keys.data_root)
    with cache_at(keys.cache_dir):
        frames = None if keys.no_cache else cache_home() / "frames"
    engine = {name: getattr(keys, name) for name in EngineKeys.model_fields}
    options = EngineOptions(**engine, data_root=data_root, media_cache_dir=frames, seed=keys.seed[0])
    limit, limits = read_limits(keys.limit)
    # Fields that are called like a key have its value, where nothing else is said below.
    same = {name: getattr(keys, name) for name in RunKeys.model_fields if name in RunConfig.__dataclass_fields__}
    return RunConfig(**{
        **same,
        "models": keys.model or (),
        "output": keys.output or OUTPUT,
        "model_files": keys.models or (),
        "tasks_dirs": keys.tasks_dir or (),
        "listed": tuple(listed),
        "overrides": keys.set,
        "limit": limit,
        "limits": limits,
        "system": read_system(keys.system),
        "max_failures": MaxFailures(keys.max_failures),
        "seed": keys.seed[0],
        "seeds": keys.seed,
        "media": media_limits(keys),
        "protocol": None if keys.protocol is None else load_protocol(keys.protocol),
        "options": options,
        "command": tuple(command),
        "said": recorded(keys, listed),
    })


def recorded(keys: RunKeys, listed: Sequence[ModelChoice]) -> dict[str, Any]:
    """The keys that were given, as JSON and YAML have them; `read_config` of them is the same run again."""
    values = {name: value for name, value in given_keys(keys).items() if value is not None}
    if "checkpoints" in values:
        names = ("label", "variant", "coordinates", "prompts")
        words = [{name: value for name in names if (value := getattr(choice, name)) is not None} for choice in listed]
        values["checkpoints"] = [{"path": str(choice.path.resolve()), **more}
                                for choice, more in zip(listed, words, strict=True)]  # fmt: skip
    values |= {name: [*values[name]] for name in ("limit", "seed") if name in values}
    if "max_tokens" in values:
        values["max_tokens"] = ",".join(f"{limit}" if name is None else f"{name}:{limit}"
                                       for name, limit in keys.max_tokens)  # fmt: skip
    return values


def media_limits(keys: MediaKeys) -> dict[str, Any]:
    """The media limits that keys name, as fields of `MediaPolicy`."""
    return keys.model_dump(include={*MediaKeys.model_fields}, by_alias=True, exclude_none=True)


_TEXT_ENDINGS: Final = (".txt", ".md")
_PATH_STARTS: Final = ("/", "./", "../", "~")


def read_system(word: str | None) -> str | None:
    """The text of a system prompt: that of the file of this name, else the words themselves. The line end at a file's
    end is left out. None stays None. UserError for what looks like a file and is none, or cannot be read."""
    if word is None:
        return None
    if len(word) > 4096 or "\n" in word or not word:
        return word
    try:
        file = Path(word).expanduser()
        missing = not file.is_file()
    except (OSError, RuntimeError, ValueError):  # words that no file can be called
        return word
    if missing:
        if word.endswith(_TEXT_ENDINGS) or (word.startswith(_PATH_STARTS) and " " not in word):
            raise UserError(f"--system {word}: there is no such file; name a text file, or give the system prompt "
                            "itself in quotes")
        return word
    try:
        return file.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, ValueError) as error:
        raise UserError(f"--system {word} cannot be read as text ({error}): save it as UTF-8") from error
