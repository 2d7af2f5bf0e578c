"""Options made from fields that declare them: the keys of a run (`run.keys`), and a command's own.

They have no defaults here: what a command line does not say is None, and the field knows what it means then.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pydantic import TypeAdapter

from mmrope_eval.cli.argument_types import Settings, setting, word
from mmrope_eval.run.keys import Keys, RunKeys

if TYPE_CHECKING:
    from pydantic import BaseModel


class DataClass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound="DataClass | Keys")


@functools.cache
def _fields(kind: type[Keys]) -> Mapping[str, Any]:
    """The fields of a kind by name, in their order, as a JSON schema describes them."""
    return MappingProxyType(kind.model_json_schema(by_alias=False)["properties"])


def key_options(parser: argparse._ActionsContainer, *names: str, **helps: str) -> None:
    """Options for keys of a run of these names; those of `helps` with these words in place of the keys' own."""
    for name in (*names, *helps):
        _add(parser, RunKeys, name, helps.get(name))


def group_options(group: argparse._ArgumentGroup) -> None:
    """Options for all keys of a run that belong into the group of this title."""
    key_options(group, *(name for name, field in _fields(RunKeys).items() if field.get("group") == group.title))


def declared_options(parser: argparse.ArgumentParser, kind: type[Keys]) -> None:
    """Options for all fields of a kind."""
    for name in _fields(kind):
        _add(parser, kind, name)


def _add(parser: argparse._ActionsContainer, kind: type[Keys], name: str, words: str | None = None) -> None:
    field = _fields(kind)[name]
    default = field.get("default")
    words = words or field["description"].replace("%(default)s", str(default))
    required = {} if "default" in field else {"required": True}
    parser.add_argument(f"--{(field['option'] or name).replace('_', '-')}", dest=name, help=words, default=None,
                        **{**_value(kind, name, field), **required, **field["more"]})  # fmt: skip


def _value(kind: type[Keys], name: str, field: Mapping[str, Any]) -> dict[str, Any]:
    """What argparse is told of a field's value, from its type as JSON schemas have it."""
    member = next(member for member in field.get("anyOf", [field]) if member["type"] != "null")
    metavar = {"metavar": field["metavar"]}
    if member["type"] == "boolean":
        return {"action": "store_true" if field["default"] is False else argparse.BooleanOptionalAction}
    if member["type"] == "object":
        return {**metavar, "type": setting, "action": Settings}
    if "enum" in member:
        return {"choices": member["enum"]}
    if "choices" in field["more"]:
        return {}
    action = "extend" if member["type"] == "array" else "store"
    reads = {} if "nargs" in field["more"] else {"type": word(kind.model_fields[name].rebuild_annotation())}
    return {**metavar, **reads, "action": action}


def talk_options(parser: argparse.ArgumentParser) -> None:
    """`--quiet`, `--verbose` and `--log-file`: how much a command says, and where."""
    group = parser.add_argument_group("what is said")
    either = group.add_mutually_exclusive_group()
    either.add_argument("--quiet", action="store_true",
                        help="print results, errors, failed rows and warnings; the log has the rest")
    key_options(either, "verbose")
    key_options(group, "log_file")


def dry_run_option(parser: argparse._ActionsContainer) -> None:
    """`--dry-run`."""
    parser.add_argument("--dry-run", action="store_true",
                        help="print what would be asked, what is kept and which data are missing, and stop there")


def flags(args: argparse.Namespace, kind: type[BaseModel], *more: str) -> dict[str, Any]:
    """What a command line says, as keys of a `kind` of file; and the options named `more`."""
    return {name: value for name, value in vars(args).items()
            if value is not None and (name in kind.model_fields or name in more)}


def options_as(kind: type[T], args: argparse.Namespace) -> T:
    """A command line as the typed options of a command, a dataclass or `Keys`: by name, checked, lists as tuples; what
    is None is not said."""
    names = kind.model_fields if issubclass(kind, Keys) else kind.__dataclass_fields__
    given = {name: value for name, value in vars(args).items() if name in names and value is not None}
    return TypeAdapter(kind).validate_python(given)
