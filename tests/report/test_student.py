"""Student's t and chi-square, held to the tables of every textbook."""

from __future__ import annotations

import math

import pytest

from mmrope_eval.report.compare.precision import chi2_quantile, t_below, t_quantile


@pytest.mark.parametrize(("share", "df", "value"), [
    (0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 5, 2.571), (0.975, math.inf, 1.960), (0.025, 1, -12.706)])
def test_students_t(share: float, df: float, value: float) -> None:
    assert t_quantile(share, df) == pytest.approx(value, abs=5e-4)
    assert t_below(value, df) == pytest.approx(share, abs=5e-5)


@pytest.mark.parametrize(("share", "df", "value"), [
    (0.95, 1, 3.841), (0.95, 10, 18.307), (0.025, 5, 0.831), (0.5, 2, 1.386)])
def test_chi_square(share: float, df: float, value: float) -> None:
    assert chi2_quantile(share, df) == pytest.approx(value, abs=5e-4)
