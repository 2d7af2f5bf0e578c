"""The options of a command, made from the fields that declare them (`util.keys`).

They have no defaults here: what a command line does not say is None, and the field knows what it means then. A word of
the command line is read by a function that says what is wrong with it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mmrope_eval.util.config import sentence, typed
from mmrope_eval.util.keys import Keys, given_keys

K = TypeVar("K", bound=Keys)


def declared_options(parser: argparse.ArgumentParser, kind: type[Keys]) -> None:
    """Options and arguments for all fields of a kind that are declared as such, in their groups."""
    parser.epilog = kind.epilog
    fields = kind.model_json_schema(by_alias=False)["properties"].items()
    for title in ("", *kind.groups):
        group = parser.add_argument_group(title) if title else parser
        members = [(name, field) for name, field in fields if field.get("group") == title]
        for name, field in sorted(members, key=lambda member: member[0] not in kind.__annotations__):  # its own first
            _add(group, kind, name, field)


def _add(group: argparse._ActionsContainer, kind: type[Keys], name: str, field: Mapping[str, Any]) -> None:
    told = {"help": field["description"].replace("%(default)s", str(field.get("default"))), "default": None,
            **_value(kind, name, field), **field["more"]}  # fmt: skip
    if field["option"] == "":
        group.add_argument(name, **told)
    else:
        told |= {} if "default" in field else {"required": True}
        names = (field["option"] or name, *field["also"])
        group.add_argument(*(f"--{spelling.replace('_', '-')}" for spelling in names), dest=name, **told)


def _value(kind: type[Keys], name: str, field: Mapping[str, Any]) -> dict[str, Any]:
    """What argparse is told of a field's value, from its type as JSON schemas have it."""
    member, *others = [member for member in field.get("anyOf", [field]) if member["type"] != "null"]
    metavar = {"metavar": field["metavar"]}
    if member["type"] == "boolean":
        return {"action": "store_true" if field["default"] is False else argparse.BooleanOptionalAction}
    if member["type"] == "object":
        return {**metavar, "type": setting, "action": Settings}
    if "enum" in member and not others:
        return {"choices": member["enum"]}
    if "choices" in field["more"]:
        return {}
    action = "extend" if member["type"] == "array" else "store"
    reads = {} if "nargs" in field["more"] else {"type": word(kind.model_fields[name].rebuild_annotation())}
    return {**metavar, **reads, "action": action}


def options_as(kind: type[K], args: argparse.Namespace) -> K:
    """A command line as what a command is asked: what is None is not said. UserError for what that cannot be."""
    given = {name: value for name, value in vars(args).items() if name in kind.model_fields and value is not None}
    return typed(kind, given, args.command)


def flags(options: Keys, kind: type[Keys], *more: str) -> dict[str, Any]:
    """What was said of the keys of a `kind` of file; and of the keys named `more`."""
    return {name: value for name, value in given_keys(options).items() if name in kind.model_fields or name in more}


def word(kind: Any) -> Callable[[str], Any]:
    """Reads one word as a `kind`, as keys of a file have it: the word itself where that is one, else a number."""
    def read(text: str) -> Any:
        adapter = TypeAdapter(kind, config=ConfigDict(strict=True))
        for value in (text, _number(text)):
            try:
                typed_value = adapter.validate_python(value)
            except ValidationError as error:
                problem = sentence(error, kind)
            else:
                if typed_value in ([], ()):
                    raise argparse.ArgumentTypeError("the list is empty")
                return typed_value
        raise argparse.ArgumentTypeError(problem)

    return read


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


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

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace,
                 values: str | Sequence[Any] | None, option_string: str | None = None) -> None:
        """Add one parsed setting to those before it; the last one of a name wins."""
        key, value = cast("tuple[str, object]", values)
        setattr(namespace, self.dest, {**(getattr(namespace, self.dest) or {}), key: value})
