"""Notebook 06: Table 2, the test losses of trained networks on every data set."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.claims.learning import ratios_to_ae
from gfe_companion.evidence.intervals import Interval, interval
from gfe_companion.evidence.scorecard import beside, printed
from gfe_companion.methods import METHODS
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import plans
from gfe_companion.studies.drawing import WIDTH, spread, wrapped
from gfe_companion.studies.results import Picture, Table, Text, markdown
from gfe_companion.studies.same_images import beside_ae

DATASETS: tuple[str, ...] = tuple(REGISTRY)
AE, GFE, AE_THEN_AMD = "ae", "gfe_amd_uncapped", "ae_then_amd"
FAST, LONG = "gfe_fast", "gfe_fast_long"
COLUMNS = 3  # panels beside one another
Losses = dict[tuple[str, str], Interval]


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 06 rests on."""
    frames = [make(setting, name) for name in REGISTRY for make in (plans.table2, plans.optima)]
    return [config for frame in frames for config in frame.config]


def runs_of_table2(setting: Setting) -> pd.DataFrame:
    """Table 2's tests on every data set: columns dataset, method, seed, images, config, run, test_loss, seconds.

    ``images`` and ``seconds`` are those of the training; ``test_loss`` is the mean over the test images. There is one
    more column, see :func:`~gfe_companion.studies.same_images.beside_ae`.
    """
    plan = pd.concat([plans.table2(setting, name) for name in REGISTRY], ignore_index=True)
    runs = run_grid(plan.config, setting)
    trainings = run_grid([config.training for config in plan.config], setting)
    took = [
        training.history.set_index("images").seconds.get(images, math.nan)  # of one that broke off
        for training, images in zip(trainings, plan.images, strict=True)
    ]
    plan = plan.assign(run=runs, test_loss=[run.history.loss.mean() for run in runs], seconds=took)
    return beside_ae(plan, ["dataset", "seed"])


def losses(runs: pd.DataFrame) -> Losses:
    """The test loss over seeds, by data set and method."""
    return {key: interval(group.test_loss) for key, group in runs.groupby(["dataset", "method"], sort=False)}


def seeds_of(setting: Setting) -> tuple[int, ...]:
    """The seeds that trained networks get."""
    return setting.seeds[: setting.profile.converged_seeds]


def several(setting: Setting) -> str:
    """What a number with an interval is a mean of, in words."""
    count = len(seeds_of(setting))
    return "One seed" if count == 1 else f"Mean ± 95 % interval over {count} seeds"


def table2(setting: Setting, runs: pd.DataFrame) -> Table:
    """Table 2: the test loss of each method on each data set, beside the number that the paper prints, if any."""
    ours, names = losses(runs), list(dict.fromkeys(runs.dataset))
    columns = {"data set": [setting.load(name).title for name in names]}
    for method in (name for name in METHODS if name in set(runs.method)):
        found = {name: ours.get((name, method)) for name in names}
        columns[METHODS[method].look.short] = ["\u2013" if loss is None else str(loss) for loss in found.values()]
        column = METHODS[method].printed
        theirs = [beside(setting, "table2", name, method, loss) if loss else "" for name, loss in found.items()]
        if column and any(theirs):
            columns[f"paper: {METHODS[column].look.short}"] = theirs
    seen, share = runs.groupby(["dataset", "method"]).images.first(), setting.profile.epoch_share
    taken = "; ".join(f"{setting.load(name).title}: {seen[name, GFE]:,} / {seen[name, AE]:,}" for name in names)
    epochs = "whole epochs" if share == 1 else f"an \u201cepoch\u201d is {share:.2%} of a real one"
    seeds = ", ".join(map(str, seeds_of(setting)))
    return Table(
        "table2", runs[["dataset", "method", "seed", "images", "test_loss", "ae_loss"]], pd.DataFrame(columns),
        f"Table 2: test cross-entropy of trained networks, mean ± 95 % interval, seeds {seeds}",
        f"Training images, GFE / AE ({epochs}). {taken}. {_accelerated(setting, runs)}"
        f"The AE's own encoder is tested on all test images, GFE on the first {setting.profile.test_images:,}, "
        "or as many as there are. Verdicts compare each method with the AE on the same test images. All AMD here is "
        "uncapped. "
        "Printed numbers stand beside ours with the verdict on them, by the scorecard's rule.",
    )  # fmt: skip


def _accelerated(setting: Setting, runs: pd.DataFrame) -> str:
    """What the accelerated GFE was given, in words."""
    if LONG not in set(runs.method):
        return ""
    count = runs[runs.method == LONG].seed.nunique()
    seeds = f" ({count} of the seeds)" if count < len(seeds_of(setting)) else ""
    return f"The accelerated GFE has one epoch, like uncapped GFE-amd, and twelve, like the AE{seeds}. "


def fig_converged(setting: Setting, runs: pd.DataFrame) -> Picture:
    """Table 2 as a picture, a panel a data set; a black bar is the number that the paper prints, if any."""
    ours, names = losses(runs), list(dict.fromkeys(runs.dataset))
    methods = [name for name in METHODS if name in set(runs.method)]
    across, down = min(len(names), COLUMNS), math.ceil(len(names) / COLUMNS)
    figure, panels = plt.subplots(down, across, figsize=(WIDTH, 0.5 + 2.8 * down), squeeze=False)
    compared = False
    for axes, name in zip(panels.flat, names, strict=False):
        compared |= _panel(setting, axes, name, {m: ours[name, m] for m in methods if (name, m) in ours})
        axes.set_title(wrapped(setting.load(name).title, 0.9 * WIDTH / across, 8), fontsize=8)
        axes.set_xticks([])
        axes.set_xlim(-0.5, len(methods) - 0.4)
        axes.tick_params(axis="y", labelsize=8)
    for axes in panels.flat[len(names) :]:
        axes.remove()
    for axes in panels[:, 0]:
        axes.set_ylabel("test cross-entropy")
    handles = {METHODS[method].look.label: _mark(method) for method in methods}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2, fontsize=8)
    count = len(seeds_of(setting))
    figure.suptitle(spread(count).capitalize() + "; black bars: the paper's numbers" * compared, fontsize="medium")
    spoken = [
        f"{setting.load(name).title}: "
        + ", ".join(f"{METHODS[m].look.short} {ours[name, m].mean:.4f}" for m in methods if (name, m) in ours)
        for name in names
    ]
    numbers = runs[["dataset", "method", "seed", "images", "seconds", "test_loss", "ae_loss"]]
    return Picture("fig_06_converged", figure, f"Test losses of trained networks. {'; '.join(spoken)}.", numbers)


def _panel(setting: Setting, axes: Axes, name: str, ours: dict[str, Interval]) -> bool:
    """Draw the losses of one data set; returns whether the paper prints any of them."""
    numbers = {place: printed(setting, "table2", name, method) for place, method in enumerate(ours)}
    bars = {place: number for place, number in numbers.items() if number is not None}
    for place, (method, loss) in enumerate(ours.items()):
        look, half = METHODS[method].look, loss.reach
        axes.errorbar(place, loss.mean, half, color=look.color, marker=look.marker, capsize=4, linestyle="none")
    for place, number in bars.items():
        axes.plot(place + 0.25, number, "_", color="black", markersize=10)
    return bool(bars)


def _mark(method: str) -> Line2D:
    """How a method is drawn, for a legend."""
    look = METHODS[method].look
    return Line2D([], [], color=look.color, marker=look.marker, linestyle="none")


def ratios(runs: pd.DataFrame) -> dict[str, Interval]:
    """GFE-amd's test loss over the AE's on the same images, paired by seed, for each data set."""
    return ratios_to_ae(runs[runs.method == GFE])


def say_seen(setting: Setting, runs: pd.DataFrame) -> Text:
    """How the two methods compare on each data set: the ratio of their losses, and the time that each took."""
    took, found = runs.groupby(["dataset", "method"]).seconds.mean(), ratios(runs)
    short = METHODS[GFE].look.short
    shown = pd.DataFrame({
        "data set": [setting.load(name).title for name in found],
        f"loss: {short} / AE": [f"{ratio:.3f}" for ratio in found.values()],
        f"seconds: {short}": [f"{took[name, GFE]:,.1f}" for name in found],
        "seconds: AE": [f"{took[name, AE]:,.1f}" for name in found],
    })  # fmt: skip
    reduced = " Budgets are reduced: these are not converged networks." * (setting.profile.epoch_share < 1)
    return Text(
        "With a twelfth of the images, uncapped GFE-amd has this loss, relative to the AE's (1: equal), "
        f"and each of the two has taken this much of one thread's time to train.{reduced}\n\n{markdown(shown)}\n\n"
        f"{several(setting)}; each ratio is of two trainings with the same seed, on the same "
        "test images."
    )
