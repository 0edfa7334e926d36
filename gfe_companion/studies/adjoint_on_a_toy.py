"""Notebook 02, its toy: one latent and two pixels, on which what Eq. (6) drops is seen to vanish, or not."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from gfe_companion.studies.drawing import WIDTH
from gfe_companion.studies.results import Picture, Text

STEP = 0.1  # of Euler's method
EARLY, LONG = 0.5, 8.0  # final times: far from the minimiser, and at it
PRIOR = 0.5  # the prior adds PRIOR z^2 / 2 to what is minimised
# number of steps, the prior's weight -> z at the end, what Eq. (6) keeps of the gradient in theta, what it drops
Parts = Callable[[int, float], tuple[Tensor, Tensor, Tensor]]
Loss = Callable[[Tensor], Tensor]
DROPPED = {0.0: ("#d55e00", "-", "o", "dropped"), PRIOR: ("#0173b2", "--", "s", "dropped, with a prior in the flow")}


def vanishing(parts: Parts, loss: Loss) -> pd.DataFrame:
    """Both parts of the gradient in theta for flows of ever longer final time tau, with and without a prior.

    Columns: prior, tau, z, loss, slope (in z, of the loss alone), kept and dropped (norms), share (dropped / whole).
    """
    rows = []
    for prior in DROPPED:
        for steps in range(1, round(LONG / STEP) + 1):
            z, kept, dropped = parts(steps, prior)
            end = z.detach().requires_grad_()
            (slope,) = torch.autograd.grad(loss(end), end)
            sizes = kept.norm().item(), dropped.norm().item(), (dropped.norm() / (kept + dropped).norm()).item()
            rows.append((prior, steps * STEP, z.item(), loss(end).item(), slope.item(), *sizes))
    return pd.DataFrame(rows, columns=["prior", "tau", "z", "loss", "slope", "kept", "dropped", "share"])


def stops(flows: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    """The rows of a flow that stops early, of one to the minimiser, and of one to the minimiser under a prior."""
    plain, with_prior = (flows[flows.prior == prior] for prior in DROPPED)
    return plain.loc[(plain.tau - EARLY).abs().idxmin()], plain.iloc[-1], with_prior.iloc[-1]


def vanishes(flows: pd.DataFrame) -> bool:
    """Whether less than a thousandth of the gradient is dropped at the minimiser, and more than a tenth before it."""
    early, minimiser, _ = stops(flows)
    return bool(minimiser.share < 1e-3 and early.share > 0.1)


def fig_vanishing(flows: pd.DataFrame, loss: Loss) -> Picture:
    """The loss over z with its slope at both stops, and what is dropped against the final time."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.2))
    early, minimiser, with_prior = stops(flows)
    _draw_bowl(left, loss, early, minimiser)
    for prior, (color, line, marker, label) in DROPPED.items():
        flow = flows[flows.prior == prior]
        right.plot(flow.tau, flow.dropped, line, color=color, marker=marker, markevery=10, markersize=4, label=label)
    kept = flows[flows.prior == 0]
    right.plot(kept.tau, kept.kept, ":", color="gray", label="kept by Eq. (6)")
    right.plot(early.tau, early.dropped, "o", color="black", markersize=6, zorder=3)
    right.set(xlabel="final time $\\tau$", ylabel="norm of the part of $d_\\theta\\, l$", ylim=(0, None))
    right.set_title("the two parts of the gradient")
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    finding = "Toy: what Eq. (6) drops vanishes with the slope in $z$"
    figure.suptitle(finding if vanishes(flows) else "Toy: what Eq. (6) keeps and drops", fontsize="medium")
    alt = (
        f"Left: the loss of a toy over its one latent, with its slope where a flow of tau = {EARLY:g} stops, "
        f"{early.slope:.2f}, and at the minimiser, {abs(minimiser.slope):.2f}. "
        "Right: the norms of what Eq. (6) keeps and of what it drops, against the final time. "
        f"Dropped at tau = {EARLY:g}: {early.share:.0%} of the gradient; at "
        f"tau = {LONG:g}: {minimiser.share:.1%}, and {with_prior.share:.0%} with a prior in the flow."
    )
    return Picture("fig_02_vanishing", figure, alt, flows)


def _draw_bowl(axes: Axes, loss: Loss, early: pd.Series, minimiser: pd.Series) -> None:
    grid = torch.linspace(0, 2 * minimiser.z, 60, dtype=torch.float64)
    axes.plot(grid, torch.stack([loss(z) for z in grid]).detach(), color="gray")
    arrow = {"arrowstyle": "-", "color": "black", "linewidth": 0.6}
    for stop, name, height in (
        (early, f"stopped at $\\tau = {EARLY:g}$", early.loss + 0.75),
        (minimiser, "minimiser $z^*$", minimiser.loss - 0.5),
    ):
        reach = np.array([-0.35, 0.35])
        axes.plot(stop.z + reach, stop.loss + reach * stop.slope, color="black", linewidth=2)
        axes.plot(stop.z, stop.loss, "o", color="black")
        said = f"{name}: slope {round(stop.slope, 2) + 0.0:.2f}"
        axes.annotate(said, (stop.z, stop.loss), (minimiser.z, height), ha="center", arrowprops=arrow, fontsize=8)
    axes.set(xlabel="$z$", ylabel="$l$", title="the loss and its slope in $z$", ylim=(0.2, None))


def say_vanishing(flows: pd.DataFrame) -> Text:
    """Which share of the gradient Eq. (6) drops at each stop."""
    early, minimiser, with_prior = stops(flows)
    return Text(
        f"*Reading it:* at $\\tau = {EARLY:g}$ Eq. (6) drops **{early.share:.0%}** of the whole gradient, "
        f"and at $\\tau = {LONG:g}$, where the slope in $z$ is {abs(minimiser.slope):.0e}, "
        f"**{minimiser.share:.3%}**. With a prior in the flow it ends where the slope of $l$ is "
        f"{with_prior.slope:.2f}, and **{with_prior.share:.0%}** are dropped however long it is followed."
    )
