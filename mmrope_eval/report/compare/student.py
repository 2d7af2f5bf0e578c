"""Student's t and the chi-square distribution, where a handful of trainings or pictures stands for all there might be.

They are scipy's, which is loaded when a number is asked for.
"""

from __future__ import annotations


def t_below(t: float, df: float) -> float:
    """The chance of a value below `t` under Student's t with `df` > 0 degrees of freedom, which may be infinite."""
    from scipy import special

    return float(special.stdtr(df, t))


def t_quantile(share: float, df: float) -> float:
    """The value below which Student's t lies with the chance `share`, 0 < share < 1."""
    from scipy import special

    return float(special.stdtrit(df, share))


def chi2_quantile(share: float, df: float) -> float:
    """The value below which a chi-square variable of `df` degrees of freedom lies with the chance `share`."""
    from scipy import special

    return float(2 * special.gammaincinv(df / 2, share))
