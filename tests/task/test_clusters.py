"""What stands or falls together: one definition a column, by content, in errors, intervals and pairs alike."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from identities import identity
from report_files import sample, write_cell

from mmrope_eval.errors import SampleError, UserError
from mmrope_eval.messages import Generation, MediaFacts, Response
from mmrope_eval.record.aggregate import AGGREGATES, Item
from mmrope_eval.record.cell import read_cell
from mmrope_eval.report.compare import stats
from mmrope_eval.report.compare.intervals import benchmark_spread, correlation
from mmrope_eval.report.compare.pairing import match
from mmrope_eval.report.compare.precision import Layout, joined, precision_of
from mmrope_eval.report.runs import load_run
from mmrope_eval.run import results
from mmrope_eval.task.clusters import SHOWN, cluster_of, named_cluster
from mmrope_eval.task.file import read_task
from mmrope_eval.task.parts import LazyDocs
from mmrope_eval.task.plan import TaskPlan
from mmrope_eval.task.registry import Registry
from mmrope_eval.task.sample import Sample

REGISTRY = Registry()
STAR, CHARADES, CHART = (REGISTRY.tasks[name] for name in ("star", "charades_sta", "chartqa"))
ONE, OTHER = "a" * 64, "b" * 64
DEMO = Path(__file__).resolve().parents[2] / "results" / "demo" / "runs" / "mrope"

OWN = """
dataset_path: someone/new
test_split: test
generation_kwargs: {max_new_tokens: 8}
lmms_eval_specific_kwargs: {default: {media: {image: picture}, prompt: "{{ q }}"}}
model_specific_target_kwargs: {default: {scorer: relaxed, target: {answer: a}}}
metadata: {column: New, category: image, cluster: CLUSTER}
"""


def planned(task: str, number: int, media: tuple[str, ...], **target: Any) -> Sample:
    """A question of a plan."""
    target = {"answer": "A", "options": ["x", "y"], **target}
    return Sample(f"{task}/{number}", task, number, f"question {number}", None, media, Generation(8), target)


def summary(samples: list[Sample], answers: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The lines and the entry in scores.json of STAR's questions answered so."""
    plan = TaskPlan(STAR, REGISTRY.family("qwen2.5-vl"), tuple(samples), LazyDocs(lambda: pytest.fail("not needed")))
    facts = MediaFacts("video", "policy and span", (8, 8), (8, 8), (1, 1, 1), 1)
    outcomes = {one.id: Response(one.id, text, (1,), "stop", 1, (facts,))
                for one, text in zip(samples, answers, strict=True)}
    scored = list(results.scores(plan, outcomes))
    return [one.row() for one in scored], results.summarize(plan, scored)


# -- one definition a column ------------------------------------------------------------------------------------

@pytest.mark.parametrize("task", sorted(REGISTRY.tasks))
def test_every_shipped_task_says_what_stands_or_falls_together(task: str) -> None:
    spec = REGISTRY.tasks[task]
    assert spec.cluster is not None and spec.cluster in SHOWN and SHOWN[spec.cluster] in spec.media


@pytest.mark.parametrize(("spec", "media", "cluster"), [
    (STAR, (f"{ONE}@0.5-9.0",), ONE),
    (STAR, (f"{ONE}@9.0-12.5",), ONE),
    (CHARADES, (f"{ONE}@None-None",), ONE),
    (CHART, (OTHER,), OTHER),
    (CHART, (), "x/0"),
    (REGISTRY.tasks["mmmu"], (ONE, OTHER), hashlib.sha256(f"{ONE}\n{OTHER}".encode()).hexdigest()),
], ids=["a span", "another span of it", "the whole video elsewhere", "a picture", "nothing that can be read", "two"])
def test_a_cluster_is_the_content_alone(spec: Any, media: tuple[str, ...], cluster: str) -> None:
    assert cluster_of(spec, "x/0", None, media) == cluster


@pytest.mark.parametrize(("cluster", "row", "name"), [
    ("question", {}, "new/0"),
    ("picture", {}, ONE),
    ("document", {"document": 12}, "new:12"),
    ("document", {"document": None}, "new/0"),
    ("document ~ '-' ~ part", {"document": "d", "part": 1}, "new:d-1"),
])
def test_a_task_of_ones_own_says_it_by_a_word_or_an_expression(
    cluster: str, row: dict[str, Any], name: str, tmp_path: Path
) -> None:
    (tmp_path / "new.yaml").write_text(OWN.replace("CLUSTER", cluster))
    spec = read_task(tmp_path / "new.yaml")
    assert cluster_of(spec, "new/0", named_cluster(spec, row), (ONE,)) == name


def test_a_long_name_is_cut_to_a_key(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(OWN.replace("CLUSTER", "document"))
    assert len(cluster_of(read_task(tmp_path / "new.yaml"), "new/0", "d" * 5000, (ONE,))) == 64


@pytest.mark.parametrize(("cluster", "words"), [
    ("video", "'metadata.cluster: video' is not what 'media' shows; write picture, or leave it out."),
    ("'{{ a'", "'metadata.cluster': Jinja cannot read it"),
    ("''", "'metadata.cluster' is empty: it takes text."),
])
def test_a_cluster_that_cannot_be_is_refused(cluster: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(OWN.replace("CLUSTER", cluster))
    with pytest.raises(UserError) as raised:
        read_task(tmp_path / "new.yaml")
    assert words in str(raised.value)


def test_a_row_without_the_field_is_no_sample(tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(OWN.replace("CLUSTER", "document"))
    with pytest.raises(SampleError, match="the cluster cannot be read from the row"):
        named_cluster(read_task(tmp_path / "new.yaml"), {"picture": 1})


def test_a_cluster_is_no_part_of_what_an_answer_is_kept_under() -> None:
    one = planned("star", 0, (f"{ONE}@0-1",))
    other = dataclasses.replace(one, cluster="c")
    assert identity(one, {"weights": "w"}) == identity(other, {"weights": "w"})


# -- STAR (F7) --------------------------------------------------------------------------------------------------

def star() -> list[Sample]:
    """Forty questions on spans of ten videos, of two kinds."""
    return [planned("star", i, (f"{i // 4:064d}@{i}.0-{i + 2}.0",), group=("Interaction", "Sequence")[i // 4 % 2])
            for i in range(40)]


def test_star_s_cluster_is_the_video() -> None:
    lines, entry = summary(star(), "AAAABBBB" * 5)
    assert len({line["cluster"] for line in lines}) == 10
    assert len({line["media"][0]["fingerprint"] for line in lines}) == 1, "which is another thing"
    assert entry["stderr_over"] == "clusters or samples"
    # Every video all right or all wrong, five of a kind: as sure as its videos are, not as its questions are.
    lines, entry = summary(star(), "AAAAAAAABBBBBBBBAAAABBBBBBBBAAAAAAAAAAAA")
    apart = [right - 0.6 for kind in ([1, 0, 1, 0, 1], [1, 0, 0, 1, 1]) for right in kind]
    expected = math.sqrt(10 / 9 * 20 / 19 * sum(each**2 for each in apart)) / 10  # ten videos, twenty questions a kind
    assert entry["metrics"]["accuracy"]["stderr"] == pytest.approx(100 * expected)


def test_star_and_charades_sta_share_their_videos_in_an_average(tmp_path: Path) -> None:
    lines = {task: [sample(task, i, float(i % 3 == 0), cluster=f"video-{i // 2}",
                           media=[{"kind": "video", "fingerprint": f"{task} span {i}"}]) for i in range(20)]
             for task in ("star", "charades_sta")}
    run = load_run(write_cell(tmp_path / "run", "mrope", lines))
    spreads = [benchmark_spread(run.samples[run.samples.task == task], "micro", 0.95, task) for task in lines]
    assert spreads[0].influence.keys() == spreads[1].influence.keys()
    assert correlation(*spreads) == pytest.approx(1)


# -- errors (F8) ------------------------------------------------------------------------------------------------

ROWS = st.lists(st.tuples(st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.integers(0, 5), st.integers(0, 30)), min_size=2,
                max_size=25)


@pytest.mark.parametrize("average", AGGREGATES)
@given(rows=ROWS)
@settings(max_examples=60, deadline=None)
def test_the_recorded_error_is_the_reports(average: str, rows: list[tuple[float, int, int]]) -> None:
    """One number, from items here and from arrays there."""
    questions: dict[int, int] = {}
    rows = [(value, questions.setdefault(question, cluster), question) for value, cluster, question in rows]
    items = [Item(value, (str(question),), str(cluster)) for value, cluster, question in rows]
    layout = Layout.of([cluster for _, cluster, _ in rows], average, [(str(question),) for _, _, question in rows])
    expected = precision_of(layout, layout.of_units(np.array([value for value, _, _ in rows]))).error
    assert AGGREGATES[average](items).stderr == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_a_run_and_its_report_have_one_error() -> None:
    """Twenty pictures that are alike by chance: over them alone it was 2.083."""
    run = load_run(DEMO)
    row = run.scores[run.scores.task == "textvqa"].iloc[0]
    samples = run.samples[run.samples.task == "textvqa"]
    layout = Layout.of(samples["group"].tolist(), str(row["average"]))
    assert row["stderr"] == pytest.approx(100 * stats.standard_error(layout, samples["score"].to_numpy()))
    assert row["stderr"] == pytest.approx(5.125, abs=5e-4)


def error(average: str, *items: tuple[float, str | None, str]) -> float:
    return AGGREGATES[average]([Item(value, (group,), cluster) for value, cluster, group in items]).stderr


def test_singles_have_the_plain_standard_error() -> None:
    values = [0.0, 1.0, 1.0, 0.25, 0.5, 1.0]
    plain = statistics.stdev(values) / math.sqrt(5)
    assert error("micro", *((value, None, "g") for value in values)) == pytest.approx(plain)
    named = [(value, str(i), "g") for i, value in enumerate(values)]
    assert error("micro", *named) == pytest.approx(plain)
    assert error("micro", *named, *named) == pytest.approx(plain, rel=0.05), "each twice is no more to go by"


@pytest.mark.parametrize("items", [[], [(1.0, "a", "g")], [(1.0, "a", "g"), (0.0, "a", "h")]], ids=str)
@pytest.mark.parametrize("average", ["micro", "macro"])
def test_one_cluster_says_nothing_of_others(average: str, items: list[Any]) -> None:
    assert math.isnan(error(average, *items))


def test_clusters_that_are_alike_make_nothing_surer_than_their_members() -> None:
    alike = [(value, name, "g") for name in "abc" for value in (1.0, 0.0)]
    assert error("micro", *alike) == pytest.approx(statistics.stdev([1, 0] * 3) / math.sqrt(6))


def test_a_cluster_in_two_groups_counts_in_both_at_once() -> None:
    together = error("macro", (1.0, "a", "g"), (0.0, "b", "g"), (1.0, "a", "h"), (0.0, "b", "h"))
    apart = error("macro", (1.0, "a", "g"), (0.0, "b", "g"), (1.0, "c", "h"), (0.0, "d", "h"))
    assert together == pytest.approx(math.sqrt(2 * (2 / 1) / (4 / 3)) * apart)


def test_an_older_record_is_read_as_it_was_and_its_error_is_todays(tmp_path: Path) -> None:
    values = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]
    folder = write_cell(tmp_path / "old", "mrope", {"chartqa": values})  # neighbours share a picture
    path = folder / "scores.json"
    for over, recorded in ((None, 18.9), ("clusters", 28.9)):
        scores = json.loads(path.read_text())
        scores["tasks"]["chartqa"]["stderr_over"] = over
        scores["tasks"]["chartqa"]["metrics"]["relaxed"]["stderr"] = recorded
        path.write_text(json.dumps(scores))
        (row,) = load_run(folder).scores.to_dict("records")
        assert row["stderr"] == pytest.approx(100 * math.sqrt(4 / 3 * 8 / 7) / 4)


def test_a_record_s_error_is_checked_against_its_samples(tmp_path: Path) -> None:
    lines, entry = summary(star(), "AB" * 20)
    folder = write_cell(tmp_path / "new", "mrope", {"star": lines}, changes=entry)
    assert read_cell(folder).errors["star"] == pytest.approx(entry["metrics"]["accuracy"]["stderr"])
    path = folder / "scores.json"
    scores = json.loads(path.read_text())
    scores["tasks"]["star"]["metrics"]["accuracy"]["stderr"] += 0.1
    path.write_text(json.dumps(scores))
    with pytest.raises(UserError, match=r"star\.metrics\.accuracy\.stderr"):
        read_cell(folder)


# -- two runs that name clusters differently --------------------------------------------------------------------

@pytest.mark.parametrize(("namings", "expected"), [
    ((["a", "a", "b"],), ["a", "a", "b"]),
    ((["a", "a", "b"], ["x", "x", "y"]), ["a", "a", "b"]),
    ((["s1", "s2", "t"], ["v", "v", "w"]), ["s1", "s1", "t"]),
    ((["id", "p", "q"], ["p", "p", "q"]), ["id", "id", "q"]),
    ((["a", "b", "c"], ["x", "x", "y"], ["1", "2", "2"]), ["a", "a", "a"]),
    ((["a", "b"], ["b", "a"]), ["a", "b"]),
], ids=["one run", "other names", "spans and videos", "an unread picture", "a chain", "names mean nothing across"])
def test_clusters_of_several_runs_are_joined(namings: tuple[list[str], ...], expected: list[str]) -> None:
    assert joined(*namings) == expected


def test_spans_of_an_older_run_are_the_newer_run_s_videos(tmp_path: Path) -> None:
    values = [float(i % 3 > 0) for i in range(12)]
    old = [sample("star", i, value, media=[{"fingerprint": f"span {i}"}]) for i, value in enumerate(values)]
    new = [{**line, "cluster": f"video {i // 4}"} for i, line in enumerate(old)]
    runs = [load_run(write_cell(tmp_path / name, "mrope", {"star": lines})) for name, lines in (("a", old), ("b", new))]
    for first, second in (runs, runs[::-1]):
        assert match(first, second).pairs[0].layout.clusters == 3
