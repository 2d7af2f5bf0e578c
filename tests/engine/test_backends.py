"""The register of backends, which of them runs engines, and a backend of one's own; and the holder of one engine."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from suite_fakes import FakeCheckpoint, FakeEngine, FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.engine.backend import DoesNotFitError, EngineHolder, RowError, StartEngine, Timings
from mmrope_eval.engine.backends import BACKENDS, Backend, backend_of
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import MachinesError, UserError
from mmrope_eval.messages import EngineDiedError
from mmrope_eval.rope import VariantError, load_variant
from mmrope_eval.run.config import RunConfig
from mmrope_eval.run.run import run

CHECKPOINT: Any = FakeCheckpoint(Path("ck"))
OPTIONS = EngineOptions()


class TestRegister:
    @pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS)
    def test_a_record_names_functions_that_are_there(self, backend: Backend) -> None:
        for place, parameters in ((backend.starts, ["checkpoint", "variant", "options", "driver"]),
                                  (backend.requires, ["options"])):  # fmt: skip
            if place is not None:
                module, _, name = place.partition(":")
                function = getattr(importlib.import_module(module), name)
                assert list(inspect.signature(function).parameters) == parameters

    @pytest.mark.parametrize(("backend", "replicas", "name"), [
        (None, None, "inside"), (None, 2, "processes"), (None, "auto", "processes"), ("inside", None, "inside"),
        ("processes", None, "processes"), ("processes", 2, "processes"), ("ray", None, "ray"), ("ray", "auto", "ray"),
    ])  # fmt: skip
    def test_what_options_ask_for(self, backend: str | None, replicas: Any, name: str) -> None:
        assert backend_of(backend, replicas) is BACKENDS[name]
        assert EngineOptions(backend=backend, replicas=replicas).run_by is BACKENDS[name]

    @pytest.mark.parametrize(("options", "message"), [
        ({"backend": "slurm"}, "--backend slurm is none: give one of inside, processes, ray"),
        ({"backend": "inside", "replicas": 2}, "--backend inside runs one engine: leave --replicas 2 out, or give "
                                               "--backend processes"),
    ])  # fmt: skip
    def test_what_cannot_be_is_said_at_once(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError) as caught:
            EngineOptions(**options)
        assert str(caught.value) == message

    @pytest.mark.parametrize("command", ["run", "study", "sweep"])
    def test_the_command_line_offers_what_is_registered(
        self, command: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        assert "--backend {" + ",".join(BACKENDS) + "}" in shown
        assert all(f"{backend.name}: {backend.summary}" in shown for backend in BACKENDS.values())

    def test_it_is_read_without_what_runs_engines(self) -> None:
        code = "import sys, mmrope_eval.cli.options; print(*{'torch', 'vllm', 'ray', 'numpy'} & {*sys.modules})"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


OWN = """
from suite_fakes import FakeEngine

from mmrope_eval.errors import MachinesError


def require(options):
    if options.threads == 99:
        raise MachinesError("this machine has no 99 threads")


def start(checkpoint, variant, options, driver):
    driver.say(f"an engine for {options.questions} questions of code {sorted(driver.identify())[0]}")
    return FakeEngine(checkpoint, variant)
"""


class TestAdding:
    """A backend is one file and one record: here both are in a temporary folder, and the record is an option."""

    @pytest.fixture
    def config(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
        (tmp_path / "own_backend.py").write_text(OWN)
        monkeypatch.syspath_prepend(str(tmp_path))
        backend = Backend("own", "stand-ins", "own_backend:start", requires="own_backend:require")
        checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "checkpoint")
        return RunConfig((str(checkpoint),), ("chartqa",), tmp_path / "out", ("mrope",),
                         data_root=suite_mirror.build(tmp_path / "mirror", n=3), options=EngineOptions(backend=backend))

    def test_a_task_runs_on_it(self, config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
        result = run(config)
        assert (result.asked, result.failed, result.broken) == (3, 0, {})
        assert len((config.output / "samples/chartqa.jsonl").read_text().splitlines()) == 3
        assert "an engine for 3 questions of code code" in capsys.readouterr().err
        record = json.loads((config.output / "manifest.json").read_text())
        assert record["engine_options"]["backend"]["name"] == "own"

    def test_what_it_requires_is_asked_for_before_anything_starts(self, config: RunConfig) -> None:
        with pytest.raises(MachinesError, match="no 99 threads"):
            run(replace(config, options=replace(config.options, threads=99)))
        assert not (config.output / "manifest.json").exists()


class TestHolder:
    """One engine, for runs and sweeps alike."""

    def ready(self, holder: EngineHolder, variant: str = "mrope", timings: Timings | None = None) -> Any:
        return holder.ready("row", CHECKPOINT, load_variant(variant), OPTIONS, timings or Timings())

    def test_an_engine_is_started_once_and_then_switched(self) -> None:
        start, first, second = FakeStart(), Timings(), Timings()
        with EngineHolder(start, lambda: None) as holder:
            engine = self.ready(holder, "mrope", first)
            assert self.ready(holder, "hope", second) is engine
        assert engine.log == ["switch hope =", "close"]
        assert (first.engine_start > 0, first.switch, second.engine_start, second.switch > 0) == (True, 0, 0, True)

    def test_deaths_that_a_start_or_a_switch_notices_are_counted(self) -> None:
        class Mortal(FakeEngine):
            def switch(self, **_: Any) -> None:
                self.deaths += 2

        first, second = Timings(), Timings(deaths=1)
        with EngineHolder(lambda checkpoint, variant, _: Mortal(checkpoint, variant, deaths=1), lambda: None) as holder:
            self.ready(holder, "mrope", first)
            self.ready(holder, "hope", second)
        assert (first.deaths, second.deaths) == (1, 3)

    @pytest.mark.parametrize(("raised", "seen"), [
        (EngineDiedError("killed"), EngineDiedError), (MachinesError("no room"), MachinesError),
        (DoesNotFitError("too long"), DoesNotFitError), (UserError("no"), RowError), (VariantError("no"), RowError),
        (RuntimeError("no kernel"), RowError), (KeyboardInterrupt(), KeyboardInterrupt),
    ])  # fmt: skip
    def test_what_a_start_raises(self, raised: BaseException, seen: type[BaseException]) -> None:
        def start(*_: Any) -> Any:
            raise raised

        with pytest.raises(seen) as caught, EngineHolder(start, lambda: None) as holder:
            self.ready(holder)
        assert (caught.value is raised) is (seen is not RowError)

    def test_an_engine_of_edited_code_is_not_used(self) -> None:
        def edited() -> None:
            raise UserError("the code was edited")

        start = FakeStart()
        holder = EngineHolder(start, edited)
        with pytest.raises(UserError, match="edited"):
            self.ready(holder)
        assert start.engines[0].log == ["close"] and holder.engine is None

    @pytest.mark.parametrize("why", ["it refuses", "it has no room"])
    def test_an_engine_that_cannot_go_on_is_closed_and_another_one_started(self, why: str) -> None:
        class Stubborn(FakeEngine):
            def switch(self, **_: Any) -> None:
                raise UserError("it refuses")

        engines: list[FakeEngine] = []

        def start(checkpoint: Any, variant: Any, options: EngineOptions) -> FakeEngine:
            engines.append((Stubborn if why == "it refuses" else FakeEngine)(checkpoint, variant))
            return engines[-1]

        begin: StartEngine = start
        with EngineHolder(begin, lambda: None, lambda _: why == "it refuses") as holder:
            self.ready(holder)
            assert self.ready(holder, "hope") is engines[1]
        assert [engine.log for engine in engines] == [["close"], ["close"]]
