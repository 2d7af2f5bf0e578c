"""Damaged media: refused in a sentence, or loaded; the process lives, and the same file is always the same."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest
from media_files import write_video

from mmrope_eval.media.container import best_video, open_container
from mmrope_eval.media.frames import index_frames
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.media.video import load_video
from mmrope_eval.messages import VideoSource
from mmrope_eval.models.family import VisionGeometry

ROOT = Path(__file__).resolve().parents[2]
GEOMETRY = VisionGeometry(14, 2, 2)


def video(path: Path, codec: str) -> Path:
    return write_video(path, range(48), time_base=Fraction(1, 25), codec=codec)


def test_text_of_any_encoding_in_a_container_is_no_damage(tmp_path: Path) -> None:
    """As a title in Latin-1: PyAV's default reads UTF-8 or nothing."""
    whole = write_video(tmp_path / "whole.mp4", range(48), time_base=Fraction(1, 25),
                        container_options={"fflags": "-bitexact"})  # fmt: skip
    content = whole.read_bytes()
    assert content.count(b"Lavf") == 1
    odd = tmp_path / "odd.mp4"
    odd.write_bytes(content.replace(b"Lavf", b"L\xe4v\xff"))
    undamaged, relabelled = (load_video(VideoSource(path), MediaPolicy(), GEOMETRY) for path in (whole, odd))
    assert (undamaged.frames == relabelled.frames).all() and undamaged.facts.notes == relabelled.facts.notes


@pytest.mark.parametrize("tag", ["00:00:01n9130000000", "xx:00:01.913000000", "00:00:01:913000000", ":::::"])
def test_a_duration_that_is_none_promises_nothing(tag: str, tmp_path: Path) -> None:
    path = video(tmp_path / "video.mkv", "libx264")
    content = path.read_bytes()
    (duration,) = {content[i : i + 18] for i in range(len(content)) if content[i : i + 9] == b"00:00:01."}
    path.write_bytes(content.replace(duration, tag.encode().ljust(18, b"0")[:18]))
    assert index_frames(path, 10**6).truncated is None


def test_frames_of_vp9_are_decoded_by_one_thread(tmp_path: Path) -> None:
    """Two share one otherwise, and write past their memory where a damaged file changes the size of frames; whether
    the process dies of it at once is chance, so that no test can count on it."""
    for suffix, codec, threads in (("webm", "libvpx-vp9", "NONE"), ("mp4", "libx264", "SLICE")):
        with open_container(video(tmp_path / f"video.{suffix}", codec)) as container:
            assert best_video(container).codec_context.thread_type.name == threads


@pytest.fixture
def campaign(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import fault_media

    yield fault_media
    del sys.modules["fault_media"]


def test_a_fixed_part_of_the_campaign(campaign: ModuleType, tmp_path: Path) -> None:
    trials = campaign.campaign(90, 0, tmp_path)
    outcomes = {trial.outcome for trial in trials}
    assert outcomes.isdisjoint(campaign.FAULTS), trials
    assert {"refused", "whole", "damaged"} <= outcomes, "the campaign reaches all of them"
    assert all(trial.words for trial in trials if trial.outcome in ("refused", "noted"))


def test_the_campaign_finds_what_it_looks_for(campaign: ModuleType, tmp_path: Path) -> None:
    """Each fault, from what the loader would have given."""
    loaded, judged = campaign.Loaded, campaign.judged
    path, right = tmp_path / "video.mp4", loaded("a")
    cases = [
        (("hang", "hang", "bits"), "hang"),
        (("exception", loaded("a"), "bits"), "exception"),
        ((loaded(exception="KeyError"), loaded("a"), "bits"), "exception"),
        ((loaded("b"), loaded("c"), "bits"), "unsteady"),
        ((loaded("b", peak=4000.0), loaded("b"), "bits"), "memory"),
        ((loaded("b"), loaded("b"), "cut"), "shortened without a word"),
        ((loaded(refused="two\nlines"), loaded(refused="two\nlines"), "bits"), "exception"),
    ]
    for (first, again, damage), fault in cases:
        assert judged(right, first, again, path, damage, 1024)[0] == fault
        assert fault in campaign.FAULTS
