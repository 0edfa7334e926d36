"""Notebook 04, on what happens later on: how coarse fixed grids become, and what each watch could have seen."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import NullLocator

from gfe_companion.evidence.claims import BATCH, EPOCH
from gfe_companion.evidence.intervals import interval
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.amd_jumps import JUMP, Grid, drawn_as, grids_of, named, part_of, rates_of
from gfe_companion.studies.drawing import WIDTH, plain_ticks, wrapped
from gfe_companion.studies.results import Picture, Table, Text, listed


def steps_of_later(setting: Setting) -> pd.DataFrame:
    """The longest step of each grid's flow over its bound, and more that the module coarseness of the runs tells of it.

    Columns: method, slices, seed, iterations, image, share, start, t, curvature, rises. For AMD's decoders the flow is
    that of GFE on N slices.
    """
    plan = plans.watched(setting)
    frames = [
        run.history.assign(method=row.method, slices=row.slices, seed=row.seed)
        for row, run in zip(plan.itertuples(), run_grid(plan.coarse, setting), strict=True)
    ]
    steps = pd.concat(frames, ignore_index=True)
    columns = ["method", "slices", "seed", "iterations", "image", "share", "start", "t", "curvature", "rises"]
    return steps.assign(iterations=steps.images // BATCH)[columns]


def longest_of(steps: pd.DataFrame) -> pd.DataFrame:
    """Of each seed and stage: the median over images of the longest step over its bound, column share."""
    return steps.groupby(["method", "slices", "seed", "iterations"]).share.median().reset_index()


def fig_coarse(setting: Setting, steps: pd.DataFrame) -> Picture:
    """The longest step of each grid's flow over its bound of stability against iterations; above one it is lost."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.6))
    longest, grids = longest_of(steps), grids_of(steps)
    finite = longest[np.isfinite(longest.share)]
    flows = {grid: named(grid) if grid[1] else f"GFE (N = {steps.slices.max()}), decoders by AMD" for grid in grids}
    for grid, label in flows.items():
        by_stage = part_of(finite, grid).groupby("iterations").share.agg(["mean", "min", "max"])
        drawn = drawn_as(grid, steps)
        axes.plot(by_stage["mean"], label=label, **drawn)
        axes.fill_between(by_stage.index, by_stage["min"], by_stage["max"], color=drawn["color"], alpha=0.2, lw=0)
    axes.axhline(1, color="black", linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel=f"iterations of {BATCH} images")
    stages = sorted(steps.iterations.unique())
    axes.set_xticks(stages, [f"{stage:,}" for stage in stages], rotation=45, fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    plain_ticks(axes.yaxis)
    axes.set_ylabel("longest step / bound of stability")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    title, count = setting.load().title, steps.image.nunique()
    last = {grid: at_end(longest, grid) for grid in grids}
    lost = [label for grid, label in flows.items() if last[grid] > 1]
    finding = f"on average too long at the end under {listed(lost)}" if lost else "still short enough under every grid"
    heading = f"{title}: the longest step is {finding} (median of {count} images; mean and range over seeds)"
    axes.set_title(wrapped(heading, 0.85 * WIDTH))
    alt = (
        f"The longest step of the flow over RK4's bound of stability against training iterations, on {title}, the "
        f"median of {count} images. At the "
        f"end: {'; '.join(f'{flows[grid]} {found:.2f}' for grid, found in last.items())}."
    )
    return Picture("fig_04_coarse", figure, alt, steps)


def at_end(longest: pd.DataFrame, grid: Grid) -> float:
    """The mean over seeds of :func:`longest_of` at the last stage of ``grid``; NaN where none was kept."""
    return float(at_last(longest, grid).share.mean())


def at_last(frame: pd.DataFrame, grid: Grid) -> pd.DataFrame:
    """The rows of ``grid`` at its last stage."""
    part = part_of(frame, grid)
    return part[part.iterations == part.iterations.max()]


def too_coarse_from(longest: pd.DataFrame, grid: Grid) -> float:
    """The first stage at which the mean over seeds of :func:`longest_of` is above one; infinite if there is none."""
    mean = part_of(longest, grid).groupby("iterations").share.mean()
    return float(mean.index[mean > 1].min()) if (mean > 1).any() else math.inf


def table_later(setting: Setting, jumps: pd.DataFrame, steps: pd.DataFrame) -> Table:
    """What each watch has seen, what it could have seen, and when the grid became too coarse."""
    rates, longest, rows = rates_of(jumps), longest_of(steps), []
    for grid in grids_of(jumps):
        pooled, first = rates.loc[grid], too_coarse_from(longest, grid)
        rows.append({
            "training": named(grid),
            "iterations in all (seeds)": f"{int(pooled.iterations):,} ({len(part_of(jumps, grid))})",
            "jumps": f"{int(pooled.jumps)}",
            "in 1,000, at most": f"{pooled.bound:.2f}",
            "largest change": f"{part_of(jumps, grid).largest_change.max():+.1%}",
            "longest step / bound, at the end": f"{at_end(longest, grid):.2f}",
            "above one from iteration": f"{first:,.0f}" if math.isfinite(first) else "\u2013",
            "images whose loss rises": f"{at_last(steps, grid).rises.mean():.0%}",
        })  # fmt: skip
    return Table(
        "table_04_later", jumps, pd.DataFrame(rows), f"What happens later on, on {setting.load().title}",
        f"A jump is a rise of the validation loss above {JUMP:.0%} from one measurement to the next, ten iterations "
        "later; a training that broke off counts as one. *At most*: the upper 95 % bound of a Poisson rate, which "
        f"after no jump in n iterations is 3/n; one an epoch of MNIST would be {1000 / EPOCH:.2f}. The longest step is "
        "that of the median training image, mean over seeds, over RK4's bound; the last column counts images whose "
        "loss rises from one slice to the next, which under the second-order flow it may do on any grid: it swings. "
        f"Under AMD both are of GFE's flow on {jumps.slices.max()} slices.{_followed(steps)}",
    )  # fmt: skip


def _followed(steps: pd.DataFrame) -> str:
    """How many seeds the last stage of each grid is of, where these are not all of them."""
    seeds = {named(grid): at_last(steps, grid).seed.nunique() for grid in grids_of(steps)}
    fewer = [f"{name}: {count}" for name, count in seeds.items() if count < steps.seed.nunique()]
    return (
        f" The end is that of the seeds that were followed so far, where these are fewer: {listed(fewer)}."
        if fewer
        else ""
    )


def say_later(jumps: pd.DataFrame, steps: pd.DataFrame) -> Text:
    """Which trainings jumped, which watch is too short to deny it, and where the grid is too coarse at the end."""
    rates, longest, grids = rates_of(jumps), longest_of(steps), grids_of(jumps)
    seen = [f"{named(grid)} ({int(rates.jumps[grid])})" for grid in grids if rates.jumps[grid]]
    short = [named(grid) for grid in grids if not rates.jumps[grid] and rates.bound[grid] >= 1000 / EPOCH]
    ends = {g: interval(at_last(longest, g).share) for g in grids}
    lost = [f"{named(g)} ({ends[g]:.2f})" for g in grids if g[1] and ends[g].mean > 1]
    parts = [
        f"Jumps were seen under {listed(seen)}." if seen else "No jump was seen.",
        f"Watched for too short a time to rule out one jump an epoch: {listed(short)}." if short else "",
        f"At the end the longest step is, on average, above the bound of stability under {listed(lost)}."
        if lost
        else "At no end is the longest step above the bound of stability.",
    ]
    by_amd = interval(longest[longest.method == "gfe_amd_uncapped"].query("iterations == iterations.max()").share)
    parts.append(f"On decoders by AMD, GFE's longest step on the finer grid is {by_amd:.2f} times the bound.")
    return Text("*Reading it:* " + " ".join(filter(None, parts)))
