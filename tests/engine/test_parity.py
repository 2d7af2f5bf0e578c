"""The engine equals the reference: same tokens, same log-probabilities, for every variant, in float32.

Bounds: 1e-4 over the prompt and over 16 generated tokens where a prompt's positions are integers, 1e-3 where they are
fractions. One engine start a family, in this process, goes through all variants by `switch`; then worker processes,
which know our models only through the plugin's entry point, go through a part of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from parity_harness import BY_THE_CLOCK, Comparison, FamilyRun, run_family, tiny_checkpoint

from mmrope_demo.checkpoints import FAMILIES, Family
from mmrope_eval.rope import variant_names

NAMED = ["vanilla", "v2pe", "mrope", "mrope-i", "mhrope", "videorope", "hope", "circlerope"]
"""The paper's Table 2 and V2PE. Others coincide by definition: `ilrope-upstream` is `mrope-i` where time is whole."""
ALL = [*variant_names(), *BY_THE_CLOCK]
IN_WORKERS = ["mrope", "mrope-i", "mrope-i@seconds", "mhrope", "hope", "circlerope", "v2pe"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Family, bool], FamilyRun]:
    """Engine runs by (family, workers), each started when it is first asked for."""
    folder = tmp_path_factory.mktemp("parity")

    @cache
    def checkpoint(family: Family) -> Path:
        return tiny_checkpoint(family, folder / family)

    @cache
    def run(family: Family, workers: bool) -> FamilyRun:
        names = IN_WORKERS if workers else ALL
        return run_family(checkpoint(family), names, folder, workers=workers)

    return run


def check(run: FamilyRun, name: str) -> None:
    comparisons = [c for c in run.comparisons if c.variant == name]
    assert {c.kind for c in comparisons} == {"text", "one image", "two images", "one video", "mixed"}
    failed: list[Comparison] = [c for c in comparisons if not c.passed]
    assert not failed, "\n".join(map(str, failed))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("family", FAMILIES)
def test_engine_in_process(runs: Callable[[Family, bool], FamilyRun], family: Family, name: str) -> None:
    check(runs(family, False), name)


@pytest.mark.parametrize("name", IN_WORKERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_engine_in_worker_processes(runs: Callable[[Family, bool], FamilyRun], family: Family, name: str) -> None:
    check(runs(family, True), name)


@pytest.mark.parametrize("family", FAMILIES)
def test_different_variants_give_different_answers(runs: Callable[[Family, bool], FamilyRun], family: Family) -> None:
    """What makes the bounds above mean something: a wrong position or table shows thousands of times as large."""
    difference, first, second = runs(family, False).least_difference(NAMED)
    assert difference > 0.5, (first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_second_enters_the_engine_where_frames_are_counted(
    runs: Callable[[Family, bool], FamilyRun], family: Family
) -> None:
    """One design by index and by the clock: the same to the last bit where a family's videos carry no seconds."""
    scores = runs(family, False).scores
    for name in BY_THE_CLOCK:
        apart = float(np.abs(scores[name] - scores[name.partition("@")[0]]).max())
        assert apart > 0.05 if family == "qwen2.5-vl" else apart == 0, name


@pytest.mark.parametrize("family", FAMILIES)
def test_fractional_positions_were_among_them(runs: Callable[[Family, bool], FamilyRun], family: Family) -> None:
    fractional = {c.variant for c in runs(family, False).comparisons if c.fractional}
    assert {"v2pe", "circlerope", "rope-tie", "+modality-interval"} <= fractional
    # Seconds per grid times tokens per second is 1.6 for these videos, and these variants do not truncate it.
    assert ({"hope@seconds", "videorope@seconds"} <= fractional) == (family == "qwen2.5-vl")
    assert not {"hope", "videorope"} & fractional
