"""Notebook 04, its lessons: how long a step may be, a bowl of two scales, and what AMD does and does not guarantee."""

from __future__ import annotations

import math
from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.optimize import brentq
from torch import Tensor

from gfe_companion.methods import METHODS
from gfe_companion.studies.drawing import WIDTH, wrapped
from gfe_companion.studies.results import Picture, Text, listed, markdown

LATE = 4.0  # the time from which on a step counts as late
STEP, STEPS = 0.04, 200  # of the fixed grid; AMD has as many trials
CURVATURES = tuple(5 * 10 ** (k / 8) for k in range(13))  # of the steep direction
START = (1.0, 1.0)  # where walks on a bowl begin; their minimum is at zero
DRAWN = (("#0173b2", "-"), ("#d55e00", "--"), ("#949494", "-."))  # told apart in grey too
FALLS = 1e-16  # losses below this are drawn there

OfBowl = Callable[[float], float]  # h mu -> what one step leaves of the distance to the minimum, with its sign
OfGrid = Callable[[float, float, int], float]  # the steep curvature, the step, their number -> the loss at the end
OfAMD = Callable[[float, int], float]  # the steep curvature, the number of trials -> the loss at the end
Taken = list[tuple[float, ...]]  # the time after each step, its length, and the latents that it led to


def border(left: OfBowl) -> float:
    """Up to which h mu a step comes nearer to the minimum of a bowl: where ``left`` first is 1 or -1."""
    tried = np.linspace(0.01, 10, 1000)
    beyond = next(place for place, h_mu in enumerate(tried) if abs(left(h_mu)) > 1)
    return float(brentq(lambda h_mu: abs(left(h_mu)) - 1, tried[beyond - 1], tried[beyond]))


def fig_bound(solvers: dict[str, OfBowl]) -> Picture:
    """What one step of each of two ``solvers`` leaves of the distance to the minimum, against h mu, beside the flow."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.0))
    h_mu = np.linspace(0, 3.2, 161)
    data = pd.DataFrame({"h_mu": h_mu, "flow": np.exp(-h_mu)})
    axes.axhspan(1, 2, color="gray", alpha=0.15, linewidth=0)
    for (name, left), (color, line) in zip(solvers.items(), DRAWN, strict=False):
        data[name] = [abs(left(x)) for x in h_mu]
        axes.plot(h_mu, data[name], line, color=color, label=name)
        axes.plot(border(left), 1, "o", color=color, zorder=3)
    axes.plot(h_mu, data.flow, ":", color="black", label="the flow itself, $e^{-h\\mu}$")
    axes.text(0.05, 1.25, "the step leads away", fontsize=8)
    axes.text(0.05, 0.06, "the step comes nearer", fontsize=8)
    axes.set(xlabel="step times curvature, $h\\mu$", ylabel="distance left by a step", xlim=(0, 3.2), ylim=(0, 1.5))
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    borders = {name: border(left) for name, left in solvers.items()}
    said = listed([f"{x:.3g} by {name}" for name, x in borders.items()])
    axes.set_title(f"A step comes nearer while $h\\mu$ is below {said}")
    alt = f"The distance to the minimum that one step leaves, against h mu. It is below one up to {said}."
    return Picture("fig_04_bound", figure, alt, data.round(6))


def say_bound(solvers: dict[str, OfBowl]) -> Text:
    """How far the step of each of ``solvers`` is from the flow for a short step, and where it begins to lead away."""
    rows = [
        f"{name} leaves {left(0.1):.6f}, and leads away where $h\\mu$ is above {border(left):.3f}"
        for name, left in solvers.items()
    ]
    return Text(
        f"The flow leaves {math.exp(-0.1):.6f} of the distance after $h\\mu = 0.1$. {'; '.join(rows)}. "
        "An accurate method may take longer steps, but not much longer ones."
    )


def steps_of(walks: dict[str, Taken]) -> pd.DataFrame:
    """The steps of each of ``walks``: columns walk, t, h, z1 and z2 (NaN where there is one latent)."""
    rows = [(name, *step, *[math.nan] * (4 - len(step))) for name, taken in walks.items() for step in taken]
    return pd.DataFrame(rows, columns=["walk", "t", "h", "z1", "z2"])


def late_steps(steps: pd.DataFrame) -> pd.Series:
    """The median length of each walk's steps after :data:`LATE`."""
    return steps[steps.t > LATE].groupby("walk", sort=False).h.median()


def bound_decides(steps: pd.DataFrame, mu: Tensor) -> bool:
    """Whether the late steps of all walks on the whole bowl are within a third of 2 / mu, whatever their tolerance."""
    shares = late_steps(steps[steps.z2.notna()]) / (2 / mu.max().item())
    return bool(len(shares) and ((shares - 1).abs() < 1 / 3).all())


def fig_stiff(walks: dict[str, Taken], mu: Tensor) -> Picture:
    """The first of ``walks`` down the bowl of curvatures ``mu`` (2,), and the lengths of all steps against time."""
    steps = steps_of(walks)
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), width_ratios=(1, 1.4))
    a, b = np.meshgrid(np.linspace(-0.1, 1.15, 100), np.linspace(-0.25, 1.15, 100))
    flat, steep = mu.tolist()
    levels = np.geomspace(1e-3, 50, 10)
    left.contourf(a, b, (flat * a**2 + steep * b**2) / 2, levels=levels, cmap="cividis_r", extend="both")
    name, walk = next(iter(steps[steps.z2.notna()].groupby("walk", sort=False)))
    left.plot([START[0], *walk.z1], [START[1], *walk.z2], "o-", color=DRAWN[0][0], markersize=2.5, linewidth=0.8)
    left.set_title(f"the way, {name}", fontsize="small")
    left.set(xlabel=f"$z_1$ (curvature {flat:g})", ylabel=f"$z_2$ (curvature {steep:g})")
    for (name, walk), (color, line) in zip(steps.groupby("walk", sort=False), DRAWN, strict=False):
        right.plot(walk.t, walk.h, line, color=color, linewidth=1.2, label=name)
    right.axhline(2 / steep, color="black", linestyle=":", linewidth=1, label=f"$2/\\mu$ = {2 / steep:g}")
    right.set(yscale="log", xlabel="time $t$", title="length of each step")
    right.yaxis.set_major_formatter("{x:g}")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8)
    finding = "Late steps are as long as $2/\\mu$ allows, whatever accuracy is asked for"
    told = finding if bound_decides(steps, mu) else "The steps of an adaptive solver on a bowl of two scales"
    figure.suptitle(wrapped(told), fontsize="medium")
    counts = steps.groupby("walk", sort=False).size()
    alt = (
        "Left: a walk that falls into a narrow valley and follows it, by steps that stay short. Right: the length of "
        f"each step against time. Median of the late steps, in units of 2 / mu = {2 / steep:g}: "
        + "; ".join(f"{name} {h * steep / 2:.2f} ({counts[name]} steps)" for name, h in late_steps(steps).items())
        + "."
    )
    return Picture("fig_04_two_scales", figure, alt, steps.round(6))


def say_stiff(walks: dict[str, Taken], mu: Tensor) -> Text:
    """How many steps each of ``walks`` took, and how long its late ones are in units of 2 / mu."""
    steps, steep = steps_of(walks), mu.max().item()
    counts = steps.groupby("walk", sort=False).size()
    late = late_steps(steps).items()
    rows = [
        {"walk": name, "steps": f"{counts[name]:,}", "late steps, in units of $2/\\mu$": f"{h * steep / 2:.1f}"}
        for name, h in late
    ]
    said = "*Reading it:* late steps of about one unit are as long as stability allows; accuracy does not decide there."
    return Text(f"{markdown(pd.DataFrame(rows))}\n\n{said}")


def ends_of(on_a_grid: OfGrid, by_amd: OfAMD) -> pd.DataFrame:
    """The loss at the end of a fixed grid and of AMD, for each steep curvature: columns mu, start, grid, amd."""
    rows = [
        (mu, (START[0] ** 2 + mu * START[1] ** 2) / 2, on_a_grid(mu, STEP, STEPS), by_amd(mu, STEPS))
        for mu in CURVATURES
    ]
    return pd.DataFrame(rows, columns=["mu", "start", "grid", "amd"])


def breaks(ends: pd.DataFrame) -> bool:
    """Whether the grid ends above its start just where h mu exceeds 2, and AMD never does."""
    beyond = STEP * ends.mu > 2
    return bool(((ends.grid > ends.start) == beyond).all() and (ends.amd < ends.start).all())


def fig_grid(ends: pd.DataFrame) -> Picture:
    """The loss at the end of a fixed grid and of AMD against the steep curvature, with as many gradients each."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.3))
    drawn = (("grid", "gfe", f"fixed grid, $h$ = {STEP:g}"), ("amd", "gfe_amd_uncapped", "AMD"))
    for column, method, label in drawn:
        look = METHODS[method].look
        color = "black" if column == "grid" else look.color
        axes.plot(ends.mu, ends[column].clip(lower=FALLS), look.linestyle, marker=look.marker, color=color, label=label)
    axes.plot(ends.mu, ends.start, "--", color="gray", label="at the start")
    axes.axvline(2 / STEP, color="black", linestyle=":", linewidth=1, label="$h\\mu = 2$")
    axes.set(xscale="log", yscale="log", xlabel="curvature $\\mu$ of the steep direction", ylabel="loss at the end")
    axes.set_ylim(min(1e-9, ends[["grid", "amd"]].to_numpy().min() / 3), 1e6)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xticks([5, 15, 50, 150])
    axes.minorticks_off()
    figure.legend(loc="outside lower center", ncols=4, fontsize=8)
    finding = "Toy: the grid is lost beyond $h\\mu = 2$, and AMD always ends lower than it began"
    told = finding if breaks(ends) else "Toy: a fixed grid and AMD with as many gradients"
    axes.set_title(wrapped(told, 0.9 * WIDTH))
    last = ends.iloc[-1]
    alt = (
        f"The loss at the end against the steep curvature, after {STEPS} gradients. At mu = {last.mu:.0f}: fixed grid "
        f"{last.grid:.1e}, AMD {last.amd:.1e}, at the start {last.start:.1e}. The grid's line leaves the picture above."
    )
    return Picture("fig_04_breaking", figure, alt, ends)


def say_grid(ends: pd.DataFrame) -> Text:
    """By what a step of the grid multiplies at the last curvature, and what AMD has left there and at the first."""
    first, last = ends.iloc[0], ends.iloc[-1]
    return Text(
        f"*Reading it:* at $\\mu$ = {last.mu:.0f} a step of the grid multiplies the steep distance by "
        f"{1 - STEP * last.mu:+.1f}, {STEPS} times in a row. AMD ends at {last.amd:.0e} there, "
        f"and at {first.amd:.0e} where $\\mu$ = {first.mu:.0f}: it is never lost, but it gets slow."
    )


def say_falling(losses: list[float]) -> Text:
    """That each of ``losses`` is below the one before, or not, and what they come to."""
    fell = sum(later < before for before, later in zip(losses, losses[1:], strict=False))
    return Text(
        f"{fell} of {len(losses) - 1} steps lower the loss, as Eq. (9) asks. It begins at {losses[0]:g}, stands at "
        f"{losses[len(losses) // 2]:.5f} after {len(losses) // 2} steps and at **{losses[-1]:.5f}** in the end. "
        "The minimum is 0."
    )
