"""Answers are stored in groups by a thread of their own, and count when they are on disk, not before."""

from __future__ import annotations

import io
import itertools
import re
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import suite_mirror
from clocks import clock_is_put_on
from hypothesis import given, settings
from hypothesis import strategies as st
from suite_fakes import FakeStart
from waiting import PATIENCE

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.messages import Failure, Response
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.run import run
from mmrope_eval.store.store import Outcome, ResponseStore, StoreError, Writer


class Disk:
    """What was written, group by group; each waits for `open`, and `broken` breaks the next."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()
        self.broken: Exception | None = None

    def write(self, group: Sequence[int]) -> None:
        assert self.open.wait(PATIENCE), "who brings something waits for the disk"
        if self.broken is not None:
            raise self.broken
        self.groups.append(list(group))


@settings(max_examples=25, deadline=None)
@given(items=st.lists(st.integers(), max_size=50), flushes=st.sets(st.integers(0, 50)))
def test_everything_is_written_once_and_in_order(items: list[int], flushes: set[int]) -> None:
    disk = Disk()
    told: list[int] = []
    with Writer(disk.write, within=0.001) as writer:
        for i, item in enumerate(items):
            writer.put(item)
            if i in flushes:
                writer.flush()
                assert [written for group in disk.groups for written in group] == items[: i + 1]
            told += writer.written()
    told += writer.written()
    assert [written for group in disk.groups for written in group] == items == told


def test_what_is_not_on_disk_is_not_told() -> None:
    disk = Disk()
    disk.open.clear()
    with Writer(disk.write, within=0) as writer:
        writer.put(1)
        writer.put(2)
        time.sleep(0.05)
        assert not writer.written()
        disk.open.set()
        writer.flush()
        assert writer.written() == [1, 2] and not writer.written()


def test_what_comes_together_is_written_together() -> None:
    disk = Disk()
    with Writer(disk.write, within=PATIENCE) as writer:
        for item in range(100):
            writer.put(item)
        writer.flush()
        assert disk.groups == [list(range(100))]


def test_a_fault_is_raised_where_the_next_item_is_brought_and_nothing_is_written_after_it() -> None:
    disk = Disk()
    disk.broken = OSError("no space")
    with pytest.raises(OSError, match="no space"), Writer(disk.write, within=0) as writer:
        writer.put(1)
        with pytest.raises(OSError, match="no space"):
            writer.flush()
        disk.broken = None
        writer.put(2)
    assert disk.groups == [] and not writer.written()


def test_a_fault_of_the_last_group_is_raised_at_the_end() -> None:
    disk = Disk()
    disk.broken = OSError("no space")
    with pytest.raises(OSError, match="no space"), Writer(disk.write, within=30) as writer:
        writer.put(1)


def test_what_was_brought_before_another_fault_is_written() -> None:
    disk = Disk()
    with pytest.raises(KeyError), Writer(disk.write, within=30) as writer:
        writer.put(1)
        raise KeyError("elsewhere")
    assert disk.groups == [[1]]


# --- the store ------------------------------------------------------------------------------------------------------


def test_a_group_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    good = Outcome("a", Response("t/0", "yes", (1,), "stop", 3))
    bad = Outcome("a", Response("t/1", "no", (1,), "stop", 3), question=object())  # type: ignore[arg-type]
    with ResponseStore(tmp_path / "responses.sqlite") as store:
        with pytest.raises((StoreError, TypeError, AttributeError)):
            store.put_all([good, bad])
        assert store.get([("a", "t/0")]) == {}
        store.put_all([good, Outcome("a", Failure("t/1", "engine", "it broke"))])
        assert set(store.get([("a", "t/0"), ("a", "t/1")])) == {"t/0", "t/1"}


def test_progress_counts_an_answer_when_it_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, int]] = []

    class Terminal(io.StringIO):
        """Counts what is in the file whenever somebody is told of progress."""

        def write(self, text: str) -> int:
            for done in re.findall(r"mrope: (\d+)/24", text):
                with sqlite3.connect(f"file:{tmp_path}/run/responses.sqlite?mode=ro", uri=True) as connection:
                    (stored,) = connection.execute("SELECT count(*) FROM responses").fetchone()
                seen.append((int(done), int(stored)))
            return super().write(text)

    quarters = itertools.count(0, 15)  # so that a line is due at every answer
    clock_is_put_on(monkeypatch, lambda: next(quarters))
    monkeypatch.setattr(sys, "stderr", Terminal())
    checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "checkpoint")
    mirror = suite_mirror.build(tmp_path / "mirror", n=12)
    result = run(RunConfig((str(checkpoint),), ("refcoco_val",), tmp_path / "run", ("mrope",), data_root=mirror),
                 FakeStart())  # fmt: skip
    assert not result.failed and seen
    assert all(done <= stored for done, stored in seen), seen
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
