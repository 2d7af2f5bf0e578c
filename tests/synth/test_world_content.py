"""What the small world shows and asks: answers that follow, expressions that mean one thing, exact boxes and times."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_samples import KNOBS, options_of, samples_of

from mmrope_synth import CATEGORIES, COLUMNS, Sample, build_world
from mmrope_synth.clips import find
from mmrope_synth.core import generator, letter_of
from mmrope_synth.grounding import is_clear, looks_of, read, resolve, say
from mmrope_synth.scenes import PEOPLE, SHAPES, Scene, Thing, mask, random_scene, render
from mmrope_synth.schemas import TABLES, video_path
from mmrope_synth.shows import MVBENCH, repeated
from mmrope_synth.writer import eval_samples


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The video columns."""
    return build_world(tmp_path_factory.mktemp("world"), n=4, columns=CATEGORIES["video"])


# --------------------------------------------------------------------------------------------------------------
# Answers


@pytest.mark.parametrize("column", COLUMNS)
@given(seed=st.integers(0, 10**6), serial=st.integers(0, 59))
def test_every_answer_follows_from_the_facts(column: str, seed: int, serial: int) -> None:
    samples = COLUMNS[column](generator(seed, "eval", column, serial), KNOBS, "eval", serial)
    assert samples
    for sample in samples:
        assert sample.answer == sample.proof() != ""
        assert (sample.clip is not None) == (column in CATEGORIES["video"]) != bool(sample.images)
        assert set(TABLES[column].fields) - set(sample.row) <= {f"image_{i}" for i in range(1, 8)} | {"image"}


CHOICES = ("mmmu", "mmbench", "mmstar", "ai2d", "mvbench", "star", "videomme", "lvbench", "mlvu", "blink")


@pytest.mark.parametrize("column", CHOICES)
def test_one_option_is_right_and_no_letter_is_favoured(column: str) -> None:
    letters: list[str] = []
    for sample in samples_of(column, 8 if column == "lvbench" else 60):
        options = options_of(sample)
        if sample.row.get("question_type") == "open":
            assert options == [] and not re.fullmatch("[A-H]", sample.answer)
            continue
        assert len(options) == len(set(options)) >= 2
        assert sample.answer in "ABCDEFGH"[: len(options)]
        letters.append(sample.answer)
        written = sample.row["answer"]
        if column in ("mvbench", "star"):
            assert letter_of(options, written) == sample.answer
        elif column == "ai2d":
            assert "ABCDEFGH"[int(written)] == sample.answer
        elif column == "blink":
            assert written == f"({sample.answer})"
        else:
            assert written == sample.answer
    assert all(letters.count(letter) > 0.08 * len(letters) for letter in ("AB" if column == "mmbench" else "ABC"))


def test_mlvu_has_letters_beyond_d_and_all_its_tasks() -> None:
    samples = samples_of("mlvu", 280)  # 40 anomalies, of which a sixth has the last option
    assert {s.row["task_type"] for s in samples} == {
        "plotQA", "needle", "ego", "count", "order", "anomaly_reco", "topic_reasoning",
    }  # fmt: skip
    assert {"E", "F"} <= {s.answer for s in samples}
    assert all(s.row["question"].count("\n") == len(s.row["candidates"]) for s in samples)


def test_every_sub_task_and_category_occurs() -> None:
    assert {s.kind for s in samples_of("mvbench", 20)} == set(MVBENCH) and len(MVBENCH) == 20
    kinds = {s.row["question_id"].split("_")[0] for s in samples_of("star", 8)}
    assert kinds == {"Interaction", "Sequence", "Prediction", "Feasibility"}
    assert {s.row["duration"] for s in samples_of("videomme", 3)} == {"short", "medium", "long"}
    assert len({s.row["id"].split("_", 1)[1].rpartition("_")[0] for s in samples_of("mmmu", 30)}) == 30
    assert len({s.row["category"] for s in samples_of("mmstar", 8)}) == 6
    assert len({s.row["question_type"] for s in samples_of("ocrbench", 10)}) == 10
    assert {s.row["type"] for s in samples_of("chartqa", 4)} == {"human_test", "augmented_test"}


def test_mmmu_shows_as_many_pictures_as_its_placeholders_name() -> None:
    samples = samples_of("mmmu", 90)
    for sample in samples:
        named = re.findall(r"<image (\d)>", sample.row["question"])
        assert sorted(sample.images) == [f"image_{i}" for i in named]
    assert {len(sample.images) for sample in samples} == {1, 2}


def test_mmbench_asks_every_rotation_of_the_options() -> None:
    groups: dict[int, list[Sample]] = {}
    for sample in samples_of("mmbench", 30):
        groups.setdefault(sample.row["index"] % 1_000_000, []).append(sample)
    assert len(groups) == 30
    for rotations in groups.values():
        options = [tuple(options_of(sample)) for sample in rotations]
        assert len(set(options)) == len(options) == len(options[0])
        right = {dict(zip("ABCD", options_of(sample), strict=False))[sample.answer] for sample in rotations}
        assert len(right) == 1 and len({sample.answer for sample in rotations}) == len(rotations)


def test_textvqa_has_ten_answers_of_which_most_agree() -> None:
    for sample in samples_of("textvqa", 20):
        assert len(sample.row["answers"]) == 10
        assert sample.row["answers"].count(sample.answer) >= 8


def test_the_needle_is_shown_once_among_other_cards() -> None:
    needles = [sample for sample in samples_of("lvbench", 6) if sample.kind == "needle"]
    assert needles
    for sample in needles:
        clip, span = sample.clip, sample.span
        assert clip is not None and span is not None
        named = re.search(r"on the (\w+) card", sample.row["question"])
        assert named is not None
        color = named[1]
        (card,) = [card for card in clip.cards if card.color == color]
        assert (card.start, card.end) == span
        assert len(clip.cards) >= 3 and len({card.color for card in clip.cards}) == len(clip.cards)
        assert options_of(sample)["ABCD".index(sample.answer)] == card.text
        others = {other.text for other in clip.cards} - {card.text}
        assert others & set(options_of(sample)), "a distractor's number must be among the options"


def test_star_asks_for_the_future_beyond_the_span() -> None:
    predictions = [sample for sample in samples_of("star", 40) if sample.kind == "Prediction"]
    for sample in predictions:
        assert sample.clip is not None and sample.span is not None
        later = [actor for actor in sample.clip.actors if actor.start >= sample.span[1]]
        assert len(later) == 1 and sample.span[1] < sample.clip.duration
    interactions = [sample for sample in samples_of("star", 40) if sample.kind == "Interaction"]
    assert all(sample.span is not None and sample.span[0] > 0 for sample in interactions)


@pytest.mark.parametrize(
    ("row", "following"), [("abab", "a"), ("ababa", "b"), ("abcab", "c"), ("aaa", "a"), ("abc", "a")]
)
def test_sequences_continue_by_their_shortest_period(row: str, following: str) -> None:
    assert repeated(list(row)) == following


# --------------------------------------------------------------------------------------------------------------
# Grounding

YARD = Scene(
    112,
    (
        Thing("circle", "red", "big", False, 4, 4, 32),
        Thing("circle", "red", "small", False, 80, 10, 18),
        Thing("square", "blue", "big", False, 10, 70, 40),
        Thing("star", "blue", "small", True, 85, 85, 18),
        Thing("circle", "green", "small", False, 60, 30, 17),
    ),
    random_scene(generator(0, "eval", "yard", 0), KNOBS, SHAPES).background,
    0.0,
    0,
)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("red circle", (0, 1)),
        ("big red circle", (0,)),
        ("left circle", (0,)),
        ("circle on the right", (1,)),
        ("top shape", (1,)),
        ("the star at the bottom", (3,)),
        ("hollow shape", (3,)),
        ("small shape in the bottom right corner", (3,)),
        ("biggest shape", (2,)),
        ("smallest circle", (4,)),
        ("the circle that is above the green circle", (0, 1)),
        ("the circle that is to the right of the green circle", (1,)),
        ("the shape that is below the star", ()),
        ("the circle that is closest to the square", (4,)),
        ("the square that is above the red circle", ()),
        ("person", ()),
    ],
)
def test_the_solver_reads_expressions(text: str, numbers: tuple[int, ...]) -> None:
    assert resolve(read(text), YARD.things, YARD.size) == numbers


def test_the_solver_refuses_words_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="crimson"):
        read("crimson circle")


@pytest.mark.parametrize("column", CATEGORIES["grounding"])
@given(seed=st.integers(0, 10**6))
def test_expressions_mean_one_thing_even_by_a_margin(column: str, seed: int) -> None:
    for sample in COLUMNS[column](generator(seed, "eval", column, 0), KNOBS, "eval", 0):
        text = sample.row["expression"]
        assert isinstance(sample.proof, partial)
        scene: Scene = sample.proof.args[1]
        for margin in (0.0, KNOBS.margin):
            (index,) = resolve(read(text), scene.things, scene.size, margin)
            x, y, width, height = scene.things[index].box
            assert (x, y, x + width, y + height) == sample.box
        assert sample.row["bbox"] == [x, y, width, height]
        nouns = {thing.noun for thing in scene.things}
        assert nouns <= set({"testA": PEOPLE, "testB": SHAPES}.get(column.split("_")[1], (*PEOPLE, *SHAPES)))
        words = set(text.split())
        if column.startswith("refcocoplus"):
            assert not words & {"left", "right", "top", "bottom", "above", "below", "corner"}


@given(seed=st.integers(0, 10**6))
def test_what_is_said_is_read_back(seed: int) -> None:
    rng = generator(seed, "eval", "roundtrip", 0)
    scene = random_scene(rng, KNOBS, (*SHAPES, *PEOPLE))
    for text in ("left {}", "{} in the top left corner", "{} that is above the red circle", "biggest {}", "{}"):
        for look in looks_of(scene.things[0]):
            from mmrope_synth.grounding import Expression

            expression = read(text.format(say(Expression(look), rng, "refcoco")))
            assert expression.look == look
            assert read(say(expression, rng, "refcocog")) == expression


def test_refcocog_is_longer_than_refcoco() -> None:
    lengths = {
        column: np.mean([len(s.row["expression"].split()) for s in samples_of(column, 60)])
        for column in ("refcoco_val", "refcocoplus_val", "refcocog_val")
    }
    assert lengths["refcocog_val"] > 2 * max(lengths["refcoco_val"], lengths["refcocoplus_val"])


def test_places_and_relations_decide() -> None:
    """Most expressions with a place or relation would mean several things without it."""
    needed = []
    for column in ("refcoco_testB", "refcocog_test"):
        for sample in samples_of(column, 60):
            expression = read(sample.row["expression"])
            if expression.place or expression.relation:
                bare = replace(expression, place=None, relation=None, anchor=None)
                assert isinstance(sample.proof, partial)
                scene = sample.proof.args[1]
                needed.append(len(resolve(bare, scene.things, scene.size)) > 1)
                assert is_clear(expression, resolve(expression, scene.things, scene.size)[0], scene, KNOBS.margin)
    assert np.mean(needed) > 0.7, np.mean(needed)


@given(seed=st.integers(0, 10**6), people=st.booleans())
def test_boxes_hold_exactly_the_painted_pixels(seed: int, people: bool) -> None:
    scene = random_scene(generator(seed, "eval", "boxes", 0), KNOBS, PEOPLE if people else SHAPES)
    night = replace(scene.background, pattern="plain", light=(0, 0, 0))
    quiet = replace(scene, noise=0.0, background=night)
    full = render(quiet).astype(int)
    for i, thing in enumerate(scene.things):
        bare = render(replace(quiet, things=scene.things[:i] + scene.things[i + 1 :])).astype(int)
        change = np.abs(full - bare).max(-1)
        seen = change > 0.25 * 230
        rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
        x, y, width, height = thing.box
        assert min(x, y) >= 0 and max(x + width, y + height) <= scene.size
        painted = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert np.abs(np.subtract(painted, (x, y, x + width, y + height))).max() <= 1, thing


@pytest.mark.parametrize("noun", SHAPES)
@pytest.mark.parametrize("diameter", [16, 20, 31, 36])
def test_hollow_shapes_keep_their_outline(noun: str, diameter: int) -> None:
    full, hollow = mask(noun, diameter) >= 0.25, mask(noun, diameter, True) >= 0.25
    assert (hollow <= full).all() and 0.03 < (full & ~hollow).sum() / full.sum() < 0.7
    rim = full & ~(np.roll(full, 1, 0) & np.roll(full, -1, 0) & np.roll(full, 1, 1) & np.roll(full, -1, 1))
    assert (hollow & rim).sum() > 0.9 * rim.sum()


# --------------------------------------------------------------------------------------------------------------
# Videos


def decoded(path: Path) -> tuple[list[float], list[np.ndarray]]:
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [float(frame.time) for frame in frames], [frame.to_ndarray(format="rgb24") for frame in frames]


@pytest.mark.parametrize("column", CATEGORIES["video"])
def test_videos_decode_to_the_clips_frames_at_the_stated_times(videos: Path, column: str) -> None:
    samples = [group[0] for group in islice(eval_samples(column, 0, KNOBS), 1 if column == "lvbench" else 2)]
    for sample in samples:
        assert sample.clip is not None
        times, frames = decoded(videos / video_path(column, sample))
        assert len(times) == len(sample.clip)
        assert np.abs(np.subtract(times, sample.clip.times)).max() < 0.0011
        for i in (0, len(frames) // 2, len(frames) - 1):
            assert np.abs(frames[i].astype(int) - sample.clip.frame(i).astype(int)).mean() < 6
        assert frames[0].shape == (84, 84, 3)


def test_some_videos_have_a_variable_frame_rate(tmp_path: Path) -> None:
    build_world(tmp_path, n=8, columns=("charades_sta",))
    steps = []
    for path in sorted(tmp_path.rglob("*.mp4")):
        times, _ = decoded(path)
        steps.append({round(b - a, 3) for a, b in pairwise(times)})
    assert [len(intervals) > 1 for intervals in steps] == [False, False, False, True]
    assert len({tuple(intervals) for intervals in steps}) > 1


def test_the_media_layer_reports_the_clips_own_times(tmp_path: Path) -> None:
    """Also for the fourth video, whose frame rate varies; sampled at its own small size."""
    from mmrope_eval.media.image import MediaPolicy, load_video
    from mmrope_eval.messages import VideoSource
    from mmrope_eval.models.family import VisionGeometry

    build_world(tmp_path, n=8, columns=("charades_sta",))
    policy = MediaPolicy(video_fps=2.0, frame_min_pixels=56 * 56)
    for samples in islice(eval_samples("charades_sta", 0, KNOBS), 4):
        clip = samples[0].clip
        assert clip is not None
        path = tmp_path / video_path("charades_sta", samples[0])
        facts = load_video(VideoSource(path), policy, VisionGeometry(14, 2, 2)).facts
        assert facts.source_frames == len(clip) and facts.used_size == (84, 84)
        shown = [clip.times[i] for i in facts.frame_indices]
        assert np.abs(np.subtract(facts.timestamps[: len(shown)], shown)).max() < 0.0011
        assert abs(len(shown) - 2 * clip.duration) <= 3


def test_captions_are_true_from_start_to_end() -> None:
    for sample in samples_of("charades_sta", 30):
        clip, (start, end) = sample.clip, sample.row["timestamp"]
        assert clip is not None and 0 <= start < end <= clip.duration
        _, color, noun, *_ = sample.row["caption"].split()
        actor = find(clip, f"{color} {noun}")
        assert actor.visible(start) and not actor.visible(start - 0.05)
        assert actor.visible(end - 0.01) and not actor.visible(end)
        times = [t for t in clip.times if start <= t < end]
        quiet = replace(clip, noise=0.0, times=(start, start - 0.05 if start else end))
        assert times and (quiet.frame(0) != quiet.frame(1)).any()


def test_subtitles_tell_what_is_seen(videos: Path) -> None:
    folder = videos / TABLES["videomme"].dataset
    (sample, *_) = next(eval_samples("videomme", 0, KNOBS))
    text = (folder / "subtitle" / f"{sample.row['videoID']}.srt").read_text()
    spoken = re.findall(r'(\d\d:\d\d:\d\d,\d{3}) --> \S+\n<font color="white" size=".72c">(.+)</font>', text)
    assert sample.clip is not None and len(spoken) == len(sample.clip.actors) + len(sample.clip.cards)
    assert spoken == sorted(spoken)


