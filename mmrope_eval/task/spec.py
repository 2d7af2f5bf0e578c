"""What a task file declares, as the program uses it.

`TaskKeys` has the keys of a task file: one class a mapping, which takes no key that nothing reads. The names are
lmms-eval's, so that it loads the same files. Keys of it that are not obeyed here are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mmrope_eval.errors import UserError
from mmrope_eval.messages import Generation
from mmrope_eval.task.yaml_text import HOOKS, LMMS_METRICS, Function, content_hash, current_name
from mmrope_eval.words import shown

PREFIX: Final = "mmrope_"
"""lmms-eval's built-in task names win over ours, so ours carry a prefix there; users need not type it."""
FOLLOWS: Final = {"paper": "qwen2-vl"}
"""The paper follows "the official evaluation protocol of Qwen2VL" (section 3.1) and publishes no wording of its own."""


@dataclass(frozen=True)
class TaskSpec:
    """One benchmark column, as its YAML file declares it."""

    name: str
    path: Path
    dataset: str
    """A name on the hub, or the absolute path of a folder."""
    subset: str | None
    split: str
    column: str
    category: str
    scorer: str
    metrics: tuple[str, ...]
    """The values reported, the main one first."""
    chance: float | None
    generation: Generation
    media: Mapping[str, Any]
    """Which field holds the image or the video, and the folders in which videos lie."""
    prompts: Mapping[str, str]
    """Jinja templates by prompt family; `default` always exists."""
    question: str | None
    """The field that must not be empty."""
    target: Mapping[str, str]
    """Jinja expressions over the row's fields."""
    version: int
    dataset_kwargs: Mapping[str, Any]
    expected: Mapping[str, int]
    average: str = "micro"
    """How samples become the column's number: a name in `aggregate.AGGREGATES`."""
    stock: Counterpart | None = None
    """lmms-eval's counterpart, where there is one."""
    vlmevalkit: Counterpart | None = None
    """VLMEvalKit's."""
    groups: tuple[str, ...] = ()
    """The groups that a whole data set has (sub-tasks, categories), where the number depends on having them all."""
    suites: tuple[str, ...] = ()
    """Suites that the task joins."""
    subsets: tuple[str, ...] = ()
    """The configurations over which the rows are spread, where that is more than one."""
    videos_from: str | None = None
    """The data set that has the videos, where this one has none."""
    files: tuple[str, ...] = ()
    """What of the data set's files on the hub the task needs, as patterns; all of them where this is empty."""
    bytes: int | None = None
    """How much that is, about, as the hub's pages said."""
    strata: str | None = None
    """A Jinja expression of the group over which a limit spreads its sample, where that is not the target's group."""
    together: str | None = None
    """A Jinja expression by which rows count only together, so that a limit takes all or none of them."""
    cluster: str | None = None
    """What samples stand or fall with: a word of `clusters.SHOWN`, `question`, or a Jinja expression over the row's
    fields; None: what they show."""
    lmudata: Mapping[str, Any] | None = None
    """How the rows are made from VLMEvalKit's table of the benchmark, where it has one (see data/recipe.py)."""
    licence: str | None = None
    """Of the data set, as its authors state it."""
    generated: str | None = None
    """The command that makes the data, where they are generated and lie on no hub; it takes `--out DIR`."""
    content: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """The file as lmms-eval gets it, with what it includes and what it leaves to us."""

    def prompt(self, family: str) -> str:
        """The prompt template of a family, else of the one whose protocol it follows, else the task's default one."""
        names = (family, FOLLOWS.get(family, "default"), "default")
        return next(self.prompts[name] for name in names if name in self.prompts)

    @property
    def expected_samples(self) -> int | None:
        """How many samples the whole benchmark has, as its authors say; None where the file does not."""
        return self.expected.get("expressions") or self.expected.get("samples")

    @property
    def local(self) -> bool:
        """Whether the data set is a folder of this machine, whatever --data-root says."""
        return Path(self.dataset).is_absolute()

    def fingerprint(self) -> str:
        """sha256 over all that the file decides."""
        return content_hash(self.content)

    def planned_by(self) -> dict[str, Any]:
        """The part of `content` that decides which samples there are and what each is asked."""
        content = {key: value for key, value in self.content.items() if key != "metadata"}
        metadata = self.content.get("metadata") or {}
        about_rows = ("cluster", "subsets", "videos_from", "strata", "together", "lmudata")
        return {**content, **{key: metadata.get(key) for key in about_rows}}


TELLING: Final = frozenset({"dataset_path", "task", "lmms_eval_specific_kwargs", "model_specific_target_kwargs"})
"""Keys of which a task file has at least one, and no other kind of file here."""
NOT_OBEYED: Final = {
    **dict.fromkeys(("num_fewshot", "fewshot_split", "fewshot_config", "fewshot_delimiter"),
                    "every question is asked by itself"),
    **dict.fromkeys(("description", "target_delimiter", "use_prompt"), "the wording is `prompt`, whole"),
    **dict.fromkeys(("process_results", "filter_list", "reasoning_tags", "auto_strip_thinking", "doc_to_choice"),
                    "a `scorer` reads the answers"),
    "model_specific_generation_kwargs": "`generation_kwargs` hold for every checkpoint",
    "training_split": "the split that is asked is `test_split`",
    "repeats": "every question is asked once",
    "doc_to_messages": "what is shown is `media` and `prompt`",
}  # fmt: skip
"""Keys of lmms-eval's task files that would mean something there, each with what holds here instead."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _texts(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be text or a list of texts, not {shown(value)}")
    return tuple(value)


def _text_of_number(value: Any) -> Any:
    """`options: 4` is the expression `4`."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _number_of_text(value: Any) -> Any:
    """YAML takes `139e6`, without a point, for text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _only(name: str, reason: str) -> Callable[[Any], Any]:
    """A check that a function is the one that can be."""
    def check(value: Any) -> Any:
        if not isinstance(value, Function) or current_name(value) != f"{HOOKS}.{name}":
            raise ValueError(f"must be !function {HOOKS}.{name}, or be left out: {reason}")
        return value

    return check


def _function(value: Any) -> Any:
    if not isinstance(value, Function) or not value.module:
        raise ValueError(f"must be a Python function, '!function module.name', not {shown(value)}")
    return value


def _named_task(value: Any) -> Any:
    return {"task": value} if isinstance(value, str) else value


def _mean(value: Any) -> Any:
    if str(value) != "mean" and current_name(str(value)) != f"{LMMS_METRICS}.mean":
        raise ValueError(f"must be mean, not {shown(value)}: other averages are 'metadata.average'")
    return value


def _none_is_nothing(value: Any) -> Any:
    return {} if value is None else value


Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_texts)]
OneOrMore = Annotated[Texts, BeforeValidator(_listed), Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


class _Keys(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Media(_Keys):
    """Where a row's pictures or its video are."""

    image: OneOrMore | None = None
    images: OneOrMore | None = None
    placeholder: Text | None = None
    video: OneOrMore | None = None
    start: Text | None = None
    end: Text | None = None
    folders: OneOrMore | None = None
    subtitles: OneOrMore | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Media:
        given = [name for name in ("image", "images", "video") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"must have one of image, images and video, not {' and '.join(given)}")
        needs = {"placeholder": "images", **dict.fromkeys(("start", "end", "folders", "subtitles"), "video")}
        for name, other in needs.items():
            if getattr(self, name) is not None and getattr(self, other) is None:
                raise ValueError(f"has '{name}', which is only read with '{other}'")
        if (self.start is None) != (self.end is None):
            raise ValueError("needs both 'start' and 'end' of a span, in seconds, or neither")
        if self.placeholder is not None and "{}" not in self.placeholder:
            raise ValueError("needs '{}' in 'placeholder', where the picture's number stands: \"<image {}>\"")
        return self


class Wording(_Keys):
    """How one prompt family is asked."""

    prompt: Annotated[Text, Field(description="the wording, a Jinja template over the row's fields")]
    media: Media | None = None


class Target(_Keys):
    """What an answer is measured against."""

    scorer: Annotated[Text, Field(description="what reads the answers")]
    target: Annotated[dict[str, Annotated[Text, BeforeValidator(_text_of_number)]],
                      Field(description="what is right, Jinja expressions over the row's fields")]
    question: Text | None = None
    coordinates: Literal["absolute", "thousand", "unit"] = "thousand"
    image: Text = "image"


class Targets(_Keys):
    """lmms-eval's place for it; only `default` is read."""

    default: Annotated[Target, Field(description="scorer and target")]


class GenerationKeys(_Keys):
    """How an answer is generated."""

    max_new_tokens: Annotated[Count, Field(description="the longest answer, in tokens")]
    temperature: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    do_sample: bool = True
    until: Annotated[Texts, BeforeValidator(_listed)] | None = None


class DatasetKeys(_Keys):
    """What lmms-eval is told about fetching from the hub."""

    video: bool = False
    cache_dir: Text | None = None
    revision: Text | None = None
    create_link: bool = False
    force_unzip: bool = False
    token: bool | None = None


class MetricKeys(_Keys):
    """One reported value. The average over samples is `metadata.average`; lmms-eval alone knows its own mean."""

    metric: Annotated[Text, Field(description="a value of the scorer")]
    aggregation: Annotated[Any, BeforeValidator(_mean)] = None
    higher_is_better: Literal[True] = True


class Counterpart(_Keys):
    """Another harness' task whose own scoring reads the same responses."""

    task: Annotated[Text, Field(description="the name of the other harness' task")]
    """In `stock.STOCK` or `vlmevalkit.KIT`."""
    group_by: Text | None = None
    """The row's field that tells the tasks of a family apart whose numbers are averaged (lmms-eval's MVBench)."""
    note: Text | None = None
    """What to know about the comparison, beside what holds for every use of the other task."""


class Metadata(_Keys):
    """What lmms-eval does not know of a benchmark."""

    column: Annotated[Text, Field(description="what tables call the benchmark")]
    category: Annotated[Text, Field(description="image, video, grounding or a word of your own")]
    version: Count = 1
    average: Text = "micro"
    chance: Annotated[float, Field(ge=0, le=100)] | None = None
    groups: Texts = ()
    strata: Text | None = None
    together: Text | None = None
    cluster: Text | None = None
    subsets: dict[str, Text] = {}
    stock: Annotated[Counterpart | None, BeforeValidator(_named_task)] = None
    vlmevalkit: Annotated[Counterpart | None, BeforeValidator(_named_task)] = None
    suites: Annotated[Texts, BeforeValidator(_listed)] = ()
    expected: dict[Literal["samples", "objects", "expressions", "questions"], Count] = {}
    videos_from: Text | None = None
    files: Texts = ()
    lmudata: dict[str, Any] | None = None
    bytes: Annotated[float | None, BeforeValidator(_number_of_text)] = None
    licence: Text | None = None
    generated: Text | None = None


class TaskKeys(_Keys):
    """A whole task file."""

    task: Text | None = None
    tag: Any = None
    task_alias: Any = None
    dataset_path: Annotated[Text, Field(description="the data set's name on the hub, or a folder")]
    dataset_name: Text | None = None
    dataset_kwargs: Annotated[DatasetKeys, BeforeValidator(_none_is_nothing)] = DatasetKeys()
    test_split: Text | None = None
    validation_split: Text | None = None
    output_type: Literal["generate_until"] = "generate_until"
    subset_class: Annotated[Any, BeforeValidator(_function), Field(alias="class")] = None
    process_docs: Annotated[Any, BeforeValidator(_function)] = None
    process_results_use_image: bool = False
    doc_to_visual: Annotated[Any, BeforeValidator(_only("doc_to_visual", "`media` says what is shown"))] = None
    doc_to_text: Annotated[Any, BeforeValidator(_only("doc_to_text", "`prompt` is the wording"))] = None
    doc_to_target: Annotated[Any, BeforeValidator(_only("doc_to_target", "`target` is what is right"))] = None
    generation_kwargs: Annotated[GenerationKeys, Field(description="`{max_new_tokens: N}`")]
    wordings: dict[str, Wording] = Field(alias="lmms_eval_specific_kwargs", description="media and prompts")
    targets: Targets = Field(alias="model_specific_target_kwargs", description="scorer and target")
    metric_list: list[MetricKeys] | None = None
    metadata: Annotated[Metadata, Field(description="column, category and what else lmms-eval does not know")]

    @model_validator(mode="after")
    def _wordings(self) -> TaskKeys:
        if "default" not in self.wordings:
            raise ValueError("'lmms_eval_specific_kwargs' has no 'default': the media, and the wording for families "
                             "without one of their own")  # fmt: skip
        if self.wordings["default"].media is None:
            raise ValueError("'lmms_eval_specific_kwargs.default' has no 'media': {image: FIELD}, {video: FIELD}, or "
                             "{} for questions without any")  # fmt: skip
        for family, wording in self.wordings.items():
            if family != "default" and wording.media is not None:
                raise ValueError(f"'lmms_eval_specific_kwargs.{family}.media' is not read: all families are shown the "
                                 "default's")  # fmt: skip
        return self


def refuse_not_obeyed(raw: Mapping[str, Any]) -> None:
    """UserError for a key of lmms-eval that is not obeyed here."""
    for key in raw:
        if key in NOT_OBEYED:
            raise UserError(f"'{key}' is a key of lmms-eval that is not obeyed here, for {NOT_OBEYED[key]}; leave it "
                            "out.")
