"""Values of options: each reads one word of the command line, and says what is wrong with it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from pydantic import ConfigDict, TypeAdapter, ValidationError

from mmrope_eval.record.comparable import KINDS
from mmrope_eval.run.keys import Fraction, NotNegative, Positive, Rate, Whole


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
