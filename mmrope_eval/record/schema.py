"""The records of a run, as types: scores.json, manifest.json, a line of samples/<task>.jsonl, failed.json, sweep.json.

Every number has its range and is finite. Keys that are not named here are ignored, so that a record may gain some
within one format; what versions 0.2 and 0.3 did not write has a default. Names and causes are made visible when they
are read (`words.visible`): whatever shows them later, they cannot act on a terminal.
"""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mmrope_eval.words import visible

FORMAT: Final = 1
"""Of all records; a newer one is refused by name."""
SCORES: Final = "scores.json"
MANIFEST: Final = "manifest.json"
SAMPLES: Final = "samples"
STORE: Final = "responses.sqlite"
FAILED_ROW: Final = "failed.json"
SWEEP: Final = "sweep.json"
STDERR_OVER: Final = "clusters or samples"
"""What the standard errors of a run of today take as independent."""


def _file_name(name: str) -> str:
    """A task's name is a file's name too."""
    if name.startswith(".") or "/" in name or "\\" in name or name != visible(name):
        raise ValueError("must be the name of a task")
    return name


def _below(folder: str) -> str:
    """A path that stays in the folder it starts from."""
    path = PurePosixPath(folder)
    if path.is_absolute() or ".." in path.parts or folder != visible(folder):
        raise ValueError("must be a folder below the record's own")
    return folder


Count = Annotated[int, Field(ge=0, le=10**15)]
Version = Annotated[int, Field(ge=0, le=10**9)]
Percent = Annotated[float, Field(ge=0, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
Position = Annotated[float, Field(ge=-1e15, le=1e15)]
Name = Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(visible)]
Words = Annotated[str, AfterValidator(visible)]
Key = Annotated[str, Field(min_length=1, max_length=1024)]
TaskName = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_file_name)]
Below = Annotated[str, Field(max_length=4096), AfterValidator(_below)]
Limit = Annotated[str, Field(pattern="^(first:)?[0-9]{1,9}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Record(BaseModel):
    """A part of a record."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    kind: ClassVar[str] = "a record of a run"
    """What the file is, in messages."""


class Value(Record):
    """One metric of a task, 0 to 100; `n` samples (or other units) it applies to."""

    value: Percent | None
    stderr: Percent | None = None
    n: Count


class Part(Record):
    """The mean of one group of a task's samples."""

    value: Percent | None
    n: Count


class TaskScores(Record):
    """A task's entry in scores.json."""

    column: Name
    category: Words | None = None
    main: Key
    metrics: dict[Key, Value]
    average: Key | None = None
    """Which of `record.aggregate.AGGREGATES` makes the numbers; None in records older than 0.2: `micro`."""
    stderr_over: Literal["clusters", "clusters or samples"] | None = None
    """What the standard errors take as independent: clusters (`SampleLine.together`) or samples, whichever makes the
    larger error, as in reports; in earlier records clusters alone, or samples (None), which no report reads."""
    groups: dict[str, Part] = {}
    chance: Percent | None = None
    n: Count
    expected: Count | None = None
    n_failed: Count | None = None
    n_truncated: Count | None = None
    n_unparsed: Count | None = None
    task_version: Version | None = None
    scorer: Key | None = None
    scorer_version: Version | None = None
    data_fingerprint: Key | None = None
    prompt_hash: Key | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None
    """At which the answers were drawn, where that is not what the task's file says; None: as it says."""

    @model_validator(mode="after")
    def _main_is_there(self) -> Self:
        if self.main not in self.metrics:
            raise ValueError("`main` should be one of its `metrics`")
        return self


class Checkpoint(Record):
    """Which weights; `step` and `run` are absent before 0.3."""

    path: Name
    fingerprint: Key | None = None
    step: Count | None = None
    run: Name | None = None


class VariantName(Record):
    """Which variant."""

    name: Name
    fingerprint: Key | None = None
    assumed: bool | None = None


class Scores(Record):
    """scores.json."""

    kind: ClassVar[str] = "the scores of a run"

    label: Words = ""
    checkpoint: Checkpoint
    variant: VariantName
    coordinates: Key | None = None
    prompts: Key | None = None
    system: str | None = None
    """The system prompt; None: what the checkpoint's own chat template puts there."""
    tasks: dict[TaskName, TaskScores]
    failed_tasks: dict[TaskName, Words] = {}
    """Tasks whose rows could not be read, each with the cause."""


class VariantRecord(Record):
    """The variant in manifest.json, with its whole definition, which `rope` reads."""

    how: Words = ""
    assumed: bool | None = None
    fingerprint: Key | None = None
    definition: dict[str, Any] | None = None


class Generation(Record):
    """How a task's answers were generated."""

    max_tokens: Count | None = None
    temperature: Annotated[float, Field(ge=0)] | None = None


class TaskFile(Record):
    """The file of a task of one's own, as it was."""

    path: Annotated[str, Field(min_length=1, max_length=4096)]
    sha256: Key


class AskedTask(Record):
    """A task's entry in manifest.json; what it repeats of scores.json is compared with it."""

    file: TaskFile | None = None
    limit: Annotated[int, Field(ge=1, le=10**15)] | Limit | None = None
    """Of the command that asked this task; before 0.4 the manifest's, as all tasks had one command."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    data_root: str | None = None
    generation: Generation | None = None
    own_max_tokens: Count | None = None
    """The answer limit of the task's file, where another one may have been given."""
    own_temperature: Annotated[float, Field(ge=0)] | None = None
    """The temperature of the task's file; None before 0.4, when answers had no other."""
    n: Count | None = None
    n_failed: Count | None = None
    n_truncated: Count | None = None
    n_unparsed: Count | None = None
    data_fingerprint: Key | None = None
    prompt_hash: Key | None = None
    scorer_version: Version | None = None
    task_version: Version | None = None


class MediaLimits(Record):
    """The media policy that a row was asked under."""

    policy: dict[str, Any] | None = None
    token_side: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Pixels along the side of the square that one vision token covers."""


class ProtocolRecord(Record):
    """The protocol that a run named, and in what the row departs from it."""

    name: Name
    source: Words = ""
    departures: tuple[Words, ...] = ()


class Manifest(Record):
    """manifest.json: what the reports and `rescore` read of it."""

    kind: ClassVar[str] = "the manifest of a run"

    config: dict[str, Any] | None = None
    """The keys of the last command, those of its --config file included (docs/configuration.md); None before 0.4."""
    checkpoint: Checkpoint | None = None
    variant: VariantRecord | None = None
    family: dict[str, Any] | None = None
    media: MediaLimits | None = None
    time: Literal["index", "seconds"] | None = None
    """What the positions of a video's frames follow; None before 0.4."""
    protocol: ProtocolRecord | None = None
    context: dict[str, Any] | None = None
    limit: Annotated[int, Field(ge=1, le=10**15)] | Limit | None = None
    """A number is what versions up to 0.3 wrote."""
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    data_root: str | None = None
    tasks: dict[TaskName, AskedTask] | None = None
    sha256: dict[str, Sha256] | None = None
    """The seal, by file (see `record.files`); None before 0.4."""


class FailureCause(Record):
    """Why a sample has no answer."""

    stage: Words
    cause: Words


class Media(Record):
    """One picture or video of a sample."""

    fingerprint: Key
    medium: str | None = Field(default=None, alias="kind")
    """"image" or "video"."""


class Positions(Record):
    """Where a prompt's positions went."""

    max_position: Position | None = None


class SampleLine(Record):
    """A line of samples/<task>.jsonl: what is needed to score and compare it. 0 to 1; None: does not apply."""

    kind: ClassVar[str] = "a sample"

    id: Key
    scores: dict[Key, Share | None]
    failure: FailureCause | None
    truncated: bool
    parsed: Any
    prompt: str | None = None
    """The question's text."""
    prediction: str | None = None
    target: dict[str, Any] | None = None
    media: tuple[Media, ...] = ()
    cluster: Key | None = None
    """What the sample stands or falls with, as its task file says; None before 0.4."""
    prompt_tokens: Count | None = None
    positions: Positions | None = None

    @property
    def together(self) -> str:
        """One name for all samples that stand or fall together. Before 0.4: those with the same pictures, shown under
        the same media policy, or with the same span of a video; else the sample's id."""
        prints = [medium.fingerprint for medium in self.media]
        if self.cluster is not None or not prints:
            return self.cluster or self.id
        return prints[0] if len(prints) == 1 else hashlib.sha256("\n".join(prints).encode()).hexdigest()


class FailedRow(Record):
    """failed.json."""

    kind: ClassVar[str] = "the record of a row that failed"

    cause: Words


class SweepPoint(Record):
    """One measurement of a sweep; further columns of sweep.csv are kept as they are."""

    model_config = ConfigDict(extra="allow")

    model: Name
    variant: Name
    scaling: Name
    task: TaskName
    column: Name
    chance: Percent | None
    context: Annotated[int, Field(ge=1, le=10**12)]
    frames: Annotated[float, Field(ge=0, le=10**12)]
    factor: Annotated[float, Field(gt=0, le=10**12)]
    factor_rule: Key | None = None
    """What the factor follows; None where nothing is scaled, and before 0.4, when it was always `reach`."""
    status: Name
    cause: Words | None
    folder: Below | None = None

    @model_validator(mode="after")
    def _done_is_somewhere(self) -> Self:
        if self.status == "done" and self.folder is None:
            raise ValueError("a point that is `done` should have a `folder`")
        return self


class SweepRecord(Record):
    """sweep.json."""

    kind: ClassVar[str] = "the record of a sweep"

    title: Name
    train_context: Annotated[int, Field(ge=1, le=10**12)]
    points: tuple[SweepPoint, ...]
    empty: tuple[Name, ...] = ()
    """Variants that the sweep's file names as rows and no checkpoint was of."""
    sha256: dict[str, Sha256] | None = None
