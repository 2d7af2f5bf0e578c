"""Several engines behind the interface of one: work is shared out, deaths cost nothing, everything ends."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest
from listening import listen, wait_for_all
from replica_stubs import Explosive, Named, Orders, of_the_process, ours, read, start
from waiting import PATIENCE

from mmrope_eval.engine.backend import Identify
from mmrope_eval.engine.links import Link, Place, Post, ProcessLink
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.processes import core_places, gpu_places
from mmrope_eval.engine.replica import Birth, Setting
from mmrope_eval.engine.replicas import UNLUCKY, Replicas
from mmrope_eval.errors import UserError
from mmrope_eval.messages import Deferred, EngineDiedError, Failure, Response


class Stubs:
    """Processes with stub engines."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.links: list[ProcessLink] = []

    def places(self) -> Sequence[Place]:
        return [Place(f"replica {n}", variables={"PLACE": str(n)}) for n in range(1, self.count + 1)]

    def start(self, place: Place, birth: Birth, post: Post) -> Link:
        self.links.append(ProcessLink(place, birth, post))
        return self.links[-1]

    @property
    def alive(self) -> list[ProcessLink]:
        return [link for link in self.links if link._process.is_alive()]


Begin = Callable[..., tuple[Replicas, Stubs, list[str]]]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts replicas; they are closed, and must be gone, at the end."""
    begun: list[tuple[Replicas, Stubs]] = []

    def started(count: int = 2, identify: Identify = ours, **orders: Any) -> tuple[Replicas, Stubs, list[str]]:
        lines: list[str] = []
        launch = Stubs(count)
        replicas = Replicas.start(launch, birth(identify, **orders), lines.append)
        begun.append((replicas, launch))
        return replicas, launch, lines

    yield started
    for replicas, launch in begun:
        replicas.close()
        replicas.close()
        assert launch.alive == []


def birth(identify: Identify = ours, **orders: Any) -> Birth:
    setting = Setting(cast(Any, Named("ck")), cast(Any, Named("mrope")), Orders(**orders))
    return Birth(setting, EngineOptions(), identify, start)


def asked(count: int, mark: str = "", at: int = 0) -> list[Deferred]:
    """Requests, of which one is marked."""
    return [Deferred(name, read, name) for name in (f"s/{n}{mark if n == at else ''}" for n in range(count))]


def answers(replicas: Replicas, requests: list[Deferred]) -> dict[str, Response | Failure]:
    results = list(replicas.stream(requests))
    assert sorted(result.id for result in results) == sorted(request.id for request in requests)
    return {result.id: result for result in results}


def texts(result_by_id: dict[str, Response | Failure]) -> Counter[str]:
    return Counter(result.text for result in result_by_id.values() if isinstance(result, Response))


def test_all_replicas_work_and_a_failing_sample_fails_alone(begin: Begin) -> None:
    replicas, _, lines = begin(2, delay=0.005)
    wait_for_all(replicas, 2)
    result_by_id = answers(replicas, asked(60, "-unreadable", at=7))
    assert set(texts(result_by_id)) == {"mrope ck at 1", "mrope ck at 2"}
    assert [result for result in result_by_id.values() if isinstance(result, Failure)] == [
        Failure("s/7-unreadable", "media", "it cannot be read.")
    ]
    assert (lines, replicas.deaths) == ([], 0)


def test_what_shows_the_same_is_answered_by_one_process(begin: Begin) -> None:
    replicas, _, _ = begin(2, delay=0.002)
    wait_for_all(replicas, 2)
    requests = [Deferred(f"{video}/{n}", read, f"{video}/{n}", video) for video in "abcdefgh" for n in range(6)]
    result_by_id = answers(replicas, requests)
    for video in "abcdefgh":
        assert len({result.token_ids for name, result in result_by_id.items()
                    if name[0] == video and isinstance(result, Response)}) == 1  # fmt: skip


def test_a_switch_reaches_all_also_those_that_come_late(begin: Begin, tmp_path: Path) -> None:
    replicas, _, _ = begin(2, waits_at="2", marker=str(tmp_path / "go on"))
    assert replicas.alive == 1
    replicas.switch(variant=cast(Any, Named("mrope-i")), checkpoint=cast(Any, Named("other")))
    (tmp_path / "go on").touch()
    wait_for_all(replicas, 2)
    counts = texts(answers(replicas, asked(40)))
    assert set(counts) <= {"mrope-i other at 1", "mrope-i other at 2"}
    replicas.switch(variant=cast(Any, Named("hope")))
    replicas.switch(variant=cast(Any, Named("mhrope")))
    assert set(texts(answers(replicas, asked(40)))) <= {"mhrope other at 1", "mhrope other at 2"}


def test_a_refused_switch_says_what_the_engine_said(begin: Begin) -> None:
    replicas, _, _ = begin(2, rejects="hope")
    with pytest.raises(UserError, match="cannot take hope"):
        replicas.switch(variant=cast(Any, Named("hope")))


def test_a_killed_replica_is_replaced_and_what_it_had_is_asked_again(begin: Begin) -> None:
    replicas, launch, lines = begin(2, delay=0.005)
    wait_for_all(replicas, 2)
    results: list[Response | Failure] = []
    for result in replicas.stream(asked(200)):
        results.append(result)
        if len(results) == 20:
            os.kill(launch.links[0]._process.pid or 0, signal.SIGKILL)
    assert sorted(result.id for result in results) == sorted(request.id for request in asked(200))
    assert all(isinstance(result, Response) for result in results)
    assert replicas.deaths == 1
    assert len(launch.links) == 3
    (line,) = lines
    assert line.startswith("replica 1 died with ")
    assert line.endswith("killed by signal 9; another one is started.")


def test_a_sample_that_no_replica_survives_is_a_listed_failure(begin: Begin) -> None:
    replicas, _, _ = begin(2, kills="poison")
    wait_for_all(replicas, 2)
    result_by_id = answers(replicas, asked(30, "-poison", at=5))
    (failure,) = (result for result in result_by_id.values() if isinstance(result, Failure))
    assert (failure.id, failure.stage) == ("s/5-poison", "engine")
    assert failure.cause.startswith("two engines died while they worked on it and on nothing else: its process ended")
    assert replicas.deaths == 3


def test_a_place_where_nothing_lives_is_left_out(begin: Begin) -> None:
    replicas, launch, lines = begin(2, dies_at="2", delay=0.01)
    result_by_id = answers(replicas, asked(120))
    listen(replicas, lambda: len(lines) >= UNLUCKY, "all deaths")
    assert set(texts(result_by_id)) == {"mrope ck at 1"}
    assert len(launch.links) == 1 + UNLUCKY
    assert lines[-1].endswith("none is started any more.")


def test_where_no_engine_lives_the_start_says_so() -> None:
    launch = Stubs(1)
    with pytest.raises(EngineDiedError, match="no replica is left"):
        Replicas.start(launch, birth(dies_at="*"), lambda line: None)
    assert len(launch.links) == UNLUCKY
    assert launch.alive == []


def test_what_an_engine_says_against_its_start_is_raised_once() -> None:
    launch = Stubs(1)
    with pytest.raises(UserError, match=r"^this checkpoint cannot be\.$"):
        Replicas.start(launch, birth(refuses="1"), lambda line: None)
    assert (len(launch.links), launch.alive) == (1, [])


def test_other_code_elsewhere_does_not_answer() -> None:
    launch = Stubs(1)
    with pytest.raises(UserError, match=r"replica 1 runs other code than this process \(code \d+ instead of \d+\)"):
        Replicas.start(launch, birth(of_the_process), lambda line: None)


def test_a_replica_without_a_sign_of_life_is_ended(begin: Begin, tmp_path: Path) -> None:
    replicas, launch, lines = begin(2, stops="freeze", marker=str(tmp_path / "frozen"), delay=0.001)
    wait_for_all(replicas, 2)
    replicas._silence = 8.0  # a sign of life comes every two seconds; on a machine that stands still, another one dies
    result_by_id = answers(replicas, asked(40, "-freeze", at=3))
    assert all(isinstance(result, Response) for result in result_by_id.values())
    assert {line.partition(": ")[2] for line in lines} == {
        "it gave no sign of life for 8 s, so it was ended; another one is started."
    }
    assert len(launch.alive) <= 2


def test_closing_a_stream_early_leaves_the_replicas_usable(begin: Begin) -> None:
    replicas, launch, _ = begin(2, delay=0.02)
    wait_for_all(replicas, 2)
    with closing(replicas.stream(asked(50_000))) as stream:
        next(stream)
    began = time.monotonic()
    answers(replicas, asked(20))
    assert time.monotonic() - began < PATIENCE, "not after ten minutes of what was dropped"
    assert len(launch.links) == 2


def test_what_a_replica_cannot_read_ends_it_with_the_cause(begin: Begin) -> None:
    replicas, _, lines = begin(1)
    result_by_id = answers(replicas, [Deferred("s/0", Explosive(), "s/0")])
    assert "the task's own class is not here" in cast(Failure, result_by_id["s/0"]).cause
    assert "the task's own class is not here" in lines[0]


@pytest.mark.parametrize(
    ("gpus", "wanted", "ranks", "expected"),
    [
        ("0 1 2 3", "auto", 1, ["0", "1", "2", "3"]),
        ("0 1 2 3", "auto", 2, ["0,1", "2,3"]),
        ("4 5 6", "auto", 2, ["4,5"]),
        ("GPU-a GPU-b", 1, 1, ["GPU-a"]),
    ],
)
def test_every_replica_has_gpus_of_its_own(gpus: str, wanted: int | str, ranks: int, expected: list[str]) -> None:
    places = gpu_places(gpus.split(), wanted, ranks)
    assert [place.variables["CUDA_VISIBLE_DEVICES"] for place in places] == expected


@pytest.mark.parametrize(
    ("cores", "wanted", "ranks", "expected"),
    [
        (range(8), 2, 1, [(0, 1, 2, 3), (4, 5, 6, 7)]),
        (range(7), 3, 2, [(0, 1), (2, 3), (4, 5)]),
        ([2, 6], 2, 1, [(2,), (6,)]),
        (range(8), "auto", 1, [tuple(range(8))]),
    ],
)
def test_every_replica_has_cores_of_its_own(
    cores: Sequence[int], wanted: int | str, ranks: int, expected: list[tuple[int, ...]]
) -> None:
    assert [place.cores for place in core_places(cores, wanted, ranks)] == expected


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (lambda: gpu_places(["0", "1"], 3, 1), "3 replicas of 1 GPUs each do not fit on the 2 .*; give at most 2"),
        (lambda: gpu_places(["0"], "auto", 2), "do not fit on the 1"),
        (lambda: core_places([0, 1], 3, 1), "needs a core of its own, and this process may use 2; give at most 2"),
        (lambda: core_places([0, 1, 2], 2, 2), "for each of its 2 ranks"),
    ],
)
def test_more_replicas_than_there_is_room_for_are_refused(places: Callable[[], object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        places()
