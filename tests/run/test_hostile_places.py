"""Where a run may write: nothing that no run wrote is overwritten, and nothing is kept where it would be pruned; no row
is asked twice."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import suite_mirror
from suite_fakes import FakeStart

from mmrope_demo.checkpoints import build_checkpoint
from mmrope_eval import cli
from mmrope_eval.engine.options import EngineOptions
from mmrope_eval.errors import UserError
from mmrope_eval.run import outcome
from mmrope_eval.run import run as running
from mmrope_eval.run.config import RunConfig


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return suite_mirror.build(tmp_path_factory.mktemp("mirror"), n=4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_checkpoint("qwen2.5-vl", tmp_path_factory.mktemp("ck") / "A")


@pytest.fixture
def base(checkpoint: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("MMROPE_CACHE", str(tmp_path / "cache"))
    return RunConfig((str(checkpoint),), ("chartqa",), tmp_path / "out", ("mrope",), data_root=mirror,
                     options=EngineOptions(), command=("run",))  # fmt: skip


def refused(config: RunConfig) -> str:
    """The sentence that a run is refused with before an engine starts."""
    start = FakeStart()
    with pytest.raises(UserError) as caught:
        running.run(config, start)
    assert start.engines == []
    return str(caught.value)


class TestFilesOfOthers:
    @pytest.mark.parametrize("name", ["manifest.json", "scores.json", "failed.json"])
    @pytest.mark.parametrize("content", ['{"recipe": 3, "files": {}}', "[1, 2]", '{"variant": "mine"}', "5"])
    def test_are_not_overwritten(self, base: RunConfig, name: str, content: str) -> None:
        base.output.mkdir()
        theirs = base.output / name
        theirs.write_text(content)
        assert str(theirs) in refused(base) and theirs.read_text() == content

    @pytest.mark.parametrize("name", ["manifest.json", "scores.json"])
    @pytest.mark.parametrize("content", ["", '{"tasks": {', "\0\0\0"])
    def test_a_record_half_written_is_no_such_file(self, base: RunConfig, name: str, content: str) -> None:
        base.output.mkdir()
        (base.output / name).write_text(content)
        assert len(running.run(base, FakeStart()).rows["mrope"]) == 1
        assert json.loads((base.output / name).read_text())["checkpoint"]

    def test_in_the_folder_of_a_later_row_stop_the_command_before_the_first(self, base: RunConfig) -> None:
        theirs = base.output / "hope" / "manifest.json"
        theirs.parent.mkdir(parents=True)
        theirs.write_text('{"name": "hope"}')
        assert str(theirs) in refused(dataclasses.replace(base, variants=("mrope", "hope")))

    def test_the_same_command_goes_on_in_its_own_folder(self, base: RunConfig) -> None:
        running.run(base, FakeStart())
        again = FakeStart()
        running.run(base, again)
        assert again.asked == []

    def test_rescore_does_not_overwrite_them_either(self, base: RunConfig, tmp_path: Path) -> None:
        running.run(base, FakeStart())
        theirs = tmp_path / "other" / "manifest.json"
        theirs.parent.mkdir()
        theirs.write_text("{}")
        assert cli.main(["rescore", str(base.output), "--data-root", str(base.data_root), "--output",
                         str(theirs.parent)]) == 2  # fmt: skip
        assert theirs.read_text() == "{}"

    @pytest.mark.parametrize("content", ['{"a": 1}', "[]"])
    def test_of_a_sweep(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "sweep.json").write_text(content)
        with pytest.raises(UserError, match="was not written by a run"):
            outcome.require_sweep_places(tmp_path)

    @pytest.mark.parametrize("name", ["sweep.json", "sweep.csv", "needle.png"])
    def test_folders_in_the_way_of_a_sweep(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=f"{name} is no plain file"):
            outcome.require_sweep_places(tmp_path)


class TestTheCache:
    @pytest.mark.parametrize("place", ["cache/plans", "cache/frames/mine", "cache/datasets", "link"])
    def test_is_no_place_for_results(self, base: RunConfig, tmp_path: Path, place: str) -> None:
        """`data prune` would take them for what can be made again."""
        (tmp_path / "cache" / "plans").mkdir(parents=True)
        (tmp_path / "link").symlink_to(tmp_path / "cache" / "plans")
        assert "which `mmrope-eval data prune` empties" in refused(
            dataclasses.replace(base, output=tmp_path / place))  # fmt: skip

    def test_a_row_called_as_a_folder_of_the_cache(self, base: RunConfig, tmp_path: Path) -> None:
        labels = dataclasses.replace(base, output=tmp_path / "cache", variants=("mrope", str(variant(tmp_path))))
        assert f"{tmp_path}/cache/merged lies in the cache" in refused(labels)

    def test_beside_its_folders_there_is_room(self, base: RunConfig, tmp_path: Path) -> None:
        assert running.run(dataclasses.replace(base, output=tmp_path / "cache" / "runs"), FakeStart()).rows


class TestARowNamedTwice:
    @pytest.mark.parametrize("variants", [("mrope", "mrope"), ("mrope", "hope", "mrope")])
    def test_by_one_variant(self, base: RunConfig, variants: tuple[str, ...]) -> None:
        assert "named twice under the variant 'mrope'" in refused(dataclasses.replace(base, variants=variants))

    def test_by_the_command_and_by_its_own_name(self, base: RunConfig, checkpoint: Path) -> None:
        sentence = refused(dataclasses.replace(base, models=(str(checkpoint), f"{checkpoint}=mrope")))
        assert f"by '{checkpoint}' and by '{checkpoint}=mrope'" in sentence

    def test_under_two_names_of_one_definition_is_two_rows(self, base: RunConfig, tmp_path: Path) -> None:
        """The names were given, so both are wanted."""
        variants = ("hope", str(variant(tmp_path)))
        assert [*running.run(dataclasses.replace(base, variants=variants), FakeStart()).rows] == ["hope", "merged"]


def variant(folder: Path) -> Path:
    """A variant that is called as a folder of the cache is."""
    path = folder / "merged.yaml"
    path.write_text("extends: hope\n")
    return path
