"""YAML files as typed objects, and what is wrong with one in one sentence: the key, what it takes, the nearest key."""

from __future__ import annotations

import dataclasses
import itertools
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mmrope_eval.errors import UserError
from mmrope_eval.words import ended, nearest, shortened, shown

T = TypeVar("T", bound=BaseModel)
Place = tuple[str | int, ...]
_UNKNOWN: Final = ("extra_forbidden", "invalid_key", "unexpected_keyword_argument")
_TAKES: Final = {
    "string_type": "text", "bool_type": "true or false", "int_type": "a whole number",
    "int_from_float": "a whole number", "float_type": "a number", "finite_number": "a finite number",
    "list_type": "a list", "tuple_type": "a list", **dict.fromkeys(
        ("dict_type", "mapping_type", "model_type", "dataclass_type", "model_attributes_type"), "a mapping"),
    "literal_error": "{expected}", "greater_than_equal": "at least {ge:.10g}", "less_than_equal": "at most {le:.10g}",
    "greater_than": "above {gt:.10g}", "less_than": "below {lt:.10g}",
}  # fmt: skip
"""Kinds of errors, and what the value must be."""
_EMPTY: Final = {"string_too_short": "is empty: it takes text", "too_short": "is empty: it takes at least one entry"}


def typed(kind: type[T], content: Any, where: str, see: str = "") -> T:
    """Content as a `kind`. UserError, beginning with `where` and ending with `see`, for what it cannot be."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise UserError(ended(f"{where}: {sentence(error, kind)}{see}")) from error


def sentence(error: ValidationError, kind: Any = None) -> str:
    """What is wrong first, without a full stop; a misspelt key before the key that it leaves missing. `kind` is the
    type that was asked for: its fields are the known keys, and their descriptions say what is missing."""
    errors = error.errors(include_url=False)
    first = min(errors, key=lambda failing: not _no_key(failing))
    unknown = _no_key(first)
    place, names, description = _walked(kind, first["loc"], unknown)
    if unknown:
        close = nearest(str(place[-1]), names, 0.6)
        hint = f", did you mean '{close}'?" if close else f", the keys are {', '.join(names)}" if names else ""
        return _at(place, hint, "unknown key ")
    if first["type"] == "missing":
        return _at(place, f" is missing{': ' * bool(description)}{description}", "key ")
    inner = (first.get("ctx") or {}).get("error")
    if first["type"] == "value_error" and inner is not None:
        words = str(inner).removesuffix(".")
        return _at(place, f": {words}" if words[:1].isupper() else f" {words}") if place else words
    if first["type"] == "json_invalid":
        half = "half of a surrogate pair, which is no character: " if "hex escape" in first["msg"] else ""
        return half + shortened(first["msg"], 200)
    same = [failing for failing in errors if _walked(kind, failing["loc"])[0] == place]
    if first["type"] in _EMPTY and len(same) == 1:
        return _at(place, f" {_EMPTY[first['type']]}")
    takes = " or ".join(dict.fromkeys(_takes(failing) for failing in same))
    quotes = first["type"] == "string_type" and len(same) == 1 and isinstance(first["input"], int | float)
    return _at(place, f" must be {takes}, not {shown(first['input'])}{': put it in quotes' * quotes}")


def _no_key(error: Any) -> bool:
    return error["type"] in _UNKNOWN or ("[key]" in error["loc"] and error["type"] == "literal_error")


def _at(place: Place, after: str, before: str = "") -> str:
    """Words before and after a place in a file: `runs, entry 2: 'limit' must be above 0`."""
    keys = list(itertools.takewhile(lambda part: isinstance(part, str), reversed(place)))[::-1]
    if not keys:
        return f"{_path(place)}{after}".strip()
    head = place[: len(place) - len(keys)]
    return f"{_path(head)}{': ' * bool(head)}{before}'{_path(keys)}'{after}"


def _path(place: Sequence[str | int]) -> str:
    text = ""
    for at, part in enumerate(place):
        key = f"entry {part + 1}" if isinstance(part, int) else shortened(part, 60)
        joint = "" if at == 0 else ", " if isinstance(part, int) else ": " if isinstance(place[at - 1], int) else "."
        text += joint + key
    return text


def _takes(error: Any) -> str:
    """What a value must be, from one error of pydantic's."""
    words = _TAKES.get(error["type"])
    if words is not None:
        return words.format(**error.get("ctx") or {})
    return shortened(error["msg"].removeprefix("Value error, ").removeprefix("Input should be "), 160)


def _walked(kind: Any, loc: Sequence[str | int], keep_last: bool = False) -> tuple[Place, list[str], str]:
    """pydantic's place of an error as (keys and numbers of entries, the keys known there, what the last one is). Names
    that it gives to the members of a union are no part of the file."""
    parts = [part for part in loc if part != "[key]"]
    if kind is None:
        return tuple(parts), [], ""
    kinds, names, description = list(_kinds(kind)), [], ""
    place: list[str | int] = []
    for at, part in enumerate(parts):
        inside = [_inside(each) for each in kinds]
        steps_on = [steps[key] for steps in inside for key in (part, type(part)) if key in steps]
        if steps_on or (keep_last and at == len(parts) - 1):
            place.append(part if steps_on else str(part))
            names = [name for steps in inside for name in steps if isinstance(name, str)]
            kinds = [below for step, _ in steps_on for below in _kinds(step)]
            description = "".join(words for _, words in steps_on[:1])
    return tuple(place), names, description


def _inside(kind: Any) -> dict[str | type, tuple[Any, str]]:
    """What can stand in a mapping or a list, as (type, words): by name, or for any key or number by the type of it."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {field.alias or name: (field.annotation, field.description or "")
                for name, field in kind.model_fields.items()}  # fmt: skip
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return {field.name: (hints[field.name], "") for field in dataclasses.fields(kind)}
    args = typing.get_args(kind)
    if issubclass(typing.get_origin(kind), Mapping):
        named = typing.get_origin(args[0]) is typing.Literal
        return dict.fromkeys(typing.get_args(args[0]) if named else (str,), (args[1], ""))
    return {int: (args[0], "")}


def _kinds(annotation: Any) -> Iterator[Any]:
    """The classes with fields, the mappings and the lists that an annotation allows."""
    origin = typing.get_origin(annotation)
    if origin is None:
        # What annotates a type (BeforeValidator) may be an instance of a dataclass.
        if isinstance(annotation, type) and (dataclasses.is_dataclass(annotation) or issubclass(annotation, BaseModel)):
            yield annotation
    elif origin in (typing.Annotated, typing.Union, types.UnionType):
        for part in typing.get_args(annotation):
            yield from _kinds(part)
    elif isinstance(origin, type) and issubclass(origin, Mapping | Sequence | set | frozenset):
        yield annotation


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Safe YAML of a file."""

    folder: Path
    """Of the file that is read."""


def _refuse_twice(root: yaml.Node) -> None:
    """An error where a key stands twice in a mapping, of which YAML would keep the last in silence."""
    pending, seen = [root], set()
    while pending:
        node = pending.pop()
        if id(node) in seen or isinstance(node, yaml.ScalarNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
            continue
        keys = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in keys:
                raise yaml.MarkedYAMLError(problem=f"the key '{key.value}' stands twice", problem_mark=key.start_mark)
            keys.add(key.value)
        pending += (part for pair in node.value for part in pair)


def read_yaml(path: Path, loader: type[Loader] = Loader) -> Any:
    """What a YAML file holds. UserError names the file and, where there is one, the line."""
    try:
        with path.open("rb") as stream:
            reading = loader(stream)
            reading.folder = path.parent
            try:
                root = reading.get_single_node()
                if root is None:
                    return None
                _refuse_twice(root)
                return reading.construct_document(root)
            finally:
                reading.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise UserError(f"{path} cannot be read as YAML: {error.problem or error.context}{where}.") from error
    # Besides YAML's own errors its constructors let through what a bad number, date or tag makes Python raise.
    except (OSError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError,
            yaml.YAMLError) as error:  # fmt: skip
        cause = error.strerror if isinstance(error, OSError) and error.strerror else shortened(str(error), 300)
        raise UserError(f"{path} cannot be read as YAML: {cause}.") from error


def read_mapping(path: Path, loader: type[Loader] = Loader) -> dict[str, Any]:
    """The mapping of names to values that a YAML file holds. UserError where it holds none."""
    content = read_yaml(path, loader)
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path} must hold a YAML mapping of keys to values.")
    return content
