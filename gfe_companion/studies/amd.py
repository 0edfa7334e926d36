"""Notebook 04, on AMD itself: how it chooses its steps, what its fields do, and how its scaling factor grows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from gfe_companion.methods import LITERAL, METHODS, UNCAPPED
from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.hessian import curvature
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.studies import borrowed, plans
from gfe_companion.studies.drawing import WIDTH, plain_ticks, wrapped
from gfe_companion.studies.encoding_as_gradient_flow import recorded
from gfe_companion.studies.results import Picture, Table, Text, listed, markdown
from gfe_core.amd import AMD
from gfe_core.models import Decoder
from gfe_core.objective import Objective

TESTED = 16  # test images on which AMD's fields are compared
TRIALS = (5, 10, 20, 40, 80, 120)
CHOICES: dict[str, tuple[float, ...]] = {
    "s_max": (1.0, 10.0, 100.0, 1000.0),
    "beta": (0.25, 0.5, 0.75, 0.9),
    "kappa": (1.0, 1.1, 1.5, 3.0),
}
SYMBOLS = {"s_max": "$s_{max}$", "beta": "$\\beta$", "kappa": "$\\kappa$"}
EARLY = 30  # decoder passes: what counts as few
TIE = 0.01  # losses that are nearer than this to the lowest are as good
FIRST = 150  # of its steps, literal AMD is followed for so many, and uncapped AMD for so many trials


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 04 rests on."""
    watched = plans.watched(setting)
    return [*plans.stiffness(setting).config, borrowed.training(setting), *watched.config, *watched.coarse]


def last_decoder(setting: Setting) -> Decoder:
    """The decoder of the last row of Table 1, trained by uncapped AMD with the first seed."""
    return list(borrowed.decoders(setting).values())[-1]


def steps_taken(solver: AMD, objective: Objective) -> pd.DataFrame:
    """What ``solver`` does for the one image of ``objective``, a row a step: columns t, s, dt, refused, loss.

    ``s`` is what it tries first, ``dt`` what it takes, and ``refused`` how often it shrank the one to the other.
    """
    path = recorded(solver.encode(objective, record=True))
    t, s, rows = path.t[:, 0].tolist(), solver.s_0, []
    for before, after, loss in zip(t, t[1:], path.loss[1:, 0].tolist(), strict=False):
        dt, first = after - before, min(s, solver.tau - before)  # the last step is shortened to land on tau
        rows.append((after, s, dt, round(math.log(dt / first) / math.log(solver.beta)), loss))
        s = min(max(solver.kappa * (dt if solver.grow_accepted else s), solver.s_0), solver.s_max)
    return pd.DataFrame(rows, columns=["t", "s", "dt", "refused", "loss"])


def schedules(objective: Objective) -> pd.DataFrame:
    """:func:`steps_taken` of literal AMD, its first steps, and of uncapped AMD: columns method, s_max, and those."""
    solvers = {"gfe_amd": replace(LITERAL, max_steps=FIRST), "gfe_amd_uncapped": replace(UNCAPPED, max_trials=FIRST)}
    return pd.concat([
        steps_taken(replace(solver, tolerance=0.0), objective).assign(method=method, s_max=solver.s_max)
        for method, solver in solvers.items()
    ])  # fmt: skip


def say_cap(steps_to: Callable[[float], int]) -> Text:
    """How many steps AMD takes to tau under each cap if it refuses nothing, ``steps_to(s_max)``, and tau / s_max."""
    rows = [
        {"s_max": f"{s_max:,.0f}", "tau / s_max": f"{LITERAL.tau / s_max:,.0f}", "steps": f"{steps_to(s_max):,}"}
        for s_max in CHOICES["s_max"]
    ]
    return Text(markdown(pd.DataFrame(rows)))


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
    for axes in (upper, lower):
        plain_ticks(axes.yaxis)
    figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    title, capped = setting.load().title, schedule[schedule.method == "gfe_amd"]
    share = (capped.dt > 0.999 * capped.s_max).mean()
    finding = f"One test image of {title}: {share:.0%} of the literal steps are as long as $s_{{max}}$ allows"
    figure.suptitle(wrapped(finding), fontsize="medium")
    alt = (
        f"Accepted steps and scaling factors of AMD for one image of {title}, "
        f"and the loss, which falls at every step. {'; '.join(spoken)}."
    )
    return Picture("fig_04_schedule", figure, alt, schedule)


def effects(setting: Setting, decoder: Decoder) -> pd.DataFrame:
    """Uncapped AMD with one field changed at a time: columns field, value, passes (an image), loss (the mean)."""
    images, rows = setting.load().test.images[:TESTED], []
    choices = [(field, value, trials) for field, values in CHOICES.items() for value in values for trials in TRIALS]
    for field, value, trials in over(choices, "AMD with one field changed"):
        changed: dict[str, Any] = {field: value}
        solver = replace(UNCAPPED, tolerance=0.0, max_trials=trials, **changed)
        encoding = solver.encode(Objective(decoder, images))
        rows.append((field, value, encoding.evaluations / len(images), encoding.loss.mean().item()))
    return pd.DataFrame(rows, columns=["field", "value", "passes", "loss"])


def fig_effect(setting: Setting, effect: pd.DataFrame) -> Picture:
    """The loss against the decoder passes for each value of each field."""
    figure, panels = plt.subplots(1, len(CHOICES), figsize=(WIDTH, 3.5), sharey=True)
    for axes, (field, part) in zip(panels, effect.groupby("field", sort=False), strict=True):
        for place, (value, curve) in enumerate(part.groupby("value")):
            color, label = plt.get_cmap("viridis")(place / 3.5), f"{SYMBOLS[field]} = {value:g}"
            size = (8, 6, 4.5, 3)[place]  # curves that coincide are seen on one another
            axes.plot(curve.passes, curve.loss, color=color, marker="osD^"[place], markersize=size, label=label)
        ticks = (10, 30, 100, 300)
        axes.set(xscale="log", xlabel="passes for each image", xticks=ticks, xticklabels=ticks)
        axes.minorticks_off()
        axes.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, frameon=False)
    panels[0].set_ylabel("cross-entropy")
    title = setting.load().title
    apart = spreads(effect)
    most = [SYMBOLS[str(field)] for field in apart.index[apart > 0.9 * apart.max()]]
    finding = f"{listed(most)} matter{'s' * (len(most) == 1)} most: up to {apart.max():.0%} in the end"
    heading = f"{title}: {TESTED} test images, one field of uncapped AMD at a time"
    figure.suptitle(f"{finding}\n{heading}", fontsize="medium")
    alt = (
        f"Loss against decoder passes for four values each of s_max, beta and kappa, on {title}. Lowest at the end: "
        + "; ".join(best_values(effect).values())
        + "."
    )
    return Picture("fig_04_effect", figure, alt, effect)


def best_values(effect: pd.DataFrame) -> dict[str, str]:
    """By field, in words: the values that end within :data:`TIE` of the lowest loss that any reached."""
    lowest = effect.groupby(["field", "value"]).loss.min()
    best = {}
    for field, losses in lowest.groupby("field"):
        tied = losses[losses <= (1 + TIE) * losses.min()].index.get_level_values("value")
        values = "any of them" if len(tied) == len(losses) else " or ".join(f"{value:g}" for value in tied)
        best[str(field)] = f"{SYMBOLS[str(field)]}: {values}"
    return best


def spreads(effect: pd.DataFrame) -> pd.Series:
    """By how much, relative to the best, the worst value of each field ends above it, after more than 60 passes."""
    reached = effect[effect.passes > 60].groupby(["field", "value"]).loss.min().groupby("field")
    return reached.max() / reached.min() - 1


def say_effect(effect: pd.DataFrame) -> Text:
    """How much each field matters in the end, and which values are best with few passes and with many."""

    def values(part: pd.DataFrame) -> str:
        return ", ".join(best_values(part).values())

    shares = listed([f"**{share:.0%}** ({SYMBOLS[field]})" for field, share in spreads(effect).items()])
    return Text(
        "*Reading it:* between the best and the worst of the four values, "
        f"the loss that is reached in the end differs by {shares}. "
        f"Best, to within {TIE:.0%}, with fewer than {EARLY} passes: {values(effect[effect.passes < EARLY])}; "
        f"with many: {values(effect)}."
    )


def readings_of_growth(setting: Setting, decoder: Decoder) -> pd.DataFrame:
    """Both readings of how s_n grows, for literal and for uncapped AMD: columns AMD, s grows from, trials, steps, loss.

    Trials and steps are means over images; each has its setting's convergence stop and no budget.
    """
    images, rows = setting.load().test.images[:TESTED], []
    solvers = {"literal": LITERAL, "uncapped": replace(UNCAPPED, max_trials=None)}
    for name, solver in over(solvers.items(), "readings of AMD"):
        for source, accepted in {"s of the last step": False, "accepted step": True}.items():
            encoding = replace(solver, grow_accepted=accepted).encode(Objective(decoder, images))
            trials = encoding.evaluations / 2 / len(images) - 1
            rows.append((name, source, trials, encoding.steps.double().mean().item(), encoding.loss.mean().item()))
    return pd.DataFrame(rows, columns=["AMD", "s grows from", "trials", "steps", "loss"])


def table_growth(setting: Setting, readings: pd.DataFrame) -> Table:
    """:func:`readings_of_growth`, side by side."""
    return Table(
        "table_04_growth", readings,
        readings.assign(**{each: readings[each].map("{:,.0f}".format) for each in ("trials", "steps")},
                        loss=readings.loss.map("{:.4f}".format)),
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


def say_longest(objective: Objective) -> Text:
    """The longest first step that Eq. (9) accepts for the one image of ``objective``, beside the bound of stability."""
    longest, bound = longest_step(objective)
    return Text(
        f"For this image Eq. (9) accepts a first step of up to **{longest:,.1f}**, "
        f"while Euler's method is stable below $2/\\mu$ = **{bound:,.1f}**, with the curvature at $z = 0$."
    )
