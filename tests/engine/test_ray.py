"""Replicas as Ray actors: they share a cluster out, end with their actors, and answer as one engine does."""

from __future__ import annotations

import os
import pickle
import platform
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import suite_mirror
from killed_replicas import OPTIONS, Murderous, files
from ray_cluster import Folder, Numbered, hosts, two_nodes
from replica_stubs import Named, Orders, ours, read, start
from waiting import eventually

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.cli import doctor_nodes
from mmrope_eval.cli.doctor_nodes import Facts
from mmrope_eval.engine import ray_links
from mmrope_eval.engine.backend import EngineHolder, Timings
from mmrope_eval.engine.links import Place
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.ray_links import Host, Layout, Node, ending, layout
from mmrope_eval.engine.replica import Birth, Broken, Ready, Setting
from mmrope_eval.engine.replicas import Replicas
from mmrope_eval.errors import MachinesError, UserError
from mmrope_eval.messages import Deferred, Response
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig

pytestmark = pytest.mark.every_core

TESTS = Path(__file__).resolve().parents[1]

# --- shares, without a cluster ------------------------------------------------------------------------------------

EIGHT, FOUR, DESK = Node(8, 64), Node(4, 16), Node(0, 8)


@pytest.mark.parametrize(
    ("nodes", "wanted", "ranks", "expected"),
    [
        ([EIGHT, FOUR], "auto", 1, Layout(12, 1, 4, 8)),
        ([EIGHT, FOUR, DESK], "auto", 4, Layout(3, 4, 16, 2)),
        ([EIGHT, FOUR], 5, 2, Layout(5, 2, 8, 4)),
        ([Node(1, 0)], None, 1, Layout(1, 1, 0, 1)),
        ([DESK, DESK], "auto", 1, Layout(2, 0, 8, 1)),
        ([DESK, Node(0, 0)], "auto", 1, Layout(1, 0, 8, 1)),
        ([DESK, DESK], 3, 1, Layout(3, 0, 4, 2)),
        ([DESK, Node(0, 2)], 5, 1, Layout(5, 0, 2, 3)),
        ([Node(0, 2)], 1, 2, Layout(1, 0, 2, 1)),
    ],
)
def test_how_replicas_share_a_cluster(
    nodes: Sequence[Node], wanted: int | str | None, ranks: int, expected: Layout
) -> None:
    assert layout(nodes, wanted, ranks) == expected


@pytest.mark.parametrize(
    ("nodes", "wanted", "ranks", "said"),
    [
        ([EIGHT, FOUR], 4, 4, "--replicas 4: 4 replicas of 4 GPUs each do not fit on the cluster, whose nodes have "
                              "8, 4 GPUs; give at most 3"),
        ([FOUR, FOUR], "auto", 8, "--replicas auto: 0 replicas of 8 GPUs each do not fit"),
        ([DESK], 9, 1, "--replicas 9: 9 replicas of 1 CPUs each do not fit on the cluster, whose nodes have 8 CPUs and "
                       "no GPU; give at most 8"),
        ([Node(0, 0)], "auto", 1, "give at most 0"),
    ],
)  # fmt: skip
def test_more_replicas_than_fit_are_refused_with_how_many_would(
    nodes: Sequence[Node], wanted: int | str, ranks: int, said: str
) -> None:
    with pytest.raises(MachinesError, match=re.escape(said)):
        layout(nodes, wanted, ranks)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "start the command on a node of the cluster, and give HOST:PORT"),
        ("head", "that is not HOST:PORT"),
        ("head:99999", "that is not HOST:PORT"),
        ("127.0.0.1:9", "no Ray cluster answers there"),
    ],
)
def test_a_cluster_that_cannot_be_reached_ends_the_command_at_once(
    address: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, mirror = build_checkpoint("qwen2.5-vl", tmp_path / "ck"), suite_mirror.build(tmp_path / "data", n=2)
    command = ["run", "--model", str(checkpoint), "--variant", "mrope", "--tasks", ",".join(suite_mirror.TASKS),
               "--data-root", str(mirror), "--output", str(tmp_path / "out"), "--replicas", "2",
               "--backend", "ray"]  # fmt: skip
    for given in (["--ray-address", address], []):
        monkeypatch.setenv("RAY_ADDRESS", address)
        began = time.monotonic()
        assert cli.main([*command, *given]) == 2
        assert time.monotonic() - began < 60
        error = capsys.readouterr().err
        assert said in error and "Traceback" not in error
    assert not list((tmp_path / "out").rglob("responses.sqlite"))


def test_without_any_cluster_the_command_that_starts_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Ray looks through is this machine's processes, of whoever they are; here it finds none of its own."""

    def init(**given: Any) -> None:
        assert given["address"] == "auto"
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(is_initialized=lambda: False, init=init))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(MachinesError, match=r"^without --ray-address: no .* start one with 'ray start --head"):
        ray_links.connect(None)


def test_an_address_without_the_backend_is_refused() -> None:
    with pytest.raises(UserError, match="of no use without --backend ray"):
        EngineOptions(ray_address="head:6379")


def test_what_no_row_has_room_for_ends_the_run_and_fails_no_row() -> None:
    def start(*_: Any) -> Any:
        raise MachinesError("no room.")

    none: Any = None
    with pytest.raises(MachinesError, match=r"^no room\.$"):
        EngineHolder(start, lambda: None).ready("row", none, none, EngineOptions(), Timings())


class RaisedError(Exception):
    """As Ray raises."""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The actor died unexpectedly before finishing.\n\tpid: 7\nThe actor is dead because its worker process has "
         "died. Worker exit type: SYSTEM_ERROR", "its actor on n1 died because its worker process has died"),
        ("The actor died because its node has died. Node Id: 12", "its actor on n1 died because its node has died"),
        ("the GCS is\naway", "its actor on n1 cannot be reached (RaisedError: away)"),
    ],
)  # fmt: skip
def test_what_ray_says_of_an_actor_s_end_is_the_end_of_a_sentence(text: str, said: str) -> None:
    lost = ending(RaisedError(text), "n1")
    assert not isinstance(lost, Broken) and lost.cause == said


def test_a_node_without_the_package_is_no_death() -> None:
    broken = ending(RaisedError("failed to import\nModuleNotFoundError: No module named 'mmrope_eval'\n"), "")
    assert isinstance(broken, Broken) and not broken.started
    assert "install the same version of mmrope-eval on every node" in str(broken.error)


# --- with a cluster of two nodes on this machine ------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster with two nodes of one CPU each."""
    with two_nodes(num_cpus=1) as address:
        yield address


Begin = Callable[..., tuple[Replicas, list[str]]]


@pytest.fixture
def begin(cluster: str) -> Iterator[Begin]:
    begun: list[Replicas] = []

    def started(path: Path = TESTS, **orders: Any) -> tuple[Replicas, list[str]]:
        lines: list[str] = []
        setting = Setting(cast(Any, Folder("ck", path)), cast(Any, Named("mrope")), Orders(**orders))
        options = EngineOptions(replicas=2, backend="ray", ray_address=cluster)
        launch = Numbered(options)
        begun.append(Replicas.start(launch, Birth(setting, options, ours, start), lines.append))
        return begun[-1], lines

    yield started
    for replicas in begun:
        replicas.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for_the_end(pids: Sequence[int]) -> None:
    """Until none of these processes lives; there must be one."""
    assert pids
    eventually(lambda: not any(map(alive, pids)), f"the end of the processes {pids}")


def asked(count: int) -> list[Deferred]:
    return [Deferred(f"s/{n}", read, f"s/{n}") for n in range(count)]


def test_actors_answer_and_whoever_is_killed_is_replaced(begin: Begin, capfd: pytest.CaptureFixture[str]) -> None:
    """First an actor, then a replica's own process, with SIGKILL; the actor's process does not outlive it."""
    replicas, lines = begin(delay=0.01)
    results: list[Response] = []
    for result in replicas.stream(asked(300)):
        assert isinstance(result, Response)
        results.append(result)
        if len(results) == 20:
            actor, children = next(iter(hosts().items()))
            os.kill(actor, signal.SIGKILL)
            wait_for_the_end([actor, *children])
        if len(results) == 100:
            os.kill(result.token_ids[0], signal.SIGKILL)
    assert sorted(response.id for response in results) == sorted(response.id for response in asked(300))
    assert replicas.deaths == 2
    # Ray may take its time to notice the end of an actor.
    causes = sorted(line.partition(" samples in flight: ")[2] for line in lines)
    assert causes[0].endswith("died because its worker process has died; another one is started.")
    assert causes[1] == "its process was killed by signal 9; another one is started."
    left = [pid for actor, children in hosts().items() for pid in (actor, *children)]
    replicas.close()
    wait_for_the_end(left)
    printed = capfd.readouterr()
    assert "raylet" not in printed.out + printed.err and "Host" not in printed.out + printed.err


def test_a_node_without_the_checkpoint_is_said_and_nothing_is_asked(begin: Begin, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"node .* has no folder .*gone \(the checkpoint\): put it on a file system"):
        begin(tmp_path / "gone")


def test_an_actor_that_nobody_calls_ends_itself_and_its_replica(cluster: str) -> None:
    """As on a node whose Ray was killed, where an actor was seen to stay for half a minute."""
    ray_links.connect(cluster)
    import ray

    setting = Setting(cast(Any, Folder("ck")), cast(Any, Named("mrope")), Orders())
    birth = pickle.dumps(Birth(setting, EngineOptions(), ours, start))
    actor = ray.remote(Host).options(num_cpus=1).remote(Place("replica 1", variables={"PLACE": "1"}), birth, 4.0)
    answers: list[Any] = []

    def heard() -> list[Any]:
        answers.extend(map(pickle.loads, ray.get(actor.exchange.remote([], 0.1))))
        return answers

    eventually(heard, "a word")
    assert isinstance(answers[0], Ready)
    wait_for_the_end([pid for process, children in hosts().items() for pid in (process, *children)])


def test_ray_leaves_sigterm_as_it_was(begin: Begin) -> None:
    before = signal.getsignal(signal.SIGTERM)
    begin()
    assert signal.getsignal(signal.SIGTERM) == before


class KillsAnActor(Murderous):
    """Of real replicas, an actor is killed."""

    def pids(self) -> list[int | None]:
        return list(hosts())


def test_two_actors_and_a_kill_give_the_answers_of_one_engine(
    cluster: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "checkpoint")
    mirror = suite_mirror.build(tmp_path / "mirror", n=4)
    config = RunConfig((str(checkpoint),), suite_mirror.TASKS, tmp_path / "one", ("mrope-i",), data_root=mirror,
                       options=OPTIONS)  # fmt: skip
    single = running.run(config)
    murderous = KillsAnActor(replace(OPTIONS, replicas=2, backend="ray", ray_address=cluster), after=4)
    several = running.run(replace(config, output=tmp_path / "two"), murderous)
    assert (single.failed, several.failed, murderous.deaths) == (0, 0, 1)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert "died because its worker process has died; another one is started." in capfd.readouterr().err
    wait_for_the_end([pid for pid in murderous.engines if pid is not None])


# --- doctor -------------------------------------------------------------------------------------------------------

HERE = Facts("here", {"torch": "2.13.0", "code": "0.3.0"}, {"/ck": "a", "/data": "b"}, 1, 8, 5e9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, []),
        ({"code": {"torch": "2.12.0", "code": "0.3.0"}}, ["other code than this machine (torch 2.12.0 instead of"]),
        ({"code": {"torch": "2.13.0"}}, ["(code None instead of 0.3.0)"]),
        ({"folders": {"/ck": "a", "/data": None}}, ["has no folder /data: mount it there"]),
        ({"folders": {"/ck": "x", "/data": "b"}}, ["has other files in /ck than this machine"]),
        ({"free": 1e8}, ["has 0.1 GB free for its cache: free 1 GB"]),
        ({"problem": "ModuleNotFoundError: No module named 'mmrope_eval'"}, ["cannot be imported there"]),
        ({"problem": "it has not answered for 90 s"}, ["cannot be asked: it has not answered for 90 s; look at"]),
    ],
)
def test_what_a_node_lacks_is_a_sentence_with_the_fix(changes: dict[str, Any], said: list[str]) -> None:
    lines = list(doctor_nodes.compare(HERE, replace(HERE, host="there", **changes)))
    assert len(lines) == len(said)
    assert all(line.startswith("there") and part in line for line, part in zip(lines, said, strict=True))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda folder: (folder / "config.json").write_text("[2]"), False),
        (lambda folder: (folder / "a/weights.bin").write_bytes(b"12345"), False),
        (lambda folder: (folder / "a/weights.bin").rename(folder / "a/other.bin"), False),
        (lambda folder: os.utime(folder / "config.json", (1, 1)), True),
    ],
)
def test_a_folder_is_the_same_by_names_sizes_and_settings(
    change: Callable[[Path], Any], same: bool, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/weights.bin").write_bytes(b"1234")
    (tmp_path / "config.json").write_text("[1]")
    before = doctor_nodes.state(tmp_path)
    change(tmp_path)
    assert (doctor_nodes.state(tmp_path) == before) is same
    assert doctor_nodes.state(tmp_path / "gone") is None


def test_doctor_has_a_line_for_every_node(cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ck").mkdir()
    command = ["doctor", "--ray", "--ray-address", cluster, "--model", str(tmp_path / "ck"), "--data-root", str(TESTS)]
    assert cli.main(command) == 0
    report = capsys.readouterr().out.splitlines()
    lines = [line for line in report if line.startswith(platform.node())]
    assert len(lines) == 2 and all(line.split()[-6:] == ["same", "0", "1", line.split()[-3], "same", "same"]
                                   for line in lines), report  # fmt: skip
    assert "2 nodes, 0 GPUs: all would answer as this one" in report


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--model", "ck"], "doctor --model is read with --ray only"),
        (["--ray-address", "head:1"], "doctor --ray-address is read with --ray only"),
        (["--ray", "--model", "no/ck"], "no/ck is not a folder of this machine"),
        (["--ray", "--ray-address", "127.0.0.1:9"], "no Ray cluster answers there"),
    ],
)
def test_doctor_says_what_is_wrong_with_its_options(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["doctor", *given]) == 2
    assert said in capsys.readouterr().err
