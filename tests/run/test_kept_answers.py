"""Answers that version 0.3 stored are found again wherever their positions are the same, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from identities import identity

from mmrope_demo.checkpoints import FAMILIES, Family, build_checkpoint
from mmrope_eval.media.policy import MediaPolicy
from mmrope_eval.messages import Generation
from mmrope_eval.models.checkpoint import Checkpoint, read_checkpoint
from mmrope_eval.rope import Variant, load_variant
from mmrope_eval.run.cells import response_context
from mmrope_eval.run.config import RunConfig
from mmrope_eval.task.sample import Sample, digest, keys, shows_video

CONFIG = RunConfig(("x",), ("chartqa",), Path("out"))
PICTURE = Sample("chartqa/0", "chartqa", 0, "How many?", None, ("ab" * 32,), Generation(8), {})
VIDEO = Sample("mvbench/0", "mvbench", 0, "When?", None, (f"{'cd' * 32}@None-None",), Generation(8), {})
WORDS = Sample("mmmu/0", "mmmu", 0, "Why?", None, (), Generation(8), {})


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[Family, Checkpoint]:
    folder = tmp_path_factory.mktemp("families")
    return {family: read_checkpoint(build_checkpoint(family, folder / family)) for family in FAMILIES}


def asked(checkpoint: Checkpoint, variant: Variant, sample: Sample) -> str:
    return identity(sample, response_context(CONFIG, checkpoint, variant, MediaPolicy()))


@pytest.mark.parametrize("sample", [PICTURE, VIDEO, WORDS], ids=lambda sample: sample.task)
@pytest.mark.parametrize("name", ["mrope-i", "mrope", "hope", "+diagonal", "circlerope-upstream", "v2pe"])
@pytest.mark.parametrize("family", FAMILIES)
def test_only_a_video_with_seconds_is_asked_again(
    checkpoints: dict[Family, Checkpoint], family: Family, name: str, sample: Sample
) -> None:
    variant = load_variant(name)
    before = variant if variant.time is None else load_variant(name, time="seconds")
    changed = family == "qwen2.5-vl" and sample is VIDEO and variant.time == "index"
    assert (asked(checkpoints[family], variant, sample) != asked(checkpoints[family], before, sample)) is changed


def test_the_context_by_the_clock_is_the_one_of_version_0_3(checkpoints: dict[Family, Checkpoint]) -> None:
    """Keys and values: whatever they are made of, another would find nothing."""
    natives: dict[Family, str] = {"qwen2.5-vl": "qwen2.5-vl", "qwen3-vl": "qwen3-vl", "qwen2-vl": "mrope"}
    for family, name in natives.items():
        context = response_context(CONFIG, checkpoints[family], load_variant(name), MediaPolicy())
        assert "time" not in context
        assert context["variant"] == load_variant(name, time="seconds").fingerprint
    indexed = response_context(CONFIG, checkpoints["qwen2.5-vl"], load_variant("mrope"), MediaPolicy())
    assert indexed["time"] == "index" and indexed["variant"] == load_variant("qwen2.5-vl").fingerprint


def test_a_store_looks_under_the_same_identity(checkpoints: dict[Family, Checkpoint]) -> None:
    samples = (PICTURE, VIDEO, WORDS)
    for checkpoint in checkpoints.values():
        for name in ("mrope", "qwen2.5-vl", "vanilla"):
            context = response_context(CONFIG, checkpoint, load_variant(name), MediaPolicy())
            identity_by_sample = {sample: key.identity for sample, key in keys(samples, context).items()}
            timeless = {name: value for name, value in context.items() if name != "time"}
            assert identity_by_sample == {
                sample.id: digest([sample.content_key(), context if shows_video(sample) else timeless])
                for sample in samples}


def test_other_designs_are_told_apart_everywhere(checkpoints: dict[Family, Checkpoint]) -> None:
    for sample in (PICTURE, VIDEO, WORDS):
        for checkpoint in checkpoints.values():
            names = ("mrope", "mrope-i", "circlerope", "circlerope-upstream", "ilrope", "ilrope-upstream")
            assert len({asked(checkpoint, load_variant(name), sample) for name in names}) == len(names)
