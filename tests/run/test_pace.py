"""Answers a second: from the first one on, without what was counted together with it."""

from __future__ import annotations

import pytest

from mmrope_eval.run.progress import Pace


@pytest.mark.parametrize(
    ("times", "now", "rate"),
    [
        ([], 5.0, None),
        ([10.0], 15.0, None),  # one answer has no rate
        ([10.0, 10.5, 11.0, 11.5], 12.0, 1.5),
        ([10.0] * 192, 10.004, None),  # all in one group: 44,373 a second were said of such a run
        ([10.0, 10.05, 10.09] + [12.0] * 8, 14.0, 2.0),  # the first group took its time before it was counted
    ],
)
def test_answers_a_second(times: list[float], now: float, rate: float | None) -> None:
    pace = Pace()
    for time in times:
        pace.note(time)
    assert pace.begun == bool(times)
    assert pace.rate(now) == (None if rate is None else pytest.approx(rate))
    assert pace.left(0, now) == 0.0
    assert pace.left(6, now) == (None if rate is None else pytest.approx(6 / rate))
