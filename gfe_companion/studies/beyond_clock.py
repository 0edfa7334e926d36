"""Notebook 08, on the clock: the accelerated GFE, the autoencoder and the auto-decoder against compute time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gfe_companion.evidence.claims import YES, Unmeasured
from gfe_companion.evidence.clock import at_time, lead, rise, time_to
from gfe_companion.evidence.intervals import interval, over_seeds
from gfe_companion.evidence.ours import ours_below_ae_on_the_clock, start_of
from gfe_companion.methods import COLD_TEST, METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.store import run_grid
from gfe_companion.studies import beyond_plans as plans
from gfe_companion.studies.drawing import WIDTH, draw_mean, plain_ticks, spread
from gfe_companion.studies.results import Picture, Table, Text


def runs_of_curves(setting: Setting) -> pd.DataFrame:
    """The curves, finished: columns schedule, method, seed, images, config, run, loss, seconds."""
    return plans.tested(plans.curves(setting), setting)


def runs_of_stored(setting: Setting) -> pd.DataFrame:
    """The auto-decoders, finished: columns rate (of the latents), seed, images, config, run, loss, seconds, validation.

    ``validation`` is the loss of validation images, where the rates swept on the first seed end; elsewhere it is NaN.
    """
    stored = plans.tested(plans.auto_decoders(setting), setting)
    trained = run_grid([config.training for config in stored.config], setting)
    ends = [run.history.set_index("images") for run in trained]
    validated = [
        end.validation_loss[images] if "validation_loss" in end else np.nan
        for end, images in zip(ends, stored.images, strict=True)
    ]
    return stored.assign(validation=validated)


def best_rate(stored: pd.DataFrame) -> float:
    """The learning rate of the latents that ends at the lowest validation loss, among those swept."""
    return float(stored.groupby("rate").validation.mean().idxmin())


def seeds_said(setting: Setting) -> str:
    """The seeds that this page uses, in words."""
    return ", ".join(map(str, plans.seeds_of(setting)))


def say_sizes(setting: Setting) -> Text:
    """Which of the seeds this page uses, and on how many test images its curves are measured."""
    count, used = min(setting.profile.beyond_tested, len(setting.load().test.images)), plans.seeds_of(setting)
    alone = " One seed gives no interval." if len(used) == 1 < len(setting.seeds) else ""
    return Text(
        f"Seeds of this page: {seeds_said(setting)}.{alone} Test losses on the way are those of the first "
        f"{count:,} test images."
    )


def fig8_clock(setting: Setting, curves: pd.DataFrame, stored: pd.DataFrame) -> Picture:
    """Figure 4 (right) redone: test loss against compute time, the learning rate constant and decaying."""
    rate = best_rate(stored)
    best = stored[stored.rate == rate].assign(schedule="constant", method="auto_decoder")
    drawn = pd.concat([curves, best])[["schedule", "method", "seed", "images", "seconds", "loss"]]
    means = over_seeds(drawn, ["schedule", "method", "images"], "loss", "seconds")
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.9), sharey=True)
    for axes, (schedule, title) in zip(panels, plans.SCHEDULES.items(), strict=True):
        for method, curve in means[means.schedule == schedule].groupby("method"):
            draw_mean(axes, curve, METHODS[method].look)
        axes.set(xscale="log", yscale="log", title=title, xlabel="compute time (s, one thread)")
        plain_ticks(axes.xaxis)
    plain_ticks(panels[0].yaxis)
    panels[0].set_ylabel("test cross-entropy")
    heading = f"{setting.load().title} ({spread(*means.seeds)})"
    figure.suptitle("\n".join(filter(None, [_found(drawn), heading])), fontsize="medium")
    shown = [axes.get_legend_handles_labels() for axes in panels]
    handles = {label: handle for pair in shown for handle, label in zip(*pair, strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=2, fontsize=8)
    last = means.sort_values("images").groupby(["schedule", "method"]).tail(1)
    alt = "Test loss against compute time. Last points: " + "; ".join(
        f"{plans.SCHEDULES[row.schedule]}, {METHODS[row.method].look.short}: {row['mean']:.4f} after {row.x:.0f} s"
        for _, row in last.iterrows()
    )
    return Picture("fig8_clock", figure, f"{alt}.", drawn)


def _found(drawn: pd.DataFrame) -> str:
    """That the accelerated GFE lies below the AE, where the rule says so of the curves that are ``drawn``."""
    try:
        below = ours_below_ae_on_the_clock(lambda name: drawn).verdict == YES
    except Unmeasured:
        return ""
    return "The accelerated GFE lies below the untuned AE at every time compared" * below


def runs_of_ends(setting: Setting) -> pd.DataFrame:
    """The last decoders, finished: columns schedule, method, seed, images, config, run and the mean test loss."""
    ends = plans.reached(plans.ends(setting), setting)
    return ends.assign(loss=[run.history.loss.mean() for run in ends.run])


def table_ends(setting: Setting, ends: pd.DataFrame) -> Table:
    """The test losses of the last decoders, on as many images as Table 2."""
    rows = [
        {"learning rate": plans.SCHEDULES[schedule], "method": METHODS[method].look.short,
         "training images": f"{images:,}", "test cross-entropy": str(interval(group.loss))}
        for (schedule, method, images), group in ends.groupby(["schedule", "method", "images"])
    ]  # fmt: skip
    notes = (
        f"Mean ± 95 % interval, seeds {seeds_said(setting)}, on the first {len(ends.run.iloc[0].history):,} test "
        "images; each by the method's own encoder."
    )
    columns = ["schedule", "method", "seed", "images", "loss"]
    return Table("table_08_ends", ends[columns], pd.DataFrame(rows), "The last decoders of both methods", notes)


def table_stored(setting: Setting, curves: pd.DataFrame, stored: pd.DataFrame) -> Table:
    """The auto-decoder beside the autoencoder and the accelerated GFE: after as many images, and after as long."""
    constant = curves[curves.schedule == "constant"]
    gfe, ae = (constant[constant.method == method] for method in ("gfe_fast", "ae"))
    mean, best, rows = gfe.groupby("images")[["seconds", "loss"]].mean(), best_rate(stored), []
    for images, group in stored.groupby("images"):
        row = {"images": f"{images:,}"}
        row |= {f"rate {rate:g}": str(interval(part.loss)) for rate, part in group.groupby("rate")}
        row["AE"] = str(interval(ae[ae.images == images].loss))
        if images in mean.index:
            row["GFE, accelerated"] = str(interval(gfe[gfe.images == images].loss))
        seconds = group[group.rate == best].seconds.mean()
        same_time = float(at_time(mean, np.array([seconds]))[0])
        row["GFE, accelerated, at the same time"] = "-" if np.isnan(same_time) else f"{same_time:.4f}"
        rows.append(row)
    notes = (
        f"Mean ± 95 % interval, seeds {seeds_said(setting)}, the first {setting.profile.beyond_tested:,} test images; "
        f"the auto-decoder's are encoded from zero by up to {COLD_TEST.max_trials} quasi-Newton trials, those of AE "
        "and GFE by their own encoders. Rates are swept on the first seed, the others have "
        f"{plans.LATENT_RATE:g}. The last column is at the time of the rate {best:g}: its validation loss is lowest."
    )
    title = "The auto-decoder by the learning rate of its latents: test cross-entropy"
    columns = ["rate", "seed", "images", "seconds", "loss"]
    return Table("table_08_stored", stored[columns], pd.DataFrame(rows).fillna("-"), title, notes)


def times_of(curves: pd.DataFrame) -> pd.DataFrame:
    """Seconds of each seed to the AE's last loss: columns seed, ae, gfe (infinite where it never comes), schedule.

    Of both it is the first time: an AE that has long been at its last loss is not held to its whole training.
    """
    rows = []
    for schedule in plans.SCHEDULES:
        for seed, part in curves[curves.schedule == schedule].groupby("seed"):
            gfe, ae = (part[part.method == method] for method in ("gfe_fast", "ae"))
            loss = ae.sort_values("seconds").loss.iloc[-1]
            rows.append((seed, time_to(ae, loss), time_to(gfe, loss), schedule))
    return pd.DataFrame(rows, columns=["seed", "ae", "gfe", "schedule"])


def table_verdict(setting: Setting, curves: pd.DataFrame, times: pd.DataFrame) -> Table:
    """The numbers on the clock: where GFE is below the AE, how soon it is there, and how much it ever rises."""
    rows = []
    for schedule, title in plans.SCHEDULES.items():
        part, reach = curves[curves.schedule == schedule], times[times.schedule == schedule]
        gfe, ae = (part[part.method == method].sort_values("images") for method in ("gfe_fast", "ae"))
        ours, other = (side.groupby("images")[["seconds", "loss"]].mean() for side in (gfe, ae))
        start = start_of(ae)
        leads, since = lead(ours, other, start), f" from {start:g} s on" if start else ""
        below = f"at {(leads > 0).mean():.0%} of {len(leads)} times{since}" if len(leads) else "no time in common"
        rises, ratio = gfe.groupby("seed").loss.agg(rise), (reach.gfe / reach.ae).max()
        rows.append({
            "learning rate": title,
            "GFE below the AE": below,
            "seconds to the AE's last loss, GFE / AE": f"{reach.gfe.mean():.3g} / {reach.ae.mean():.3g}",
            "largest ratio of a seed": f"{ratio:.2f}" if np.isfinite(ratio) else "not reached",
            "largest rise of a seed": f"{rises.max():.1%} (to {gfe.images.max():,} images)",
        })  # fmt: skip
    title = f"GFE, accelerated, against the AE on {setting.load().title}: test cross-entropy on the clock, one thread"
    notes = (
        f"Seeds {seeds_said(setting)}, the first {setting.profile.beyond_tested:,} test images. The clock counts "
        "training alone, in processor seconds, with other trainings on the other cores. Both methods have the same "
        "learning rates. The first column compares means over seeds; a method is at a loss when it first comes down "
        "to it."
    )
    return Table("table_08_verdict", times, pd.DataFrame(rows), title, notes)


def say_price(curves: pd.DataFrame) -> Text:
    """What an image costs the accelerated GFE, and the images and seconds to the AE's last loss; beside the AE."""
    costs, shares, times = [], [], []
    for _, part in curves[curves.schedule == "constant"].groupby("seed"):
        gfe, ae = (part[part.method == method].sort_values("images") for method in ("gfe_fast", "ae"))
        ours, last = gfe.iloc[-1], ae.iloc[-1]
        costs.append(ours.seconds / ours.images / (last.seconds / last.images))
        ours_at, ae_at = (time_to(side.assign(seconds=side.images), last.loss) for side in (gfe, ae))
        shares.append(ours_at / ae_at)
        times.append(time_to(gfe, last.loss) / time_to(ae, last.loss))
    dearer = interval(costs)
    price = f"At the constant rate a training image costs the accelerated GFE {dearer:.1f} times the AE's seconds"
    if not np.isfinite(shares).all():
        return Text(f"{price}. It does not come down to the AE's last loss in every seed.")
    return Text(
        f"{price}. It comes down to the AE's last loss after {interval(shares):.1%} of the AE's images, and "
        f"{interval(times):.1%} of its seconds."
    )


def say_seen(ends: pd.DataFrame) -> Text:
    """The last test losses of both methods, beside what the paper concedes."""
    means = ends.groupby(["schedule", "method"]).loss.mean()
    said = ", ".join(
        f"{title} **{means[schedule, 'gfe_fast']:.4f} / {means[schedule, 'ae']:.4f}**"
        for schedule, title in plans.SCHEDULES.items()
    )
    return Text(
        f"**What we saw.** Last test losses, GFE accelerated / AE: {said}.\n\n"
        "**What the paper concedes** (Sec. 5): “this comes at a higher computational cost for each iteration”, and the "
        "AE “is significantly faster”. Whether this is true of encoding by optimisation as such, our own "
        "claims decide:"
    )
