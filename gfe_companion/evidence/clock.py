"""What a curve of losses against compute seconds says: when it comes to a loss, and how far it lies below another.

A curve is a frame with columns seconds and loss. Between two points both the loss and the logarithm of the seconds run
straight.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def time_to(curve: pd.DataFrame, loss: float) -> float:
    """Seconds at which ``curve`` first comes down to ``loss``; infinite if it never does."""
    curve = curve.sort_values("seconds")
    seconds, losses = np.log(curve.seconds.to_numpy()), curve.loss.to_numpy()
    there = np.flatnonzero(losses <= loss)
    if not len(there):
        return float("inf")
    first = there[0]
    if first == 0:
        return float(np.exp(seconds[0]))
    share = (losses[first - 1] - loss) / (losses[first - 1] - losses[first])
    return float(np.exp(seconds[first - 1] + share * (seconds[first] - seconds[first - 1])))


def at_time(curve: pd.DataFrame, seconds: np.ndarray) -> np.ndarray:
    """Losses of ``curve`` at ``seconds``; NaN outside its points."""
    curve = curve.sort_values("seconds")
    return np.interp(np.log(seconds), np.log(curve.seconds), curve.loss, left=np.nan, right=np.nan)


def rise(losses: pd.Series) -> float:
    """By how much, relative to the lowest loss so far, a curve of ``losses`` ever lies above it."""
    return float((losses / losses.cummin()).max() - 1)


def lead(ours: pd.DataFrame, other: pd.DataFrame, start: float = 0.0) -> pd.Series:
    """By how much ``ours`` lies below ``other``, relative to it, at every measured time of either; by seconds.

    The times go from ``start``, or from where both have begun, to the last point of ``other``. If ``ours`` ends before
    that, its last loss counts from there on.
    """
    low, high = max(start, ours.seconds.min(), other.seconds.min()), other.seconds.max()
    seconds = np.unique([low, *ours.seconds, *other.seconds])
    seconds = seconds[(seconds >= low) & (seconds <= high)]
    losses = at_time(ours, np.minimum(seconds, ours.seconds.max()))
    return pd.Series(1 - losses / at_time(other, seconds), index=seconds)


def crossing(ours: pd.DataFrame, other: pd.DataFrame) -> float:
    """Seconds at which ``ours`` first stops lying below ``other``; infinite if it never does within their common time.

    The times are those of :func:`lead`; between two of them the losses run straight in the logarithm of the seconds.
    """
    leads = lead(ours, other)
    seconds, values = np.log(leads.index.to_numpy()), leads.to_numpy() * at_time(other, leads.index.to_numpy())
    above = np.flatnonzero(values <= 0)
    if not len(above):
        return float("inf")
    first = above[0]
    if first == 0:
        return float(np.exp(seconds[0]))
    share = values[first - 1] / (values[first - 1] - values[first])
    return float(np.exp(seconds[first - 1] + share * (seconds[first] - seconds[first - 1])))


def envelope(points: pd.DataFrame) -> pd.DataFrame:
    """The lower envelope over settings: the ``points`` than which no other is as low on validation as early.

    Columns seconds and validation, and any others, such as the test loss, which has no say. In the order of seconds.
    """
    ordered = points.sort_values(["seconds", "validation"])
    earlier = ordered.validation.cummin().shift(fill_value=np.inf)
    return ordered[ordered.validation < earlier].reset_index(drop=True)
