"""Every column from its data set's files to its number: the small world in the hub's schemas, and the right answers.

The right answers come from the rows' own fields and not from the task files' targets, so a target that reads the wrong
field fails here.
"""

from __future__ import annotations

import ast
import functools
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mmrope_eval.data.media_files import MediaFolder, NoSuchFileError
from mmrope_eval.data.rows import round_robin
from mmrope_eval.errors import MissingMediumError, UserError
from mmrope_eval.messages import Failure, ImageSource, MediaFacts, Response, VideoSource
from mmrope_eval.run import results
from mmrope_eval.scorer.score import Score
from mmrope_eval.task.dataset import fetch_command, find_data, load_docs, load_task, media_folder
from mmrope_eval.task.listing import media_facts, published
from mmrope_eval.task.parts import build_parts, interleaved, on_disk
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.planner import Plans
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.sample import Sample
from mmrope_synth import build_world
from mmrope_synth.needle import Haystack, build_needles

REGISTRY = Registry()
TASKS = list(REGISTRY.tasks)
N = 5
QWEN = REGISTRY.family("qwen2.5-vl")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield build_needles(build_world(root / "world", n=N), Haystack(16, questions=2)).parents[1]


@pytest.fixture(scope="module")
def plans(world: Path) -> Callable[[str], TaskPlan]:
    return functools.cache(lambda task: Plans([REGISTRY.tasks[task]], world, None).of(QWEN)[task])


def letter(options: list[str], answer: str) -> str:
    return "ABCDEFGHIJ"[options.index(answer)]


def mmmu(row: Mapping[str, Any]) -> str:
    options = ast.literal_eval(row["options"])
    return f"{row['answer']}. {options['ABCDEFGHIJ'.index(row['answer'])]}" if options else f"It is {row['answer']}."


def box(row: Mapping[str, Any], facts: MediaFacts) -> str:
    """The object's box in pixels of the picture that was shown, as Qwen2.5-VL writes it."""
    x, y, w, h = row["bbox"]
    sx, sy = (used / source for used, source in zip(facts.used_size, facts.source_size, strict=True))
    return f'```json\n[{{"bbox_2d": [{x * sx:.0f}, {y * sy:.0f}, {(x + w) * sx:.0f}, {(y + h) * sy:.0f}]}}]\n```'


GOLD: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "mmmu": mmmu,
    "mmbench": lambda row: row[row["answer"]],
    "mmbench_cn": lambda row: f"答案是{row['answer']}。",
    "mmstar": lambda row: f"The answer is {row['answer']}.",
    "ocrbench": lambda row: f"It says {row['answer'][0]}",
    "ai2d": lambda row: f"({letter(row['options'], row['options'][int(row['answer'])])})",
    "realworldqa": lambda row: f"{row['answer']}.",
    "docvqa": lambda row: row["answers"][-1].upper(),
    "infovqa": lambda row: row["answers"][0],
    "textvqa": lambda row: max(row["answers"], key=row["answers"].count),
    "chartqa": lambda row: row["answer"],
    "blink": lambda row: f"{row['answer']} {row['choices']['ABCD'.index(row['answer'][1])]}",
    "mvbench": lambda row: f"{letter(row['candidates'], row['answer'])}. {row['answer']}",
    "star": lambda row: row["answer"],
    "videomme": lambda row: next(o for o in row["options"] if o.startswith(row["answer"])),
    "lvbench": lambda row: f"\\boxed{{{row['answer']}}}",
    "mlvu": lambda row: f"**{row['answer']}**",
    "needle": lambda row: row["answer"],
    "charades_sta": lambda row: f"The event happens in the {row['timestamp'][0]} - {row['timestamp'][1]} seconds.",
}


def gold(task: str, row: Mapping[str, Any], facts: tuple[MediaFacts, ...]) -> str:
    return box(row, facts[0]) if task.startswith("refcoco") else GOLD[task.removesuffix("_subtitles")](row)


def answered(plan: TaskPlan, sample: Sample, text: str | None) -> Response:
    """What an engine would give: the media really read, and the right answer unless another text is given."""
    parts = [part for part in plan.request(sample).content if isinstance(part, (ImageSource, VideoSource))]
    facts = tuple(media_facts(part, published(plan.family)) for part in parts if isinstance(part, ImageSource))
    row = plan.docs.get().rows[sample.index]
    return Response(sample.id, gold(plan.spec.name, row, facts) if text is None else text, (1,), "stop", 1, facts)


def entry(plan: TaskPlan, text: str | None) -> dict[str, Any]:
    outcomes = {sample.id: answered(plan, sample, text) for sample in plan.samples}
    return results.summarize(plan, list(results.scores(plan, outcomes)))


# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_every_sample_is_planned_and_its_media_are_there(task: str, plans: Callable[[str], TaskPlan]) -> None:
    plan = plans(task)
    assert [sample.problem for sample in plan.samples if sample.problem] == []
    assert len(plan.samples) >= N and len({sample.id for sample in plan.samples}) == len(plan.samples)
    assert len({(s.prompt, s.media) for s in plan.samples}) == len(plan.samples), "no question is asked twice"
    for sample in plan.samples:
        assert sample.media and sample.prompt and sample.generation.max_tokens == plan.spec.generation.max_tokens
        assert "{{" not in sample.prompt and "nan" not in sample.prompt.split()


@pytest.mark.parametrize("task", TASKS)
def test_the_right_answers_score_100_and_no_answers_0(task: str, plans: Callable[[str], TaskPlan]) -> None:
    plan = plans(task)
    right = entry(plan, None)
    applicable = {name: m for name, m in right["metrics"].items() if m["n"]}
    # OCRBench's answer is given in a sentence, which is contained but not equal.
    loose = {"exact"} if task in ("ocrbench",) else set()
    assert {name: m["value"] for name, m in applicable.items() if name not in loose and m["value"] != 100} == {}
    assert right["n_failed"] == right["n_unparsed"] == 0
    nothing = entry(plan, "")
    assert {m["value"] for m in nothing["metrics"].values() if m["n"]} == {0}
    assert nothing["n_unparsed"] == len(plan.samples)


@pytest.mark.parametrize("task", ["mvbench", "star", "videomme", "refcoco_val", "mmmu", "blink"])
def test_media_decode(task: str, plans: Callable[[str], TaskPlan]) -> None:
    plan = plans(task)
    sample = plan.samples[-1]
    for part in plan.request(sample).content:
        if not isinstance(part, str):
            assert media_facts(part, published(QWEN)).tokens > 0


@pytest.mark.parametrize("task", TASKS)
def test_lmms_eval_itself_loads_the_task_and_scores_it(task: str, world: Path) -> None:
    spec = REGISTRY.tasks[task]
    loaded = load_task(spec, world, QWEN, media_folder(spec, world).roots, find_data(spec, world))
    doc = loaded.eval_docs[0]
    assert loaded.config.task == f"mmrope_{task}"
    assert loaded.doc_to_visual(doc) and loaded.doc_to_text(doc).strip()
    scores = loaded.process_results(loaded.eval_docs_no_media[0], [""])
    assert set(scores) == set(REGISTRY.tasks[task].metrics)
    assert set(scores.values()) <= {0.0, None}


def test_groups_are_reported_and_missing_ones_named(plans: Callable[[str], TaskPlan]) -> None:
    mvbench = entry(plans("mvbench"), None)
    assert mvbench["average"] == "macro" and len(mvbench["groups"]) == 20 and mvbench["absent_groups"] == []
    assert mvbench["groups"]["moving_count"] == {"value": 100, "n": 1}
    star = entry(plans("star"), None)
    assert set(entry(plans("needle"), None)["groups"]) == {"0", "25", "50", "75", "100"}
    assert set(star["groups"]) == {"Interaction", "Sequence", "Prediction", "Feasibility"}
    mlvu = entry(plans("mlvu"), None)
    assert mlvu["absent_groups"] == ["anomaly_reco", "topic_reasoning"], "five rows hold five of the seven tasks"


def test_a_failed_video_keeps_its_place_in_its_group(plans: Callable[[str], TaskPlan]) -> None:
    plan = plans("star")
    outcomes: dict[str, Response | Failure] = {s.id: answered(plan, s, None) for s in plan.samples}
    lost = plan.samples[1]
    outcomes[lost.id] = Failure(lost.id, "media", "gone.")
    summary = results.summarize(plan, list(results.scores(plan, outcomes)))
    assert summary["groups"]["Sequence"] == {"value": 0, "n": 1}
    assert summary["metrics"]["accuracy"]["value"] == 75


@pytest.mark.parametrize(("task", "average"), [
    ("mvbench", "macro"), ("mlvu", "macro"), ("mmstar", "macro"), ("star", "macro"), ("mmbench", "circular"),
    ("mmmu", "mmmu"), ("ocrbench", "ocrbench"), ("videomme_subtitles", "micro"), ("refcocog_val", "micro"),
    ("charades_sta", "micro"), ("blink", "macro"), ("mmbench_cn", "circular"),
])
def test_each_column_has_its_authors_average(task: str, average: str) -> None:
    assert REGISTRY.tasks[task].average == average


def test_mmbench_is_right_only_under_every_rotation(plans: Callable[[str], TaskPlan]) -> None:
    plan = plans("mmbench")
    rotated = [{**dict(s.target or {}), "group": i // 2} for i, s in enumerate(plan.samples[:4])]
    scored = [
        results.ScoredSample(s, answered(plan, s, None), target, Score({"accuracy": value}, "A"))
        for s, target, value in zip(plan.samples, rotated, (1.0, 0.0, 1.0, 1.0), strict=False)
    ]
    accuracy = results.summarize(plan, scored)["metrics"]["accuracy"]
    assert (accuracy["value"], accuracy["n"]) == (50, 2)


# --------------------------------------------------------------------------------------------------------------
# Spans, pictures between words, several configurations, archives


def test_star_is_asked_about_its_span_only(plans: Callable[[str], TaskPlan]) -> None:
    plan = plans("star")
    for sample in plan.samples:
        (video, _) = plan.request(sample).content
        row = plan.docs.get().rows[sample.index]
        assert isinstance(video, VideoSource) and (video.start, video.end) == (row["start"], row["end"])
        assert sample.media[0].endswith(f"@{row['start']}-{row['end']}")


def test_mmmu_shows_pictures_where_they_are_named(plans: Callable[[str], TaskPlan]) -> None:
    plan = plans("mmmu")
    for sample in plan.samples:
        content = plan.request(sample).content
        named = [i for i in range(1, 8) if f"<image {i}>" in sample.prompt]
        assert sum(isinstance(part, ImageSource) for part in content) == len(named) >= 1
        assert not any(f"<image {i}>" in part for part in content if isinstance(part, str) for i in named)


PICTURES = {f"image_{i}": {"bytes": b"%d" % i} for i in (1, 2)} | {"image_3": None}
FIELDS = ("image_1", "image_2", "image_3")


@pytest.mark.parametrize(("prompt", "parts"), [
    ("<image 1>", [1]),
    ("a <image 2> b <image 1> c", ["a ", 2, " b ", 1, " c"]),
    ("<image 1><image 2>?", [1, 2, "?"]),
    ("<image 1> or <image 1>", [1, " or <image 1>"]),
    ("<image 1> and <image 7> and <image>", [1, " and <image 7> and <image>"]),
])
def test_reading_order(prompt: str, parts: list[int | str]) -> None:
    pieces = interleaved(FIELDS, "<image {}>", prompt, PICTURES)
    wanted = [ImageSource(b"%d" % part) if isinstance(part, int) else part for part in parts]
    assert list(pieces) == wanted


@pytest.mark.parametrize(("prompt", "message"), [
    ("no picture", "names no image"), ("", "names no image"), ("<image 3>", "no image in field 'image_3'"),
])
def test_a_picture_that_cannot_be_shown(prompt: str, message: str) -> None:
    with pytest.raises(MissingMediumError, match=message):
        interleaved(FIELDS, "<image {}>", prompt, PICTURES)


def test_subsets_take_turns() -> None:
    from datasets import Dataset

    parts = {"a": Dataset.from_dict({"x": [1, 2, 3], "only": [0, 0, 0]}), "b": Dataset.from_dict({"x": [4]})}
    rows = round_robin(parts, {"a": "A", "b": "B"})
    assert rows.to_list() == [
        {"x": 1, "subset": "a", "folder": "A"}, {"x": 4, "subset": "b", "folder": "B"},
        {"x": 2, "subset": "a", "folder": "A"}, {"x": 3, "subset": "a", "folder": "A"}]


def test_the_first_samples_of_mvbench_are_of_different_kinds(plans: Callable[[str], TaskPlan]) -> None:
    kinds = [(sample.target or {})["group"] for sample in plans("mvbench").samples[:20]]
    assert kinds == list(REGISTRY.tasks["mvbench"].groups) and len(set(kinds)) == 20


def test_a_missing_subset_is_an_error_and_no_smaller_benchmark(tmp_path: Path, world: Path) -> None:
    import shutil

    copy = tmp_path / "OpenGVLab/MVBench"
    shutil.copytree(world / "OpenGVLab/MVBench", copy)
    (copy / "json/state_change.json").unlink()
    with pytest.raises(UserError, match=r"Task mvbench: .*state_change.* fetch it with: .* --revision video") as caught:
        load_docs(REGISTRY.tasks["mvbench"], tmp_path, QWEN)
    assert "\n" not in str(caught.value)


def test_the_command_that_fetches_mvbench_names_its_revision() -> None:
    command = fetch_command(REGISTRY.tasks["mvbench"], None)
    assert command == "hf download OpenGVLab/MVBench --repo-type dataset --revision video"


def test_of_videos_with_one_name_the_one_in_the_right_folder_is_found(tmp_path: Path) -> None:
    """CLEVRER and Perception Test number their videos alike."""
    members = {"clevrer": "video_validation", "perception": "videos", "sta": "sta/sta_video_segment"}
    for archive, inside in members.items():
        with zipfile.ZipFile(tmp_path / f"{archive}.zip", "w") as stream:
            stream.writestr(f"{inside}/video_1.mp4", archive)
    folder = MediaFolder((tmp_path,))
    folders = ("clevrer/video_validation", "perception/videos", "sta/sta_video_segment")
    assert [on_disk(folder.find(f"{name}/video_1.mp4")).read_text() for name in folders] == list(members)
    (tmp_path / "perception.zip").unlink()
    with pytest.raises(NoSuchFileError, match=r"has its name, in another folder"):
        MediaFolder((tmp_path,)).find("perception/videos/video_1.mp4")


def test_of_several_names_the_first_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.mkv").touch()
    media = {"video": ["{{ v }}.mp4", "{{ v }}.mkv"]}
    (video, _) = build_parts(media, "?", {"v": "a"}, MediaFolder((tmp_path,)))
    assert isinstance(video, VideoSource) and video.path == tmp_path / "a.mkv"
    with pytest.raises(MissingMediumError, match=r"'b\.mp4' is not below"):
        build_parts(media, "?", {"v": "b"}, MediaFolder((tmp_path,)))
    with pytest.raises(NoSuchFileError, match="leads outside"):
        MediaFolder((tmp_path,)).find("../a.mkv")
