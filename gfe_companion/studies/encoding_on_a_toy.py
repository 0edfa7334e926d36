"""Notebook 01, its toy: two walks from z(0) = 0 to the minimum, where everything can be seen."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from gfe_companion.methods import METHODS
from gfe_companion.studies.drawing import WIDTH
from gfe_companion.studies.results import Picture, Text
from gfe_core.encoding import Path
from gfe_core.objective import Objective

EULER, DESCENT = METHODS["ae"].look, METHODS["gfe_amd_uncapped"].look  # how the two walks are drawn


def paths(euler: list[tuple[float, float, float]], step: float, amd: Path, trials: list[int]) -> pd.DataFrame:
    """Both walks, row by row: columns z1, z2, loss, method, trials (trial steps that were spent so far).

    ``euler`` has (z1, z2, loss) before each step of size ``step``; ``trials`` has AMD's count at each point of ``amd``.
    """
    walk = pd.DataFrame(euler, columns=["z1", "z2", "loss"])
    walk = walk.assign(method=f"Euler, step {step:g}", trials=range(len(euler)))
    descent = pd.DataFrame({"z1": amd.z[:, 0, 0], "z2": amd.z[:, 0, 1], "loss": amd.loss[:, 0]})
    return pd.concat([walk, descent.assign(method="AMD", trials=trials)])


def fig_toy(objective: Objective, z_true: Tensor, walks: pd.DataFrame) -> Picture:
    """The loss of the toy over its latents with both ``walks`` to ``z_true`` (1, 2), and their convergence curves."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(WIDTH, 3.3), width_ratios=(1.15, 1))
    lowest = objective.value(z_true).item()
    _draw_landscape(left, objective, lowest)
    for (name, walk), look in zip(walks.groupby("method", sort=False), (EULER, DESCENT), strict=True):
        drawn = {"linestyle": look.linestyle, "marker": look.marker, "markersize": 4, "color": look.color}
        left.plot(walk.z1, walk.z2, **drawn, markeredgecolor="white", markeredgewidth=0.4, label=name)
        right.plot(walk.trials, walk.loss - lowest, **drawn, markevery=4, label=name)
    left.plot(*z_true[0], marker="*", markersize=14, color="white", markeredgecolor="black")
    left.annotate("$z^*$", z_true[0].tolist(), (8, 6), textcoords="offset points")
    left.annotate("$z(0) = 0$", (0, 0), (8, -16), textcoords="offset points")
    left.set(xlabel="$z_1$", ylabel="$z_2$", title="toy: the landscape $l(y, D(z))$")
    right.set(xlabel="trial steps", ylabel="$l - l(z^*)$", title="toy: the convergence curve")
    right.set(yscale="log", ylim=(1e-13, 1))
    right.legend(loc="upper right")
    alt = (
        "Left: the loss of a two-latent toy decoder as contours, with the paths of Euler's method and of AMD from the "
        "origin to the minimum. Right: the loss above the minimum against trial steps. "
        f"AMD took {(walks.method == 'AMD').sum() - 1} steps."
    )
    return Picture("fig_01_toy", figure, alt, walks)


def _draw_landscape(axes: Axes, objective: Objective, lowest: float) -> None:
    a, b = torch.meshgrid(torch.linspace(-0.6, 2.2, 120), torch.linspace(-0.6, 2.0, 120), indexing="xy")
    grid = torch.stack([a.flatten(), b.flatten()], dim=1).double()
    everywhere = Objective(objective.decoder, objective.images.expand(len(grid), -1), objective.loss)
    levels = lowest + np.geomspace(1e-4, 1.0, 14)
    axes.contourf(a, b, everywhere.value(grid).reshape(a.shape), levels=levels, cmap="cividis_r", extend="both")


def say_toy(objective: Objective, z_true: Tensor, walks: pd.DataFrame) -> Text:
    """How many steps AMD took on the toy, how near it came, and what Euler's method needs for that."""
    walk, amd = walks[walks.method != "AMD"], walks[walks.method == "AMD"]
    lowest, steps, tried = objective.value(z_true).item(), len(amd) - 1, amd.trials.iloc[-1]
    reached = amd.loss.iloc[-1] - lowest
    within = walk.index[walk.loss - lowest <= reached]
    euler = f"needs {within[0]}" if len(within) else f"has not got there after {len(walk) - 1}"
    return Text(
        f"AMD took **{steps} steps** to its final time, for which it tried {tried}: {tried - steps} were refused. "
        f"It ends at a distance of {reached:.1e} from the lowest loss; "
        f"Euler's method {euler} steps of its fixed size."
    )
