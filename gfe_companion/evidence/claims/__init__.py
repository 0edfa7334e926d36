"""The verdict on a claim: what its words mean, and what every rule is made of.

A rule turns a claim into numbers that should lie on one side of a limit, or between two limits.
Each comes with its 95 % interval over seeds.

- **reproduced**: the whole interval lies where the claim says.
- **not reproduced**: the whole interval lies elsewhere.
- **undecided**: the interval allows both. One seed gives no interval, so it decides nothing.
  Undecided is also what was not watched for long enough to be seen at the rate that would matter,
  and what too short a training denies, since it may come true yet; the rule says which rate, or how long.
- **partly**: the claim has several parts, and some hold while others do not;
  or its direction holds with the whole interval, and the size that it names does not.
- **not measured**: its file is not there, the profile did not run it, other images stand in for its data set,
  or the pages show another data set than MNIST.

A claim of several parts is undecided if its verdict hangs on a part that is undecided.
A rule that is not over seeds says so, and says over what it is.

A printed loss is a claim of two parts: ours is at most 5 % above it, and at most 5 % below it.
So a loss that is lower than that is partly what is printed: the method does what it should, and the number is another.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import gammaincinv

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.intervals import Interval

Read = Callable[[str], pd.DataFrame]  # the frame behind a figure or table, by the name of its files
YES, PARTLY, UNDECIDED, NO = "reproduced", "partly", "undecided", "not reproduced"
NOT_MEASURED = "not measured"
WORDS = (YES, PARTLY, UNDECIDED, NO, NOT_MEASURED)
BATCH = 16  # images of an iteration
EPOCH = REGISTRY["mnist"].epoch // BATCH  # iterations


class Finding(NamedTuple):
    """A verdict, what was measured in numbers, and one sentence that says what it means."""

    verdict: str
    measured: str
    sentence: str


class Unmeasured(Exception):
    """What a claim is judged from is not there; the text says what, in a sentence."""


def having(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """``frame`` itself. Raises :class:`Unmeasured` where it is of older code, which did not write all ``columns``."""
    if missing := [column for column in columns if column not in frame]:
        raise Unmeasured(f"Its file has no column {', '.join(missing)} yet: run the notebook that writes it again.")
    return frame


def definition() -> str:
    """What the verdicts mean, as Markdown: this module's docstring without its first line."""
    return inspect.cleandoc(__doc__ or "").split("\n\n", 1)[1]


def holds(found: Interval, low: float = 0.0, high: float = math.inf) -> str:
    """The verdict on a quantity that should lie between ``low`` and ``high``; a single seed decides nothing."""
    if found.count < 2:
        return UNDECIDED
    if low < found.low and found.high < high:
        return YES
    return NO if found.high <= low or found.low >= high else UNDECIDED


def fact(true: bool) -> str:
    """The verdict on what is counted or compared exactly, and so has no interval."""
    return YES if true else NO


def all_of(verdicts: Iterable[str]) -> str:
    """The verdict on a claim of several parts, none of which is itself partly so."""
    found = set(verdicts)
    if {YES, NO} <= found:
        return PARTLY
    return UNDECIDED if UNDECIDED in found else found.pop()


def for_an_epoch(verdict: str, iterations: float) -> str:
    """``verdict``, but a denial is undecided before an epoch of training: it may come true yet."""
    return UNDECIDED if verdict == NO and iterations < EPOCH else verdict


class Rate(NamedTuple):
    """Events an iteration, with one-sided 95 % bounds for a Poisson count: after none in n iterations 0 to 3 / n."""

    low: float
    high: float

    @classmethod
    def of(cls, count: int, iterations: float) -> Rate:
        """The bounds after ``count`` events in ``iterations``: quantiles of the gamma distribution."""
        low = gammaincinv(count, 0.05) if count else 0.0
        return cls(float(low / iterations), float(gammaincinv(count + 1, 0.95) / iterations))


def happens(rate: Rate) -> str:
    """The verdict on what should be seen: it was, or it is certainly rarer than once an epoch, or neither."""
    if rate.low > 0:
        return YES
    return NO if rate.high < 1 / EPOCH else UNDECIDED


def rarer(ours: Rate, other: Rate) -> str:
    """The verdict on ``ours`` being below ``other``: their bounds are apart, or both are rarer than once an epoch."""
    if ours.high < other.low:
        return YES
    return NO if ours.low > other.high or max(ours.high, other.high) < 1 / EPOCH else UNDECIDED


def paired(frame: pd.DataFrame, by: list[str], value: str, methods: Iterable[str]) -> pd.DataFrame:
    """``value`` by the columns ``by`` (rows) and method (columns), where all ``methods`` have a finite one.

    Raises :class:`Unmeasured` where there is no such row.
    """
    methods = list(methods)
    frame = frame[frame.method.isin(methods) & np.isfinite(frame[value])]
    wide = frame.pivot_table(index=by, columns="method", values=value).reindex(columns=methods).dropna()
    if wide.empty:
        raise Unmeasured(f"The profile did not run {' and '.join(methods)} side by side.")
    return wide
