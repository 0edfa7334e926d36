"""Notebook 04, on training: Figure 3 (right), which solver trains best."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gfe_companion.evidence.intervals import over_seeds
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.drawing import WIDTH, draw_mean, wrapped
from gfe_companion.studies.results import Picture

BATCH = 16  # images of an iteration


def curves_of_fig3(setting: Setting) -> pd.DataFrame:
    """Figure 3, right: the columns of :func:`histories` without slices."""
    return histories(setting, plans.figure3_right(setting)).drop(columns="slices")


def histories(setting: Setting, plan: pd.DataFrame) -> pd.DataFrame:
    """What the trainings of ``plan`` tell on the way, each up to as many images as its column ``until`` says.

    Columns method, slices, seed, iterations, seconds, training_loss, validation_loss, failure. The last says why a
    training could not go on; its row has no losses.
    """
    runs = run_grid(plan.config, setting)
    frames = [
        run.history[run.history.images <= row.until].assign(method=row.method, slices=row.slices, seed=row.seed)
        for row, run in zip(plan.itertuples(), runs, strict=True)
    ]
    curves = pd.concat(frames, ignore_index=True)
    curves = curves.assign(iterations=curves.images // BATCH, failure=curves.get("failure"))
    columns = ["method", "slices", "seed", "iterations", "seconds", "training_loss", "validation_loss", "failure"]
    return curves.reindex(columns=columns)


def fig3_right(setting: Setting, curves: pd.DataFrame) -> Picture:
    """Validation loss against iterations for each solver; a cross marks where a training broke off.

    A curve goes on while every seed does; where some seeds were followed for longer, their mean goes on as a thin line.
    """
    figure, axes = plt.subplots()
    title, count, methods = setting.load().title, curves.seed.nunique(), list(curves.method.unique())
    finite = np.isfinite(curves.validation_loss)
    summary, longer = over_seeds(curves[finite], ["method", "iterations"], "validation_loss", "iterations"), set()
    for method in methods:
        look, curve = METHODS[method].look, summary[(summary.method == method) & (summary.seeds == count)]
        draw_mean(axes, curve, look, markevery=max(1, len(curve) // 12))
        rest = summary[(summary.method == method) & (summary.seeds < count)]
        if len(rest) and finite[curves.method == method].all():
            axes.plot(rest.x, rest["mean"], color=look.color, linestyle=look.linestyle, linewidth=0.7)
            longer |= set(rest.seeds)
        for stop in curves.iterations[~finite & (curves.method == method)]:
            axes.plot(stop, 0.03, "x", color=look.color, transform=axes.get_xaxis_transform())
    axes.set(yscale="log", xlabel=f"iterations of {BATCH} images", ylabel="validation cross-entropy")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("{x:.3g}")
    several = f"mean and 95 % interval, {count} seeds" if count > 1 else "one seed"
    thin = f"; thin: {' or '.join(map(str, sorted(longer)))} of them" * bool(longer)
    heading = f"{title}, fixed grids of {setting.profile.slices} slices ({several}{thin})"
    axes.set_title(wrapped(heading, 0.85 * WIDTH))
    axes.legend()
    shared = curves.groupby("iterations").seed.nunique()
    last = shared.index[shared == count].max()
    finals = curves[curves.iterations == last].groupby("method").validation_loss.mean()
    alt = (
        "Validation loss against iterations for GFE and second-order GFE on fixed grids and for GFE-amd, "
        f"on {title}. After {last:,} iterations: "
        + ", ".join(f"{METHODS[method].look.short} {finals[method]:.4f}" for method in methods if method in finals)
        + "."
    )
    return Picture("fig3_right", figure, alt, curves)
