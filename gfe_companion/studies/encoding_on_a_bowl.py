"""Notebook 01, its first lesson: three step sizes on a bowl of one latent, the brightness of one image."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from gfe_companion.methods import METHODS
from gfe_companion.studies.drawing import WIDTH
from gfe_companion.studies.results import Picture, Text
from gfe_core.objective import Objective

LOOK = METHODS["gfe_amd_uncapped"].look
SIDE = 28  # pixels, of an image
PICTURED = (0, 1, 2, 4)  # steps whose reconstructions are shown, besides the last


Walks = dict[float, list[Tensor]]  # by the step size in units of 1 / mu: the latents (1, 1) before and after each step


def steps_of(objective: Objective, walks: Walks) -> pd.DataFrame:
    """Where each of ``walks`` stands after each step: columns h_mu, step, z, loss, left.

    ``left`` is the distance to the minimum, z = 1, as a share of that at the start.
    """
    rows = [
        (h_mu, step, z.item(), objective.value(z).item(), abs(z.item() - 1) / abs(walk[0].item() - 1))
        for h_mu, walk in walks.items()
        for step, z in enumerate(walk)
    ]
    return pd.DataFrame(rows, columns=["h_mu", "step", "z", "loss", "left"])


def fig_bowl(objective: Objective, walks: Walks) -> Picture:
    """The bowl with each walk down it, one panel each, and the reconstructions on the way below."""
    steps = steps_of(objective, walks)
    figure = plt.figure(figsize=(WIDTH, 3.7))
    (above,), (below,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(3.2, 1))
    panels = above.subplots(1, len(walks), sharex=True, sharey=True)
    line = torch.linspace(steps.z.min() - 0.4, steps.z.max() + 0.4, 200, dtype=objective.dtype)
    bowl = Objective(objective.decoder, objective.images.expand(len(line), -1), objective.loss).value(line[:, None])
    for axes, (h_mu, walk) in zip(panels, steps.groupby("h_mu", sort=False), strict=True):
        axes.plot(line, bowl, color="gray", linewidth=1)
        axes.plot(walk.z, walk.loss, marker="o", markersize=4, linewidth=0.8, color=LOOK.color)
        axes.plot(1, objective.value(torch.ones(1, 1, dtype=objective.dtype)), "*", color="black", markersize=9)
        axes.set(title=f"$h = {h_mu:g}\\,/\\,\\mu$: {walk.left.iloc[-1]:.0%}", xlabel="latent $z$")
    panels[0].set_ylabel("loss $l$")
    last = steps.step.max()
    above.suptitle(f"One image, one latent: distance to the minimum left after {last} steps", fontsize="medium")
    (strips,) = below.subfigures(1, len(walks), squeeze=False)
    for strip, walk in zip(strips, walks.values(), strict=True):
        _strip(strip.subplots(1, len(PICTURED) + 1), objective, walk)
    left = steps.groupby("h_mu", sort=False).left.last()
    alt = (
        f"{len(walks)} walks down the same parabola, with the reconstructions on the way. "
        f"Of the distance to the minimum is left after {last} steps: "
        + "; ".join(f"{share:.0%} with h = {h_mu:g} / mu" for h_mu, share in left.items())
        + "."
    )
    return Picture("fig_01_bowl", figure, alt, steps)


def _strip(panels: list[Axes], objective: Objective, walk: list[Tensor]) -> None:
    """Reconstructions after the steps that are pictured, each under its number."""
    for axes, step in zip(panels, (*PICTURED, len(walk) - 1), strict=True):
        with torch.no_grad():
            picture = objective.decoder(walk[step]).reshape(SIDE, SIDE)
        axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(str(step), fontsize=8, pad=2)
        axes.set(xticks=[], yticks=[])


def say_bowl(objective: Objective, walks: Walks, mu: float) -> Text:
    """The curvature ``mu`` of the bowl, its largest stable step, and by what the first step of each walk multiplies."""
    told = []
    for h_mu, walk in steps_of(objective, walks).groupby("h_mu", sort=False):
        factor = (walk.z.iloc[1] - 1) / (walk.z.iloc[0] - 1)
        told.append(f"{factor:+.2f} for $h = {h_mu:g} / \\mu$")
    return Text(
        f"This bowl has the curvature $\\mu$ = {mu:.3f}, so that steps must stay below $2/\\mu$ = {2 / mu:.1f}. "
        f"The first step multiplies the distance to the minimum by $1 - h\\mu$. Measured: {', '.join(told)}."
    )
