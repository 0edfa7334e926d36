"""Notebook 04, on jumps: how often the validation loss of each training that is watched leaps up."""

from __future__ import annotations

from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator

from gfe_companion.evidence.claims import BATCH, Rate
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import plans
from gfe_companion.studies.amd_training import histories
from gfe_companion.studies.drawing import WIDTH, wrapped
from gfe_companion.studies.results import Picture, listed

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
    pooled["bound"] = [1000 * Rate.of(row.jumps, row.iterations).high for row in pooled.itertuples()]
    return pooled


def changes_of(curves: pd.DataFrame) -> pd.DataFrame:
    """Every change of a validation loss from one measurement to the next: columns method, slices, seed, change."""
    rows = [
        (*key, change)
        for key, run in curves.groupby(["method", "slices", "seed"])
        for change in jumps_in(run)
        if np.isfinite(change)
    ]
    return pd.DataFrame(rows, columns=["method", "slices", "seed", "change"])


def fig_stability(setting: Setting, jumps: pd.DataFrame, curves: pd.DataFrame) -> Picture:
    """How the validation loss changed from one measurement to the next, by method and grid, and how often it jumped."""
    rates, title, grids, changes = rates_of(jumps), setting.load().title, grids_of(jumps), changes_of(curves)
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    for place, grid in enumerate(grids):
        drawn, part = drawn_as(grid, jumps), part_of(changes, grid).change
        axes.plot([place] * 2, 1 + part.quantile([0, 1]), color=drawn["color"], linewidth=1)
        axes.plot([place] * 2, 1 + part.quantile([0.25, 0.75]), color=drawn["color"], linewidth=7, alpha=0.5)
        largest = 1 + part_of(jumps, grid).largest_change
        axes.plot([place] * len(largest), largest, markersize=7, **drawn | {"linestyle": ""})
    axes.set_xticks(range(len(grids)), [_counted(grid, rates) for grid in grids], fontsize=7)
    axes.axhline(1 + JUMP, color="black", linestyle=":", linewidth=1)
    axes.annotate("a jump", (len(grids) - 0.5, 1 + JUMP), (-2, 3), textcoords="offset points", ha="right", fontsize=8)
    axes.set(yscale="log", xlim=(-0.5, len(grids) - 0.5), ylabel="change of the validation loss\nin ten iterations")
    axes.set_ylim(axes.get_ylim()[0], max(axes.get_ylim()[1], 1.05 * (1 + JUMP)))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value - 1:+.0%}" if abs(value - 1) > 1e-9 else "0%")
    count, most = jumps.seed.nunique(), jumps.largest_change.max()
    seeds = f"{count} seeds" if count > 1 else "one seed"
    if jumps.jumps.sum():
        finding = f"{title}: jumps under {listed([named(grid) for grid in grids if rates.jumps[grid]])} ({seeds})"
    else:
        finding = f"{title}: no jump; the largest change in ten iterations is {most:+.1%} ({seeds})"
    drawn_are = "Markers: the largest of each seed. Bars: the middle half of all, and their range."
    figure.suptitle(f"{wrapped(finding)}\n{wrapped(drawn_are)}", fontsize="medium")
    alt = (
        f"Changes of the validation loss from one measurement to the next for {len(grids)} trainings on {title}, and "
        f"its jumps above {100 * JUMP:.0f} % per 1,000 iterations with their upper 95 % bounds: "
        + "; ".join(f"{named(g)} {rates.rate[g]:.1f}, at most {rates.bound[g]:.1f}" for g in grids)
        + "."
    )
    return Picture("fig_04_stability", figure, alt, jumps)


def _counted(grid: Grid, rates: pd.DataFrame) -> str:
    """The label of a grid, with its jumps and the bound of their rate."""
    name = named(grid).replace(" (", "\n(").replace(", ", ",\n")
    jumps = int(rates.jumps[grid])
    return f"{name}\n{jumps or 'no'} jump{'s' * (jumps > 1)}, at most\n{rates.bound[grid]:.3g} in 1,000"


def fig_later(setting: Setting, curves: pd.DataFrame) -> Picture:
    """The validation loss of every training that is watched, a line a seed; a star marks a jump, a cross an end."""
    figure, axes = plt.subplots(figsize=(WIDTH, 4.0))
    grids, jumped, ended = grids_of(curves), 0, 0
    for grid in grids:
        drawn = drawn_as(grid, curves)
        for place, (_, run) in enumerate(part_of(curves, grid).groupby("seed")):
            change, run = jumps_in(run), run.set_index("iterations")
            line = drawn | {"linewidth": 1, "markersize": 4, "markevery": max(1, len(run) // 8)}
            line |= {"marker": None} if place else {"label": named(grid)}
            axes.plot(run.validation_loss, **line)
            rises = run.validation_loss[change.index[change > JUMP]]
            axes.plot(rises, "*", color=drawn["color"], markeredgecolor="black", markersize=11, zorder=3)
            stops = run.index[~np.isfinite(run.validation_loss)]
            axes.plot(stops, [0.03] * len(stops), "x", color=drawn["color"], transform=axes.get_xaxis_transform())
            jumped, ended = jumped + len(rises), ended + len(stops)
    axes.set(yscale="log", xlabel=f"iterations of {BATCH} images", ylabel="validation cross-entropy")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("{x:.3g}")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    title, trainings = setting.load().title, curves.groupby(["method", "slices", "seed"]).ngroups
    axes.set_title(wrapped(f"{title}, {_seen(trainings, jumped, ended)}; a line is a seed", 0.85 * WIDTH))
    rates = rates_of(jumps_of(curves))
    alt = (
        f"Validation loss against iterations of trainings on fixed grids and by AMD, on {title}. Jumps and ends: "
        + "; ".join(f"{named(g)} {int(rates.jumps[g])} in {int(rates.iterations[g]):,} iterations" for g in grids)
        + "."
    )
    return Picture("fig_04_later", figure, alt, curves)


def _seen(trainings: int, jumped: int, ended: int) -> str:
    """What was seen in so many trainings, in words: each jump is a star, each end a cross."""
    rises = f"{jumped} rise{'s' * (jumped > 1)} above {100 * JUMP:.0f} % (stars)"
    ends = f"{ended} broke off (crosses)"
    if not jumped and not ended:
        plural = "s" * (trainings > 1)
        return f"{trainings} training{plural}: none rises by more than {100 * JUMP:.0f} %, and none breaks off"
    return f"{trainings} trainings: {listed([rises] * bool(jumped) + [ends] * bool(ended))}"
