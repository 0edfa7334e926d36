"""Notebook 04, on training: Figure 3 (right), which solver trains best, and how stable each of them is."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import chi2

from gfe_companion.evidence.intervals import over_seeds
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.drawing import WIDTH, draw_mean
from gfe_companion.studies.results import Picture

JUMP = 0.10  # a rise of the validation loss, relative, within ten iterations
BATCH = 16  # images of an iteration


def curves_of_fig3(setting: Setting) -> pd.DataFrame:
    """Figure 3, right: columns method, seed, iterations, seconds, training_loss, validation_loss, failure.

    ``failure`` says why a training could not go on; its row has no losses.
    """
    plan = plans.figure3_right(setting)
    runs = run_grid(plan.config, setting)
    frames = [
        run.history.assign(method=row.method, seed=row.seed)
        for row, run in zip(plan.itertuples(), runs, strict=True)
    ]  # fmt: skip
    curves = pd.concat(frames, ignore_index=True)
    curves = curves.assign(iterations=curves.images // BATCH, failure=curves.get("failure"))
    columns = ["method", "seed", "iterations", "seconds", "training_loss", "validation_loss", "failure"]
    return curves.reindex(columns=columns)


def fig3_right(setting: Setting, curves: pd.DataFrame) -> Picture:
    """Validation loss against iterations for each solver; a cross marks where a training broke off.

    A curve goes on while every seed does.
    """
    figure, axes = plt.subplots()
    title, count, methods = setting.load().title, curves.seed.nunique(), list(curves.method.unique())
    finite = np.isfinite(curves.validation_loss)
    summary = over_seeds(curves[finite], ["method", "iterations"], "validation_loss", "iterations")
    for method in methods:
        look, curve = METHODS[method].look, summary[(summary.method == method) & (summary.seeds == count)]
        draw_mean(axes, curve, look, markevery=max(1, len(curve) // 12))
        for stop in curves.iterations[~finite & (curves.method == method)]:
            axes.plot(stop, 0.03, "x", color=look.color, transform=axes.get_xaxis_transform())
    axes.set(yscale="log", xlabel=f"iterations of {BATCH} images", ylabel="validation cross-entropy")
    axes.yaxis.set_major_formatter("{x:.2f}")
    axes.yaxis.set_minor_formatter("{x:.2f}")
    several = f"mean and 95 % interval, {count} seeds" if count > 1 else "one seed"
    axes.set_title(f"{title}, fixed grids of {setting.profile.slices} slices ({several})")
    axes.legend()
    finals = curves[curves.iterations == curves.iterations.max()].groupby("method").validation_loss.mean()
    alt = (
        "Validation loss against iterations for GFE and second-order GFE on fixed grids and for GFE-amd, "
        f"on {title}. At the end: "
        + ", ".join(f"{METHODS[method].look.short} {finals[method]:.4f}" for method in methods if method in finals)
        + "."
    )
    return Picture("fig3_right", figure, alt, curves)


def jumps_of(curves: pd.DataFrame) -> pd.DataFrame:
    """How often each training's validation loss jumped: columns method, seed, iterations, jumps, largest_change.

    A jump is a rise above :data:`JUMP` from one measurement to the next; a training that broke off adds one.
    """
    rows = []
    for (method, seed), run in curves.groupby(["method", "seed"]):
        change = run.sort_values("iterations").validation_loss.pct_change(fill_method=None)
        count = int((change > JUMP).sum() + (~np.isfinite(run.validation_loss)).any())
        rows.append((method, seed, run.iterations.max(), count, change.max()))
    return pd.DataFrame(rows, columns=["method", "seed", "iterations", "jumps", "largest_change"])


def rates_of(jumps: pd.DataFrame) -> pd.DataFrame:
    """By method, over all seeds together: the rate of jumps in 1,000 iterations, and its upper 95 % Poisson bound."""
    pooled = jumps.groupby("method")[["jumps", "iterations"]].sum()
    pooled["rate"] = 1000 * pooled.jumps / pooled.iterations
    pooled["bound"] = 1000 * chi2.ppf(0.95, 2 * (pooled.jumps + 1)) / 2 / pooled.iterations
    return pooled


def fig_stability(setting: Setting, jumps: pd.DataFrame) -> Picture:
    """The rate of jumps with its upper bound, and the largest change of each seed, by method."""
    rates, title = rates_of(jumps), setting.load().title
    methods = [method for method in METHODS if method in rates.index]
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.1))
    for place, method in enumerate(methods):
        look, pooled = METHODS[method].look, rates.loc[method]
        drawn = {"color": look.color, "marker": look.marker}
        panels[0].errorbar(place, pooled.rate, [[0], [pooled.bound - pooled.rate]], capsize=4, **drawn)
        values = jumps[jumps.method == method].largest_change
        panels[1].plot([place] * len(values), values, linestyle="", markersize=7, markeredgecolor="white", **drawn)
    labels = [METHODS[m].look.short.replace(", ", ",\n").replace("order ", "order\n") for m in methods]
    for axes, what in zip(panels, ("jumps in 1,000 iterations", "largest change, each seed"), strict=True):
        axes.set_xticks(range(len(methods)), labels, fontsize=8)
        axes.set(title=what, xlim=(-0.5, len(methods) - 0.5))
    panels[0].set_ylim(-0.05 * rates.bound.max(), None)
    panels[1].yaxis.set_major_formatter(lambda value, _: f"{value:+.1%}")
    panels[1].axhline(JUMP, color="gray", linestyle=":")
    count = jumps.seed.nunique()
    pooled = f"{count} seeds pooled" if count > 1 else "one seed"
    heading = f"{title}: rises above {100 * JUMP:.0f} % within 10 iterations ({pooled})"
    figure.suptitle(heading, fontsize="medium")
    alt = (
        f"Jumps of the validation loss above {100 * JUMP:.0f} % per 1,000 iterations with their upper 95 % bounds, "
        f"and each seed's largest change, for {len(methods)} solvers on {title}. "
        + "; ".join(f"{METHODS[m].look.short} {rates.rate[m]:.1f}, at most {rates.bound[m]:.1f}" for m in methods)
        + "."
    )
    return Picture("fig_04_stability", figure, alt, jumps)
