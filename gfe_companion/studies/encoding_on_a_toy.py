"""Notebook 01, its toy: walks from z(0) = 0 towards the minimum, each with the same budget of trial steps."""

from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from gfe_companion.methods import GREEN, GREY, METHODS, ORANGE, Look
from gfe_companion.studies.drawing import WIDTH, wrapped
from gfe_companion.studies.results import Picture, Text
from gfe_core.objective import Objective

DESCENT = replace(METHODS["gfe_amd_uncapped"].look, label="AMD")
DRAWN = ((ORANGE, "s", "--"), (GREEN, "^", "-."), (GREY, "x", ":"))  # fixed steps, in the order of the table
FIXED = tuple(Look("", "", color, marker, line) for color, marker, line in DRAWN)


def paths(objective: Objective, fixed: dict[float, list[Tensor]], amd: list[Tensor], trials: list[int]) -> pd.DataFrame:
    """All walks, row by row: columns z1, z2, loss, method, trials (trial steps that were spent so far).

    ``fixed`` has the points (1, 2) of Euler's method for each step size; ``trials`` AMD's count at each point of
    ``amd``. All were given as many trials; what AMD tried after its last accepted step counts too.
    """
    walks = {f"Euler, h = {h:g}": (points, list(range(len(points)))) for h, points in fixed.items()}
    rows = [
        (*z[0].tolist(), objective.value(z).item(), method, spent)
        for method, (points, counts) in (walks | {"AMD": (amd, trials)}).items()
        for z, spent in zip(points, counts, strict=True)
    ]
    return pd.DataFrame(rows, columns=["z1", "z2", "loss", "method", "trials"])


def looks(walks: pd.DataFrame) -> dict[str, Look]:
    """How each method of :func:`paths` is drawn."""
    fixed = [method for method in walks.method.unique() if method != "AMD"]
    return dict(zip(fixed, FIXED, strict=False)) | {"AMD": DESCENT}


def ends(objective: Objective, z_true: Tensor, walks: pd.DataFrame) -> pd.Series:
    """How far above the lowest loss, that of ``z_true`` (1, 2), each method ends; 0 where rounding says less."""
    lowest = objective.value(z_true).item()
    return (walks.groupby("method", sort=False).loss.last() - lowest).clip(lower=0.0)


def fig_toy(objective: Objective, z_true: Tensor, walks: pd.DataFrame) -> Picture:
    """The loss of the toy over its latents with the ``walks`` towards ``z_true`` (1, 2), and their convergence."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.6), width_ratios=(1.15, 1))
    lowest, ended = objective.value(z_true).item(), ends(objective, z_true, walks)
    _draw_landscape(left, objective, lowest)
    for name, look in looks(walks).items():
        walk = walks[walks.method == name]
        drawn = {"linestyle": look.linestyle, "marker": look.marker, "markersize": 4, "color": look.color}
        left.plot(walk.z1, walk.z2, **drawn, linewidth=1)
        right.plot(walk.trials, walk.loss - lowest, **drawn, markevery=4, label=name)
    left.plot(*z_true[0], marker="*", markersize=14, color="white", markeredgecolor="black")
    left.annotate("$z^*$", z_true[0].tolist(), (8, 6), textcoords="offset points")
    paper = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7}
    left.annotate("$z(0) = 0$", (0, 0), (-8, -16), textcoords="offset points", bbox=paper)
    left.set(xlabel="$z_1$", ylabel="$z_2$", title="the landscape $l(y, D(z))$", xlim=(-0.6, 2.2), ylim=(-0.6, 2.0))
    right.set(xlabel="trial steps spent", ylabel="$l - l(z^*)$", title="the convergence curve")
    right.set(yscale="log", ylim=(1e-13, 2))
    figure.legend(loc="outside lower center", ncols=4)
    above = int((ended.drop("AMD") > ended["AMD"]).sum())
    title = f"Toy: {above} of {len(ended) - 1} fixed steps end above AMD, which was not tuned"
    figure.suptitle(wrapped(title), fontsize="medium")
    alt = (
        "Left: the loss of a two-latent toy decoder as contours, with the paths of Euler's method at several step "
        "sizes and of AMD from the origin towards the minimum. Right: the loss above the minimum against trial steps. "
        f"At the end: {'; '.join(f'{method} {rest:.1e}' for method, rest in ended.items())}."
    )
    return Picture("fig_01_toy", figure, alt, walks)


def _draw_landscape(axes: Axes, objective: Objective, lowest: float) -> None:
    a, b = torch.meshgrid(torch.linspace(-0.6, 2.2, 120), torch.linspace(-0.6, 2.0, 120), indexing="xy")
    grid = torch.stack([a.flatten(), b.flatten()], dim=1).double()
    everywhere = Objective(objective.decoder, objective.images.expand(len(grid), -1), objective.loss)
    levels = lowest + np.geomspace(1e-4, 1.0, 14)
    axes.contourf(a, b, everywhere.value(grid).reshape(a.shape), levels=levels, cmap="cividis_r", extend="both")


def say_toy(objective: Objective, z_true: Tensor, walks: pd.DataFrame, budget: int) -> Text:
    """How far each method is from the lowest loss after its ``budget`` of trials, and how many AMD refused."""
    ended = ends(objective, z_true, walks)
    steps = int((walks.method == "AMD").sum()) - 1
    told = "; ".join(
        f"{method}: {rest:.0e}" if rest > 1e-15 else f"{method}: less than 1e-15" for method, rest in ended.items()
    )
    return Text(
        f"Each was given {budget} trial steps, a forward and a backward pass of the decoder each. "
        f"They end above the lowest loss by: {told}. "
        f"AMD refused {budget - steps} of its trials, and no step that it took raised the loss."
    )
