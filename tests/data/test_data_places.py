"""Rows and media are found where people have them: mirrors, hub caches, Arrow caches, old names, parts of them."""

from __future__ import annotations

import errno
import json
import subprocess
from pathlib import Path
from typing import Any

import data_layouts
import pytest
from suite_mirror import write_video

from mmrope_eval import cli
from mmrope_eval.data.media_files import MediaFolder, NoSuchFileError
from mmrope_eval.data.places import Member, NotHereError, find_split, names_of
from mmrope_eval.data.tables import SplitFiles, TableError, read_split, split_files
from mmrope_eval.errors import UserError
from mmrope_eval.messages import VideoSource
from mmrope_eval.task.dataset import TaskRows, load_docs, media_folder
from mmrope_eval.task.parts import build_parts
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.template import render

REGISTRY = Registry()
QWEN = REGISTRY.family("qwen2.5-vl")


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither this machine's caches nor a network."""
    for name in ("HF_HOME", "HF_DATASETS_CACHE", "HF_HUB_CACHE", "MMROPE_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def load(task: str, root: Path | None) -> TaskRows:
    return load_docs(REGISTRY.tasks[task], root, QWEN)


def videos_of(task: str, docs: TaskRows) -> list[Path]:
    spec = REGISTRY.tasks[task]
    paths = []
    for row in docs.rows:
        (video, _) = build_parts(spec.media, render(spec.prompt("default"), row), row, docs.files)
        assert isinstance(video, VideoSource)
        paths.append(video.path)
    return paths


def words_of(docs: TaskRows) -> list[str]:
    return [row["answer"][0] for row in docs.rows]


class TestNames:
    @pytest.mark.parametrize(("dataset", "others"), [
        ("lmms-lab-encoder/ChartQA", ["lmms-lab/ChartQA", "lmms-eval/ChartQA"]),
        ("lmms-eval/Video-MME", ["lmms-lab/Video-MME", "lmms-lab-encoder/Video-MME"]),
        ("lmms-lab/MMMU", ["lmms-lab-encoder/MMMU", "lmms-eval/MMMU"]),
        ("echo840/OCRBench", []),
        ("OpenGVLab/MVBench", []),
    ])
    def test_owners_of_before_and_after_the_move(self, dataset: str, others: list[str]) -> None:
        assert names_of(dataset) == [dataset, *others]

    @pytest.mark.parametrize("owner", ["lmms-lab", "lmms-lab-encoder", "lmms-eval"])
    def test_a_mirror_under_any_of_them(self, owner: str, tmp_path: Path) -> None:
        data_layouts.textvqa(tmp_path / owner / "textvqa", ["validation"])
        assert len(load("textvqa", tmp_path).rows) == 1

    def test_the_name_of_today_goes_first(self, tmp_path: Path) -> None:
        data_layouts.textvqa(tmp_path / "lmms-lab/textvqa", ["validation"], shards=2)
        data_layouts.textvqa(tmp_path / "lmms-lab-encoder/textvqa", ["validation"])
        assert len(load("textvqa", tmp_path).rows) == 1


class TestCaches:
    @pytest.mark.parametrize("below", [".", "hub"])
    def test_a_hub_cache_as_data_root(self, below: str, tmp_path: Path) -> None:
        data_layouts.hub_cache(tmp_path / below, "echo840/OCRBench", data_layouts.ocrbench)
        assert words_of(load("ocrbench", tmp_path)) == list(data_layouts.WORDS)

    def test_what_our_own_command_fetched_is_read_offline(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        data_layouts.hub_cache(tmp_path / "hub", "echo840/OCRBench", data_layouts.ocrbench)
        assert words_of(load("ocrbench", None)) == list(data_layouts.WORDS)
        assert cli.main(["show", "ocrbench", "--n", "1"]) == 0
        assert "CENTRE" in capsys.readouterr().out

    def test_a_hub_cache_of_an_old_name(self, tmp_path: Path) -> None:
        def fill(folder: Path) -> None:
            data_layouts.textvqa(folder, ["validation"])

        data_layouts.hub_cache(tmp_path, "lmms-lab/textvqa", fill)
        assert len(load("textvqa", tmp_path).rows) == 1

    @pytest.mark.parametrize("folder", ["echo840___ocr_bench", "echo840___OCRBench", "echo840___ocrbench"])
    def test_the_arrow_cache_alone(self, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        data_layouts.ocrbench(tmp_path / "made/OCRBench")
        data_layouts.arrow_cache(tmp_path / "home/datasets", folder, tmp_path / "made/OCRBench")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        assert words_of(load("ocrbench", None)) == list(data_layouts.WORDS)
        assert words_of(load("ocrbench", tmp_path / "home")) == list(data_layouts.WORDS)
        assert words_of(load("ocrbench", tmp_path / "home/datasets")) == list(data_layouts.WORDS)

    def test_the_arrow_cache_is_named_as_datasets_names_it(self) -> None:
        from datasets.naming import camelcase_to_snakecase

        from mmrope_eval.data.places import _letters

        for spec in REGISTRY.tasks.values():
            name = spec.dataset.rpartition("/")[2]
            assert _letters(camelcase_to_snakecase(name)) == _letters(name)

    def test_a_revision_is_the_one_that_is_asked(self, tmp_path: Path) -> None:
        data_layouts.hub_cache(tmp_path, "OpenGVLab/MVBench", data_layouts.ocrbench, revision="main")
        with pytest.raises(NotHereError, match="holds no snapshot of revision 'video'"):
            find_split("OpenGVLab/MVBench", "video", [None], "test", tmp_path)

    def test_of_several_snapshots_without_a_ref_none_is_guessed(self, tmp_path: Path) -> None:
        snapshot = data_layouts.hub_cache(tmp_path, "echo840/OCRBench", data_layouts.ocrbench)
        (snapshot.parents[1] / "refs/main").unlink()
        assert words_of(load("ocrbench", tmp_path)) == list(data_layouts.WORDS)
        (snapshot.parent / ("f" * 40)).mkdir()
        with pytest.raises(UserError, match="holds no snapshot of revision 'main'"):
            load("ocrbench", tmp_path)

    def test_a_folder_of_save_to_disk(self, tmp_path: Path) -> None:
        from datasets import load_dataset

        data_layouts.ocrbench(tmp_path / "made")
        load_dataset(str(tmp_path / "made"), cache_dir=str(tmp_path / "c")).save_to_disk(
            str(tmp_path / "root/echo840/OCRBench")
        )
        assert words_of(load("ocrbench", tmp_path / "root")) == list(data_layouts.WORDS)

    def test_an_absolute_folder_as_data_set(self, tmp_path: Path) -> None:
        data_layouts.ocrbench(tmp_path / "mine")
        split = find_split(str(tmp_path / "mine"), None, [None], "test", None)
        assert split.parts[None].files == (tmp_path / "mine/data/test-00000-of-00001.parquet",)


class TestParts:
    def test_one_split_of_three(self, tmp_path: Path) -> None:
        """`datasets` wants every split that the card names."""
        data_layouts.textvqa(tmp_path / "lmms-lab-encoder/textvqa", ["validation"])
        docs = load("textvqa", tmp_path)
        assert (len(docs.rows), docs.remarks) == (1, ())

    def test_only_the_split_that_is_asked_is_read(self, tmp_path: Path) -> None:
        folder = tmp_path / "lmms-lab-encoder/textvqa"
        data_layouts.textvqa(folder, ["train", "validation", "test"])
        (folder / "data/train-00000-of-00001.parquet").write_bytes(b"PAR1 and no end")
        assert [row["image_id"] for row in load("textvqa", tmp_path).rows] == ["validation0"]

    def test_missing_shards_are_said(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        data_layouts.textvqa(tmp_path / "lmms-lab-encoder/textvqa", ["validation"], shards=3, missing=2)
        docs = load("textvqa", tmp_path)
        assert len(docs.rows) == 1
        (remark,) = docs.remarks
        assert "validation-00001-of-00003.parquet and 1 more" in remark
        assert cli.main(["data", "check", "--tasks", "textvqa", "--data-root", str(tmp_path)]) == 1
        assert "validation-00001-of-00003.parquet and 1 more" in capsys.readouterr().out

    def test_without_the_card(self, tmp_path: Path) -> None:
        data_layouts.textvqa(tmp_path, ["train", "validation"])
        (tmp_path / "README.md").unlink()
        files = split_files(tmp_path, None, "validation").files
        assert [path.name for path in files] == ["validation-00000-of-00001.parquet"]
        with pytest.raises(TableError, match=r"no file of split 'test'; it has data/train-00000"):
            split_files(tmp_path, None, "test")

    @pytest.mark.parametrize(("names", "config", "split", "expected"), [
        (["en/dev-0.parquet", "cn/dev-0.parquet"], "en", "dev", ["en/dev-0.parquet"]),
        (["DocVQA/validation-0.parquet"], "InfographicVQA", "validation", "no table of configuration 'InfographicVQA'"),
        (["json/action_count.json", "json/star.json"], "action_count", "train", ["json/action_count.json"]),
        (["mmstar.parquet"], "val", "val", ["mmstar.parquet"]),
        (["data/val-0.parquet", "data/test-0.parquet"], None, "validation", ["data/val-0.parquet"]),
        (["data/testA-0.parquet", "data/test-0.parquet"], None, "testA", ["data/testA-0.parquet"]),
        (["one.parquet", "two.parquet"], None, "test", "no file of split 'test'"),
        (["data/testA-0.parquet"], None, "test", "no file of split 'test'"),
        (["test.parquet", "test.csv"], None, "test", "one split in several formats"),
        ([], None, "test", "holds no table"),
        ([".cache/test-0.parquet"], None, "test", "holds no table"),
    ])
    def test_names_without_a_card(
        self, names: list[str], config: str | None, split: str, expected: Any, tmp_path: Path
    ) -> None:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("x")
        if isinstance(expected, str):
            with pytest.raises(TableError, match=expected):
                split_files(tmp_path, config, split)
        else:
            paths = [str(path.relative_to(tmp_path)) for path in split_files(tmp_path, config, split).files]
            assert paths == expected

    def test_no_default_among_several_configurations_is_said_with_their_names(self, tmp_path: Path) -> None:
        data_layouts.star(tmp_path)
        with pytest.raises(TableError, match=r"several configurations and no default.*interaction, sequence"):
            split_files(tmp_path / "zechen-nlp/star_bench", None, "validation")

    @pytest.mark.parametrize(("content", "message"), [
        (b"", "is empty"), (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"PAR1" + b"\0" * 50, "is not a whole Parquet file"), (b"PAR", "is not a whole Parquet file"),
    ])
    def test_a_damaged_table_is_named(self, content: bytes, message: str, tmp_path: Path) -> None:
        data_layouts.ocrbench(tmp_path / "echo840/OCRBench")
        (tmp_path / "echo840/OCRBench/data/test-00000-of-00001.parquet").write_bytes(content)
        with pytest.raises(UserError, match=rf"Task ocrbench: \S+test-00000-of-00001.parquet {message}"):
            load("ocrbench", tmp_path)


class TestStar:
    def test_its_four_configurations_in_turns_with_charades_videos(self, tmp_path: Path) -> None:
        data_layouts.star(tmp_path)
        docs = load("star", tmp_path)
        kinds = [row["question_id"].split("_")[0].lower() for row in docs.rows]
        assert kinds[:4] == list(data_layouts.STAR_KINDS) and len(kinds) == 12
        assert {path.name for path in videos_of("star", docs)} == {"6H78U.mp4"}

    @pytest.mark.parametrize("where", ["charades_sta/Charades_v1_480", "star", "zechen-nlp/star_bench/videos"])
    def test_videos_elsewhere(self, where: str, tmp_path: Path) -> None:
        data_layouts.star(tmp_path, where)
        assert videos_of("star", load("star", tmp_path))[0] == tmp_path / where / "6H78U.mp4"

    def test_the_plan_fetches_charades_once_for_both(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["data", "plan", "--tasks", "star", "--data-root", str(tmp_path)]) == 1
        out = capsys.readouterr().out
        for dataset in ("zechen-nlp/star_bench", "lmms-eval/charades_sta"):
            assert out.count(f"hf download {dataset}") == 1
        assert "videos of star" in out and "16.3 GB" in out
        assert cli.main(["data", "plan", "--tasks", "star,charades_sta", "--data-root", str(tmp_path)]) == 1
        assert capsys.readouterr().out.count("hf download lmms-eval/charades_sta") == 1

    def test_without_them_the_check_names_the_data_set_that_has_them(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        data_layouts.star(tmp_path, None)
        assert cli.main(["data", "check", "--tasks", "star", "--data-root", str(tmp_path)]) == 1
        out = capsys.readouterr().out
        assert f"$ hf download lmms-eval/charades_sta --repo-type dataset --local-dir {tmp_path}" in out
        assert f"'6H78U.mp4' is not below {tmp_path}/zechen-nlp/star_bench or {tmp_path}/lmms-eval/charades_sta" in out

    def test_a_column_that_cannot_be_read_is_that_columns_failure(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from suite_fakes import FakeStart

        from mmrope_demo.checkpoints import build_checkpoint
        from mmrope_eval.run import run as running
        from mmrope_eval.run.config import RunConfig

        data_layouts.star(tmp_path / "m")
        data_layouts.ocrbench(tmp_path / "m/echo840/OCRBench")
        damaged = tmp_path / "m/zechen-nlp/star_bench/sequence/validation-00000-of-00001.parquet"
        damaged.write_bytes(damaged.read_bytes()[:100])
        checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "tiny")
        tasks, root = ("star", "ocrbench"), tmp_path / "m"
        config = RunConfig((str(checkpoint),), tasks, tmp_path / "o", ("mrope",), data_root=root)
        result = running.run(config, FakeStart())
        (row,) = result.rows.values()
        assert list(row) == ["ocrbench"] and row["ocrbench"]["n"] == 3
        assert "sequence/validation-00000-of-00001.parquet is not a whole" in result.failed_tasks["star"]
        assert json.loads((tmp_path / "o/scores.json").read_text())["failed_tasks"] == dict(result.failed_tasks)
        assert cli.main(["table", "2", str(tmp_path / "o"), "--all"]) == 0
        assert "star was not asked" in capsys.readouterr().err
        assert cli.main(["check", str(tmp_path / "o"), "--against", str(tmp_path / "o")]) == 2
        assert "star was not asked" in capsys.readouterr().err


    def test_a_full_cache_is_no_fault_of_a_column_s_and_ends_the_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Or the run would be without this column for no fault of its data, and the table too."""
        import datasets
        from suite_fakes import FakeStart

        from mmrope_demo.checkpoints import build_checkpoint
        from mmrope_eval.run import run as running
        from mmrope_eval.run.config import RunConfig

        read = datasets.load_dataset

        def refused(kind: str, **options: Any) -> Any:
            if "star_bench" in str(options):
                raise OSError(errno.ENOSPC, "No space left on device")
            return read(kind, **options)

        data_layouts.star(tmp_path / "m")
        data_layouts.ocrbench(tmp_path / "m/echo840/OCRBench")
        monkeypatch.setattr(datasets, "load_dataset", refused)
        checkpoint = build_checkpoint("qwen2.5-vl", tmp_path / "tiny")
        tasks, root = ("star", "ocrbench"), tmp_path / "m"
        config = RunConfig((str(checkpoint),), tasks, tmp_path / "o", ("mrope",), data_root=root)
        with pytest.raises(UserError, match=r"cannot convert tables in .* \(No space left on device\): free some"):
            running.run(config, FakeStart())


class TestMedia:
    @pytest.mark.parametrize("layout", [
        {"unpacked": "video_chunks/all_videos"}, {"unpacked": "videos"}, {"unpacked": "."}, {"unpacked": "a/b/c"},
        {"zipped": "video_chunks/videos_chunk_001.zip"},
        {"zipped": "video_chunks/videos_chunk_001.zip", "unpacked": "video_chunks/all_videos"},
    ])  # fmt: skip
    def test_lvbench_however_it_was_unpacked(self, layout: dict[str, str], tmp_path: Path) -> None:
        folder = tmp_path / "lmms-eval/LVBench"
        data_layouts.lvbench(folder, **layout)
        paths = videos_of("lvbench", load("lvbench", tmp_path))
        assert all(path.is_file() for path in paths) and len(paths) == 2
        if "unpacked" in layout:
            assert all(path.is_relative_to(folder) for path in paths)

    def test_below_the_cache_dir_of_lmms_eval(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Tables in a mirror, videos where lmms-eval unpacked them: HF_HOME/lvbench."""
        data_layouts.lvbench(tmp_path / "mirror/lmms-eval/LVBench")
        for key in ("Cm73ma6Ibcs", "idZkam9zqAs"):
            write_video(tmp_path / "home/lvbench/all_videos" / f"{key}.mp4")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        assert len(videos_of("lvbench", load("lvbench", tmp_path / "mirror"))) == 2
        data_layouts.hub_cache(tmp_path / "home/hub", "lmms-eval/LVBench", data_layouts.lvbench)
        assert len(videos_of("lvbench", load("lvbench", None))) == 2

    def test_two_different_files_of_one_name_are_not_guessed_between(self, tmp_path: Path) -> None:
        for name, content in (("a/x.mp4", "1"), ("b/x.mp4", "1"), ("c/y.mp4", "1"), ("d/y.mp4", "2")):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).write_text(content)
        folder = MediaFolder((tmp_path,))
        assert folder.find("x.mp4") == tmp_path / "a/x.mp4"
        with pytest.raises(NoSuchFileError, match=r"several different files are called 'y\.mp4'"):
            folder.find("y.mp4")

    def test_unfinished_downloads_are_no_files(self, tmp_path: Path) -> None:
        (tmp_path / ".cache/huggingface/download").mkdir(parents=True)
        (tmp_path / ".cache/huggingface/download/v.mp4").write_text("part")
        (tmp_path / "v.mp4.incomplete").write_text("part")
        (tmp_path / "videos.zip").write_bytes(b"PK\3\4 half of an archive")
        with pytest.raises(NoSuchFileError, match=r"videos\.zip cannot be read as a zip archive"):
            MediaFolder((tmp_path,)).find("v.mp4")

    def test_a_folder_that_links_to_itself_ends(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a/again").symlink_to(tmp_path, target_is_directory=True)
        (tmp_path / "a/v.mp4").touch()
        assert MediaFolder((tmp_path,)).find("v.mp4") == tmp_path / "a/v.mp4"

    def test_a_picture_by_path_is_one_of_the_data_sets_own(self, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set/p.png").touch()
        (tmp_path / "secret.png").touch()
        folder = MediaFolder((tmp_path / "set",))
        assert folder.row_file("p.png") == folder.row_file(str(tmp_path / "set/p.png")) == tmp_path / "set/p.png"
        for name in ("../secret.png", str(tmp_path / "secret.png"), "/dev/zero", "/etc/passwd"):
            with pytest.raises(NoSuchFileError, match="lies outside"):
                folder.row_file(name)

    def test_a_bomb_is_not_unpacked(self, tmp_path: Path) -> None:
        import zipfile

        from mmrope_eval.data.cache import unpack

        with zipfile.ZipFile(tmp_path / "v.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("v.mp4", b"\0" * (65 * 2**20))
        member = MediaFolder((tmp_path,)).find("v.mp4")
        assert isinstance(member, Member)
        with pytest.raises(UserError, match="that is no video"):
            unpack(member)


class TestPlan:
    def plan(self, capsys: pytest.CaptureFixture[str], root: Path, tasks: str) -> tuple[int, dict[str, dict[str, Any]]]:
        code = cli.main(["data", "plan", "--tasks", tasks, "--data-root", str(root), "--json"])
        return code, {entry["dataset"]: entry for entry in json.loads(capsys.readouterr().out)["datasets"]}

    def test_only_the_splits_that_are_asked(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, entries = self.plan(capsys, tmp_path, "refcoco_val,refcoco_testA,docvqa,infovqa,ocrbench")
        assert "--include README.md --include 'data/val-*' --include 'data/testA-*' --local-dir" in (
            entries["lmms-lab-encoder/RefCOCO"]["commands"][0])
        docvqa = entries["lmms-lab-encoder/DocVQA"]["commands"][0]
        assert "'DocVQA/validation-*'" in docvqa and "'InfographicVQA/validation-*'" in docvqa
        assert "--include" not in entries["echo840/OCRBench"]["commands"][0]

    def test_sizes_are_known_offline(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["data", "plan", "--tasks", "lvbench,ocrbench,mmstar", "--data-root", str(tmp_path)]) == 1
        out = capsys.readouterr().out
        assert "about 61.8 GB to fetch" in out and "about 68.0 MB to fetch" in out and "size unknown" in out
        assert "to fetch: 3 data sets, about 61.9 GB, and 1 of unknown size" in out

    @pytest.mark.parametrize("state", ["empty", "card only", "rows only"])
    def test_half_a_data_set_is_not_here(self, state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        folder = tmp_path / "lmms-eval/LVBench"
        folder.mkdir(parents=True)
        if state == "card only":
            data_layouts.card(folder, {"default": {"train": "data/train-*"}})
        if state == "rows only":
            data_layouts.lvbench(folder)
        code, entries = self.plan(capsys, tmp_path, "lvbench")
        assert code == 1 and not entries["lmms-eval/LVBench"]["present"]
        what = {"empty": "holds no table", "card only": "has no file data/train-*", "rows only": "there are no videos"}
        assert what[state] in entries["lmms-eval/LVBench"]["lacking"]

    @pytest.fixture
    def linked(self, tmp_path: Path) -> Path:
        data_layouts.lvbench(tmp_path / "snapshot", zipped="video_chunks/videos_chunk_001.zip")
        (tmp_path / "root/lmms-eval").mkdir(parents=True)
        (tmp_path / "root/lmms-eval/LVBench").symlink_to(tmp_path / "snapshot", target_is_directory=True)
        return tmp_path / "root"

    def test_the_unzip_command_works_behind_a_link(self, linked: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, entries = self.plan(capsys, linked, "lvbench")
        subprocess.run(["sh", "-c", entries["lmms-eval/LVBench"]["commands"][1]], check=True)
        assert (linked.parent / "snapshot/video_chunks/all_videos/Cm73ma6Ibcs.mp4").is_file()
        (linked.parent / "snapshot/video_chunks/videos_chunk_001.zip").unlink()
        assert len(videos_of("lvbench", load("lvbench", linked))) == 2

    def test_the_unzip_command_fails_when_unzip_does(
        self, linked: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        _, entries = self.plan(capsys, linked, "lvbench")
        command = entries["lmms-eval/LVBench"]["commands"][1]
        (linked.parent / "snapshot/video_chunks/videos_chunk_001.zip").write_bytes(b"PK\3\4 half")
        assert subprocess.run(["sh", "-c", command], capture_output=True).returncode != 0
        tools = tmp_path / "bin"
        tools.mkdir()
        for tool in ("find", "sh", "dirname"):
            (tools / tool).symlink_to(f"/usr/bin/{tool}")
        assert subprocess.run(["sh", "-c", command], capture_output=True, env={"PATH": str(tools)}).returncode != 0


def test_media_roots_are_in_order_and_each_once(tmp_path: Path) -> None:
    data_layouts.star(tmp_path)
    (tmp_path / "star").mkdir()
    names = ["zechen-nlp/star_bench", "lmms-eval/charades_sta", "star"]
    assert media_folder(REGISTRY.tasks["star"], tmp_path).roots == tuple(tmp_path / name for name in names)


@pytest.mark.parametrize("card", ["not: [a head", "---\n[\n---\n", "---\nmade: 2024-13-45\n---\n",
                                  "---\nconfigs: 5\n---\n"])  # fmt: skip
def test_a_card_that_is_none_is_said_or_passed_over(card: str, tmp_path: Path) -> None:
    data_layouts.ocrbench(tmp_path)
    (tmp_path / "README.md").write_text(card)
    try:
        assert len(split_files(tmp_path, None, "test").files) == 1
    except TableError as error:
        assert "README.md is no YAML" in str(error)


def test_reading_a_table_of_this_machine_asks_the_network_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`datasets` would count it, with a request of up to 3 s that every replica waits for, a table each."""
    import datasets

    asked: list[str] = []
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", True)
    monkeypatch.setattr("datasets.load.get_session", lambda: asked.append("a session"))
    table = tmp_path / "test.jsonl"
    table.write_text('{"a": 1}\n')
    assert list(read_split(SplitFiles("json", (table,)), "test", tmp_path / "cache")["a"]) == [1]
    assert asked == []
    assert datasets.config.HF_UPDATE_DOWNLOAD_COUNTS is True
