"""Notebook 04, on AMD itself: how it chooses its steps, what its fields do, and how its scaling factor grows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gfe_companion.methods import LITERAL, METHODS, UNCAPPED
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.hessian import curvature
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import borrowed, plans
from gfe_companion.studies.drawing import WIDTH
from gfe_companion.studies.encoding_as_gradient_flow import recorded
from gfe_companion.studies.results import Picture, Table, Text, listed
from gfe_core.amd import AMD
from gfe_core.models import Decoder
from gfe_core.objective import Objective

DATASETS: tuple[str, ...] = ("mnist",)
TESTED = 16  # test images on which AMD's fields are compared
TRIALS = (5, 10, 20, 40, 80, 120)
CHOICES: dict[str, tuple[float, ...]] = {
    "s_max": (1.0, 10.0, 100.0, 1000.0),
    "beta": (0.25, 0.5, 0.75, 0.9),
    "kappa": (1.0, 1.1, 1.5, 3.0),
}
SYMBOLS = {"s_max": "$s_{max}$", "beta": "$\\beta$", "kappa": "$\\kappa$"}
EARLY = 30  # decoder passes: what counts as few


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 04 rests on."""
    watched = plans.watched(setting)
    return [*plans.stiffness(setting).config, borrowed.training(setting), *watched.config, *watched.coarse]


def last_decoder(setting: Setting) -> Decoder:
    """The decoder of the last row of Table 1, trained by uncapped AMD with the first seed."""
    return list(borrowed.decoders(setting).values())[-1]


def say_same_steps(objective: Objective, steps: pd.DataFrame) -> Text:
    """That gfe_core's AMD takes the same ``steps`` for the one image of ``objective`` as literal AMD by hand.

    Raises ``ValueError`` where their losses differ by more than the rounding of float32 adds up to.
    """
    losses = recorded(AMD(tolerance=0.0, max_steps=len(steps)).encode(objective, record=True)).loss[1:, 0]
    apart = np.abs(losses.numpy() / steps.loss - 1).max() if len(losses) == len(steps) else np.inf
    if not apart <= 1e-4:
        raise ValueError(f"gfe_core's AMD takes other steps than these: losses differ by up to {apart:.1g}, relative.")
    return Text(f"`gfe_core.amd.AMD` takes the same {len(steps)} steps: relative differences in loss are below 1e-4.")


def fig_schedule(setting: Setting, schedule: pd.DataFrame) -> Picture:
    """The accepted steps and scaling factors of AMD for one image, by method, and the loss below them."""
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(WIDTH, 4.6), sharex=True)
    spoken = []
    for method, steps in schedule.groupby("method"):
        look, cut = METHODS[method].look, steps[steps.refused > 0]
        label = f"{look.short}, $s_{{max}}$ = {steps.s_max.iloc[0]:g}"
        upper.plot(steps.index + 1, steps.dt, look.marker, color=look.color, markersize=3, label=label)
        upper.plot(steps.index + 1, steps.s, color=look.color, linestyle=":", linewidth=1)
        after = f"{len(cut)} of them after a refusal" if len(cut) else None
        upper.plot(cut.index + 1, cut.dt, "x", color="black", markersize=5, label=after)
        lower.plot(steps.index + 1, steps.loss, color=look.color, linestyle=look.linestyle)
        spoken.append(
            f"{look.short}: {len(steps)} steps, {steps.refused.sum()} refused trials, t = {steps.t.max():,.0f}"
        )
    upper.set(yscale="log", ylabel="accepted step $\\delta t_n$\n(dotted: scaling factor $s_n$)")
    lower.set(yscale="log", ylabel="cross-entropy", xlabel="step $n$")
    upper.legend()
    title = setting.load().title
    figure.suptitle(f"{title}: one test image, step by step", fontsize="medium")
    alt = (
        f"Accepted steps and scaling factors of AMD for one image of {title}, "
        f"and the loss, which falls at every step. {'; '.join(spoken)}."
    )
    return Picture("fig_04_schedule", figure, alt, schedule)


def effects(setting: Setting, decoder: Decoder) -> pd.DataFrame:
    """Uncapped AMD with one field changed at a time: columns field, value, passes (an image), loss (the mean)."""
    images, rows = setting.load().test.images[:TESTED], []
    for field, value, trials in ((f, v, k) for f, values in CHOICES.items() for v in values for k in TRIALS):
        changed: dict[str, Any] = {field: value}
        solver = replace(UNCAPPED, tolerance=0.0, max_trials=trials, **changed)
        encoding = solver.encode(Objective(decoder, images))
        rows.append((field, value, encoding.evaluations / len(images), encoding.loss.mean().item()))
    return pd.DataFrame(rows, columns=["field", "value", "passes", "loss"])


def fig_effect(setting: Setting, effect: pd.DataFrame) -> Picture:
    """The loss against the decoder passes for each value of each field."""
    figure, panels = plt.subplots(1, len(CHOICES), figsize=(WIDTH, 3.0), sharey=True)
    for axes, (field, part) in zip(panels, effect.groupby("field", sort=False), strict=True):
        for place, (value, curve) in enumerate(part.groupby("value")):
            color, label = plt.get_cmap("viridis")(place / 3.5), f"{SYMBOLS[field]} = {value:g}"
            axes.plot(curve.passes, curve.loss, color=color, marker="osD^"[place], label=label)
        ticks = (10, 30, 100, 300)
        axes.set(xscale="log", xlabel="passes for each image", xticks=ticks, xticklabels=ticks)
        axes.minorticks_off()
        axes.legend(fontsize=7)
    panels[0].set_ylabel("cross-entropy")
    title = setting.load().title
    figure.suptitle(f"{title}: {TESTED} test images, one field of uncapped AMD at a time", fontsize="medium")
    alt = (
        f"Loss against decoder passes for four values each of s_max, beta and kappa, on {title}. Lowest at the end: "
        + ", ".join(f"{field} = {value:g}" for field, value in best_values(effect).items())
        + "."
    )
    return Picture("fig_04_effect", figure, alt, effect)


def best_values(effect: pd.DataFrame) -> pd.Series:
    """The value of each field with which the lowest loss was reached."""
    return effect.loc[effect.groupby("field").loss.idxmin()].set_index("field").value


def spreads(effect: pd.DataFrame) -> pd.Series:
    """By how much, relative to the best, the worst value of each field ends above it, after more than 60 passes."""
    reached = effect[effect.passes > 60].groupby(["field", "value"]).loss.min().groupby("field")
    return reached.max() / reached.min() - 1


def say_effect(effect: pd.DataFrame) -> Text:
    """How much each field matters in the end, and which values are best with few passes and with many."""

    def values(part: pd.DataFrame) -> str:
        return listed([f"{SYMBOLS[field]} = {value:g}" for field, value in best_values(part).items()])

    shares = listed([f"**{share:.0%}** ({SYMBOLS[field]})" for field, share in spreads(effect).items()])
    return Text(
        "*Reading it:* between the best and the worst of the four values, "
        f"the loss that is reached in the end differs by {shares}. "
        f"With fewer than {EARLY} passes the best values are {values(effect[effect.passes < EARLY])}; "
        f"with many, {values(effect)}."
    )


def readings_of_growth(setting: Setting, decoder: Decoder) -> pd.DataFrame:
    """Both readings of how s_n grows, for literal and for uncapped AMD: columns AMD, s grows from, trials, steps, loss.

    Trials and steps are means over images; each has its setting's convergence stop and no budget.
    """
    images, rows = setting.load().test.images[:TESTED], []
    for name, solver in {"literal": LITERAL, "uncapped": replace(UNCAPPED, max_trials=None)}.items():
        for source, accepted in {"s of the last step": False, "accepted step": True}.items():
            encoding = replace(solver, grow_accepted=accepted).encode(Objective(decoder, images))
            trials = encoding.evaluations / 2 / len(images) - 1
            rows.append((name, source, trials, encoding.steps.double().mean().item(), encoding.loss.mean().item()))
    return pd.DataFrame(rows, columns=["AMD", "s grows from", "trials", "steps", "loss"])


def table_growth(setting: Setting, readings: pd.DataFrame) -> Table:
    """:func:`readings_of_growth`, side by side."""
    return Table(
        "table_04_growth", readings,
        readings.round({"trials": 0, "steps": 0, "loss": 4}).astype({"trials": int, "steps": int}),
        f"Two readings of the update of s, for each image of {setting.load().title}",
        f"The first {TESTED} test images. "
        "*trials* are steps tried, accepted or not, each one forward and one backward pass.",
    )  # fmt: skip


def say_growth(readings: pd.DataFrame) -> Text:
    """How far the two readings differ in loss, and what growing from s_(n-1) costs."""
    wide = readings.pivot(index="AMD", columns="s grows from", values=["trials", "loss"])
    change = abs(wide.loss["s of the last step"] / wide.loss["accepted step"] - 1).max()
    ratio = wide.trials["s of the last step"] / wide.trials["accepted step"]
    return Text(
        f"*Reading it:* the two readings differ by {change:.1%} in loss at most. "
        f"Growth from $s_{{n-1}}$ takes **{ratio['literal']:.2f} times** the trials literally, "
        f"**{ratio['uncapped']:.1f} times** uncapped."
    )


def longest_step(objective: Objective) -> tuple[float, float]:
    """For one image: the longest step from z = 0 that Eq. (9) accepts, of 300 tried up to 1e5, and 2/mu there."""
    z = objective.start()
    loss, gradient = objective.value_and_grad(z)
    steps = [step for step in np.geomspace(1e-2, 1e5, 300) if objective.value(z - step * gradient) < loss]
    if not steps:
        raise ValueError("no step from z = 0 lowers the loss: the image is encoded there already.")
    return max(steps), 2 / curvature(objective.decoder, objective.images, z)[0, -1].item()


def say_answers(objective: Objective) -> Text:
    """The answers to both exercises, for the one image of ``objective``."""
    longest, bound = longest_step(objective)
    return Text(
        f"1. {longest:,.1f}, against $2/\\mu$ = {bound:,.1f}. They agree for a quadratic; "
        "where the loss flattens away from the start, a longer step still lowers it.\n"
        "2. A step just below the largest one lowers the loss by next to nothing while $z$ leaps across the valley: "
        "the losses could converge above the minimum. "
        "The growth of $s_n$ leads to such steps again and again; "
        "each refusal, by $\\beta$, leads back to steps of a useful length."
    )
