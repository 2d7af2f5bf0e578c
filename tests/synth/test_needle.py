"""Needles in haystacks: where the card is, what is asked, and that videos of any length are written frame by frame."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mmrope_eval import cli
from mmrope_eval.errors import UserError
from mmrope_synth.core import side_of
from mmrope_synth.errors import SynthError
from mmrope_synth.needle import Haystack, build_needles, needle_row_text, needle_sample, needle_samples
from mmrope_synth.scenes import COLORS
from mmrope_synth.writer import write_video

LENGTHS = (16, 64, 256, 1024)


@pytest.mark.parametrize("frames", LENGTHS)
def test_the_needle_is_at_its_depth(frames: int) -> None:
    haystack = Haystack(frames, questions=3)
    for sample in needle_samples(haystack):
        assert sample.clip is not None and sample.span is not None
        start, end = sample.span
        length = frames / haystack.fps
        assert end <= length and end - start >= 0.5
        # The middle of the card moves from half a card after the start to half a card before the end.
        expected = (end - start) / 2 + sample.row["depth"] / 100 * (length - (end - start))
        assert abs((start + end) / 2 - expected) <= 0.6 * (end - start)
    first, last = (needle_sample(haystack, depth, 0).span for depth in (0, 100))
    assert first is not None and last is not None and first[0] == 0 and last[1] == length


@pytest.mark.parametrize("frames", LENGTHS)
def test_cards_last_whole_temporal_patches(frames: int) -> None:
    for sample in needle_samples(Haystack(frames, questions=2)):
        assert sample.clip is not None
        for card in sample.clip.cards:
            first, last = card.start * sample.clip.fps, card.end * sample.clip.fps
            assert first == int(first) and last == int(last) and first % 2 == last % 2 == 0 and last > first


def test_the_questions_are_the_same_at_every_depth_and_length() -> None:
    asked = {tuple(needle_sample(Haystack(frames), depth, serial).row["question"] for serial in range(8))
             for frames in LENGTHS for depth in (0, 50, 100)}  # fmt: skip
    assert len(asked) == 1
    (questions,) = asked
    assert len(set(questions)) == 8
    assert [needle_row_text(Haystack(16), serial)["question"] for serial in range(8)] == list(questions)


def test_the_answer_follows_from_the_video_and_constant_answers_score_chance() -> None:
    samples = list(needle_samples(Haystack(64, depths=(25.0,), questions=40)))
    for sample in samples:
        assert sample.answer == sample.proof() == sample.row["answer"]
        assert side_of(sample.clip) == "eval"
        numbers = [card.text for card in sample.clip.cards]  # type: ignore[union-attr]
        options = [line[4:] for line in sample.row["question"].splitlines()[1:]]
        assert sorted(options) == sorted(numbers), "every wrong option is on a look-alike"
        assert len({card.color for card in sample.clip.cards}) == 4  # type: ignore[union-attr]
    answers = [sample.answer for sample in samples]
    assert [answers.count(letter) for letter in "ABCD"] == [10] * 4


def test_the_card_is_in_the_picture() -> None:
    sample = needle_sample(Haystack(64), 50, 0)
    assert sample.clip is not None and sample.span is not None
    color = np.array(COLORS[sample.row["color"]])
    for index in range(64):
        shown = sample.span[0] <= sample.clip.times[index] < sample.span[1]
        share = (np.abs(sample.clip.frame(index).astype(int) - color).max(-1) < 30).mean()
        assert (share > 0.4) == shown, index


@pytest.mark.parametrize("distractors", [0, 1, 5])
def test_any_number_of_distractors(distractors: int) -> None:
    sample = needle_sample(Haystack(64, distractors=distractors), 50, 1)
    assert sample.clip is not None and len(sample.clip.cards) == distractors + 1
    assert len(sample.row["question"].splitlines()) == 5, "always four options"


def test_long_videos_are_not_held_in_memory(tmp_path: Path) -> None:
    sample = needle_sample(Haystack(400, size=224), 50, 0)
    assert sample.clip is not None
    write_video(tmp_path / "warm.mp4", needle_sample(Haystack(16, size=224), 50, 0).clip)  # type: ignore[arg-type]
    tracemalloc.start()
    write_video(tmp_path / "long.mp4", sample.clip)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400 * 224 * 224 * 3 / 4


class TestBuilding:
    def test_a_second_build_changes_nothing_and_an_interrupted_one_goes_on(self, tmp_path: Path) -> None:
        haystack = Haystack(16, questions=1)
        folder = build_needles(tmp_path, haystack)
        before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.*")}
        build_needles(tmp_path, haystack)
        assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*.*")} == before
        (folder / "data/test-00000-of-00001.parquet").unlink()
        (folder / "videos/depth0-0000.mp4").unlink()
        build_needles(tmp_path, haystack)
        assert {path: path.read_bytes() for path in before} == {path: content for path, (content, _) in before.items()}

    def test_another_kind_is_refused(self, tmp_path: Path) -> None:
        build_needles(tmp_path, Haystack(16, questions=1))
        with pytest.raises(SynthError, match="needles of another kind"):
            build_needles(tmp_path, Haystack(18, questions=1))

    def test_the_command(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        argv = ["demo", "needle", "--out", str(tmp_path), "--frames", "16", "--depths", "10,90", "--n", "1"]
        assert cli.main(argv) == 0
        assert "--tasks needle --data-root" in capsys.readouterr().out
        assert json.loads((tmp_path / "mmrope-eval/needle/needle.json").read_text())["depths"] == [10, 90]
        assert len(list(tmp_path.rglob("*.mp4"))) == 2


@pytest.mark.parametrize(("settings", "message"), [
    ({"frames": 15}, "even number of at least 16 frames, not 15"),
    ({"frames": 14}, "even number of at least 16 frames, not 14"),
    ({"frames": 64, "distractors": 6}, "0 to 5 distractors"),
    ({"frames": 64, "depths": (120.0,)}, "from 0 to 100"),
    ({"frames": 64, "fps": 0.0}, "frame rate"),
])
def test_what_cannot_be(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SynthError, match=message):
        Haystack(**settings)  # type: ignore[arg-type]


def test_without_data_the_command_that_makes_them_is_named(tmp_path: Path) -> None:
    from mmrope_eval.task.dataset import require
    from mmrope_eval.task.registry import Registry

    spec = Registry().tasks["needle"]
    with pytest.raises(UserError, match=rf"make it with: mmrope-eval demo needle --out {tmp_path}"):
        require(spec, tmp_path)
    with pytest.raises(UserError, match="its data are generated; make them with: mmrope-eval demo needle --out DIR"):
        require(spec, None)
