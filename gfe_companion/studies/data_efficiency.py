"""Notebook 05: Figure 4, the loss on the way by images and by time, and Table 1, the loss on test images."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from gfe_companion.datasets import REGISTRY
from gfe_companion.evidence.claims import BATCH, Unmeasured
from gfe_companion.evidence.claims.learning import to_equal_loss
from gfe_companion.evidence.intervals import Interval, interval, over_seeds
from gfe_companion.evidence.scorecard import beside
from gfe_companion.methods import METHODS, UNCAPPED
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import data_plans, plans
from gfe_companion.studies.drawing import WIDTH, draw_mean, plain_ticks, spread, wrapped
from gfe_companion.studies.results import Picture, Table, Text
from gfe_companion.studies.same_images import beside_ae

DATASETS: tuple[str, ...] = tuple(REGISTRY)
AE, GFE = "ae", "gfe_amd_uncapped"  # the two that every profile runs, and that sentences compare


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 05 rests on."""
    made = (plans.figure4, plans.table1, data_plans.available, data_plans.opposing)
    return [config for plan in made for config in plan(setting).config]


def runs_of_table1(setting: Setting) -> pd.DataFrame:
    """Table 1's tests: columns images, method, seed, config, run, test_loss (its mean) and that of `beside_ae`."""
    plan = plans.table1(setting)
    runs = run_grid(plan.config, setting)
    return beside_ae(plan.assign(run=runs, test_loss=[run.history.loss.mean() for run in runs]), ["images", "seed"])


def curves_of_fig4(setting: Setting) -> pd.DataFrame:
    """Figure 4: columns method, seed, images, seconds, training_loss, validation_loss."""
    plan = plans.figure4(setting)
    runs = run_grid(plan.config, setting)
    frames = [
        run.history.assign(method=row.method, seed=row.seed)
        for row, run in zip(plan.itertuples(), runs, strict=True)
    ]  # fmt: skip
    columns = ["method", "seed", "images", "seconds", "training_loss", "validation_loss"]
    return pd.concat(frames, ignore_index=True).reindex(columns=columns)


def summary(curves: pd.DataFrame, x: str) -> pd.DataFrame:
    """Mean and 95 % interval of the validation loss over seeds, at each number of images, against column ``x``."""
    return over_seeds(curves, ["method", "images"], "validation_loss", x)


def _drawn(setting: Setting, curves: pd.DataFrame, x: str, what: str, label: str) -> Figure:
    figure, axes = plt.subplots(figsize=(WIDTH, 4.3))
    means = summary(curves, x)
    by_method, seeds = dict(list(means.groupby("method"))), means.seeds
    for method in (name for name in METHODS if name in by_method):
        draw_mean(axes, by_method[method], METHODS[method].look)
    axes.set(xscale="log", xlabel=label, ylabel="validation cross-entropy")
    plain_ticks(axes.xaxis)
    finding = "Validation loss" if (factor := factor_to_equal_loss(curves, x)) is None else (
        f"The AE needs {factor:.2g} times the {what} for the loss of {METHODS[GFE].look.short}"
    )  # fmt: skip
    lines = (finding, f"{setting.load().title} ({spread(*seeds)})")
    axes.set_title("\n".join(wrapped(line, 0.85 * WIDTH) for line in lines))
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return figure


def factor_to_equal_loss(curves: pd.DataFrame, x: str) -> float | None:
    """How many times as much of ``x`` the AE needs for the loss that uncapped GFE-amd has at Table 1's last row.

    The mean over seeds, as the claims on Figure 4 have it. None where one is not there, or where some AE ends above.
    """
    try:
        spent, each = to_equal_loss(curves, x, GFE)
    except Unmeasured:
        return None
    return float((spent.ae / spent.gfe).mean()) if len(spent) == len(each) else None


def _spoken(curves: pd.DataFrame) -> str:
    reached = curves.groupby("method").agg(images=("images", "max"), lowest=("validation_loss", "min"))
    return "; ".join(
        f"{METHODS[row.Index].look.short}: lowest {row.lowest:.4f}, drawn to {row.images:,.0f} images"
        for row in reached.itertuples()
    )


def fig4_left(setting: Setting, curves: pd.DataFrame) -> Picture:
    """Validation loss against the training images seen."""
    figure = _drawn(setting, curves, "images", "images", "training images seen")
    falls = f"Validation loss falls with the number of training images, on {setting.load().title}."
    return Picture("fig4_left", figure, f"{falls} {_spoken(curves)}.", curves)


def fig4_right(setting: Setting, curves: pd.DataFrame) -> Picture:
    """Validation loss against compute time."""
    figure = _drawn(setting, curves, "seconds", "time", "compute time [s], one thread")
    same = f"The same validation losses against compute time on a logarithmic axis, on {setting.load().title}."
    return Picture("fig4_right", figure, f"{same} {_spoken(curves)}.", curves)


def share_of_times_below(one: pd.DataFrame, other: pd.DataFrame) -> float | None:
    """The share of the time axis, logarithmic, on which curve ``one`` lies below the ``other``.

    Both are parts of a :func:`summary` against seconds. None where they reach no time in common.
    """
    if one.empty or other.empty:  # all of its trainings broke off
        return None
    first, last = max(one.x.min(), other.x.min()), min(one.x.max(), other.x.max())
    if first >= last:
        return None
    times = np.log(np.geomspace(first, last, 200))
    ours, theirs = (np.interp(times, np.log(curve.x), curve["mean"]) for curve in (one, other))
    return float(np.mean(ours < theirs))


def say_time(curves: pd.DataFrame) -> Text:
    """What an iteration costs by each method, and which has the lower loss at equal compute time."""
    cost = (1000 * curves.seconds / (curves.images / BATCH)).groupby(curves.method).median()
    costs = ", ".join(f"{METHODS[method].look.short} **{value:.0f}**" for method, value in cost.items())
    by_time = summary(curves, "seconds")
    share = share_of_times_below(by_time[by_time.method == AE], by_time[by_time.method == GFE])
    equal = (
        "The two curves reach no compute time in common."
        if share is None
        else f"At equal compute time the autoencoder has the lower loss at **{share:.0%}** of the times "
        "that both curves reach (on this axis)."
    )
    return Text(
        f"Milliseconds for one iteration of {BATCH} images, median: {costs}.\n\n"
        f"*Reading it:* now the horizontal distance is the factor in time. {equal} "
        "This is the price that the paper concedes: "
        "each GFE iteration solves an optimisation problem for each of its images."
    )


def table1(setting: Setting, runs: pd.DataFrame) -> Table:
    """Table 1: the test loss of each method that was run, with the number that the paper prints beside it, if any."""
    columns = []
    for method in (name for name in METHODS if name in set(runs.method)):
        groups = runs[runs.method == method].groupby("images").test_loss
        ours = {images: interval(losses) for images, losses in groups}
        columns.append((METHODS[method].look.short, [str(found) for found in ours.values()]))
        printed = METHODS[method].printed
        theirs = [beside(setting, "table1", images, method, found) for images, found in ours.items()]
        if printed and any(theirs):
            columns.append((f"paper: {METHODS[printed].look.short}", theirs))
    names, cells = zip(("images", [f"{images:,}" for images in sorted(set(runs.images))]), *columns, strict=True)
    dataset, profile = setting.load(), setting.profile
    tested, seeds = min(profile.test_images, len(dataset.test.images)), ", ".join(map(str, setting.seeds))
    few = [METHODS[name].look.short for name in METHODS if name in set(runs.method) and plans.on_fewer(name)]
    named = " and ".join(f"\u201c{name}\u201d" for name in few)
    literal = f"; {named} on {profile.slow_test_images:,} of these, spread evenly" if few else ""
    return Table(
        "table1", runs[["images", "method", "seed", "test_loss", "ae_loss"]],
        pd.DataFrame(list(zip(*cells, strict=True)), columns=names),
        f"Table 1 on {dataset.title}: test cross-entropy, mean ± 95 % interval, seeds {seeds}",
        f"The AE's own encoder is tested on all {len(dataset.test.images):,} test images, "
        f"the other methods on the first {tested:,}{literal}. "
        f"Uncapped AMD departs from the paper: s_max = {UNCAPPED.s_max:g}, "
        f"s grows from the last accepted step, {UNCAPPED.max_trials} trials at most, "
        "also in \u201cAE, then AMD\u201d. Verdicts compare each method with the AE on the same test images. "
        "Printed numbers stand beside ours with the verdict on them, by the scorecard's rule.",
    )  # fmt: skip


def gains(runs: pd.DataFrame) -> pd.DataFrame:
    """What AMD gains over the AE's own encoder on the same decoder and images: columns images, seed, gain."""
    encoded = runs[runs.method == "ae_then_amd"]
    return encoded.assign(gain=encoded.ae_loss - encoded.test_loss)[["images", "seed", "gain"]].reset_index(drop=True)


def table_gain(setting: Setting, gained: pd.DataFrame) -> Table:
    """:func:`gains` over seeds."""
    rows: dict[int, Interval] = {images: interval(part.gain) for images, part in gained.groupby("images")}
    return Table(
        "table_05_gain", gained,
        pd.DataFrame({"images": [f"{images:,}" for images in rows], "gain": [str(gain) for gain in rows.values()]}),
        f"Encoding by uncapped AMD in place of the AE's own encoder: gain in test loss, {setting.load().title}",
        "Mean ± 95 % interval over seeds, the same decoder and images in each pair.",
    )  # fmt: skip


def on_fewer(setting: Setting, runs: pd.DataFrame) -> pd.DataFrame:
    """What uncapped GFE-amd loses on all its test images and on those that a slow method gets.

    Columns: images, seed, all and fewer (the mean loss on either), half (of the 95 % interval over the fewer images).
    """
    rows = []
    for row in runs[runs.method == GFE].itertuples():
        fewer, every = plans.fewer(row.config, setting.profile), row.run.history.loss
        losses = every[:: fewer.every][: fewer.count]
        rows.append((row.images, row.seed, every.mean(), losses.mean(), interval(losses).half))
    return pd.DataFrame(rows, columns=["images", "seed", "all", "fewer", "half"])


def table_tested(setting: Setting, tested: pd.DataFrame) -> Table:
    """:func:`on_fewer` over seeds: whether as many test images as a slow method gets are enough."""
    profile, rows = setting.profile, []
    for images, part in tested.groupby("images"):
        over, off = interval(part["all"]), interval(part.fewer - part["all"])
        seeds = "one seed" if over.count == 1 else f"± {over.half:.4f}"
        rows.append((f"{images:,}", f"{over.mean:.4f}", seeds, f"± {part.half.mean():.4f}", f"{off:+.4f}"))
    few = f"{profile.slow_test_images:,}"
    return Table(
        "table_05_tested", tested,
        pd.DataFrame(
            rows, columns=["images", "test loss", "over seeds", f"over {few} test images", f"{few} of them − all"]
        ),
        f"How far {few} test images tell what all do: GFE-amd, uncapped, {setting.load().title}",
        f"95 % intervals. The {few} images are spread evenly over all those of Table 1; "
        "they are the same for every seed, so that more seeds do not average out what they are off by.",
    )  # fmt: skip


def images_to(curve: pd.DataFrame, target: float) -> float | None:
    """Where a ``curve`` (columns images, mean) first comes down to ``target``; None if it never does.

    It is interpolated on the logarithm of the images.
    """
    if curve["mean"].min() > target:
        return None
    return float(np.exp(np.interp(-target, -curve["mean"].cummin(), np.log(curve.images))))


def say_answer(setting: Setting, curves: pd.DataFrame) -> Text:
    """The answer to the exercise: the images that the AE needs for GFE's loss after the first row of Table 1."""
    by_images, seen = summary(curves, "images"), setting.profile.table1_images[0]
    ours, ae = (by_images[by_images.method == method] for method in (GFE, AE))
    target = float(ours[ours.images == seen]["mean"].iloc[0])
    needed = images_to(ae, target)
    answer = (
        f"more than the {ae.images.max():,} images drawn here"
        if needed is None
        else f"about {needed:,.0f} images, {needed / seen:.0f} times as many"
    )
    return Text(f"Uncapped GFE-amd stands at {target:.4f} after {seen:,} images. The autoencoder needs **{answer}**.")
