"""How many images one method needs for the loss that another has on few: read off curves of loss against images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from gfe_companion.evidence.intervals import Interval, interval

AE_BY, GFE_BY = ("ae", "own"), ("gfe_fast", "own")  # method and encoder


def ae_minus_gfe(part: pd.DataFrame) -> Interval:
    """By how much GFE lies below the AE, both by their own encoder, over seeds: ``part`` has one number of images."""
    ae, gfe = (
        part[(part.method == method) & (part.encoder == encoder)].set_index("seed").test
        for method, encoder in (AE_BY, GFE_BY)
    )
    gap = ae - gfe
    return interval(gap if len(gap) else [np.nan])


class Needed(NamedTuple):
    """Images that the AE needs for GFE's test loss on ``reference`` images: geometric mean and 95 % interval.

    ``beyond`` seeds do not come down to it within ``most`` images; then the mean counts nothing. ``fewer`` seeds are
    below it with the fewest images that were tried. ``open``: some training from as many images or more was still at
    its best when its budget ended, so that a longer one might need fewer images.
    """

    reference: int
    mean: float
    low: float
    high: float
    most: int
    least: int
    beyond: int
    fewer: int
    seeds: int
    open: bool = False

    def needed(self) -> str:
        """In words."""
        return self._images() + ", with the budgets that its trainings had" * self.open

    def _images(self) -> str:
        if self.beyond:
            some = "" if self.beyond == self.seeds else f" ({self.beyond} of {self.seeds} seeds)"
            return f"more than {self.most:,} images{some}"
        if self.fewer:
            some = "" if self.fewer == self.seeds else f" ({self.fewer} of {self.seeds} seeds)"
            return f"at most {self.least:,} images{some}"
        between = f" ({_round(self.low)} to {_round(self.high)})" if self.low < self.high else ""
        return f"{_round(self.mean)} images{between}, {self.mean / self.reference:.1f} times as many"

    def said(self) -> str:
        """As the title of a figure."""
        return f"For accelerated GFE's loss from {self.reference:,} images the AE needs {self.needed()}"


def _round(images: float) -> str:
    """Two digits are all that interpolation is good for."""
    return f"{float(f'{images:.2g}'):,.0f}"


def images_for_the_same(chosen: pd.DataFrame, reference: int, by: tuple[str, str] = AE_BY) -> Needed:
    """Where the curve of a method and encoder ``by`` comes down to GFE's test loss on ``reference`` images.

    ``chosen``: columns method, encoder, seed, available, test, last, of one data set. Each seed's curve is compared
    with GFE's loss of that seed, and interpolated between neighbours on logarithmic axes. Raises ``ValueError`` where
    no seed has both.
    """
    ours = chosen[(chosen.method == GFE_BY[0]) & (chosen.encoder == GFE_BY[1]) & (chosen.available == reference)]
    theirs = chosen[(chosen.method == by[0]) & (chosen.encoder == by[1])]
    found, most, least = [], [], []
    for row in ours.itertuples():
        curve = theirs[theirs.seed == row.seed].sort_values("available")
        if curve.empty:
            continue
        most.append(int(curve.available.max()))
        least.append(int(curve.available.min()))
        lowest = curve.test.cummin()
        if lowest.iloc[-1] > row.test:
            found.append(np.inf)
        elif lowest.iloc[0] <= row.test:
            found.append(-np.inf)
        else:
            at = np.interp(-np.log(row.test), -np.log(lowest), np.log(curve.available))
            found.append(float(at))
    if not found:
        raise ValueError(f"no seed has both GFE on {reference} images and {' by '.join(by)}.")
    logs = interval([value for value in found if np.isfinite(value)] or [np.nan])
    mean, low, high = (float(np.exp(value)) for value in (logs.mean, logs.low, logs.high))
    ends = found.count(np.inf), found.count(-np.inf)
    ends_open = bool(theirs[theirs.available >= reference]["last"].any())
    return Needed(reference, mean, low, high, min(most), max(least), *ends, len(found), ends_open)
