"""Chat templates are programs of whoever made a checkpoint: each has an end, of time, of memory and of length."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from clocks import clock_runs
from cpu_time import own_seconds
from waiting import eventually

from mmrope_eval.engine.prompt import PromptError, PromptWriter
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Generation, Request
from mmrope_eval.models import bounded, template
from mmrope_eval.models.bounded import BoundError, Bounds
from mmrope_eval.models.checkpoint import read_checkpoint


def with_template(checkpoint: Path, tmp_path: Path, text: str) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    template = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").write_text(text.replace("OWN", template))
    return copy


HOSTILE = {
    "loops in loops": ("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}OWN",
                       "took more than 10 s"),
    "a macro that calls itself twice": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}OWN",
        "took more than 10 s"),
    "text without end": ("{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}OWN",
                         "writes more than 1,000,000 characters around a question"),
    "a long product": ("{% set x = 'x' * 100000000000 %}OWN", "writes more than 1,000,000 characters"),
    "a list as long": ("{% set x = 100000000 * [1] %}OWN", "writes more than 1,000,000 characters"),
    "text that doubles": (
        "{% set ns = namespace(x='x' * 1000) %}{% for a in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}OWN",
        "MiB of memory|MemoryError"),
    **{text: (f"{{% set x = {text} %}}OWN", "writes more than 1,000,000 characters") for text in (
        "'x'.ljust(10 ** 10)", "'x'.rjust(10 ** 10)", "'x'.center(width=10 ** 10)", "'1'.zfill(10 ** 10)",
        "('\\t' * 9999).expandtabs(10 ** 6)", "'%9999999999d' % 1", "'%*d' % (10 ** 10, 1)", "'%.9999999999f' % 1",
        "'{:>9999999999}'.format(1)", "'{0:.9999999999f}'.format(1)", "'%9999999999d'|format(1)",
        "'a'|indent(10 ** 10)", "'a'|center(10 ** 10)", "lipsum(n=10 ** 9)", "('x' * 99999).replace('x', 'y' * 99999)",
        "('x' * 99999)|replace('x', 'y' * 99999)", "('x' * 99999).join(['y'] * 9999)",
        "('x' * 99999).translate({120: 'y' * 99999})", "'x' * 900000 + 'y' * 900000", "[[1] * 9] * 10 ** 9",
        "{'a': 1}|tojson(indent=10 ** 10)")},
    "a power": ("{% set x = 7 ** 99999999 %}OWN", "raises a number to a power above 1,000"),
}  # fmt: skip


HARMLESS = {
    "'%05.2f|%s' % (1.5, 'call 12345678')": "01.50|call 12345678", "'{:>8}'.format('ab')": "      ab",
    "2 ** 10": "1024",
    "'a-b'.replace('-', '+') + 'c'": "a+bc", "['a', 'b']|join(', ')": "a, b", "'ab'.center(6) ~ '|'": "  ab  |",
    "{'a': [1]}|tojson": '{"a": [1]}', "[3, 1]|sort|first": "1", "'x\ny'|indent(2)": "x\n  y", "' a '|trim": "a",
    "[{'k': 1}, {'k': 2}]|selectattr('k', 'equalto', 2)|map(attribute='k')|list": "[2]", "none|default('d', true)": "d",
}  # fmt: skip


@pytest.mark.parametrize(("text", "written"), HARMLESS.items())
def test_what_templates_use_is_written_as_jinja2_writes_it(text: str, written: str) -> None:
    assert template._rendered(f"{{{{ {text} }}}}", [], {}) == written


@pytest.mark.parametrize("case", HOSTILE)
def test_a_checkpoint_with_a_template_without_end_is_refused(
    checkpoint: Path, tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = HOSTILE[case]
    # Where memory or length is to run out, it is to be first on a busy machine too. A quarter of the memory will do.
    clock_runs(monkeypatch, 10 if "took" in message else 1 / 6)
    pages = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: pages(name) * (4 if name == "SC_PAGE_SIZE" else 1))
    copy = with_template(checkpoint, tmp_path, text)

    def read() -> None:
        with pytest.raises(UserError, match=f"the chat template in chat_template.jinja .*({message}).*: copy"):
            read_checkpoint(copy, read_weights=False)

    assert own_seconds(read) < 20


def test_a_template_may_write_much(checkpoint: Path, tmp_path: Path) -> None:
    copy = with_template(checkpoint, tmp_path, "{{ 'be brief ' * 50000 }}OWN")
    assert read_checkpoint(copy, read_weights=False).template.source == "chat_template.jinja"


def ask(writer: PromptWriter, question: str) -> str:
    return writer.write(Request("q", (question,), Generation(1)))[0]


def test_a_template_that_waits_for_a_question_is_stopped_there(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is tried when a checkpoint is read does not bind a template that looks at the question."""
    text = ("{% if 'loop' in messages | string %}{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}"
            "{% endfor %}{% elif 'long' in messages | string %}{{ 'x' * 3000000 }}{% endif %}OWN")  # fmt: skip
    writer = PromptWriter(read_checkpoint(with_template(checkpoint, tmp_path, text), read_weights=False))
    with pytest.raises(PromptError, match="the checkpoint's chat template writes more than 1,000,000 characters"):
        ask(writer, "long")

    def ask_for_too_much() -> None:
        for _ in range(2):
            with pytest.raises(PromptError, match="the checkpoint's chat template took more than 10 s"):
                ask(writer, "loop")

    with monkeypatch.context() as patch:
        clock_runs(patch, 20)
        assert own_seconds(ask_for_too_much) < 10
    assert "Where?" in ask(writer, "Where?")
    assert len(ask(writer, "word " * 1_000_000)) > 5_000_000, "a long question is no fault of the template's"


class TestBounds:
    def test_of_a_call_that_ends_are_not_felt(self) -> None:
        bounds = Bounds(60.0)
        assert [bounds.run(partial(int, n)) for n in range(1000)] == list(range(1000))
        nothing: dict[str, str] = {}
        with pytest.raises(KeyError, match="own"):
            bounds.run(lambda: nothing["own"])

    def test_end_one_call_and_not_the_next(self) -> None:
        bounds = Bounds(0.3)
        for _ in range(3):
            with pytest.raises(BoundError, match=r"took more than 0\.3 s"):
                bounds.run(endless)
            time.sleep(0.5)
            assert bounds.run(lambda: "fine") == "fine"

    @pytest.mark.parametrize("late", [0.0, 0.01, 0.05])
    def test_that_come_too_late_do_no_harm(self, late: float) -> None:
        """A call that ends in the moment when it is stopped gives its result, or the error; nothing strikes later."""
        bounds = Bounds(0.2)
        for _ in range(5):
            until = time.monotonic() + 0.2 + late
            with contextlib.suppress(BoundError):
                assert bounds.run(partial(busy_until, until)) == "done"
            for _ in range(2000):
                pass

    def test_leave_no_thread_behind(self) -> None:
        before = set(threading.enumerate())
        bounds: Any = Bounds(1.0)
        (guard,) = set(threading.enumerate()) - before
        assert bounds.run(lambda: 1) == 1 and guard.is_alive()
        del bounds
        eventually(lambda: not guard.is_alive(), "the end of the guard")


def endless() -> None:
    while True:
        sum(range(100))


def busy_until(moment: float) -> str:
    while time.monotonic() < moment:
        sum(range(100))
    return "done"


def test_memory_is_measured() -> None:
    assert bounded._resident() > 10 * 2**20
