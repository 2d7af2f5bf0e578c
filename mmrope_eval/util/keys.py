"""Keys: what a file or a command line may say, each declared once with its type, its default and its words.

A kind of file is a class of `Keys`, and so is what a command is asked; `cli.options` makes the options of a command
line from it. Values are what YAML has for them: numbers, text, lists, mappings. Imported with the command line, so
nothing here is heavy.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from mmrope_eval.errors import UserError


def _text(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _words(value: Any) -> Any:
    return [_text(value)] if isinstance(value, str | os.PathLike) else _list(value)


def _list(value: Any) -> Any:
    return [_text(word) for word in value] if isinstance(value, list | tuple) else value


def comma_separated(text: str) -> list[str]:
    """The words of a comma-separated list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def split_names(value: Any) -> Any:
    """Names: a list, or text with commas between."""
    value = _text(value)
    return comma_separated(value) if isinstance(value, str) else _list(value)


def split_numbers(value: Any) -> Any:
    """Whole numbers: one, a list, or text with commas between."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    if isinstance(value, str):
        try:
            return tuple(map(int, comma_separated(value)))
        except ValueError:
            raise ValueError(f"must be a whole number, or several with commas between, not '{value}'") from None
    return tuple(value) if isinstance(value, list) else value


def _seed(value: int) -> int:
    if not -(2**63) <= value < 2**64:
        raise ValueError(f"does not fit into 64 bits: {value}")
    return value


def _numbers(value: Any) -> Any:
    """Numbers: a list, or words with commas between."""
    try:
        return [float(word) for word in comma_separated(value)] if isinstance(value, str) else value
    except ValueError:
        raise ValueError(f"must be numbers with commas between, not '{value}'") from None


def _step(value: Any) -> Any:
    """A training step as a word of the command line."""
    if isinstance(value, str) and value not in ("last", "all"):
        if not value.isdecimal():
            raise ValueError(f"must be a training step, last or all, not '{value}'")
        return int(value)
    return value


def _pairs(value: Any) -> Any:
    """Pairs: a list, or one as NAME=GLOB."""
    if isinstance(value, str):
        name, _, glob = (word.strip() for word in value.partition("="))
        if not (name and glob):
            raise ValueError(f"must be NAME=GLOB, such as 4B='*4B*', not '{value}'")
        return [(name, glob)]
    return value


Text = Annotated[str, Field(min_length=1), BeforeValidator(_text)]
PathText = Annotated[Text, AfterValidator(lambda text: str(Path(text)))]
Place = Annotated[Path, Field(strict=False)]
Words = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_words), Field(min_length=1)]
Paths = Annotated[list[PathText], BeforeValidator(_words), Field(min_length=1)]
Names = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(split_names)]
Entries = Annotated[list[Any], BeforeValidator(_words), Field(min_length=1)]
Positive = Annotated[int, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Whole = Annotated[int, Field(ge=0)]
Seed = Annotated[int, AfterValidator(_seed)]
Seeds = Annotated[tuple[Seed, ...], BeforeValidator(split_numbers), Field(min_length=1)]
Places = Annotated[list[Place], BeforeValidator(_words)]
Numbers = Annotated[list[Rate], BeforeValidator(_numbers), Field(min_length=1)]
Step = Annotated[Whole | Literal["last", "all"], BeforeValidator(_step)]
Pairs = Annotated[list[tuple[str, str]], BeforeValidator(_pairs)]

ROOT: Final = "where the data sets are: a mirror (org/name/...), a hub cache, an HF_HOME, or VLMEvalKit's LMUData"
DATA_ROOT: Final = f"{ROOT}; default: the hub's caches (HF_HOME), then the hub"
TASKS_DIR: Final = "add the task files in DIR to the shipped ones (docs/benchmark.md); may be repeated"
CACHE_DIR: Final = (
    "where tables, frames, unpacked videos and hashes are kept; default: $MMROPE_CACHE, else mmrope-eval in "
    "$XDG_CACHE_HOME"
)
"""Words of keys that several kinds have."""


def option(words: str, default: Any = None, *, group: str = "", metavar: str = "N", name: str | None = None,
           also: Sequence[str] = (), policy: str | None = None, **more: Any) -> Any:
    """A field that is an option of a command line too: with which words and in which group of --help, under which name
    where it is not the field's (and `also` which other ones), and what the parser is told that the type does not say. A
    `default` of ... makes it required. `policy`: its field of `MediaPolicy`."""
    told: dict[str, Any] = {"group": group, "metavar": metavar, "option": name, "also": list(also), "more": more}
    return Field(default, description=words, serialization_alias=policy, json_schema_extra=told)


def argument(words: str, default: Any = ..., *, metavar: str, **more: Any) -> Any:
    """A field that a command line takes as a word without a name; else as `option`."""
    return option(words, default, metavar=metavar, name="", **more)


class Keys(BaseModel):
    """Keys of a file, or options of a command; one that nothing reads is an error."""

    groups: ClassVar[tuple[str, ...]] = ()
    """Titles of the groups of its options, in their order."""
    epilog: ClassVar[str] = ""
    """What --help says below the options."""

    # Deferred: most of these are bases, whose validators nobody needs, and --help has no time to lose.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _by_field(cls, content: Any) -> Any:
        return by_field(cls, content) if isinstance(content, Mapping) else content


def by_field(kind: type[Keys], content: Mapping[str, Any]) -> dict[str, Any]:
    """Keys by the names of a kind's fields, also of those that are spelled like the option (`variant`)."""
    spelled = {extra["option"]: name for name, field in kind.model_fields.items()
               if isinstance(extra := field.json_schema_extra, dict) and isinstance(extra.get("option"), str)}
    return {name if (name := spelled.get(key, key)) == key or name not in content else key: value
            for key, value in content.items()}


def field_of(kind: type[Keys], name: str, words: str | None = None, *, group: str = "") -> Any:
    """Take over a field from another kind, in a group of its own, and with `words` in place of its own."""
    field = kind.model_fields[name]
    told = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Field(field.default, description=words or field.description, json_schema_extra={**told, "group": group})


def in_groups(kind: type[Keys], *titles: str) -> frozenset[str]:
    """The names of the fields of a kind that stand in these groups of --help."""
    return frozenset(name for name, field in kind.model_fields.items()
                     if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["group"] in titles)


def refuse_unread(keys: Keys, uses: Mapping[str, Collection[str]], use: str) -> None:
    """UserError for an option that was given though this use of a command does not read it; `uses` has, for each use in
    words, the options that not every use reads."""
    for name in type(keys).model_fields:
        readers = [other for other, names in uses.items() if name in names]
        if name in keys.model_fields_set and readers and use not in readers:
            raise UserError(f"--{name.replace('_', '-')} is not read for {use}, only for {' and '.join(readers)}; "
                            "leave it out.")


def given_keys(keys: Keys) -> dict[str, Any]:
    """The keys that a file or a command line gave, with their values."""
    return keys.model_dump(exclude_unset=True)
