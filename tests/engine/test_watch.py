"""No wait on an engine lasts for ever: its processes and the time are watched. Without vLLM; with it in
test_engine_workers.py."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zmq
from clocks import clock_is_put_on
from waiting import eventually

from mmrope_eval.engine import process
from mmrope_eval.engine import watch as watching
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.prepare import Prepared
from mmrope_eval.engine.run import EngineRun, RequestQueue
from mmrope_eval.engine.vllm_workers import WorkerProcesses, alive, ended, kill, last_words, lost, with_descendants
from mmrope_eval.engine.watch import PATIENCE, Limits, Watch
from mmrope_eval.errors import UserError
from mmrope_eval.messages import EngineDiedError, Failure, Generation, PositionFacts, Request, Response

ROOT = Path(__file__).resolve().parents[2]


class Client:
    """What vLLM's client waits on, with a process of its own that sleeps."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=time.sleep, args=(600,), daemon=True)
        self.process.start()
        self.outputs_queue: queue.Queue[Any] = queue.Queue()
        self.utility_results: dict[int, Future[Any]] = {}
        manager = SimpleNamespace(processes=[self.process])
        self.resources = SimpleNamespace(engine_manager=manager, engine_dead=False)

    def get_output(self) -> Any:
        output = self.outputs_queue.get()
        if isinstance(output, Exception):
            raise output
        return output

    def call(self) -> Any:
        future: Future[Any] = Future()
        self.utility_results[1] = future
        return future.result()


@pytest.fixture
def client() -> Any:
    made = Client()
    yield made
    made.process.kill()
    made.process.join()


def workers(client: Client, log: Path | None = None) -> WorkerProcesses:
    return WorkerProcesses(SimpleNamespace(engine_core=client), log)


WAITS = ["get_output", "call"]


class TestWorkers:
    @pytest.mark.parametrize("wait", WAITS)
    def test_that_are_killed_end_what_waits_for_them(self, client: Client, wait: str) -> None:
        assert client.process.pid is not None
        threading.Timer(0.3, os.kill, (client.process.pid, signal.SIGKILL)).start()
        with Watch(workers(client)) as watch, pytest.raises(EngineDiedError) as died, watch.limit(600, "an answer"):
            getattr(client, wait)()
        assert str(died.value) == "its process was killed (signal 9, as the system does when memory runs out)"
        assert watch.now < 60, "long before its time was over"

    @pytest.mark.parametrize("wait", WAITS)
    def test_that_are_stuck_are_ended_when_the_time_is_over(self, client: Client, wait: str) -> None:
        assert client.process.pid is not None
        os.kill(client.process.pid, signal.SIGSTOP)
        with Watch(workers(client)) as watch, pytest.raises(EngineDiedError) as died, watch.limit(0.6, "an answer"):
            getattr(client, wait)()
        assert str(died.value) == "an answer took more than 1 s, so the engine was ended"
        client.process.join()
        assert client.process.exitcode == -signal.SIGKILL

    def test_that_report_their_own_end_are_quoted(self, client: Client, tmp_path: Path) -> None:
        log = tmp_path / "log.txt"
        log.write_text("(EngineCore pid=12) ERROR 11-27 04:47:49 [core.py:1512] RuntimeError: CUDA error: an illegal\n")
        client.resources.engine_dead = True
        client.process.terminate()
        client.process.join()
        with Watch(workers(client, log)) as watch, pytest.raises(EngineDiedError) as died, watch.limit(9, "an answer"):
            client.get_output()
        assert str(died.value) == "its process was ended by signal 15 (SIGTERM)"
        client.process = multiprocessing.get_context("fork").Process(target=sys.exit, args=(1,))
        client.process.start()
        client.process.join()
        client.resources.engine_manager.processes = [client.process]
        assert workers(client, log).gone() == "its process ended with exit code 1: RuntimeError: CUDA error: an illegal"

    def test_that_report_their_own_end_are_given_the_time_for_it(self, client: Client) -> None:
        class Ending:
            pid, exitcode = None, None

            def join(self, seconds: float) -> None:
                self.exitcode = 3 if seconds >= 2 else None

        client.resources.engine_dead = True
        client.resources.engine_manager.processes = [Ending()]
        assert workers(client).gone() == "its process ended with exit code 3"

    def test_that_live_are_left_alone(self, client: Client) -> None:
        client.outputs_queue.put("tokens")
        with Watch(workers(client)) as watch:
            with watch.limit(60, "an answer"):
                assert client.get_output() == "tokens"
            with pytest.raises(KeyError, match="ours"), watch.limit(60, "an answer"):
                raise KeyError("ours")
            seen = watch.now
            eventually(lambda: watch.now > seen + 2 * watching.TICK, "more looks")
        assert client.process.is_alive()

    def test_are_given_no_time_that_the_machine_slept(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A job that was suspended for an hour has not waited an hour for its engine."""
        slept = [0.0]
        clock_is_put_on(monkeypatch, lambda: slept[0])
        with Watch(workers(client)) as watch, watch.limit(60, "an answer"):
            slept[0] = 3600.0
            eventually(lambda: watch.now >= watching.LONGEST_TICK, "a look after the sleep")
            assert watch.now < 60
        assert client.process.is_alive()


class TestAnEngineInsideThisProcess:
    def test_that_is_stuck_is_reported(self) -> None:
        lines: list[str] = []
        with Watch(stuck=lines.append) as watch, watch.limit(0.3, "the start of the engine"):
            eventually(lambda: lines, "a report")
        assert set(lines) == {"the start of the engine has taken more than 0 s"}

    def test_is_waited_for_unless_the_process_may_end(self) -> None:
        with Watch() as watch, watch.limit(0.1, "an answer"):
            eventually(lambda: watch.now > 0.1 + 2 * watching.TICK, "looks after the time was over")

    def test_ends_the_process_with_a_sentence(self, tmp_path: Path) -> None:
        code = ("import time; from pathlib import Path; from mmrope_eval.engine.live import _leave\n"
                "from mmrope_eval.engine.options import EngineOptions; from mmrope_eval.engine.watch import Watch\n"
                "from functools import partial\n"
                "with Watch(None, partial(_leave, EngineOptions(log=Path('log.txt')))) as watch:\n"
                "    with watch.limit(0.5, 'an answer'): time.sleep(600)\n")  # fmt: skip
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})  # fmt: skip
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert "mmrope-eval: the engine is stuck: an answer has taken more than 0 s" in done.stderr
        assert "with --workers a stuck engine is ended" in done.stderr
        assert "most recent call first" in (tmp_path / "log.txt").read_text()


# --- processes ----------------------------------------------------------------------------------------------------

PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_process_is_ended_with_all_that_descend_from_it_but_no_other() -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    tree = with_descendants([parent.pid])
    assert set(tree) == {parent.pid, child}
    kill(dict.fromkeys(tree, "another start"))  # the ids are somebody else's by now
    assert set(alive(tree)) == set(tree)
    os.kill(child, signal.SIGSTOP)
    kill(tree)
    parent.wait()
    eventually(lambda: not alive(tree), "the end of the tree")
    assert other.poll() is None
    other.kill()
    other.wait()


LEAVES = """
import multiprocessing, os, time
from mmrope_eval.engine.process import leave_with_parent

def engine():
    leave_with_parent()
    print(os.getpid(), flush=True)
    time.sleep(600)

if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=engine)
    child.start()
    time.sleep(600)
"""


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own handler, which there is not where a shell started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interrupt_ends_a_start_although_vllm_would_wait_on(tmp_path: Path) -> None:
    """What it waits for its processes in takes KeyboardInterrupt for nothing."""
    from vllm.utils.network_utils import zmq_socket_ctx

    with zmq_socket_ctx(f"ipc://{tmp_path}/one", zmq.PULL):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):  # noqa: SIM117 - what is raised inside the second must leave it
        with process.interruptible(), zmq_socket_ctx(f"ipc://{tmp_path}/two", zmq.PULL):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_somebody_handles_is_left_to_him() -> None:
    handled: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: handled.append(number))
    try:
        with process.interruptible():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert handled == [signal.SIGINT]


@pytest.mark.parametrize(("variable", "stays"), [("1", False), ("0", True)])
def test_an_engine_s_process_ends_with_the_one_that_started_it(tmp_path: Path, variable: str, stays: bool) -> None:
    """However that ended; a process that is not of our engines does as it likes."""
    script = tmp_path / "parent.py"
    script.write_text(LEAVES)
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "MMROPE_EVAL_LEAVE_WITH_PARENT": variable}
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=variables)
    assert parent.stdout is not None
    child = with_descendants([int(parent.stdout.readline())])  # what it says once it knows when to leave
    assert alive(child)
    parent.kill()
    parent.wait()
    if stays:
        time.sleep(1.0)
        assert alive(child)
        kill(child)
    else:
        eventually(lambda: not alive(child), "the end of the engine's process")


@pytest.mark.parametrize(("code", "words"), [
    (0, "ended with exit code 0"),
    (1, "ended with exit code 1"),
    (-9, "was killed (signal 9, as the system does when memory runs out)"),
    (-11, "was ended by signal 11 (SIGSEGV)"),
    (-200, "was ended by signal 200"),
])  # fmt: skip
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert ended(code) == words


@pytest.mark.parametrize(("said", "words"), [
    ("Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': -9}",
     "its process was killed (signal 9, as the system does when memory runs out)"),
    ("Engine core initialization failed. Failed core proc(s): {'EngineCore_DP0': -15}",
     "its process was ended by signal 15 (SIGTERM)"),
    ("Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}",
     "its processes ended without a word"),
    ("Engine core initialization failed. See root cause above. Failed core proc(s): {}",
     "its processes ended without a word"),
])  # fmt: skip
def test_what_became_of_an_engine_that_said_nothing(said: str, words: str) -> None:
    assert lost(RuntimeError(said)) == words


PREFIX = "(EngineCore pid=9384) ERROR 11-27 04:47:49 [core.py:1512] "


@pytest.mark.parametrize(("said", "words"), [
    ("", ""),
    ("(Worker pid=1) INFO 11-27 04:47:49 [x.py:1] Loading weights took 0.01 seconds\n", ""),
    (f"{PREFIX}Traceback (most recent call last):\n{PREFIX}  File 'a', line 2\n{PREFIX}ValueError: too wide\n",
     "ValueError: too wide"),
    ("Process EngineCore:\nTraceback (most recent call last):\ntorch.OutOfMemoryError: CUDA out of memory. Tried 2G\n",
     "torch.OutOfMemoryError: CUDA out of memory. Tried 2G"),
    ("(EngineCore pid=1) ERROR 11-27 04:47:49 [m.py:3] Worker proc VllmWorker-1 died unexpectedly (exit code: -9)\n"
     f"{PREFIX}RuntimeError: cancelled\n",
     "its worker VllmWorker-1 was killed (signal 9, as the system does when memory runs out)"),
    (f"{PREFIX}Worker proc VllmWorker-0 died unexpectedly (exit code: None), shutting down executor.\n",
     "its worker VllmWorker-0 was lost"),
    ("2026-11-27 04:47:49 an Error that we told of\n", ""),
    (f"(Worker pid=7) ERROR 11-27 04:47:49 [multiproc_executor.py:9] AssertionError: head size 16\n"
     f"{PREFIX}Exception: WorkerProc initialization failed due to an exception. See stack trace for root cause.\n",
     "AssertionError: head size 16"),
    (f"{PREFIX}Exception: WorkerProc initialization failed. See stack trace for root cause.\n", ""),
    (f"{PREFIX}KeyError\n", "KeyError"),
])  # fmt: skip
def test_the_last_words_of_an_engine(tmp_path: Path, said: str, words: str) -> None:
    log = tmp_path / "log.txt"
    before = f"{PREFIX}KeyError: of the engine before\n"
    log.write_text(before + said)
    assert last_words(log, len(before)) == words
    assert last_words(tmp_path / "none") == last_words(None) == ""


# --- limits -------------------------------------------------------------------------------------------------------


def limits(cuda: bool = False, size: float = 0, **options: Any) -> Limits:
    checkpoint: Any = SimpleNamespace(weight_bytes=size, num_layers=28, num_heads=28, head_dim=128)
    return Limits(checkpoint, EngineOptions(**options), cuda)


def test_limits_grow_with_the_work_and_an_option_takes_their_place() -> None:
    tiny, large, fast = limits(), limits(size=15e9), limits(True, size=15e9)
    assert tiny.start == PATIENCE and 1200 < large.start < 1500
    assert PATIENCE <= fast.silence(16384) < 1.5 * PATIENCE < large.silence(2048) < large.silence(16384)
    assert tiny.silence(262144) > tiny.silence(1024), "attention costs without weights"
    assert fast.request(16384, 1024) > fast.request(16384, 16) > fast.silence(16384)
    given = limits(size=15e9, request_timeout=5, start_timeout=7)
    assert (given.start, given.silence(10**6), given.request(10**6, 10**4)) == (7, 5, 5)


@pytest.mark.parametrize("name", ["request_timeout", "start_timeout"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_limit_is_above_zero(name: str, value: float) -> None:
    with pytest.raises(UserError, match=name):
        EngineOptions(**{name: value})  # type: ignore[arg-type]


# --- the run of a stream ------------------------------------------------------------------------------------------


class Engine:
    """As much of vLLM's as `EngineRun` asks for: a request finishes in the next step, or never; it dies of so many at
    once, or old."""

    def __init__(self, watch: Watch, never: frozenset[str] = frozenset(), dies_of: int = 10**6) -> None:
        self.watch = watch
        scheduler = SimpleNamespace(max_num_seqs=3, max_num_batched_tokens=2048)
        self.vllm_config = SimpleNamespace(scheduler_config=scheduler)
        self.output_processor = SimpleNamespace(request_states={})
        self.never, self.dies_of = never, dies_of
        self.running: dict[str, str] = {}
        self.aborted: list[str] = []

    def add_request(self, name: str, prompt: Any, params: Any) -> str:
        self.running[name] = prompt
        return name

    def abort_request(self, names: list[str]) -> None:
        self.aborted += [self.running.pop(name) for name in names]

    def step(self) -> list[Any]:
        self.watch.now += 0.25
        if len(self.running) >= self.dies_of or self.watch.now > 100:
            raise EngineDiedError("its process was killed")
        done = [name for name, prompt in self.running.items() if prompt not in self.never]
        token = SimpleNamespace(logprob=0.0)
        answer = SimpleNamespace(text="A", token_ids=[5], finish_reason="stop", logprobs=[{5: token}])
        return [SimpleNamespace(request_id=name, finished=True, outputs=[answer], prompt_logprobs=None)
                for name in done if self.running.pop(name)]  # fmt: skip

    def collective_rpc(self, method: str, args: Any) -> list[Any]:
        return [[(key, "f", 1.0, 0.0) for key in "abcdefgh"]]


def prepared(request: Request) -> Prepared:
    return Prepared(request, request.id, None, (1, 2, 3), (), request.id, PositionFacts("f", 1.0, 0.0), 0)


def stream(engine: Engine, **options: Any) -> list[Response | Failure]:
    requests = [Request(name, ("?",), Generation(4)) for name in "abcdefgh"]
    with RequestQueue(requests, prepared, ahead=4, max_bytes=1, threads=1) as queue, EngineRun(
        engine, queue, engine.watch, limits(**options), lambda loaded: pytest.fail(f"{loaded} is prepared already")
    ) as run:
        return list(run.results())


def test_a_request_that_never_ends_is_given_up_while_others_are_answered() -> None:
    engine = Engine(Watch(), never=frozenset("c"))  # a watch whose time is that of the engine's steps
    results = {result.id: result for result in stream(engine, request_timeout=1)}
    assert results.keys() == set("abcdefgh") and engine.aborted == ["c"]
    assert results.pop("c") == Failure("c", "engine", "it has no answer after 1 s (--request-timeout)")
    assert all(isinstance(result, Response) for result in results.values())


def test_an_engine_s_death_tells_what_was_in_flight() -> None:
    with pytest.raises(EngineDiedError) as died:
        stream(Engine(Watch(), never=frozenset("bcd"), dies_of=3))
    assert died.value.in_flight is not None and set(died.value.in_flight) >= {"b", "c"}
    assert len(died.value.in_flight) == 3
