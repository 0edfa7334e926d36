"""What the full adjoint gains and costs beside Eq. (6): from the curves of Figure 3, left, and the costs of a batch."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gfe_companion.evidence.intervals import Interval, interval


def advantages(curves: pd.DataFrame) -> pd.DataFrame:
    """The share by which the adjoint's validation loss lies lower, wherever both trainings were measured.

    ``curves``: columns solver, gradient, seed, iterations, validation_loss. Columns: solver, seed, iterations,
    advantage.
    """
    finite = curves[np.isfinite(curves.validation_loss)]
    losses = finite.pivot_table(index=["solver", "seed", "iterations"], columns="gradient", values="validation_loss")
    losses = losses.reindex(columns=["adjoint", "approximate"]).dropna()
    return (1 - losses.adjoint / losses.approximate).rename("advantage").reset_index()


def mean_advantage(part: pd.DataFrame) -> Interval:
    """Of one solver's :func:`advantages`, over seeds, the mean over the iterations that both trainings reached."""
    return interval(part.groupby("seed").advantage.mean())


def last_advantage(part: pd.DataFrame) -> Interval:
    """Of one solver's :func:`advantages`, over seeds, that at the last iteration that all seeds reached."""
    seeds = part.groupby("iterations").seed.nunique()
    return interval(part[part.iterations == seeds.index[seeds == seeds.max()].max()].advantage)


def times_dearer(cost: pd.DataFrame) -> pd.DataFrame:
    """What the full adjoint costs in all, in units of the approximation's: columns passes, seconds; index solver.

    ``cost``: columns solver, gradient, "passes to encode", "passes for the gradient" and, unless it is of counts alone,
    seconds.
    """
    whole = cost.assign(passes=cost["passes to encode"] + cost["passes for the gradient"])
    of = [name for name in ("passes", "seconds") if name in whole]
    wide = whole.pivot(index="solver", columns="gradient", values=of)
    found = pd.DataFrame({name: wide[name].AdjointGradient / wide[name].ApproximateGradient for name in of})
    return found.loc[list(dict.fromkeys(cost.solver))]
