"""A task file's templates have an end, as a checkpoint's have: of time, of length, and at Python's own insides."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from cpu_time import own_seconds

from mmrope_eval.errors import SampleError, TargetError
from mmrope_eval.task import template as protocol
from mmrope_eval.task.template import build_target, render

LOOP = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Gives the thread that calls it half a second in place of ten; all others have a minute. A quarter of the memory
    is enough for all."""
    true, pages = time.monotonic, os.sysconf
    hurried: set[int] = set()

    def clock() -> float:
        """A thread that hurries begins its ten seconds in the past, by the clock of the guard that ends them."""
        if threading.current_thread().name == "bounds":
            return true()
        return true() + (-9.5 if threading.get_ident() in hurried else 50.0)

    def hurry() -> None:
        hurried.add(threading.get_ident())

    monkeypatch.setattr(time, "monotonic", clock)
    monkeypatch.setattr(os, "sysconf", lambda name: pages(name) * (4 if name == "SC_PAGE_SIZE" else 1))
    protocol._stopped.cache_clear()
    yield hurry
    protocol._stopped.cache_clear()


@pytest.mark.parametrize(("template", "said"), [
    (LOOP + "{{ question }}", "took more than 10 s"),
    ("{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}", "writes more than 1,000,000 characters"),
    ("{{ 'x' * 10 ** 11 }}", "writes more than 1,000,000 characters"),
    ("{{ question.center(10 ** 10) }}", "writes more than 1,000,000 characters"),
    ("{% set n = namespace(x='x' * 1000) %}{% for a in range(64) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
     "MiB of memory|took more than"),
])
def test_a_prompt_without_end_is_a_failed_sample(template: str, said: str, hurry: Callable[[], None]) -> None:
    if "took" in said:
        hurry()

    def write() -> None:
        with pytest.raises(SampleError, match=f"the prompt's template .*({said})"):
            render(template, {"question": "Where?"})

    assert own_seconds(write) < 10


@pytest.mark.parametrize("template", [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ question.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.popen('true').read() }}",
])
def test_a_prompt_reaches_nothing_of_python(template: str) -> None:
    with pytest.raises(Exception, match=r"unsafe|has no attribute|uses a field"):
        render(template, {"question": "Where?"})


def test_a_target_has_an_end_too() -> None:
    with pytest.raises(TargetError, match="writes more than 1,000,000 characters"):
        build_target({"answer": "answer * 10 ** 11"}, {"answer": "x"})


def test_a_template_without_end_is_tried_at_three_rows(hurry: Callable[[], None]) -> None:
    """Ten seconds at each of ten thousand rows would be a day."""
    hurry()
    for _ in range(protocol.STOPPED):
        with pytest.raises(SampleError):
            render(LOOP, {})

    def again() -> None:
        with pytest.raises(SampleError, match="took more than 10 s at 3 rows before"):
            render(LOOP, {})

    assert own_seconds(again) < 0.1


@pytest.mark.parametrize(("template", "doc", "text"), [
    ("{{ question }}\nA word.", {"question": "Where?"}, "Where?\nA word."),
    ("{% set _ = options.append('d') %}{{ options|join }}", {"options": ["a"]}, "ad"),
    ("{{ subtitles }}", {"subtitles": "x" * 3_000_000}, "x" * 3_000_000),
    ("{{ options|map('upper')|join('/') }}", {"options": ["a", "b"]}, "A/B"),
])
def test_what_task_files_write_is_written(template: str, doc: dict[str, object], text: str) -> None:
    assert render(template, doc) == text


def test_prompts_are_written_in_several_threads_at_once(hurry: Callable[[], None]) -> None:
    """`data check` does. A call that is stopped stops no other thread's."""

    def one(number: int) -> str:
        return render("{% for a in range(20000) %}{% endfor %}{{ n }}", {"n": number})

    def stopped() -> None:
        hurry()
        with pytest.raises(SampleError, match="took more than"):
            render(LOOP, {})

    with ThreadPoolExecutor(5) as pool:
        stuck = pool.submit(stopped)
        assert list(pool.map(one, range(40))) == [str(number) for number in range(40)]
        stuck.result()
