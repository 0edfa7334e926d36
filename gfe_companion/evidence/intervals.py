"""Means and 95 % intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd
from scipy.special import stdtrit  # quantiles of Student's t; scipy.stats has them too, and is slow to import

TWO = float(stdtrit(1, 0.975))  # of two seeds: the half-width of their interval, over their distance to the mean


class Interval(NamedTuple):
    """A mean over ``count`` seeds and the half-width of its 95 % interval, NaN for a single seed; of none, both are."""

    mean: float
    half: float
    count: int  # type: ignore[assignment]  # hides tuple.count

    @property
    def low(self) -> float:
        """The lower end; the mean itself where there is no interval."""
        return self.mean - (0.0 if math.isnan(self.half) else self.half)

    @property
    def high(self) -> float:
        """The upper end; the mean itself where there is no interval."""
        return self.mean + (0.0 if math.isnan(self.half) else self.half)

    @property
    def reach(self) -> float:
        """How far from the mean a figure draws: the half-width, or, for two seeds, up to the seeds themselves.

        With one degree of freedom an interval is thirteen times as wide as that, and says nothing that is seen.
        """
        return 0.0 if math.isnan(self.half) else self.half / TWO if self.count == 2 else self.half

    def __str__(self) -> str:
        return format(self, ".4f")

    def __format__(self, spec: str) -> str:
        spec = spec or ".4f"
        if not self.count:
            return "missing"
        return format(self.mean, spec) + ("" if math.isnan(self.half) else f" ± {self.half:{spec.removeprefix('+')}}")


def interval(values: Iterable[float]) -> Interval:
    """Mean and Student-t 95 % interval of values that are independent between seeds.

    What is missing (NaN) does not count; where all is, the mean is NaN. Raises ``ValueError`` for no values.
    """
    given = pd.Series(list(values), dtype=float)
    if given.empty:
        raise ValueError("an interval needs at least one value.")
    found = given.dropna()
    half = float("nan")
    if len(found) > 1:
        half = float(stdtrit(len(found) - 1, 0.975) * found.sem())
    return Interval(float(found.mean()), half, len(found))


def over_seeds(frame: pd.DataFrame, by: list[str], y: str, x: str) -> pd.DataFrame:
    """One row for each group of the columns ``by``: the mean of ``x``, and of ``y`` the mean and interval over rows.

    Columns: those of ``by``, then x, mean, low, high, reach, seeds. Rows without a ``y`` do not count.
    """
    rows = []
    for key, group in frame.dropna(subset=y).groupby(by, sort=False):
        loss = interval(group[y])
        values = {"x": group[x].mean(), "mean": loss.mean, "low": loss.low, "high": loss.high}
        values |= {"reach": loss.reach, "seeds": loss.count}
        rows.append(dict(zip(by, key, strict=True)) | values)
    return pd.DataFrame(rows).sort_values(by)
