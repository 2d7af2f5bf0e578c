"""A task file's Jinja: a prompt from its template, a target from its expressions, each in bounded time and text."""

from __future__ import annotations

import functools
import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import jinja2
import jinja2.nodes

from mmrope_eval.errors import SampleError, TargetError
from mmrope_eval.models.bounded import MEMORY, BoundError, Bounds
from mmrope_eval.models.template import Sandbox, joined
from mmrope_eval.scorer.choice_text import LETTERS, read_options
from mmrope_eval.task.yaml_text import unknown
from mmrope_eval.words import flat

Doc = Mapping[str, Any]
Result = TypeVar("Result")


def render(template: str, doc: Doc) -> str:
    """A prompt from its Jinja template; SampleError when the row lacks a field that it uses, or when it takes more time
    or text than a prompt does."""
    given = sum(len(value) for value in doc.values() if isinstance(value, str))
    try:
        return _ended(template, lambda: joined(_template(template).generate(**doc), given))
    except BoundError as error:
        raise SampleError(f"the prompt's template {error}.") from error
    except jinja2.UndefinedError as error:
        raise SampleError(f"the prompt uses a field the row does not have ({error}).") from error


def template_fields(template: str) -> set[str]:
    """The row's fields that a Jinja template cannot do without: it reads them and nowhere asks whether they exist."""
    from jinja2 import meta, nodes

    tree = _environment().parse(template)
    asked: list[nodes.Expr | None] = [node.node for node in tree.find_all(nodes.Test) if node.name == "defined"]
    asked += [node.node for node in tree.find_all(nodes.Filter) if node.name == "default"]
    return meta.find_undeclared_variables(tree) - {node.name for node in asked if isinstance(node, nodes.Name)}


def expression_fields(expression: str) -> set[str]:
    """The row's fields that a Jinja expression reads."""
    return template_fields("{{" + expression + "}}")


def template_problem(text: str, expression: bool = False) -> str | None:
    """What is wrong with a Jinja template or expression before any row is seen, in one sentence; None for nothing."""
    environment = _environment()
    try:
        tree = _parsed_expression(text) if expression else environment.parse(text)
    except jinja2.TemplateSyntaxError as error:
        line = f" in line {error.lineno}" if "\n" in text else ""
        return f"Jinja cannot read it{line}: {(error.message or 'a syntax error').rstrip('.')}."
    if next(tree.find_all((jinja2.nodes.Include, jinja2.nodes.Extends, jinja2.nodes.Import)), None) is not None:
        return "a template stands alone here, without include, extends and import."
    for node in (tree, *tree.find_all((jinja2.nodes.Filter, jinja2.nodes.Test))):
        for kind, of, names in (("filter", jinja2.nodes.Filter, environment.filters),
                                ("test", jinja2.nodes.Test, environment.tests)):
            if isinstance(node, of) and node.name not in names:
                return unknown(f"{kind} called", node.name, names, "docs/benchmark.md")
    return None


def _parsed_expression(text: str) -> jinja2.nodes.Expr:
    from jinja2.parser import Parser

    parser = Parser(_environment(), text, state="variable")
    tree = parser.parse_expression()
    if not parser.stream.eos:
        raise jinja2.TemplateSyntaxError("chunk after expression", parser.stream.current.lineno)
    return tree


def build_target(expressions: Mapping[str, str], doc: Doc) -> dict[str, Any]:
    """Each target field from its Jinja expression; SampleError when one cannot be computed from the row."""
    target = {}
    for name, expression in expressions.items():
        try:
            target[name] = evaluate(expression, doc)
        except ValueError as error:
            raise TargetError(f"the target '{name}' cannot be read from the row ({error}).") from error
    return target


def evaluate(expression: str, names: Mapping[str, Any]) -> Any:
    """The value of a Jinja expression over a row's fields. ValueError when it has none."""
    try:
        value = _ended(expression, lambda: _expression(expression)(**names))
    except BoundError as error:
        raise ValueError(f"{expression[:200]}: it {error}") from error
    except (jinja2.UndefinedError, TypeError, ValueError, LookupError) as error:
        raise ValueError(flat(error, 200)) from error
    if isinstance(value, jinja2.Undefined):
        raise ValueError(f"{expression}: it uses a field the row does not have")
    return value


def parsed(value: Any) -> Any:
    """Jinja filter: a field that some uploads store as JSON text and others as a list."""
    return json.loads(value) if isinstance(value, str) else value


def lettered(options: Any, line: str = "{}. {}") -> str:
    """Jinja filter: one line an option, its letter and its text, from whatever `choice_text.read_options` reads."""
    return "\n".join(line.format(letter, text) for letter, text in read_options(options).items())


def letter_at(index: Any) -> str:
    """Jinja filter: the letter of an option by its place from 0. ValueError for what is no place."""
    text = str(index).strip()
    if not text.isdecimal() or int(text) >= len(LETTERS):
        raise ValueError(f"{index!r} is no place in a list of options")
    return LETTERS[int(text)]


def chinese(text: Any) -> bool:
    """Jinja test: whether a text has a Chinese character, by the range that VLMEvalKit looks for."""
    return re.search("[\u4e00-\u9fff]", str(text)) is not None


STOPPED: Final = 3
"""Rows at which a template may take too long; no more are tried, as each costs ten seconds."""


def _ended(template: str, work: Callable[[], Result]) -> Result:
    """What `work` gives, in bounded time. `BoundError` where it was stopped, or such a template was too often."""
    stopped = _stopped(template)
    if len(stopped) >= STOPPED:
        raise BoundError(f"{stopped[-1]} at {STOPPED} rows before")
    try:
        return _bounds(threading.get_ident()).run(work)
    except BoundError as error:
        if "took" in str(error):
            stopped.append(str(error))
        raise


@functools.lru_cache(maxsize=256)
def _stopped(template: str) -> list[str]:
    """Why a template was stopped, once for each time."""
    return []


@functools.lru_cache(maxsize=64)
def _bounds(thread: int) -> Bounds:
    """A thread's own; only one call at a time may run in one."""
    return Bounds(memory=MEMORY)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = Sandbox(undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters |= {"parsed": parsed, "lettered": lettered, "options": read_options, "letter": letter_at}
    environment.tests["chinese"] = chinese
    return environment


@functools.lru_cache(maxsize=256)
def _template(text: str) -> jinja2.Template:
    return _environment().from_string(text)


@functools.lru_cache(maxsize=256)
def _expression(text: str) -> Callable[..., Any]:
    return _environment().compile_expression(text, undefined_to_none=False)
