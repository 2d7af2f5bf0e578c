"""The rows of a run: one bad checkpoint is one failed row, and every row has its own variant and media policy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import suite_mirror
from run_command import run_command
from safetensors.torch import load_file, save_file
from suite_fakes import FakeEngine, FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.messages import EngineDiedError
from mmrope_eval.report.definitions import load_definition
from mmrope_eval.report.runs import load_run
from mmrope_eval.report.table.build import Options, build
from mmrope_eval.report.table.render import render
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig

TASK = "chartqa"
Make = Callable[..., Path]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("whole") / "whole", mm_rope="mrope-i")


@pytest.fixture
def make(whole: Path, tmp_path: Path) -> Make:
    """Copies of a checkpoint: config.json changed, a tensor taken out."""

    def copy(name: str, without: str | None = None, **config: Any) -> Path:
        folder = Path(shutil.copytree(whole, tmp_path / "checkpoints" / name))
        content = {**json.loads((folder / "config.json").read_text()), **config}
        kept = {key: value for key, value in content.items() if value is not None}
        (folder / "config.json").write_text(json.dumps(kept))
        if without is not None:
            weights = load_file(folder / "model.safetensors")
            left = {key: value for key, value in weights.items() if without not in key}
            assert len(left) < len(weights)
            save_file(left, folder / "model.safetensors", {"format": "pt"})
        return folder

    return copy


def configure(models: Sequence[Path | str], mirror: Path, output: Path, **changes: Any) -> RunConfig:
    settings: dict[str, Any] = {
        "models": tuple(map(str, models)),
        "tasks": (TASK,),
        "output": output,
        "data_root": mirror,
        "options": EngineOptions(),
    }
    return RunConfig(**{**settings, **changes})


class TestOneBadCheckpoint:
    def test_is_a_failed_row_known_before_an_engine_starts_and_the_others_go_on(
        self, make: Make, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        models = [make("a"), make("b", without="merger.mlp.2.weight"), make("c")]
        said_at_start: list[str] = []

        class Start(FakeStart):
            def __call__(self, *args: Any) -> FakeEngine:
                said_at_start.append(capsys.readouterr().err)
                return super().__call__(*args)

        result = running.run(configure(models, mirror, tmp_path / "out"), Start())
        assert "b failed: " in said_at_start[0] and "merger.mlp.2.weight" in said_at_start[0]
        assert list(result.rows) == ["a", "c"] and list(result.folders) == ["a", "b", "c"]
        assert "merger.mlp.2.weight" in result.broken["b"]
        running.report(result)
        shown = capsys.readouterr().out
        assert [line.split()[0] for line in shown.splitlines() if line.startswith(("a ", "b ", "c "))] == [
            "a",
            "b",
            "c",
            "b",
        ]
        assert "b (failed)" in shown and "b failed: " in shown

    def test_makes_the_command_exit_with_1(self, make: Make, mirror: Path, tmp_path: Path) -> None:
        models = [str(make("a")), str(make("b", without="layers.1.mlp.up_proj"))]
        options, start = ["--tasks", TASK, "--data-root", str(mirror), "--output", str(tmp_path / "out")], FakeStart()
        assert run_command(start, *options, "--model", *models) == 1
        assert run_command(start, *options, "--model", models[0], "--output", str(tmp_path / "alone")) == 0
        assert run_command(start, *options, "--model", models[1]) == 2, "alone it is bad input"

    def test_all_bad_is_bad_input_that_names_each(self, make: Make, mirror: Path, tmp_path: Path) -> None:
        models = [make("a", without="lm_head"), make("b", without="visual.blocks.1.norm1")]
        start = FakeStart()
        with pytest.raises(UserError, match=r"none of 2 rows .*lm_head.weight.*visual.blocks.1.norm1.weight"):
            running.run(configure(models, mirror, tmp_path / "out"), start)
        assert not start.engines

    @pytest.mark.parametrize("dies", [UserError("cannot be loaded"), RuntimeError("CUDA error: an illegal access")])
    def test_that_no_engine_can_load_fails_alone(
        self, make: Make, mirror: Path, tmp_path: Path, dies: Exception
    ) -> None:
        models = [make("a"), make("b", vocab_size=270, mm_note="other fingerprint"), make("c")]

        class Engine(FakeEngine):
            def switch(self, **to: Any) -> None:
                if to.get("checkpoint") is not None:
                    raise UserError("another network")
                super().switch(**to)

        class Start(FakeStart):
            def __call__(self, checkpoint: Any, variant: Any, options: Any = None) -> FakeEngine:
                if checkpoint.path.name == "b":
                    raise dies
                self.engines.append(Engine(checkpoint, variant))
                return self.engines[-1]

        result = running.run(configure(models, mirror, tmp_path / "out"), Start())
        assert list(result.rows) == ["a", "c"]
        assert str(dies) in result.broken["b"]
        record = json.loads((tmp_path / "out" / "b" / "failed.json").read_text())
        assert str(dies) in record["cause"] and any("Error" in line for line in record["traceback"])

    def test_whose_engine_dies_while_answering_fails_alone(self, make: Make, mirror: Path, tmp_path: Path) -> None:
        class Engine(FakeEngine):
            def reply(self, request: Any) -> Any:
                if self.checkpoint.path.name == "b":
                    raise EngineDiedError("vLLM stopped working: out of luck")
                return super().reply(request)

        class Start(FakeStart):
            def __call__(self, checkpoint: Any, variant: Any, options: Any = None) -> FakeEngine:
                self.engines.append(Engine(checkpoint, variant))
                return self.engines[-1]

        models = [make("a"), make("b", mm_note="b"), make("c", mm_note="c")]
        start = Start()
        result = running.run(configure(models, mirror, tmp_path / "out"), start)
        assert list(result.rows) == ["a", "c"] and "out of luck" in result.broken["b"]
        assert len(start.engines) == 4, "three engines died on b, and c has one of its own"

    def test_takes_no_part_in_reports_with_the_scores_it_once_had(
        self, make: Make, mirror: Path, tmp_path: Path
    ) -> None:
        models = [make("a"), make("b")]
        config = configure(models, mirror, tmp_path / "out")
        running.run(config, FakeStart())
        assert len(load_run(tmp_path / "out").cells) == 2
        weights = load_file(models[1] / "model.safetensors")
        weights.pop("lm_head.weight")
        save_file(weights, models[1] / "model.safetensors", {"format": "pt"})
        running.run(config, FakeStart())
        loaded_run = load_run(tmp_path / "out")
        assert [cell.path.name for cell in loaded_run.cells] == ["a"]
        assert "lm_head.weight" in loaded_run.left_out()[0]
        assert cli.main(["check", str(tmp_path / "out"), "--against", str(tmp_path / "out" / "a")]) == 2
        shutil.copy(models[0] / "model.safetensors", models[1] / "model.safetensors")
        running.run(config, FakeStart())
        assert len(load_run(tmp_path / "out").cells) == 2 and not load_run(tmp_path / "out").failed


class TestVariantOfARow:
    def test_each_checkpoint_may_be_given_its_own_on_the_command_line(
        self, make: Make, mirror: Path, tmp_path: Path
    ) -> None:
        first, second = make("one", mm_rope=None), make("two", mm_rope=None)
        config = configure([f"{first}=mhrope", f"{second}=vanilla"], mirror, tmp_path / "out")
        result = running.run(config, FakeStart())
        assert list(result.rows) == ["one--mhrope", "two--vanilla"]
        how = json.loads((tmp_path / "out" / "one--mhrope" / "manifest.json").read_text())["variant"]["how"]
        assert how == "--variant"

    def test_a_list_of_checkpoints_names_path_variant_label_and_coordinates(
        self, make: Make, mirror: Path, tmp_path: Path
    ) -> None:
        first, second = make("one", mm_rope=None), make("two", mm_rope=None)
        listed = tmp_path / "list.yaml"
        listed.write_text(f"- {{path: {first}, variant: hope, label: ours, coordinates: unit}}\n- {second}=MRoPE-I\n")
        result = running.run(configure([], mirror, tmp_path / "out", model_files=(listed,)), FakeStart())
        assert list(result.rows) == ["ours", "two--mrope-i"]
        assert json.loads((tmp_path / "out" / "ours" / "scores.json").read_text())["coordinates"] == "unit"

    def test_that_nobody_names_is_said_in_the_run_the_record_and_every_table(
        self, make: Make, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = running.run(configure([make("plain", mm_rope=None)], mirror, tmp_path / "out"), FakeStart())
        assert "nothing in config.json names one" in capsys.readouterr().err
        running.report(result)
        assert "variant assumed from the model type" in capsys.readouterr().out
        manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
        assert manifest["variant"]["assumed"] is True
        table = build(load_definition("2"), [load_run(tmp_path / "out")], Options())
        for form in ("markdown", "latex", "html"):
            assert "taken from the model type" in render(table, form)
        assert load_run(tmp_path / "out").assumptions()

    def test_that_config_json_names_is_not(self, make: Make, mirror: Path, tmp_path: Path) -> None:
        result = running.run(configure([make("named")], mirror, tmp_path / "out"), FakeStart())
        assert not result.notes and not load_run(tmp_path / "out").assumptions()

    def test_a_folder_called_like_another_variant_is_a_question(self, make: Make, mirror: Path, tmp_path: Path) -> None:
        folder = make("my-MHRoPE_sft", mm_rope=None)
        with pytest.raises(UserError, match=r"my-MHRoPE_sft.*--variant mhrope.*--assume-stock"):
            running.run(configure([folder], mirror, tmp_path / "out"), FakeStart())
        for answer in ({"assume_stock": True}, {"variants": ("mhrope",)}):
            assert running.run(configure([folder], mirror, tmp_path / "out", **answer), FakeStart()).rows

    def test_a_wrong_name_is_known_before_gigabytes_are_read(self, make: Make, mirror: Path, tmp_path: Path) -> None:
        from mmrope_eval.rope import VariantError

        folder = make("a")
        (folder / "model.safetensors").write_bytes(b"whoever reads this stops here")
        with pytest.raises(UserError, match=r"model\.safetensors"):
            running.run(configure([f"{folder}=mhrope"], mirror, tmp_path / "out"), FakeStart())
        with pytest.raises(VariantError, match="did you mean 'mhrope'"):
            running.run(configure([f"{folder}=mhropee"], mirror, tmp_path / "out"), FakeStart())


class TestMediaPolicyOfARow:
    def policy(self, output: Path) -> dict[str, Any]:
        return dict(json.loads((output / "manifest.json").read_text())["media"])

    def test_is_the_checkpoints_own_and_says_where_each_limit_is_from(
        self, make: Make, mirror: Path, tmp_path: Path
    ) -> None:
        folder = make("small", mm_media={"video_max_tokens": 77})
        settings = json.loads((folder / "preprocessor_config.json").read_text())
        (folder / "preprocessor_config.json").write_text(
            json.dumps({**settings, "min_pixels": 784, "max_pixels": 3136})
        )
        running.run(configure([folder], mirror, tmp_path / "out"), FakeStart())
        media = self.policy(tmp_path / "out")
        assert (media["policy"]["image_max_pixels"], media["policy"]["video_max_tokens"]) == (3136, 77)
        assert media["sources"]["image_max_pixels"].endswith("preprocessor_config.json")
        assert media["sources"]["video_max_tokens"].endswith("config.json (mm_media)")

    def test_options_go_before_it(self, make: Make, mirror: Path, tmp_path: Path) -> None:
        folder = make("small", mm_media={"video_max_tokens": 77})
        media = {"video_max_tokens": 12, "image_max_pixels": 5000}
        running.run(configure([folder], mirror, tmp_path / "out", media=media), FakeStart())
        recorded = self.policy(tmp_path / "out")
        assert recorded["policy"]["video_max_tokens"] == 12
        assert recorded["sources"]["video_max_tokens"] == "the command line"

    def test_changes_with_the_row_in_one_engine_that_has_room_for_the_largest(
        self, make: Make, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        policies: list[Any] = []
        rooms: list[int] = []

        class Engine(FakeEngine):
            def switch(self, **to: Any) -> None:
                policies.append(to["policy"])
                super().switch(**to)

        class Start(FakeStart):
            def __call__(self, checkpoint: Any, variant: Any, options: Any = None) -> FakeEngine:
                policies.append(options.policy)
                rooms.append(options.room)
                self.engines.append(Engine(checkpoint, variant))
                return self.engines[-1]

        start = Start()
        models = [make("a", mm_media={"video_max_tokens": 10}), make("b", mm_media={"video_max_tokens": 90_000})]
        running.run(configure(models, mirror, tmp_path / "out"), start)
        assert [policy.video_max_tokens for policy in policies] == [10, 90_000]
        assert rooms == [90_000] and len(start.engines) == 1

    def test_another_policy_is_another_answer_and_the_same_one_is_kept(
        self, make: Make, mirror: Path, tmp_path: Path
    ) -> None:
        folder = make("a")
        running.run(configure([folder], mirror, tmp_path / "out"), FakeStart())
        again, other = FakeStart(), FakeStart()
        running.run(configure([folder], mirror, tmp_path / "out"), again)
        with pytest.raises(UserError, match=r"made with other settings \(image_max_pixels is 4000, was 12845056\)"):
            running.run(configure([folder], mirror, tmp_path / "out", media={"image_max_pixels": 4000}), FakeStart())
        (tmp_path / "else").mkdir()
        shutil.copy(tmp_path / "out" / "responses.sqlite", tmp_path / "else")
        running.run(configure([folder], mirror, tmp_path / "else", media={"image_max_pixels": 4000}), other)
        assert (again.asked, len(other.asked)) == ([], 3)

    @pytest.mark.parametrize(
        ("carried", "sentence"),
        [
            ({"video_maxtokens": 3}, r"unknown key 'video_maxtokens', did you mean 'video_max_tokens'\? \(.*mm_media"),
            ({"video_max_tokens": "many"}, r"'video_max_tokens' must be a whole number, not 'many' \(.*mm_media"),
            ({"video_max_tokens": True}, r"'video_max_tokens' must be a whole number, not True \(.*mm_media"),
            ({"video_max_tokens": 0}, r"'video_max_tokens' must be above 0, not 0 \(.*mm_media"),
            ({"background": [0, 0, 256]}, r"background, entry 3 must be at most 255, not 256 \(.*mm_media"),
            ([1], r"mm_media.*must be a mapping"),
            ({"frame_min_pixels": 10**9}, r"frame_min_pixels is 1000000000, above frame_max_pixels"),
        ],
    )
    def test_a_bad_one_is_refused_in_one_sentence(
        self, make: Make, mirror: Path, tmp_path: Path, carried: Any, sentence: str
    ) -> None:
        with pytest.raises(UserError, match=sentence) as caught:
            running.run(configure([make("bad", mm_media=carried)], mirror, tmp_path / "out"), FakeStart())
        assert "\n" not in str(caught.value)

    def test_a_policy_given_from_python_takes_the_place_of_all(self, make: Make, mirror: Path, tmp_path: Path) -> None:
        options = EngineOptions(policy=MediaPolicy(video_max_tokens=55))
        running.run(configure([make("a", mm_media={"video_max_tokens": 9})], mirror, tmp_path / "out", options=options),
                    FakeStart())  # fmt: skip
        assert self.policy(tmp_path / "out")["policy"]["video_max_tokens"] == 55
