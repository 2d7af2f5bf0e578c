"""Student's t and chi-square, held to scipy's."""

from __future__ import annotations

import math

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from mmrope_eval.report.compare.student import chi2_quantile, t_below, t_quantile

DF = st.floats(1, 5000)


@given(t=st.floats(-60, 60), df=DF)
def test_t_is_scipys(t: float, df: float) -> None:
    assert t_below(t, df) == pytest.approx(scipy.stats.t.cdf(t, df), abs=1e-12, rel=1e-8)


@given(share=st.floats(0.0005, 0.9995), df=DF)
def test_quantiles_of_t_are_scipys(share: float, df: float) -> None:
    assert t_quantile(share, df) == pytest.approx(scipy.stats.t.ppf(share, df), rel=1e-7, abs=1e-9)


@given(share=st.floats(0.001, 0.999), df=st.floats(1, 300))
def test_quantiles_of_chi_square_are_scipys(share: float, df: float) -> None:
    assert chi2_quantile(share, df) == pytest.approx(scipy.stats.chi2.ppf(share, df), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize(("share", "df", "value"), [
    (0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 5, 2.571), (0.975, math.inf, 1.960), (0.025, 1, -12.706)])
def test_the_values_of_every_textbook(share: float, df: float, value: float) -> None:
    assert t_quantile(share, df) == pytest.approx(value, abs=5e-4)
