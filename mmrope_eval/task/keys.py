"""The keys of a task file: one class a mapping, which takes no key that nothing reads.

The names are lmms-eval's, so that it loads the same files. Keys of it that are not obeyed here are refused by name.
"""

from __future__ import annotations

import reprlib
import typing
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mmrope_eval.task.lmms_names import HOOKS, LMMS_METRICS, current_name
from mmrope_eval.task.yaml_text import Function, nearest

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
Texts = Annotated[tuple[Text, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)]
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


class CounterpartKeys(_Keys):
    """Another harness' task for the same responses."""

    task: Annotated[Text, Field(description="the name of the other harness' task")]
    group_by: Text | None = None
    note: Text | None = None


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
    stock: Annotated[CounterpartKeys | None, BeforeValidator(_named_task)] = None
    vlmevalkit: Annotated[CounterpartKeys | None, BeforeValidator(_named_task)] = None
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


# --------------------------------------------------------------------------------------------------------------

_KINDS: Final = {
    "string_type": "must be text", "string_too_short": "is empty; it takes text", "bool_type": "must be true or false",
    "int_type": "must be a whole number", "float_type": "must be a number", "list_type": "must be a list",
    "tuple_type": "must be text or a list of texts", "too_short": "is an empty list",
    "dict_type": "must be a mapping", "model_type": "must be a mapping", "literal_error": "must be {expected}",
    "greater_than_equal": "must be at least {ge:g}", "less_than_equal": "must be at most {le:g}",
}  # fmt: skip
_SHORT: Final = reprlib.Repr()


def shown(value: object) -> str:
    """A value as a sentence can hold it."""
    return " ".join(_SHORT.repr(str(value) if isinstance(value, Function) else value).split())


def sentence(error: ValidationError) -> str:
    """What is wrong with a file, in our words; a misspelt key before the key that it leaves missing."""
    first = min(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    *inside, key = [str(part) for part in first["loc"] if part != "[key]"] or [""]
    where = ".".join([*inside, key])
    if first["type"] == "extra_forbidden" or "[key]" in first["loc"]:
        return _unknown_key(inside, key)
    if first["type"] == "missing":
        meaning = _fields(inside)[key].description
        return f"{'.'.join(inside)}{': ' * bool(inside)}'{key}' is missing{': ' * bool(meaning)}{meaning or ''}."
    if first["type"] == "value_error":
        reason = str(first["ctx"]["error"])
        return f"'{where}' {reason}." if key else f"{reason}."
    kind = _KINDS.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
    plain = first["type"] == "string_type" and not isinstance(first["input"], list | dict)
    return f"'{where}' {kind}, not {shown(first['input'])}{': put it in quotes' if plain else ''}."


def _unknown_key(inside: list[str], key: str) -> str:
    if not inside and key in NOT_OBEYED:
        return f"'{key}' is a key of lmms-eval that is not obeyed here, for {NOT_OBEYED[key]}; leave it out."
    keys = _fields(inside) or dict.fromkeys(("samples", "objects", "expressions", "questions"))
    close = nearest(key, keys, 0.6)
    hint = f"did you mean '{close}'?" if close else f"the keys there are {', '.join(keys)}."
    return f"'{'.'.join([*inside, key])}' is no key of a task file; {hint}"


def _fields(place: list[str]) -> dict[str, Any]:
    """The fields of the mapping at a place in the file, by the names that they have there; none where any may be."""
    kind: type[BaseModel] | None = TaskKeys
    for part in place:
        if kind is None:
            return {}
        field = _by_name(kind).get(part)
        kind = next(_models(field.annotation), None) if field is not None else kind
    return _by_name(kind) if kind is not None else {}


def _by_name(kind: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in kind.model_fields.items()}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)
