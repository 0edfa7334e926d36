"""Notebook 04, on jumps: how often the validation loss of each training that is watched leaps up."""

from __future__ import annotations

from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import chi2

from gfe_companion.evidence.claims import EPOCH
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import plans
from gfe_companion.studies.amd_training import BATCH, histories
from gfe_companion.studies.drawing import WIDTH, wrapped
from gfe_companion.studies.results import Picture

JUMP = 0.10  # a rise of the validation loss, relative, within ten iterations
Grid = tuple[str, int]  # a method and its slices, 0 for AMD


def curves_of_later(setting: Setting) -> pd.DataFrame:
    """All trainings that are watched, to their ends: the columns of :func:`amd_training.histories`."""
    return histories(setting, plans.watched(setting))


def named(grid: Grid) -> str:
    """A method, and its slices if it has any."""
    method, slices = grid
    return METHODS[method].look.short + (f" (N = {slices})" if slices else "")


def grids_of(frame: pd.DataFrame) -> list[Grid]:
    """The methods of a frame, in the registry's order, with the finer grid first."""
    there = set(zip(frame.method, frame.slices, strict=True))
    return [grid for grid in product(METHODS, sorted(frame.slices.unique(), reverse=True)) if grid in there]


def part_of(frame: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """The rows of one grid, or of AMD."""
    return frame[(frame.method == grid[0]) & (frame.slices == grid[1])]


def drawn_as(grid: Grid, frame: pd.DataFrame) -> dict[str, Any]:
    """The colour, line and marker of ``grid``: the coarser one of a ``frame`` is dashed, and its marker is hollow."""
    look = METHODS[grid[0]].look
    coarse = 0 < grid[1] < frame.slices.max()
    drawn = {"color": look.color, "marker": look.marker, "linestyle": "--" if coarse else "-"}
    return drawn | ({"markerfacecolor": "white"} if coarse else {})


def jumps_in(run: pd.DataFrame) -> pd.Series:
    """Of one training, by iteration: by how much the validation loss changed from one measurement to the next."""
    return run.sort_values("iterations").set_index("iterations").validation_loss.pct_change(fill_method=None)


def jumps_of(curves: pd.DataFrame) -> pd.DataFrame:
    """How often each training's validation loss jumped.

    Columns: method, slices, seed, iterations, jumps, largest_change. A jump is a rise above :data:`JUMP` from one
    measurement to the next; a training that broke off adds one.
    """
    rows = []
    for key, run in curves.groupby(["method", "slices", "seed"]):
        change = jumps_in(run)
        count = int((change > JUMP).sum() + (~np.isfinite(run.validation_loss)).any())
        rows.append((*key, run.iterations.max(), count, change.max()))
    return pd.DataFrame(rows, columns=["method", "slices", "seed", "iterations", "jumps", "largest_change"])


def rates_of(jumps: pd.DataFrame) -> pd.DataFrame:
    """By method and slices, over all seeds: the rate of jumps in 1,000 iterations, and its upper 95 % Poisson bound."""
    pooled = jumps.groupby(["method", "slices"])[["jumps", "iterations"]].sum()
    pooled["rate"] = 1000 * pooled.jumps / pooled.iterations
    pooled["bound"] = 1000 * chi2.ppf(0.95, 2 * (pooled.jumps + 1)) / 2 / pooled.iterations
    return pooled


def fig_stability(setting: Setting, jumps: pd.DataFrame) -> Picture:
    """The rate of jumps with its upper bound, and the largest change of each seed, by method and grid."""
    rates, title, grids = rates_of(jumps), setting.load().title, grids_of(jumps)
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.4))
    for place, grid in enumerate(grids):
        pooled, drawn = rates.loc[grid], drawn_as(grid, jumps) | {"linestyle": ""}
        error = [[0.0], [pooled.bound - pooled.rate]]
        panels[0].errorbar(place, pooled.rate, error, capsize=4, **drawn)
        values = part_of(jumps, grid).largest_change
        panels[1].plot([place] * len(values), values, markersize=7, **drawn)
    labels = [
        named(grid).replace(" (", "\n(").replace("2nd order ", "2nd\norder\n").replace(", ", ",\n") for grid in grids
    ]
    for axes, what in zip(panels, ("jumps in 1,000 iterations", "largest change, each seed"), strict=True):
        axes.set_xticks(range(len(grids)), labels, fontsize=7)
        axes.set(title=what, xlim=(-0.5, len(grids) - 0.5))
    panels[0].axhline(1000 / EPOCH, color="gray", linestyle=":")
    panels[0].set_ylim(-0.05 * rates.bound.max(), None)
    panels[1].yaxis.set_major_formatter(lambda value, _: f"{value:+.1%}")
    panels[1].axhline(JUMP, color="gray", linestyle=":")
    count = jumps.seed.nunique()
    pooled_over = f"{count} seeds pooled" if count > 1 else "one seed"
    dotted = f"dotted: one jump an epoch, and {100 * JUMP:.0f} %"
    heading = f"{title}: rises above {100 * JUMP:.0f} % within 10 iterations ({pooled_over}; {dotted})"
    figure.suptitle(wrapped(heading), fontsize="medium")
    alt = (
        f"Jumps of the validation loss above {100 * JUMP:.0f} % per 1,000 iterations with their upper 95 % bounds, "
        f"and each seed's largest change, for {len(grids)} trainings on {title}. "
        + "; ".join(f"{named(g)} {rates.rate[g]:.1f}, at most {rates.bound[g]:.1f}" for g in grids)
        + "."
    )
    return Picture("fig_04_stability", figure, alt, jumps)


def fig_later(setting: Setting, curves: pd.DataFrame) -> Picture:
    """The validation loss of every training that is watched, a line a seed; a star marks a jump, a cross an end."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.0))
    grids, marked = grids_of(curves), 0
    for grid in grids:
        drawn = drawn_as(grid, curves)
        for place, (_, run) in enumerate(part_of(curves, grid).groupby("seed")):
            change, run = jumps_in(run), run.set_index("iterations")
            line = drawn | {"linewidth": 1, "markersize": 4, "markevery": max(1, len(run) // 8)}
            line |= {"marker": None} if place else {"label": named(grid)}
            axes.plot(run.validation_loss, **line)
            jumped = run.validation_loss[change.index[change > JUMP]]
            axes.plot(jumped, "*", color=drawn["color"], markeredgecolor="black", markersize=11, zorder=3)
            stops = run.index[~np.isfinite(run.validation_loss)]
            axes.plot(stops, [0.03] * len(stops), "x", color=drawn["color"], transform=axes.get_xaxis_transform())
            marked += len(jumped) + len(stops)
    axes.set(yscale="log", xlabel=f"iterations of {BATCH} images", ylabel="validation cross-entropy")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("{x:.3g}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    title = setting.load().title
    heading = f"{title}: rises above {100 * JUMP:.0f} % (stars) and trainings that broke off (crosses): {marked}"
    axes.set_title(wrapped(f"{heading}; a line is a seed", 0.85 * WIDTH))
    rates = rates_of(jumps_of(curves))
    alt = (
        f"Validation loss against iterations of trainings on fixed grids and by AMD, on {title}. Jumps and ends: "
        + "; ".join(f"{named(g)} {int(rates.jumps[g])} in {int(rates.iterations[g]):,} iterations" for g in grids)
        + "."
    )
    return Picture("fig_04_later", figure, alt, curves)
