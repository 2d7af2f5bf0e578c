"""How work is shared out: neighbours together, everybody busy to the end, and what deaths tell."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrope_eval.engine.work_queue import FATAL, LONGEST_UNIT, WorkQueue, units


@dataclass(frozen=True)
class Item:
    id: str
    together: str = ""


def items(shown: str) -> list[Item]:
    """One request a letter, which says what it shows; a dot shows nothing."""
    return [Item(f"{n}{letter}", letter.strip(".")) for n, letter in enumerate(shown)]


def names(given: list[Item]) -> str:
    return "".join(item.id[-1] for item in given)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("", []),
        ("aabbb", ["aa", "bbb"]),
        ("aba", ["a", "b", "a"]),  # the order is the caller's
        ("...", [".", ".", "."]),  # text alone keeps nobody together
        ("a" * (LONGEST_UNIT + 3), ["a" * LONGEST_UNIT, "aaa"]),
    ],
)
def test_neighbours_that_show_the_same_are_a_unit(shown: str, expected: list[str]) -> None:
    assert [names(unit) for unit in units(items(shown))] == expected


def test_a_replica_gets_whole_units_until_it_has_enough() -> None:
    work = WorkQueue(items("aaabbbcccddd" + "." * 100))
    assert names(work.give(1, capacity=4, replicas=2)) == "aaabbb"
    assert work.give(1, capacity=4, replicas=2) == []
    assert names(work.give(2, capacity=3, replicas=2)) == "ccc"


def test_in_the_next_stream_a_replica_gets_what_it_has_been_shown() -> None:
    homes: dict[str, int] = {}
    first = WorkQueue(items("abcd"), homes)
    assert names(first.give(1, capacity=2, replicas=1)) == "ab"
    assert names(first.give(2, capacity=1, replicas=1)) == "c"
    second = WorkQueue(items("abcd"), homes)
    assert names(second.give(2, capacity=1, replicas=1)) == "c"
    assert names(second.give(2, capacity=2, replicas=1)) == "d"  # what nobody has been shown
    assert names(second.give(1, capacity=1, replicas=1)) == "a"
    assert names(second.give(3, capacity=9, replicas=1)) == "b"  # rather than doing nothing
    assert homes == {"a": 1, "b": 3, "c": 2, "d": 2}


@pytest.mark.parametrize(
    ("waiting", "capacity", "replicas", "given"),
    [
        (100, 8, 2, 8),  # a step, and as many prepared
        (9, 8, 2, 5),
        (8, 8, 2, 4),  # no more than both can begin: nothing is prepared here that the other could work on
        (3, 8, 2, 2),  # the other one wants some too
        (1, 8, 64, 1),
        (100, 1, 2, 1),
    ],
)
def test_queues_get_shorter_towards_the_end(waiting: int, capacity: int, replicas: int, given: int) -> None:
    assert len(WorkQueue(items("." * waiting)).give(1, capacity, replicas)) == given


def test_nobody_has_a_free_place_while_something_waits() -> None:
    work = WorkQueue(items("." * 30))
    flying = {replica: len(work.give(replica, capacity=8, replicas=3)) for replica in (1, 2, 3)}
    assert min(flying.values()) >= 4


def test_what_was_in_flight_is_asked_again_alone_and_last() -> None:
    work = WorkQueue(items("....abc"))
    first = work.give(1, capacity=4, replicas=1)
    assert work.died(1) is None
    for item in work.give(2, capacity=100, replicas=1):
        work.answered(2, item.id)
    rest: list[Item] = []
    while not work.done:
        given = work.give(2, capacity=100, replicas=1)
        rest += given
        assert work.give(2, capacity=100, replicas=1) == []
        for item in given:
            assert work.answered(2, item.id)
    assert {item.id for item in first} <= {item.id for item in rest[-len(first) :]}


def test_a_request_is_given_up_when_replicas_died_on_it_alone() -> None:
    work = WorkQueue(items("..x.."))
    replica = 0
    blamed: list[str] = []
    answered: list[str] = []
    while not work.done:
        replica += 1
        while given := work.give(replica, capacity=2, replicas=1):
            if any(item.id == "2x" for item in given):
                lost = work.died(replica)
                blamed += [lost.id] if lost is not None else []
                break
            for item in given:
                assert work.answered(replica, item.id)
                answered.append(item.id)
    assert blamed == ["2x"]
    assert sorted(answered) == ["0.", "1.", "3.", "4."]
    assert replica <= 2 + FATAL


def test_an_answer_counts_once_and_only_from_whom_it_was_asked() -> None:
    work = WorkQueue(items(".."))
    (item, *_) = work.give(1, capacity=1, replicas=1)
    assert not work.answered(2, item.id)
    assert work.answered(1, item.id)
    assert not work.answered(1, item.id)


def test_what_a_replica_gives_back_is_next_and_suspect_of_nothing() -> None:
    work = WorkQueue(items("aab" + "." * 100))
    assert names(work.give(1, capacity=3, replicas=1)) == "aab"
    work.returned(1)
    assert names(work.give(2, capacity=3, replicas=1)) == "aab"


def unanswered(work: WorkQueue[Any]) -> int:
    """Requests without an outcome."""
    return work._waiting + len(work._suspects) + sum(map(len, work._flying.values()))



@settings(deadline=None)
@given(
    shown=st.text(alphabet="abc.", max_size=60),
    replicas=st.integers(1, 5),
    capacity=st.integers(1, 9),
    seed=st.integers(0, 2**32),
)
def test_everything_has_one_outcome_whatever_dies(shown: str, replicas: int, capacity: int, seed: int) -> None:
    rng = random.Random(seed)
    work = WorkQueue(items(shown))
    alive = list(range(replicas))
    newest = replicas
    flying: dict[int, list[Item]] = {replica: [] for replica in alive}
    outcomes: list[str] = []
    while not work.done:
        place = rng.randrange(replicas)
        replica = alive[place]
        event = rng.random()
        if event < 0.15:
            lost = work.died(replica)
            outcomes += [lost.id] if lost is not None else []
            alive[place], newest = newest, newest + 1
            flying[alive[place]] = []
        elif event < 0.2:
            work.returned(replica)
            flying[replica] = []
        else:
            flying[replica] += work.give(replica, capacity, replicas)
            if flying[replica]:
                item = flying[replica].pop(rng.randrange(len(flying[replica])))
                assert work.answered(replica, item.id)
                outcomes.append(item.id)
        assert unanswered(work) + len(outcomes) == len(shown)
    assert sorted(outcomes) == sorted(item.id for item in items(shown))


@dataclass(frozen=True)
class Weighed(Item):
    weight: int = 0


def weighed(weights: list[int], light: int) -> list[Weighed]:
    """Videos of these weights, each of its own, and then requests that weigh nothing."""
    videos = [Weighed(f"v{n}", f"v{n}", weight) for n, weight in enumerate(weights)]
    return [*videos, *(Weighed(f"p{n}") for n in range(light))]


@pytest.mark.parametrize(
    ("weights", "light", "first", "second"),
    [
        ([5] * 8, 100, 4, 4),  # not all that come first to who asks first
        ([20, 5, 5, 5, 5], 100, 1, 4),  # by weight, not by number
        ([50, 1, 1], 100, 1, 2),  # one that is more than a share goes out whole
        ([5] * 100, 0, 16, 16),  # where there are enough of them, everybody has its fill
    ],
)
def test_videos_are_shared_out_by_weight(weights: list[int], light: int, first: int, second: int) -> None:
    work = WorkQueue(weighed(weights, light))
    given = [work.give(replica, capacity=16, replicas=2) for replica in (1, 2)]
    assert [sum(item.weight > 0 for item in share) for share in given] == [first, second]
    assert [len(share) for share in given] == [16, 16]  # and what weighs nothing fills the rest


@given(
    st.lists(st.integers(0, 9), max_size=60), st.integers(1, 4), st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from(["answer", "answer", "die", "return"]), st.integers(0, 3)), max_size=60),
)  # fmt: skip
@settings(deadline=None)
def test_no_weight_keeps_work_from_an_idle_replica(
    weights: list[int], replicas: int, capacity: int, events: list[tuple[str, int]]
) -> None:
    work = WorkQueue(weighed(weights, 10))
    for event, replica in [*events, *(("answer", n % replicas) for n in range(40 * len(weights) + 400))]:
        replica %= replicas
        work.give(replica, capacity, replicas)
        flying = work.in_flight(replica)
        assert flying or unanswered(work) == sum(len(work.in_flight(other)) for other in range(replicas))
        if event == "die":
            work.died(replica)
        elif event == "return":
            work.returned(replica)
        else:
            for name in list(flying)[:3]:
                assert work.answered(replica, name)
    assert work.done
