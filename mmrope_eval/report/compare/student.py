"""Student's t and the chi-square distribution, where a handful of trainings or pictures stands for all there might be.

Formulas: Press, Teukolsky, Vetterling & Flannery, "Numerical Recipes", 6.2 to 6.4 (incomplete gamma and beta functions
by series and by Lentz's continued fractions). Tests hold them to scipy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

_TINY = 1e-300
_STEPS = 10_000


def t_below(t: float, df: float) -> float:
    """The chance of a value below `t` under Student's t with `df` > 0 degrees of freedom, which may be infinite."""
    if math.isinf(df):
        return 0.5 * math.erfc(-t / math.sqrt(2))
    tail = 0.5 * _beta(df / (df + t * t), df / 2, 0.5)
    return 1 - tail if t > 0 else tail


def t_quantile(share: float, df: float) -> float:
    """The value below which Student's t lies with the chance `share`, 0 < share < 1."""
    if share < 0.5:
        return -t_quantile(1 - share, df)
    # By the tail, which keeps its digits.
    return _inverse(lambda t: 1 - 2 * t_below(-t, df), 2 * share - 1)


def chi2_quantile(share: float, df: float) -> float:
    """The value below which a chi-square variable of `df` degrees of freedom lies with the chance `share`."""
    return _inverse(lambda x: _gamma(df / 2, x / 2), share)


def _inverse(rising: Callable[[float], float], value: float) -> float:
    """Where a function that rises from 0 at 0 reaches `value`, by Ridders' method (1979)."""
    low, high, below, above = 0.0, 1.0, -value, rising(1.0) - value
    while above < 0 and high < 1e12:
        low, high, below, above = high, 2 * high, above, rising(2 * high) - value
    for _ in range(_STEPS):
        if not high - low > 1e-12 * high:
            break
        middle = (low + high) / 2
        halfway = rising(middle) - value
        point = middle - (middle - low) * halfway / math.sqrt(halfway * halfway - below * above)
        there = rising(point) - value
        if there == 0:
            return point
        for x, y in sorted(((middle, halfway), (point, there))):
            if y < 0 and x > low:
                low, below = x, y
            elif y >= 0 and x < high:
                high, above = x, y
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, 0 <= x <= 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(_beta_terms(x, a, b)) / a
    return 1 - front * _fraction(_beta_terms(1 - x, b, a)) / b


def _beta_terms(x: float, a: float, b: float) -> Iterator[tuple[float, float]]:
    """Numerators and denominators of the continued fraction of the incomplete beta function."""
    yield 1.0, 1.0
    yield -(a + b) * x / (a + 1), 1.0
    for m in range(1, _STEPS):
        yield m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)), 1.0
        yield -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)), 1.0


def _gamma(a: float, x: float) -> float:
    """The regularised lower incomplete gamma function, x >= 0."""
    if x <= 0:
        return 0.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for n in range(1, _STEPS):
            term *= x / (a + n)
            total += term
            if term < total * 1e-16:
                break
        return front * total
    return 1 - front * _fraction(_gamma_terms(a, x))


def _gamma_terms(a: float, x: float) -> Iterator[tuple[float, float]]:
    """The same for the upper incomplete gamma function."""
    yield 1.0, x + 1 - a
    for n in range(1, _STEPS):
        yield -n * (n - a), x + 2 * n + 1 - a


def _fraction(terms: Iterator[tuple[float, float]]) -> float:
    """a1 / (b1 + a2 / (b2 + ...)) of (a, b), by Lentz's method."""
    value, c, d = _TINY, _TINY, 0.0
    for a, b in terms:
        d = 1 / ((b + a * d) or _TINY)
        c = (b + a / c) or _TINY
        value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value
