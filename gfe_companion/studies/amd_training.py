"""Notebook 04, on training: Figure 3 (right), which solver trains best."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter

from gfe_companion.evidence.claims import BATCH
from gfe_companion.evidence.intervals import over_seeds
from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.drawing import WIDTH, draw_mean, spread, wrapped
from gfe_companion.studies.results import Picture, listed

GFE = "gfe"  # with which the others are compared


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


def relative_to_gfe(curves: pd.DataFrame) -> pd.DataFrame:
    """By how much, relative, each other method's validation loss lies above GFE's with the same seed: column relative.

    Other columns: method, seed, iterations.
    """
    finite = curves[np.isfinite(curves.validation_loss)]
    wide = finite.pivot(index=["seed", "iterations"], columns="method", values="validation_loss")
    if GFE not in wide or len(wide.columns) < 2:
        return pd.DataFrame(columns=["method", "seed", "iterations", "relative"])
    ratios = wide.drop(columns=GFE).div(wide[GFE], axis=0) - 1
    return ratios.melt(value_name="relative", ignore_index=False).dropna().reset_index()


def fig3_right(setting: Setting, curves: pd.DataFrame) -> Picture:
    """Validation loss against iterations for each solver, and relative to GFE; a cross marks a training that broke off.

    A curve goes on while every seed does; where some seeds were followed for longer, their mean goes on as a thin line.
    """
    figure, (axes, beside) = plt.subplots(1, 2, figsize=(WIDTH, 3.7), width_ratios=(1.5, 1))
    title, count, methods = setting.load().title, curves.seed.nunique(), list(curves.method.unique())
    finite = np.isfinite(curves.validation_loss)
    summary, longer = over_seeds(curves[finite], ["method", "iterations"], "validation_loss", "iterations"), set()
    for place, method in enumerate(methods):
        look, curve = METHODS[method].look, summary[(summary.method == method) & (summary.seeds == count)]
        every = max(len(methods), len(curve) // 9)
        wide = 4 if method == GFE else 1.5  # so that a curve that coincides with it is seen on it
        draw_mean(axes, curve, look, markevery=(place * every // len(methods), every), linewidth=wide)
        rest = summary[(summary.method == method) & (summary.seeds < count)]
        if len(rest) and finite[curves.method == method].all():
            axes.plot(rest.x, rest["mean"], color=look.color, linestyle=look.linestyle, linewidth=0.7)
            longer |= set(rest.seeds)
        for stop in curves.iterations[~finite & (curves.method == method)]:
            axes.plot(stop, 0.03, "x", color=look.color, transform=axes.get_xaxis_transform())
    axes.set(yscale="log", xlabel=f"iterations of {BATCH} images", ylabel="validation cross-entropy")
    axes.yaxis.set_major_formatter("{x:.3g}")
    axes.yaxis.set_minor_formatter("{x:.3g}")
    finding = _draw_relative(beside, relative_to_gfe(curves), count)
    thin = f"; thin: {' or '.join(map(str, sorted(longer)))} of them" * bool(longer)
    heading = f"{title}, fixed grids of {setting.profile.slices} slices ({spread(count)}{thin})"
    figure.suptitle("\n".join(filter(None, [wrapped(finding), wrapped(heading)])), fontsize="medium")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
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


def _draw_relative(axes: Axes, relative: pd.DataFrame, count: int) -> str:
    """Each method against GFE while all ``count`` seeds go on; returns where they end, in words, if there are any."""
    axes.axhline(0, color=METHODS[GFE].look.color, linewidth=4)
    axes.set(xlabel="iterations", title="relative to GFE")
    axes.xaxis.set_major_locator(MaxNLocator(3))
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0))
    if relative.empty:
        return ""
    summary = over_seeds(relative, ["method", "iterations"], "relative", "iterations")
    summary, ends = summary[summary.seeds == count], []
    for method, curve in summary.groupby("method", sort=False):
        look = METHODS[method].look
        draw_mean(axes, curve, look, markevery=max(1, len(curve) // 6))
        ends.append(f"{look.short} {curve['mean'].iloc[-1]:+.1%}")
    return f"At iteration {summary.iterations.max():,.0f} relative to GFE: {listed(ends)}"
