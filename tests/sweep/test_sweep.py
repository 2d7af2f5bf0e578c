"""A sweep: budgets, growth, one engine for all points, memory, resuming. A stand-in engine; the real one comes last."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from suite_fakes import FakeEngine, facts

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.cli import sweep as sweep_command
from mmrope_eval.data.choice_of_rows import Limit
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.engine.prompt import PromptWriter
from mmrope_eval.errors import MachinesError, UserError
from mmrope_eval.messages import EngineDiedError, EngineStartError, Failure, PositionFacts, Request, Response
from mmrope_eval.models.checkpoint import read_checkpoint
from mmrope_eval.report.sweep.figures import write_files
from mmrope_eval.report.sweep.read import load_sweep
from mmrope_eval.report.sweep.text import report
from mmrope_eval.rope import Segment, Text, VariantError, Vision, load_variant
from mmrope_eval.rope.scaling import YarnScaling
from mmrope_eval.run.config import RunConfig
from mmrope_eval.sweep.budget import (
    Growth,
    Stretch,
    layout,
    make_budget,
    make_policy,
    reach,
    scaled,
    stamp_tokens,
    text_tokens,
)
from mmrope_eval.sweep.config import Frames, GeneratedNeedles, SweepConfig, read_sweep
from mmrope_eval.sweep.dry_run import dry_run
from mmrope_eval.sweep.engine import memory_problem
from mmrope_eval.sweep.sweep import Sweep
from mmrope_synth import build_world
from mmrope_synth.errors import SynthError
from mmrope_synth.needle import Needle

CONTEXTS = (400, 640, 1280)
FRAMES = Frames(cells=2, fps=4.0)
SHARED = Path(tempfile.gettempdir()) / f"mmrope-needles-{os.getpid()}"
NEEDLE = Needle(depths=(0.0, 50.0, 100.0), questions=2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("ck") / "tiny25")


@pytest.fixture(scope="module")
def checkpoint3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen3-vl", tmp_path_factory.mktemp("ck") / "tiny3")


@pytest.fixture(scope="module", autouse=True)
def shared_needles() -> Iterator[None]:
    yield
    shutil.rmtree(SHARED, ignore_errors=True)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def sweep_of(**changes: Any) -> SweepConfig:
    settings: dict[str, Any] = {"path": Path("test.yaml"), "title": "Test", "contexts": CONTEXTS, "needle": NEEDLE,
                                "frames": FRAMES, **changes}  # fmt: skip
    return SweepConfig(**{"train_context": min(c for c in settings["contexts"] if c >= 400), **settings})


@dataclass
class Machine:
    """Starts stand-in engines, with as much memory as it is told to have, and keeps what happens to them."""

    allowed: int = 1 << 20
    """The longest max_model_len that an engine may be started with."""
    breaks_at: int | None = None
    """max_tokens of video beyond which answering runs out of memory."""
    dies_at: int | None = None
    broken_at: int = 1 << 20
    """Tokens of video from which on it refuses what it is asked, or dies of it."""
    refuses: Failure | None = None
    dies: bool = False
    furthest: float = 1e9
    """Positions go no further: the videos are too short, or tell the time in seconds."""
    log: list[str] = field(default_factory=list)

    def __call__(self, checkpoint: Any, variant: Any, options: EngineOptions) -> MachineEngine:
        length = options.max_model_len or 0
        self.log.append(f"start {length}")
        if length > self.allowed:
            raise ValueError(f"To serve one request of {length} tokens, 9 GiB KV cache is needed, which is too much")
        return MachineEngine(checkpoint, variant, machine=self, options=options)


@dataclass
class MachineEngine(FakeEngine):
    machine: Machine = field(default_factory=Machine)
    options: EngineOptions = field(default_factory=EngineOptions)
    policy: Any = None

    def switch(self, *, variant: Any = None, checkpoint: Any = None, policy: Any = None) -> None:
        self.machine.log.append(f"switch {policy.video_max_frames}")
        started = self.options.policy
        assert started is not None and policy.video_max_tokens <= started.video_max_tokens
        self.policy = policy
        self.variant, self.checkpoint = variant or self.variant, checkpoint or self.checkpoint

    def reply(self, request: Request) -> Response | Failure:
        tokens = self.policy.video_max_tokens
        self.machine.log.append(request.id)
        if self.machine.dies_at and tokens >= self.machine.dies_at:
            raise EngineDiedError("vLLM stopped working: RuntimeError: CUDA error: out of memory")
        if self.machine.broken_at <= tokens:
            if self.machine.refuses is not None:
                return dataclasses.replace(self.machine.refuses, id=request.id)
            if self.machine.dies:
                raise EngineDiedError("its process was killed", [request.id])
        if self.machine.breaks_at and tokens >= self.machine.breaks_at:
            return Failure(request.id, "engine", "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB")
        media = tuple(facts(part) for part in request.content if not isinstance(part, str))
        positions = PositionFacts("f", min(float(tokens), self.machine.furthest), 0.0)
        return Response(request.id, "B", (66,), "stop", 100 + tokens, media, positions)


class SharedNeedles(GeneratedNeedles):
    """Makes the videos of each length once for all tests."""

    def build(self, data_root: Path, dataset: str, needle: Needle, shape: tuple[int, int], fps: float) -> None:
        name = f"{dataset}-{hashlib.sha256(repr((needle, fps)).encode()).hexdigest()[:8]}"
        if not (data_root / dataset).exists():
            GeneratedNeedles.build(self, SHARED, name, needle, shape, fps)
            shutil.copytree(SHARED / name, data_root / dataset)


def go(checkpoint: Path, output: Path, machine: Machine, config: SweepConfig | None = None, **run: Any) -> Sweep:
    settings: dict[str, Any] = {"models": (str(checkpoint),), "tasks": (), "output": output, "variants": ("mrope",)}
    sweep = Sweep(config or sweep_of(), RunConfig(**{**settings, **run}), SharedNeedles(), machine, PromptWriter)
    sweep.measure()
    return sweep


def by_point(folder: Path) -> Mapping[tuple[int, str], dict[str, Any]]:
    points = json.loads((folder / "sweep.json").read_text())["points"]
    return {(point["context"], point["scaling"]): point for point in points}


class TestBudget:
    def test_frames_are_what_the_text_leaves(self, checkpoint: Path) -> None:
        budget = make_budget(1000, 130, 64, FRAMES, read_checkpoint(checkpoint))
        assert (budget.grids, budget.frames) == (217, 434)
        assert budget.tokens == 130 + 217 * 4 == 998 and budget.max_model_len == 1064

    def test_the_policy_spends_exactly_the_budget(self, checkpoint: Path) -> None:
        from mmrope_eval.media.policy import spend_budget

        tiny = read_checkpoint(checkpoint)
        budget = make_budget(1000, 130, 64, FRAMES, tiny)
        policy = make_policy(budget, FRAMES, tiny)
        for size in ((84, 84), (56, 56), (640, 360)):
            plan = spend_budget(10_000, size, policy, tiny.geometry)
            assert plan.frames == budget.frames and plan.tokens <= budget.grids * 4
        assert spend_budget(10_000, (84, 84), policy, tiny.geometry).size == (56, 56)

    def test_no_room(self, checkpoint: Path) -> None:
        assert make_budget(100, 99, 64, FRAMES, read_checkpoint(checkpoint)).grids == 0

    def test_text_is_the_longest_prompt_less_its_video(self, checkpoint: Path) -> None:
        writer = PromptWriter(read_checkpoint(checkpoint))
        short, long = (text_tokens(writer, [(prompt, None)]) for prompt in ("ab", "abcd"))
        assert long == short + 2 == text_tokens(writer, [("ab", None), ("abcd", None)])

    def test_timestamps_count_in_qwen3(self, checkpoint: Path, checkpoint3: Path) -> None:
        old, new = read_checkpoint(checkpoint), read_checkpoint(checkpoint3)
        assert stamp_tokens(PromptWriter(old), old) == 0
        assert stamp_tokens(PromptWriter(new), new) == len("<1234.5 seconds>") + 2  # bytes, vision_start, vision_end
        assert make_budget(1000, 130, 64, FRAMES, new, stamp=18).grids == 870 // 22


class TestGrowth:
    @pytest.mark.parametrize(("variant", "expected"), [
        # 25 and 50 text tokens; 1 second for every 2 frames at 2 tokens per second at 2 fps: by the clock frames move
        # by 2, by index by 1.
        ("vanilla", (100 + 40 * 4, 100 + 80 * 4)),
        ("qwen2.5-vl", (100 + 79, 100 + 159)),
        ("mrope", (100 + 40, 100 + 80)),
        ("mrope-i", (100 + 40, 100 + 80)),
        ("v2pe", (100 + 16, 100 + 16)),
    ])  # fmt: skip
    def test_reach_by_hand(self, checkpoint: Path, variant: str, expected: tuple[int, int]) -> None:
        tiny, frames = read_checkpoint(checkpoint), Frames(cells=2, fps=2.0)
        budgets = [make_budget(100 + 4 * grids, 100, 64, frames, tiny) for grids in (40, 80)]
        ends = [reach(load_variant(variant), layout(budget, frames, tiny), tiny) for budget in budgets]
        assert ends == list(expected)

    def test_the_layout_is_what_the_processors_make(self, checkpoint: Path, checkpoint3: Path) -> None:
        old, new = read_checkpoint(checkpoint), read_checkpoint(checkpoint3)
        assert layout(make_budget(112, 100, 1, FRAMES, old), FRAMES, old) == [Text(50), Vision(3, 2, 2, 1.0), Text(50)]
        assert layout(make_budget(145, 101, 1, FRAMES, new, 18), FRAMES, new) == [
            Text(50), Text(18), Vision(1, 2, 2), Text(18), Vision(1, 2, 2), Text(51)]

    def test_axes_that_do_not_rotate_do_not_count(self, checkpoint: Path) -> None:
        tiny = read_checkpoint(checkpoint)
        far = load_variant("mrope", no_rotation="t")
        segments: list[Segment] = [Text(10), Vision(500, 4, 4)]
        assert reach(far, segments, tiny) == 14 and reach(load_variant("mrope"), segments, tiny) == 510

    def test_the_factor_is_the_growth(self) -> None:
        base = load_variant("mrope")

        def by_reach(trained: float, target: float) -> Stretch:
            return Stretch.of("reach", Growth(trained, target), 1280, 640)

        yarn = scaled(base, "yarn", by_reach(100.5, 402)).scaling
        assert isinstance(yarn, YarnScaling)
        assert (yarn.type, yarn.factor, yarn.original_max_position) == ("yarn", 4.0, 101)
        assert scaled(base, "ntk", by_reach(100, 250)).scaling.factor == 2.5
        assert scaled(base, "linear", by_reach(100, 100)) is base is scaled(base, "linear", by_reach(100, 50))
        assert scaled(base, "none", by_reach(100, 900)) is base

    @pytest.mark.parametrize(("rule", "context", "trained", "stretch"), [
        ("reach", 262_144, 32_768, ("reach", 1.5, 200)), ("context", 262_144, 32_768, ("context", 8, 32_768)),
        ("context", 65_536, 32_768, ("context", 2, 32_768)), (4.0, 262_144, 32_768, ("x4", 4, 32_768)),
        ("context", 32_768, 32_768, ("context", 1, 32_768)), (2.5, 32_768, 32_768, ("x2.5", 1, 32_768)),
        ("context", 16_384, 32_768, ("context", 1, 32_768)), ("reach", 16_384, 32_768, ("reach", 1.5, 200)),
    ])
    def test_the_rules_of_a_factor(
        self, rule: Any, context: int, trained: int, stretch: tuple[str, float, float]
    ) -> None:
        assert Stretch.of(rule, Growth(200, 300), context, trained) == Stretch(*stretch)

    def test_frames_may_be_counted(self, checkpoint: Path) -> None:
        tiny = read_checkpoint(checkpoint)
        budget = make_budget(32_768, 500, 16, Frames(cells=15), tiny, count=256)
        assert (budget.frames, budget.grids, budget.tokens) == (256, 128, 500 + 128 * 225)
        assert make_policy(budget, Frames(cells=15), tiny).video_max_frames == 256
        with pytest.raises(UserError, match="256 frames of 16 x 16 tokens and 500 tokens of text are 33268 tokens"):
            make_budget(32_768, 500, 16, Frames(cells=16), tiny, count=256)


class TestSweeping:
    def test_every_point_in_one_engine(self, checkpoint: Path, tmp_path: Path) -> None:
        machine = Machine()
        go(checkpoint, tmp_path, machine)
        assert [line for line in machine.log if line.startswith("start")] == ["start 1344"]
        points = by_point(tmp_path)
        assert set(points) == {(c, s) for c in CONTEXTS for s in ("none", "linear", "ntk", "yarn")}
        assert all(point["status"] == "done" and point["n"] == 6 for point in points.values())
        # Within the trained context no scaling changes anything: asked once, shown four times.
        assert len({points[400, s]["folder"] for s in ("none", "linear", "ntk", "yarn")}) == 1
        assert len([line for line in machine.log if "/" in line]) == 6 * (1 + 4 + 4)
        frames = [points[context, "none"]["frames"] for context in CONTEXTS]
        assert frames == sorted(frames) and all(frame % 2 == 0 for frame in frames)
        factors = [points[context, "yarn"]["factor"] for context in CONTEXTS]
        assert factors[0] == 1 < factors[1] < factors[2]
        assert points[1280, "none"]["factor"] == 1

    def test_the_factor_comes_from_the_positions_really_reached(self, checkpoint: Path, tmp_path: Path) -> None:
        go(checkpoint, tmp_path, Machine(furthest=299), sweep_of(contexts=(400, 640, 1280)))
        points = by_point(tmp_path)
        trained = points[400, "none"]["trained_reach"]
        assert trained == points[400, "none"]["frames"] * 2 + 1 < 300
        for context in (640, 1280):
            assert points[context, "ntk"]["factor"] == round(300 / trained, 6)
            assert points[context, "none"]["target_reach"] == 300

    def test_the_videos_have_the_budget_s_frames(self, checkpoint: Path, tmp_path: Path) -> None:
        import av

        go(checkpoint, tmp_path, Machine(), sweep_of(contexts=(640,), scaling=("none",)))
        (point,) = by_point(tmp_path).values()
        video = next((tmp_path / "data").rglob("*.mp4"))
        with av.open(str(video)) as container:
            assert sum(1 for _ in container.decode(video=0)) == point["frames"]

    def test_a_second_start_asks_nothing(self, checkpoint: Path, tmp_path: Path) -> None:
        go(checkpoint, tmp_path, Machine())
        before = by_point(tmp_path)
        machine = Machine()
        go(checkpoint, tmp_path, machine)
        assert machine.log == [] and by_point(tmp_path) == before

    def test_a_longer_context_is_added_to_what_is_there(self, checkpoint: Path, tmp_path: Path) -> None:
        go(checkpoint, tmp_path, Machine(), sweep_of(contexts=(400, 640)))
        machine = Machine()
        go(checkpoint, tmp_path, machine)
        assert len([line for line in machine.log if "/" in line]) == 6 * 4

    def test_points_of_other_commands_stay(self, checkpoint: Path, tmp_path: Path) -> None:
        go(checkpoint, tmp_path, Machine(), sweep_of(contexts=(400, 1280), scaling=("none",)))
        go(checkpoint, tmp_path, Machine(), sweep_of(contexts=(400, 640)), variants=("vanilla",))
        points = json.loads((tmp_path / "sweep.json").read_text())["points"]
        cells = [(point["variant"], point["context"], point["scaling"]) for point in points]
        assert cells[:2] == [("mrope", 400, "none"), ("mrope", 1280, "none")] and len(cells) == len(set(cells)) == 10
        assert len(load_sweep(tmp_path).points) == 10

    @pytest.mark.parametrize(("changes", "run", "expected"), [
        ({"frames": Frames(cells=2, fps=2.0)}, {}, "frames is "), ({}, {"limit": Limit(1)}, "limit is 1, was None"),
    ])
    def test_points_that_are_not_of_one_sweep_are_not_mixed(
        self, checkpoint: Path, tmp_path: Path, changes: dict[str, Any], run: dict[str, Any], expected: str
    ) -> None:
        go(checkpoint, tmp_path, Machine(), sweep_of(contexts=(400, 1280), scaling=("none",)))
        before, machine = (tmp_path / "sweep.json").read_bytes(), Machine()
        with pytest.raises(UserError) as caught:
            go(checkpoint, tmp_path, machine, sweep_of(contexts=(400, 640), scaling=("none",), **changes), **run)
        assert str(caught.value).startswith(f"{tmp_path} holds 1 points of a sweep with other settings ({expected}")
        assert machine.log == [] and (tmp_path / "sweep.json").read_bytes() == before

    def test_another_checkpoint_does_not_take_the_place_of_one(self, checkpoint: Path, tmp_path: Path) -> None:
        other = build_checkpoint("qwen2.5-vl", tmp_path / "other", seed=1)
        config = sweep_of(contexts=(400,), scaling=("none",))
        go(checkpoint, tmp_path / "out", Machine(), config)
        machine = Machine()
        with pytest.raises(UserError, match=rf"holds points of {checkpoint} as mrope, where those of {other} would go"):
            go(other, tmp_path / "out", machine, config)
        assert machine.log == []

    def test_what_does_not_start_is_said_and_the_rest_goes_on(self, checkpoint: Path, tmp_path: Path) -> None:
        machine = Machine(allowed=1000)
        sweep = go(checkpoint, tmp_path, machine)
        # The longest that fits is found once and then kept.
        assert [line for line in machine.log if line.startswith("start")] == ["start 1344", "start 704"]
        points = by_point(tmp_path)
        assert {points[1280, s]["status"] for s in ("none", "yarn")} == {"memory"}
        assert "9 GiB KV cache is needed" in points[1280, "none"]["cause"]
        assert points[640, "yarn"]["status"] == points[400, "none"]["status"] == "done" and sweep.failed == 0

    @pytest.mark.parametrize("how", ["breaks_at", "dies_at"])
    def test_memory_that_ends_while_answering(self, checkpoint: Path, tmp_path: Path, how: str) -> None:
        limits: dict[str, Any] = {how: 900}
        sweep = go(checkpoint, tmp_path, Machine(**limits))
        points = by_point(tmp_path)
        assert {points[1280, s]["status"] for s in ("none", "linear", "ntk", "yarn")} == {"memory"}
        assert points[640, "ntk"]["status"] == "done" and sweep.failed == 0

    def test_a_point_that_cannot_be_asked_fails_alone_and_says_why(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """40 needles a point; at the longest context every request is refused, or the engine dies each time."""
        broken = Failure("", "prompt", "ValueError: no such patch size")
        ends = {"refuses": (broken, "its first 32 samples all failed"), "dies": (True, "3 engines died")}
        for how, (value, cause) in ends.items():
            out = tmp_path / how
            config = sweep_of(contexts=(400, 640), scaling=("none",), needle=Needle(depths=(0.0, 50.0), questions=20))
            sweep = go(checkpoint, out, Machine(broken_at=400, **{how: value}), config)  # type: ignore[arg-type]
            points = by_point(out)
            assert points[400, "none"]["status"] == "done" and sweep.failed == 1
            assert points[640, "none"]["status"] == "failed" and cause in points[640, "none"]["cause"]
            printed = capsys.readouterr().err
            assert re.search("^640 needle mrope failed: .*" + cause, printed, re.MULTILINE)
            text = report(load_sweep(out))
            assert "— failed: could not be asked (Needle at 640): " in text and cause in text
            log = (out / "log.txt").read_text()
            assert cause in log and "400 needle mrope: 40/40" in log
        assert "EngineDiedError: its process was killed" in (out / "errors.log").read_text()

    def test_an_engine_that_cannot_be_started_fails_its_points(self, checkpoint: Path, tmp_path: Path) -> None:
        def broken(*_: Any) -> Any:
            raise RuntimeError("no such kernel image")

        sweep = go(checkpoint, tmp_path, broken, sweep_of(contexts=(400, 640), scaling=("none",)))  # type: ignore[arg-type]
        points = by_point(tmp_path)
        assert sweep.failed == 2 and {point["status"] for point in points.values()} == {"failed"}
        assert points[640, "none"]["cause"] == "no engine could be started on it: RuntimeError: no such kernel image"

    @pytest.mark.parametrize("error", [UserError("the 3 KV heads cannot be split"), VariantError("it does not fit")])
    def test_what_one_checkpoint_cannot_do_fails_its_points_and_ends_nothing(
        self, error: Exception, checkpoint: Path, tmp_path: Path
    ) -> None:
        other, machine = build_checkpoint("qwen2.5-vl", tmp_path / "other", seed=1), Machine()

        def start(made_of: Any, variant: Any, options: EngineOptions) -> MachineEngine:
            if made_of.path == other:
                raise error
            return machine(made_of, variant, options)

        config = sweep_of(contexts=(400,), scaling=("none",), variants=("mrope",))
        sweep = go(other, tmp_path / "out", start, config, models=(str(other), str(checkpoint)))  # type: ignore[arg-type]
        points = json.loads((tmp_path / "out/sweep.json").read_text())["points"]
        assert [(point["status"], str(error) in str(point["cause"])) for point in points] == [
            ("failed", True), ("done", False)]
        assert sweep.failed == 1

    def test_what_no_point_has_room_for_ends_the_sweep(self, checkpoint: Path, tmp_path: Path) -> None:
        def start(*_: Any) -> Any:
            raise MachinesError("give at most 1 replica")

        with pytest.raises(MachinesError, match="give at most 1 replica"):
            go(checkpoint, tmp_path, start)  # type: ignore[arg-type]

    def test_machines_that_cannot_be_reached_end_the_sweep_before_it_starts(
        self, checkpoint: Path, tmp_path: Path
    ) -> None:
        options = EngineOptions(backend="ray", ray_address="head")
        with pytest.raises(MachinesError, match="that is not HOST:PORT"):
            go(checkpoint, tmp_path, Machine(), options=options)
        assert not list(tmp_path.rglob("manifest.json"))

    def test_text_that_leaves_no_room(self, checkpoint: Path, tmp_path: Path) -> None:
        go(checkpoint, tmp_path, Machine(), sweep_of(contexts=(50, 150, 640), scaling=("none",)))
        status_by_context = {context: point["status"] for (context, _), point in by_point(tmp_path).items()}
        assert status_by_context == {50: "no room", 150: "no room", 640: "done"}

    def test_benchmarks_beside_the_needle(self, checkpoint: Path, tmp_path: Path) -> None:
        world = build_world(tmp_path / "world", n=3, columns=["lvbench"])
        config = sweep_of(tasks=("lvbench",), scaling=("none", "yarn"), contexts=(640,))
        go(checkpoint, tmp_path / "out", Machine(), config, data_root=world, limit=Limit(2))
        record = json.loads((tmp_path / "out/sweep.json").read_text())
        point_by_cell = {(point["task"], point["scaling"]): point for point in record["points"]}
        assert {key: point["n"] for key, point in point_by_cell.items()} == {
            (task, scaling): 2 for task in ("lvbench", "needle") for scaling in ("none", "yarn")}
        lvbench, needle = point_by_cell["lvbench", "none"], point_by_cell["needle", "none"]
        assert lvbench["frames"] < needle["frames"], "its questions are longer"

    def test_two_variants_and_checkpoints_share_the_engine(self, checkpoint: Path, tmp_path: Path) -> None:
        other = build_checkpoint("qwen2.5-vl", tmp_path / "other", seed=1)
        machine = Machine()
        config = sweep_of(contexts=(640,), scaling=("none",), variants=("mrope", "vanilla"))
        go(checkpoint, tmp_path / "out", machine, config, models=(str(checkpoint), str(other)), variants=())
        assert len([line for line in machine.log if line.startswith("start")]) == 1
        points = load_sweep(tmp_path / "out").points
        assert list(points["label"]) == ["tiny25--mrope", "tiny25--vanilla", "other--mrope", "other--vanilla"]
        assert points["folder"].nunique() == 4

    def test_rows_are_called_as_the_sweep_called_them(self, checkpoint: Path, tmp_path: Path) -> None:
        twin = Path(shutil.copytree(checkpoint, tmp_path / "twin" / checkpoint.name))
        config = sweep_of(contexts=(640,), scaling=("none",), variants=("mrope", "vanilla"))
        sweep = go(checkpoint, tmp_path / "out", Machine(), config, models=(str(checkpoint), str(twin)), variants=())
        sweep.points_done.clear()
        shown = [line.split()[0] for line in dry_run(sweep) if "needle" in line]
        loaded = load_sweep(tmp_path / "out")
        assert list(loaded.points["label"]) == shown and len(set(shown)) == 4
        record = json.loads((tmp_path / "out" / "sweep.json").read_text())
        assert [point["label"] for point in record["points"]] == shown
        assert set(loaded.depths["label"]) == set(shown) and "place" not in loaded.points.columns

    @pytest.mark.parametrize(("argv", "changes"), [
        (["--tasks", "lvbench", "--scaling", "none"], {"tasks": ("lvbench",), "scaling": ("none",)}),
        (["--contexts", "131072,32768"], {"contexts": (32768, 131072), "counts": (256, 1024)}),
        (["--scaling", "none, yarn", "--factor", "4"], {"scaling": ("none", "yarn"), "factor": 4.0}),
    ])
    def test_options_take_the_place_of_the_files_keys(self, argv: list[str], changes: dict[str, Any]) -> None:
        options = cli.parse(["sweep", "figure5", "--model", "CKPT", *argv])
        config = sweep_command.sweep_of(options, sweep_command.configured(options)).config
        of_file = read_sweep("figure5")
        assert config.frames.counts == changes.pop("counts", of_file.frames.counts)
        assert config == of_file.model_copy(update={"frames": config.frames, **changes})

    @pytest.mark.parametrize(("argv", "words"), [
        (["--contexts", "65536"], "figure5.yaml needs its `train_context` (32768) among its `contexts`"),
        (["--contexts", "32768,40000"], "figure5.yaml needs in `frames.counts` one number"),
        (["--contexts", "32K"], "argument --contexts: must be a whole number, or several with commas between"),
        (["--scaling", "yarn"], "needs `none` in `scaling`"), (["--scaling", "none,jarn"], "'linear', 'ntk' or 'yarn'"),
        (["--tasks", "chartqa"], "task chartqa has no videos"),
    ])
    def test_options_are_held_to_what_the_file_is(
        self, argv: list[str], words: str, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        place = ["--model", str(checkpoint), "--output", str(tmp_path), "--dry-run"]
        try:
            code = cli.main(["sweep", "figure5", *place, *argv])
        except SystemExit as ended:
            code = int(ended.code or 0)
        assert code == 2 and words in capsys.readouterr().err

    def test_a_task_without_videos(self, checkpoint: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="task chartqa has no videos"):
            go(checkpoint, tmp_path, Machine(), sweep_of(tasks=("chartqa",)))


class TestFactors:
    """The rule of the factor, in the points, their folders, the screen and the figure."""

    CONFIG = {"contexts": (400, 640), "scaling": ("none", "yarn"), "variants": ("mrope", "hope")}

    @pytest.mark.parametrize(("rule", "factor", "suffix", "label"), [
        ("reach", 1.0, None, "yarn by reach"), ("context", 1.6, "--yarn-context", "yarn by context"),
        (4.0, 4.0, "--yarn-x4", "yarn x4"),
    ])
    def test_a_variant_that_reaches_no_further_is_scaled_by_the_context_alone(
        self, checkpoint: Path, tmp_path: Path, rule: Any, factor: float, suffix: str | None, label: str
    ) -> None:
        go(checkpoint, tmp_path, Machine(furthest=50), sweep_of(**self.CONFIG, factor=rule), variants=())
        record = json.loads((tmp_path / "sweep.json").read_text())
        assert record["factor"] == rule
        point = next(point for point in record["points"] if (point["context"], point["scaling"], point["variant"]) == (
            640, "yarn", "mrope"))
        assert point["factor"] == factor and point["folder"].endswith(suffix or "/mrope")
        if suffix:
            definition = json.loads((tmp_path / point["folder"] / "manifest.json").read_text())["variant"]["definition"]
            assert definition["scaling"]["original_max_position"] == 400
        sweep = load_sweep(tmp_path)
        assert list(sweep.points["scaled"].unique()) == ["none", label]
        assert label in report(sweep) and label in list(sweep.depths["scaled"])

    @pytest.mark.parametrize(("argv", "rule"), [
        ((), "reach"), (("--factor", "context"), "context"), (("--factor", "4"), 4.0),
    ])
    def test_the_command_line_s_rule_goes_before_the_file_s(self, argv: tuple[str, ...], rule: str | float) -> None:
        args = cli.parse(["sweep", "extrapolation", "--model", "CKPT", *argv])
        assert sweep_command.sweep_of(args, sweep_command.configured(args)).config.factor == rule

    def test_a_rule_that_shrinks_is_refused(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli.parse(["sweep", "extrapolation", "--model", "CKPT", "--factor", "0.5"])
        assert "argument --factor: must be 'reach' or 'context' or above 1, not 0.5" in capsys.readouterr().err

    def test_answers_under_one_rule_stay_beside_those_under_another(self, checkpoint: Path, tmp_path: Path) -> None:
        first, second, again = Machine(), Machine(), Machine()
        go(checkpoint, tmp_path, first, sweep_of(**self.CONFIG, factor="context"), variants=())
        go(checkpoint, tmp_path, second, sweep_of(**self.CONFIG, factor=4.0), variants=())
        go(checkpoint, tmp_path, again, sweep_of(**self.CONFIG, factor="context"), variants=())
        asked = [sum("/" in line for line in machine.log) for machine in (first, second, again)]
        assert asked == [6 * 2 * 3, 6 * 2, 0]

    def test_an_older_record_was_scaled_by_reach(self, checkpoint: Path, tmp_path: Path) -> None:
        go(checkpoint, tmp_path, Machine(), sweep_of(**self.CONFIG), variants=())
        record = json.loads((tmp_path / "sweep.json").read_text())
        for part in (record, *record["points"]):
            part.pop("sha256", None)
            part.pop("factor_rule", None)
        (tmp_path / "sweep.json").write_text(json.dumps(record))
        assert list(load_sweep(tmp_path).points["scaled"].unique()) == ["none", "yarn by reach"]

    def test_rows_that_no_checkpoint_fills_are_named(
        self, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        go(checkpoint, tmp_path, Machine(), sweep_of(contexts=(640,), scaling=("none",), rows=("mrope", "mrope-i")))
        assert "no checkpoint is of mrope-i: rows of this sweep that stay empty" in capsys.readouterr().err
        assert "no checkpoint is of mrope-i" in report(load_sweep(tmp_path))

    def test_frames_that_do_not_fit_are_refused_before_the_engine(self, checkpoint: Path, tmp_path: Path) -> None:
        machine = Machine()
        with pytest.raises(UserError, match=r"Sweep test\.yaml, mrope, needle: 900 frames of 2 x 2 tokens"):
            go(checkpoint, tmp_path, machine, sweep_of(contexts=(640,), frames=Frames(cells=2, fps=4.0, counts=(900,))))
        assert machine.log == []

    def test_the_axis_can_be_what_was_achieved(self, checkpoint: Path, tmp_path: Path) -> None:
        from mmrope_eval.report.sweep.figures import over

        go(checkpoint, tmp_path, Machine(), sweep_of(contexts=(400, 640), scaling=("none",)))
        sweep = load_sweep(tmp_path)
        assert list(over(sweep.points, "context")["at"]) == [400, 640]
        assert list(over(sweep.points, "tokens")["at"]) == list(100 + sweep.points["frames"] * 2)
        pictures = [(write_files(sweep, tmp_path, axis), (tmp_path / "sweep.png").read_bytes())[1]
                    for axis in ("context", "tokens")]
        assert pictures[0] != pictures[1]


class TestReport:
    @pytest.fixture(scope="class")
    def folder(self, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        out = tmp_path_factory.mktemp("report")
        config = sweep_of(variants=("mrope", "vanilla"))
        go(checkpoint, out, Machine(allowed=1000), config, variants=())
        return out

    def test_achieved_tokens_and_positions(self, folder: Path) -> None:
        sweep = load_sweep(folder)
        done = sweep.points[sweep.points["status"] == "done"]
        assert (done["tokens_median"] == 100 + done["frames"] * 2).all()
        assert (done["max_position"] == done["frames"] * 2).all()
        # The right option takes turns through the letters: of two questions B answers one.
        assert set(done["score"]) == {50.0} and set(sweep.depths["score"]) == {50.0}
        assert set(sweep.depths["depth"]) == {0, 50, 100}

    def test_the_screen(self, folder: Path) -> None:
        text = report(load_sweep(folder))
        assert "Needle, accuracy (chance 25)" in text
        lines = [line.split() for line in text.splitlines()]
        assert ["vanilla", "yarn", "by", "reach", "50.0", "50.0", "—", "memory"] in lines
        assert "by reach: the factor is how much further the variant's own positions reach" in text
        assert "— memory: does not fit in memory (Needle at 1280):" in text

    def test_the_files(self, folder: Path) -> None:
        from PIL import Image

        paths = write_files(load_sweep(folder), folder)
        assert {path.name for path in paths} == {
            "sweep.csv", "needle.csv", "sweep.pdf", "sweep.png", "needle.pdf", "needle.png"}
        for name in ("sweep", "needle"):
            assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
            with Image.open(folder / f"{name}.png") as picture:
                assert min(picture.size) > 200
        before = {path.name: path.read_bytes() for path in paths}
        assert {path.name: path.read_bytes() for path in write_files(load_sweep(folder), folder)} == before

    def test_lines_differ_without_colour(self) -> None:
        from mmrope_eval.report.sweep.figures import style

        looks = [(str(look["marker"]), str(look["linestyle"]), look["markerfacecolor"])
                 for look in map(style, range(24))]
        assert len(set(looks)) == len(looks)

    def test_no_sweep(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"holds no sweep\.json"):
            load_sweep(tmp_path)


class TestConfig:
    @pytest.mark.parametrize(
        ("name", "tasks", "needle"),
        [("extrapolation", True, True), ("demo", True, False), ("demo-needle", False, True)],
    )
    def test_the_files_of_the_project(self, name: str, tasks: bool, needle: bool) -> None:
        config = read_sweep(name)
        assert ("lvbench" in config.tasks) == tasks
        assert (config.needle is not None) == needle
        assert config.contexts[-1] == 8 * config.train_context and config.scaling == ("none", "linear", "ntk", "yarn")

    @pytest.mark.parametrize(("old", "new", "message"), [
        ("contexts: [64]", "", "key 'contexts' is missing: token counts"),
        ("contexts: [64]", "contexts: 64", "'contexts' must be a list, not 64"),
        ("contexts: [64]", "contexts: [6.5]", "contexts, entry 1 must be a whole number, not 6.5"),
        ("contexts: [64]", "contexts: []", "'contexts' is empty"),
        ("needle: {}", "", "needs `tasks`, a `needle`, or both"),
        ("needle: {}", "needle: {depth: [1]}", "unknown key 'needle.depth', did you mean 'depths'"),
        ("needle: {}", "needle: {}\nscaling: [none, yarm]",
         "scaling, entry 2 must be 'none', 'linear', 'ntk' or 'yarn', not 'yarm'"),
        ("needle: {}", "needle: {}\nframes: {cells: 0}", "'frames.cells' must be at least 1, not 0"),
        ("train_context: 64", "train_context: two", "'train_context' must be a whole number, not 'two'"),
        ("train_context: 64", "train_context: 32", "needs its `train_context` \\(32\\) among its `contexts`"),
        ("needle: {}", "needle: {}\nscaling: [yarn]", "needs `none` in `scaling`"),
        ("needle: {}", "needle: {}\nfactor: length", "'factor' must be 'reach' or 'context' or a number, not 'length'"),
        ("needle: {}", "needle: {}\nfactor: 1", "'factor' must be 'reach' or 'context' or above 1, not 1"),
        ("needle: {}", "needle: {}\nfactor: [4]", r"'factor' must be 'reach' or 'context' or a number, not \[4\]"),
        ("needle: {}", "needle: {questions: '8'}", "'needle' must have numbers, and questions is '8'"),
        ("needle: {}", "needle: {distractors: 9}", "'needle': A needle can have 0 to 5 distractors, not 9 \\("),
        ("needle: {}", "needle: {}\nframes: {counts: [8, 16]}", "one number of frames for every one of its `contexts`"),
    ])
    def test_a_wrong_file_is_named_with_its_fault(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        path = tmp_path / "mine.yaml"
        path.write_text("contexts: [64]\ntrain_context: 64\nneedle: {}\n".replace(old, new))
        with pytest.raises(UserError, match=message) as caught:
            read_sweep(str(path))
        assert "mine.yaml" in str(caught.value) and "\n" not in str(caught.value)

    def test_the_papers_own_sweeps(self) -> None:
        figure, yarn = read_sweep("figure5"), read_sweep("yarn256k")
        assert figure.frames.counts == (256, 512, 1024, 2048)
        assert figure.contexts == tuple(k * 1024 for k in (32, 64, 128, 256)) and figure.train_context == 32_768
        assert len(figure.rows) == 7 and figure.scaling == ("none",)
        assert (yarn.contexts[-1], yarn.factor, yarn.tasks) == (262_144, "context", ("lvbench", "mlvu"))
        assert (yarn.rows, yarn.scaling) == (("mrope", "mrope-i"), ("none", "yarn"))
        for sweep in (figure, yarn):  # a question of some thousand tokens fits beside the frames
            for context, count in zip(sweep.contexts, sweep.frames.counts, strict=True):
                assert context - count // 2 * sweep.frames.cells**2 > 3000

    def test_a_needle_that_cannot_be_is_one_sentence(self, tmp_path: Path) -> None:
        needles = GeneratedNeedles()
        with pytest.raises(SynthError, match="0 to 5 distractors, not 9"):
            Needle(distractors=9)
        with pytest.raises(UserError, match="even number of at least 16 frames, not 14"):
            needles.build(tmp_path, "needles", Needle(), (14, 56), 4.0)

    def test_an_unknown_name(self) -> None:
        with pytest.raises(UserError, match="one of demo, demo-needle, extrapolation, figure5, yarn256k"):
            read_sweep("extra")


def test_what_a_worker_said_of_its_end_decides_about_memory() -> None:
    """vLLM itself says of every engine in workers that does not start what it also says of one without memory."""
    vague = RuntimeError("Engine core initialization failed. See root cause above.")
    assert memory_problem(vague) is not None

    def started(words: str) -> EngineStartError:
        error = EngineStartError(words)
        error.__cause__ = vague
        return error

    assert memory_problem(started("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate")) is not None
    assert memory_problem(started("AssertionError: head size 16 is not supported")) is None


def test_what_is_about_memory() -> None:
    def chain(outer: Exception, inner: Exception) -> Exception:
        outer.__cause__ = inner
        return outer

    assert memory_problem(MemoryError("not enough")) == "not enough"
    assert memory_problem(chain(RuntimeError("start failed"), RuntimeError("CUDA out of memory. Tried")))
    assert memory_problem(ValueError("size mismatch")) is None and memory_problem(None) is None


def test_too_little_memory_for_the_pixels_is_known_before(checkpoint: Path) -> None:
    from mmrope_eval.media.policy import MediaPolicy
    from mmrope_eval.sweep import engine

    def options(tokens: int) -> EngineOptions:
        return EngineOptions(max_model_len=tokens, policy=MediaPolicy(video_max_tokens=tokens))

    engine.check_memory(read_checkpoint(checkpoint), options(1 << 14), 2**32)
    with pytest.raises(MemoryError, match=r"262144 tokens of context, 4\.0 GiB available"):
        engine.check_memory(read_checkpoint(checkpoint), options(1 << 18), 2**32)


class TestAnswerLimits:
    """`--max-tokens` and `--thinking` in a sweep: answers come on top of the context."""

    CONFIG = {"contexts": (640,), "scaling": ("none",), "variants": ("mrope",)}

    def manifest(self, folder: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(next((folder / "640" / "needle").glob("*/manifest.json")).read_text())
        return content

    @pytest.mark.parametrize(("run", "limit"), [
        ({}, 64), ({"max_tokens": ((None, 200),)}, 200), ({"max_tokens": (("needle", 9), (None, 200))}, 9),
        ({"thinking": "on"}, 32768), ({"thinking": "on", "max_tokens": ((None, 100),)}, 100),
    ])  # fmt: skip
    def test_every_point_has_its_limit(
        self, checkpoint: Path, tmp_path: Path, run: dict[str, Any], limit: int
    ) -> None:
        thinker = tmp_path / "thinker"
        shutil.copytree(checkpoint, thinker)
        jinja = (thinker / "chat_template.jinja").read_text()
        (thinker / "chat_template.jinja").write_text(jinja + "{{ '<think>' if enable_thinking else '' }}")
        machine = Machine()
        go(thinker, tmp_path / "out", machine, sweep_of(**self.CONFIG), variants=(), **run)
        record = self.manifest(tmp_path / "out")
        assert record["tasks"]["needle"]["generation"]["max_tokens"] == limit
        assert record["tasks"]["needle"]["own_max_tokens"] == 64
        assert record["context"]["max_model_len"] == 640 + limit
        assert record["context"].get("enable_thinking") == (True if "thinking" in run else None)
        assert machine.log[0] == f"start {640 + limit}"
        # Asked and told so once more, everything is kept.
        again = Machine()
        go(thinker, tmp_path / "out", again, sweep_of(**self.CONFIG), variants=(), **run)
        assert not any("/" in line for line in again.log)

    def test_text_that_the_template_adds_is_counted(self, checkpoint: Path, tmp_path: Path) -> None:
        thinker = tmp_path / "thinker"
        shutil.copytree(checkpoint, thinker)
        jinja = (thinker / "chat_template.jinja").read_text()
        (thinker / "chat_template.jinja").write_text(jinja + "{{ '<think>' if enable_thinking else '' }}")
        writer = PromptWriter(read_checkpoint(thinker))
        assert text_tokens(writer, [("ab", None)], told=True) == text_tokens(writer, [("ab", None)]) + len("<think>")

    def test_a_task_that_the_sweep_has_not(self, checkpoint: Path, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="--max-tokens lvbench:64: 'lvbench' is none of the tasks"):
            go(checkpoint, tmp_path, Machine(), sweep_of(**self.CONFIG), variants=(), max_tokens=(("lvbench", 64),))


# ------------------------------------------------------------------------------------------------------------- dry run


def test_a_dry_run_tells_the_points_and_writes_nothing(checkpoint: Path, tmp_path: Path) -> None:
    run = RunConfig((str(checkpoint),), (), tmp_path / "out", ("mrope",))
    sweep = Sweep(sweep_of(), run, SharedNeedles(), Machine(), PromptWriter)
    lines = list(dry_run(sweep))
    contexts, scalings = len(CONTEXTS), 4
    assert lines[0] == (f"dry run: 1 row, 1 task, {contexts} contexts, {scalings} scalings: {contexts * scalings} "
                        "points, of which 0 are measured")
    assert not (tmp_path / "out").exists() and len(lines) == 2 + contexts
    sweep.measure()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again = list(dry_run(Sweep(sweep_of(), run, SharedNeedles(), Machine(), PromptWriter)))
    done = sum(point["status"] == "done" for point in sweep.points_done)
    assert again[0].endswith(f"of which {done} are measured") and done > 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
