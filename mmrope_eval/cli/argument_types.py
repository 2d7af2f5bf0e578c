"""Values of options: each reads one word of the command line, and says in its own words what is wrong with it."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from typing import Any, cast

from mmrope_eval.record.comparable import KINDS
from mmrope_eval.task.by_task import split_word


def replicas(text: str) -> int | str:
    """A number of replicas, or auto."""
    return text if text == "auto" else positive(text)


def seeds(text: str) -> tuple[int, ...]:
    """A comma-separated list of seeds, mostly one."""
    try:
        found = tuple(int(name) for name in names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, nor several with commas") from None
    if not all(-(2**63) <= seed < 2**64 for seed in found):
        raise argparse.ArgumentTypeError(f"'{text}' does not fit into 64 bits")
    return found


def positive(text: str) -> int:
    """A whole number above zero."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above zero")
    return int(text)


def whole(text: str) -> int:
    """A whole number, zero or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def pixels(text: str) -> int:
    """A pixel count, as a number (1003520) or as a product (1280*28*28)."""
    return math.prod(positive(factor.strip()) for factor in text.split("*"))


def rate(text: str) -> float:
    """A finite number above zero."""
    return _above(0, text, "not a number above zero")


def _above(bound: float, text: str, otherwise: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not bound < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is {otherwise}")
    return value


def factor(text: str) -> str | float:
    """What a context scaling stretches by: `reach`, `context` or a number above 1."""
    if text in ("reach", "context"):
        return text
    return _above(1, text, "neither reach nor context nor a number above 1")


def tolerated(text: str) -> float:
    """A finite number, zero or more."""
    if text.strip("0.") == "" and "0" in text:
        return 0.0
    try:
        return rate(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number, zero or more") from None


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


def fraction(text: str) -> float:
    """A number above zero, at most one."""
    value = rate(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0 and 1")
    return value


def failures(text: str) -> int | float:
    """A count (whole number, 0 allowed) or a share (a number between 0 and 1, with a point)."""
    return int(text) if text.isdecimal() else fraction(text)


def names(text: str) -> list[str]:
    """A comma-separated list."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("the list is empty")
    return found


def sizes(text: str) -> list[float]:
    """A comma-separated list of numbers above zero."""
    return [rate(part) for part in names(text)]


def token_limits(text: str) -> list[tuple[str | None, int]]:
    """A comma-separated list of N (for all tasks) and TASK:N."""
    found: list[tuple[str | None, int]] = []
    for part in names(text):
        name, number = split_word(part)
        if name == "":
            raise argparse.ArgumentTypeError(f"'{part}' is neither a number of tokens nor TASK:N")
        found.append((name, positive(number)))
    return found


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
