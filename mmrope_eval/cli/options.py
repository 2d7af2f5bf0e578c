"""Options that are keys of a file too (`run.keys`), and the few that several commands share besides.

A key has no default here: what a command line does not say is None, and the keys know what it means then.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pydantic import TypeAdapter

from mmrope_eval.cli.argument_types import Settings, setting, word
from mmrope_eval.run.keys import RunKeys

if TYPE_CHECKING:
    from pydantic import BaseModel


class DataClass(Protocol):
    """Any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


T = TypeVar("T", bound=DataClass)


@functools.cache
def _keys() -> Mapping[str, Any]:
    """The keys of a run by name, in their order, as a JSON schema describes them."""
    return MappingProxyType(RunKeys.model_json_schema(by_alias=False)["properties"])


def key_options(parser: argparse._ActionsContainer, *names: str, **helps: str) -> None:
    """Options for keys of these names; those of `helps` with these words in place of the keys' own."""
    for name in (*names, *helps):
        key = _keys()[name]
        words = helps.get(name) or key["description"].replace("%(default)s", str(key["default"]))
        parser.add_argument(f"--{(key['option'] or name).replace('_', '-')}", dest=name, help=words, default=None,
                            **{**_value(name, key), **key["more"]})  # fmt: skip


def group_options(group: argparse._ArgumentGroup) -> None:
    """Options for all keys of a run that belong into the group of this title."""
    key_options(group, *(name for name, key in _keys().items() if key.get("group") == group.title))


def _value(name: str, key: Mapping[str, Any]) -> dict[str, Any]:
    """What argparse is told of a key's value, from its type as JSON schemas have it."""
    kinds = [kind for kind in key.get("anyOf", [key]) if kind["type"] != "null"]
    kind, metavar = kinds[0], {"metavar": key["metavar"]}
    if kind["type"] == "boolean":
        return {"action": argparse.BooleanOptionalAction if key["default"] is None else "store_true"}
    if kind["type"] == "object":
        return {**metavar, "type": setting, "action": Settings}
    if "enum" in kind:
        return {"choices": kind["enum"]}
    if "choices" in key["more"]:
        return {}
    action = "extend" if kind["type"] == "array" else "store"
    reads = {} if "nargs" in key["more"] else {"type": word(RunKeys.model_fields[name].rebuild_annotation())}
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
    """A command line as the typed options of a command: by name, checked, lists as tuples; what is None is not said."""
    given = vars(args)
    fields = [field.name for field in dataclasses.fields(kind)]
    return TypeAdapter(kind).validate_python({name: given[name] for name in fields if given.get(name) is not None})
