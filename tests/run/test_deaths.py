"""Engines that die under a run, rows that cannot be answered: what is asked again, what is given up, what is said.

A stand-in engine dies and fails where it is told to. The real one is killed in test_engine_workers.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from suite_fakes import FakeEngine, FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.messages import EngineDiedError, Failure
from mmrope_eval.run import asking
from mmrope_eval.run import run as running
from mmrope_eval.run.asking import Deaths, in_turns
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.execute import MaxFailures, TooManyFailuresError
from mmrope_eval.task.sample import Sample

N = 20
IDS = [*(f"refcoco_val/{i}" for i in range(2 * N)), *(f"chartqa/{i}" for i in range(N))]
Configure = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=N)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("ck") / "tiny25")


@pytest.fixture
def configure(checkpoint: Path, mirror: Path, tmp_path: Path) -> Configure:
    def make(name: str = "out", **changes: Any) -> RunConfig:
        given: dict[str, Any] = {"models": (str(checkpoint),), "tasks": ("refcoco_val", "chartqa"),
                                 "output": tmp_path / name, "variants": ("mrope",), "data_root": mirror,
                                 "options": EngineOptions()}  # fmt: skip
        return RunConfig(**{**given, **changes})

    return make


def files(folder: Path) -> dict[str, bytes]:
    """Everything that may not differ between identical runs."""
    paths = [*folder.rglob("scores.json"), *folder.rglob("*.jsonl")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(paths)}


def failures(folder: Path) -> dict[str, str]:
    """Cause by sample, of failures.jsonl."""
    path = folder / "failures.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["id"]: line["cause"] for line in map(json.loads, lines)}


POISON = "chartqa/7"

CASES: dict[str, tuple[dict[str, Any], int, set[str]]] = {
    # (how the engines die, how many are started, what is given up)
    "nothing dies": ({}, 1, set()),
    "killed before the first answer": ({"lives": (0,)}, 2, set()),
    "killed in the middle": ({"lives": (11,)}, 2, set()),
    "killed with the last answer outstanding": ({"lives": (59,)}, 2, set()),
    "killed twice, with something else in flight each time": ({"lives": (11, 20)}, 3, set()),
    "killed, and nobody knows what was in flight": ({"lives": (11,), "settings": {"knows": False}}, 2, set()),
    "a sample that no engine survives": ({"settings": {"poison": frozenset({POISON})}}, 3, {POISON}),
    "the same, alone from the start": ({"settings": {"poison": frozenset({POISON}), "capacity": 1}}, 2, {POISON}),
    "the same, and nobody knows": ({"settings": {"poison": frozenset({POISON}), "knows": False}}, 3, {POISON}),
    "one that is killed, and a sample that the others do not survive": (
        {"lives": (2,), "settings": {"poison": frozenset({"chartqa/19"})}}, 3, {"chartqa/19"}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_death_costs_no_answer_and_no_innocent_is_given_up(case: str, configure: Configure) -> None:
    how, engines, given_up = CASES[case]
    running.run(configure("whole"), FakeStart())
    start = FakeStart(**how)
    result = running.run(configure(), start)
    assert not result.broken and result.asked == len(IDS)
    assert len(start.engines) == engines
    assert sorted(set(start.asked)) == sorted(set(IDS) - given_up)
    assert len(start.asked) == len(set(start.asked)), "what was answered is not asked again"
    whole, after_death = files(configure("whole").output), files(configure().output)
    if not given_up:
        assert after_death == whole
    assert failures(configure().output).keys() == given_up
    for line in (configure().output / "samples" / "chartqa.jsonl").read_text().splitlines():
        assert (json.loads(line)["prediction"] is None) == (json.loads(line)["id"] in given_up)


def test_what_is_given_up_says_so_and_is_tried_again_by_the_next_start(configure: Configure) -> None:
    running.run(configure("whole"), FakeStart())
    running.run(configure(), FakeStart({"poison": frozenset({POISON})}))
    cause = failures(configure().output)[POISON]
    assert cause == ("two engines died while they worked on it, the second on nothing else: "
                     "its process ended with exit code 1")  # fmt: skip
    again = FakeStart()
    assert running.run(configure(), again).failed == 0 and again.asked == [POISON]
    assert files(configure().output) == files(configure("whole").output)


def test_three_deaths_end_a_row_and_the_others_go_on(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    running.run(configure("whole", variants=("mrope", "hope")), FakeStart())
    config = configure(variants=("mrope", "hope"))
    start = FakeStart(lives=(5, 6, 7))
    result = running.run(config, start)
    assert list(result.rows) == ["hope"] and len(start.engines) == 4
    assert result.broken["mrope"] == ("3 engines died on this row, the last one so: its process was killed. "
                                      "42 samples are not answered; the same command asks them.")  # fmt: skip
    printed = capsys.readouterr().err
    sentence = "the engine died with 4 samples in flight: its process was killed. Another one is started"
    assert printed.count(sentence) == 2
    assert "EngineDiedError: its process was killed" in (config.output / "errors.log").read_text()
    rest = FakeStart()
    assert not running.run(config, rest).broken
    assert sorted(rest.asked) == sorted(set(IDS) - {name for engine in start.engines[:3] for name in engine.answered})
    assert files(config.output) == files(configure("whole").output)


def test_an_engine_that_cannot_be_started_again_ends_the_row(configure: Configure) -> None:
    class Once(FakeStart):
        def __call__(self, *given: Any) -> FakeEngine:
            if self.engines:
                raise RuntimeError("no room on the GPU")
            return super().__call__(*given)

    result = running.run(configure(), Once(lives=(9,)))
    assert result.broken == {"mrope": "no engine could be started on it: RuntimeError: no room on the GPU"}


@pytest.mark.parametrize(("deaths", "ends"), [(1, False), (2, False), (3, True)])
def test_an_engine_that_is_killed_while_it_starts_is_started_again(
    configure: Configure, deaths: int, ends: bool
) -> None:
    class Killed(FakeStart):
        def __call__(self, *given: Any) -> FakeEngine:
            if len(starts) < deaths:
                starts.append("killed")
                raise EngineDiedError("its process was killed while it was started", ())
            return super().__call__(*given)

    starts: list[str] = []
    result = running.run(configure(), Killed())
    assert len(starts) == deaths and bool(result.broken) == ends
    assert result.failed == 0 and (ends or result.asked == len(IDS))


def test_deaths_are_in_the_record(configure: Configure) -> None:
    running.run(configure(), FakeStart(lives=(11, 20)))
    (session,) = json.loads((configure().output / "manifest.json").read_text())["sessions"]
    assert session["deaths"] == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    poison=st.frozensets(st.sampled_from(IDS), max_size=4),
    capacity=st.integers(1, 9),
    lives=st.lists(st.one_of(st.none(), st.integers(0, 70)), max_size=2),
    knows=st.booleans(),
)
def test_whatever_dies_no_answer_is_lost_doubled_or_changed(
    configure: Configure, poison: frozenset[str], capacity: int, lives: list[int | None], knows: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    whole = configure("whole")
    if not (whole.output / "scores.json").exists():
        running.run(whole, FakeStart())
    config = configure(output=tmp_path_factory.mktemp("run"))
    start = FakeStart({"poison": poison, "capacity": capacity, "knows": knows}, lives=tuple(lives))
    result = running.run(config, start)
    assert len(start.engines) <= 1 + asking.MAX_DEATHS
    assert len(start.asked) == len(set(start.asked))
    # Only what was alone with an engine when it died is given up; a kill from outside can hit there as well.
    deadly = set(failures(config.output))
    assert len(deadly) <= len(start.engines) - 1
    if not any(life is not None for life in lives):
        assert deadly <= poison
    if not result.broken:
        assert set(start.asked) == set(IDS) - deadly
    rounds = 0
    while result.broken or result.failed:
        result, rounds = running.run(config, FakeStart()), rounds + 1
    assert rounds <= 1 and files(config.output) == files(whole.output)


@pytest.mark.parametrize(("deaths", "blamed"), [
    ([["a"]], [None]),
    ([["a"], ["a"]], [None, "a"]),
    ([["a", "b"], ["a"]], [None, "a"]),
    ([["a", "b"], ["a", "b"]], [None, None]),
    ([["a", "b"], ["c"], ["c"]], [None, None, "c"]),
    ([[], ["a"]], [None, None]),
])  # fmt: skip
def test_who_is_to_blame(deaths: list[list[str]], blamed: list[str | None]) -> None:
    counted = Deaths()
    assert [counted.note(names) for names in deaths] == blamed


# --- rows that cannot be answered ---------------------------------------------------------------------------------

BROKEN = Failure("", "prompt", "ValueError: cannot fit patch 14 at 0x7f12 into 16", trace=(
    "Traceback (most recent call last):\n  File 'x', line 3, in apply\nValueError: cannot fit patch 14 into 16\n"))


class TestNothingIsAnswered:
    def test_ends_the_row_with_its_causes_and_the_others_go_on(
        self, configure: Configure, capsys: pytest.CaptureFixture[str]
    ) -> None:
        class Start(FakeStart):
            def __call__(self, checkpoint: Any, variant: Any, options: Any = None) -> FakeEngine:
                engine = super().__call__(checkpoint, variant, options)
                engine.fail_all = BROKEN if len(self.engines) == 1 else None
                return engine

        config, start = configure(variants=("mrope", "hope")), Start()
        result = running.run(config, start)
        assert list(result.rows) == ["hope"] and len(start.engines[0].answered) == 32
        cause = "its first 32 samples all failed, 32 of them so: ValueError: cannot fit"
        assert result.broken["mrope"].startswith(cause)
        folder = config.output / "mrope"
        assert len(failures(folder)) == 32 and not (folder / "scores.json").exists()
        assert list(failures(folder)) == [name for name in IDS if name in failures(folder)], "in the tasks' order"
        printed = capsys.readouterr().err
        assert f"  32 x refcoco_val/0: {BROKEN.cause}" in printed
        assert f"  all 32 in {folder / 'failures.jsonl'}" in printed
        assert f"  tracebacks in {config.output / 'errors.log'}" in printed
        assert (config.output / "errors.log").read_text().count("in apply") == 1

    def test_counts_no_sample_as_tried(self, configure: Configure) -> None:
        for _ in range(3):
            assert running.run(configure(), FakeStart({"fail_all": BROKEN})).broken
        running.run(configure("whole"), FakeStart())
        start = FakeStart()
        assert running.run(configure(), start).failed == 0 and len(start.asked) == len(IDS)
        assert files(configure().output) == files(configure("whole").output)

    @pytest.mark.parametrize(("what", "stops"), [
        ({}, True),
        # One answer anywhere shows that the row can be answered.
        ({"spared": frozenset({"refcoco_val/1"})}, False),
        # One task of two: asked in turns, the other's first answers come before 32 failures of it.
        ({"spared": frozenset(f"chartqa/{i}" for i in range(N))}, False),
        # Files that cannot be read are the data's fault, however many.
        ({"fail_all": Failure("", "media", "V3.mp4: the video cannot be read")}, False),
        ({"fail_all": Failure("", "engine", "OutOfMemoryError: CUDA out of memory")}, True),
        ({"fail_all": Failure("", "positions", "outside the range")}, True),
    ])  # fmt: skip
    def test_is_known_by_the_first_samples_of_all_tasks(
        self, configure: Configure, what: dict[str, Any], stops: bool
    ) -> None:
        start = FakeStart({"fail_all": BROKEN, **what})
        result = running.run(configure(), start)
        assert bool(result.broken) == stops
        assert len(start.asked) == (32 if stops else len(IDS))
        if not stops:
            assert result.failed == len(IDS) - len(what.get("spared", ()))

    def test_leaves_no_scores_and_promises_none(
        self, configure: Configure, capsys: pytest.CaptureFixture[str]
    ) -> None:
        config = configure()
        running.report(running.run(config, FakeStart({"fail_all": BROKEN})))
        last = capsys.readouterr().out.splitlines()[-1]
        assert last == f"failed.json: {config.output}" and not (config.output / "scores.json").exists()

    def test_is_not_said_of_fewer_samples(self, configure: Configure) -> None:
        result = running.run(configure(limit=Limit(15)), FakeStart({"fail_all": BROKEN}))
        assert not result.broken and result.failed == 30

    def test_is_not_said_of_a_row_that_was_answered_before(self, configure: Configure) -> None:
        running.run(configure(limit=Limit(1)), FakeStart())
        result = running.run(configure(), FakeStart({"fail_all": BROKEN}))
        assert not result.broken and result.failed == len(IDS) - 2

    def test_waits_for_a_task_whose_files_cannot_be_read(self, configure: Configure) -> None:
        """One task fails in the engine, the first of the other's files are broken: it is not known whether it could."""

        class Engine(FakeEngine):
            def reply(self, request: Any) -> Any:
                result = super().reply(request)
                task, _, number = request.id.partition("/")
                if task == "chartqa":
                    return Failure(request.id, "media", "cut off") if int(number) < 18 else super().reply(request)
                return Failure(request.id, "prompt", "too long") if isinstance(result, Failure) else result

        class Start(FakeStart):
            def __call__(self, checkpoint: Any, variant: Any, options: Any = None) -> FakeEngine:
                self.engines.append(Engine(checkpoint, variant, fail_all=BROKEN, spared=frozenset({"chartqa/18"})))
                return self.engines[-1]

        result = running.run(configure(), Start())
        assert "its first" in result.broken["mrope"]
        assert len(failures(configure().output)) >= 32


def test_too_many_failures_are_written_with_their_causes(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configure(max_failures=MaxFailures(3))
    for _ in range(2):
        with pytest.raises(TooManyFailuresError, match="4 of 60 samples failed"):
            running.run(config, FakeStart({"fail_all": BROKEN, "spared": frozenset({"refcoco_val/0"})}))
        assert len(failures(config.output)) == 4
        printed = capsys.readouterr().err
        assert f"  4 x refcoco_val/1: {BROKEN.cause}" in printed and "  tracebacks in" in printed


def test_the_first_samples_are_taken_from_all_tasks_in_turns() -> None:
    def sample(task: str, index: int) -> Sample:
        return Sample(f"{task}/{index}", task, index, "", None, (), None, None)  # type: ignore[arg-type]

    given = [sample(task, i) for task, n in (("a", 5), ("b", 1), ("c", 3)) for i in range(n)]
    names = [sample.id for sample in in_turns(given, 5)]
    assert names == ["a/0", "b/0", "c/0", "a/1", "c/1", "a/2", "a/3", "a/4", "c/2"]
    assert [sample.id for sample in in_turns(given, 0)] == [sample.id for sample in given]


def test_an_engine_that_dies_during_a_switch_is_replaced(configure: Configure) -> None:
    class Engine(FakeEngine):
        def switch(self, **to: Any) -> None:
            raise EngineDiedError("its process was killed")

    class Start(FakeStart):
        def __call__(self, checkpoint: Any, variant: Any, options: Any = None) -> FakeEngine:
            self.engines.append(Engine(checkpoint, variant))
            return self.engines[-1]

    start = Start()
    result = running.run(configure(variants=("mrope", "hope")), start)
    assert list(result.rows) == ["mrope", "hope"] and len(start.engines) == 2
