"""What overfits: by how much the loss of held-out images rises above its lowest as a training goes on."""

from __future__ import annotations

import pandas as pd

from gfe_companion.evidence.clock import rise
from gfe_companion.evidence.intervals import Interval, interval

HARDLY = 0.05  # relative; a rise above this counts as overfitting


def rises(curves: pd.DataFrame) -> dict[tuple[str, str], Interval]:
    """The largest rise of the validation loss above its lowest so far, over seeds, by method and encoder.

    ``curves``: columns method, encoder, seed, images, validation.
    """
    by_seed = curves.sort_values("images").groupby(["method", "encoder", "seed"]).validation.agg(rise)
    return {key: interval(part) for key, part in by_seed.groupby(["method", "encoder"])}


def still_falls(curves: pd.DataFrame, by: tuple[str, str]) -> bool:
    """Whether some training ``by`` a method and encoder has its lowest validation loss at its last point."""
    of = curves[(curves.method == by[0]) & (curves.encoder == by[1])].sort_values("images")
    return any(part.validation.idxmin() == part.index[-1] for _, part in of.groupby("seed"))


def rises_in_words(found: dict[tuple[str, str], Interval]) -> str:
    """A sentence on the AE, as the title of a figure."""
    own, optimum = (found["ae", encoder].mean for encoder in ("own", "optimum"))
    return f"By its own encoder the AE's held-out loss rises again, by {own:.0%}; at the optimum by {optimum:.0%}"
