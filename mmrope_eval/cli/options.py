"""Options made from fields that declare them: the keys of a run (`run.keys`), and a command's own.

They have no defaults here: what a command line does not say is None, and the field knows what it means then. A word of
the command line is read by a function that says what is wrong with it.
"""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mmrope_eval.record.comparable import KINDS
from mmrope_eval.run.keys import Fraction, Keys, NotNegative, Positive, Rate, RunKeys, Whole

if TYPE_CHECKING:
    from pydantic import BaseModel


def word(kind: Any) -> Callable[[str], Any]:
    """Reads one word as a `kind`, as keys of a file have it: the word itself where that is one, else a number."""
    def read(text: str) -> Any:
        from mmrope_eval.util.config import sentence

        adapter = TypeAdapter(kind, config=ConfigDict(strict=True))
        for value in (text, _number(text)):
            try:
                found = adapter.validate_python(value)
            except ValidationError as error:
                problem = sentence(error, kind)
            else:
                if found in ([], ()):
                    raise argparse.ArgumentTypeError("the list is empty")
                return found
        raise argparse.ArgumentTypeError(problem)

    return read


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


positive: Final = word(Positive)
whole: Final = word(Whole)
rate: Final = word(Rate)
tolerated: Final = word(NotNegative)
fraction: Final = word(Fraction)


def kinds(text: str) -> list[str]:
    """A comma-separated list of what two runs may differ in."""
    found = names(text)
    for name in found:
        if name not in KINDS:
            raise argparse.ArgumentTypeError(f"'{name}' is none of {', '.join(KINDS)}")
    return found


def step(text: str) -> int | str:
    """A training step: a whole number, `last` or `all`."""
    if text in ("last", "all"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is neither a training step nor one of last, all")
    return int(text)


def group(text: str) -> tuple[str, str]:
    """NAME=GLOB."""
    name, mark, glob = text.partition("=")
    if not (name.strip() and mark and glob.strip()):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=GLOB, such as 4B='*4B*'")
    return name.strip(), glob.strip()


def names(text: str) -> list[str]:
    """A comma-separated list."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("the list is empty")
    return found


def sizes(text: str) -> list[float]:
    """A comma-separated list of numbers above zero."""
    return [rate(part) for part in names(text)]


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
