"""Notebook 03: the second-order flow on a quadratic, where it has a closed form."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.special import j1
from torch import Tensor

from gfe_companion.runs.configs import RunConfig
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import borrowed
from gfe_companion.studies.drawing import WIDTH
from gfe_companion.studies.results import Picture, Table, Text
from gfe_core.fixed_grid import rk4
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective

END = 12.0  # time to which the quadratic is followed: about two swings
STEPS = (0.3, 0.03)  # steps s of Nesterov's method there
FIRST_SLICE = 0.1  # h, the length of the slice in which the guards are compared
GUARDS = (1e-5, 1e-3, 1e-2, 1e-1, 1.0)  # values of eps
SLICES = 100  # of our solver there
OURS, BESSEL = f"gfe_core.nesterov, {SLICES} slices", "Bessel form of the flow"


def needs(setting: Setting) -> list[RunConfig]:
    """Every run that notebook 03 rests on."""
    return [borrowed.training(setting)]


class Line(torch.nn.Module):
    """One latent, one pixel: D(z) = z."""

    latent_dim = 1

    def forward(self, z: Tensor) -> Tensor:
        """(B, 1) -> (B, 1)."""
        return z


def quadratic() -> Objective:
    """l = (z - 1)^2 / 2 in one dimension and float64, whose flows have closed forms."""
    return Objective(Line(), torch.ones(1, 1, dtype=torch.float64), lambda z, y: 1 / 2 * (z - y).square().sum(dim=1))


def bessel(t: np.ndarray | float) -> np.ndarray:
    """z(t) = 1 - 2 J_1(t) / t, where Eq. (7) leads on the quadratic from rest at z = 0; for t > 0."""
    return 1 - 2 * j1(t) / t


def origin(method: Callable[[float], list[float]]) -> pd.DataFrame:
    """The closed form, our solver and ``method`` (step s -> its points) on the quadratic: columns t, z, what."""
    t = np.linspace(1e-6, END, 300)
    path = Nesterov(END, slices=SLICES, eps=1e-9).encode(quadratic(), record=True).path
    assert path is not None
    frames = [
        pd.DataFrame({"t": t, "z": bessel(t), "what": BESSEL}),
        pd.DataFrame({"t": path.t[:, 0], "z": path.z[:, 0, 0], "what": OURS}),
    ]
    for s in STEPS:
        points = method(s)
        times = np.sqrt(s) * np.arange(len(points))
        frames.append(pd.DataFrame({"t": times, "z": points, "what": f"Nesterov's method, s = {s}"}))
    return pd.concat(frames)


def furthest(walks: pd.DataFrame) -> float:
    """The largest distance of our solver from the closed form in a frame of :func:`origin`."""
    ours = walks[(walks.what == OURS) & (walks.t > 0)]
    return float((ours.z - bessel(ours.t.to_numpy())).abs().max())


def approaches(walks: pd.DataFrame) -> bool:
    """Whether the method's largest distance from the closed form gets smaller with each smaller step s."""
    methods = [walks[(walks.what == f"Nesterov's method, s = {s}") & (walks.t > 0)] for s in sorted(STEPS)[::-1]]
    far = [float(np.abs(walk.z - bessel(walk.t.to_numpy())).max()) for walk in methods]
    return far == sorted(far, reverse=True) and len(set(far)) == len(far)


def fig_origin(walks: pd.DataFrame) -> Picture:
    """Nesterov's method approaching its flow on the quadratic, and our solver lying on the closed form."""
    figure, axes = plt.subplots(figsize=(WIDTH, 3.5))
    for (name, walk), drawn in zip(walks.groupby("what", sort=False), ("-", "X", "s", "."), strict=True):
        axes.plot(walk.t, walk.z, drawn, markevery=max(1, len(walk) // 25), markersize=5, label=name)
    axes.axhline(1, color="gray", linewidth=0.8)
    axes.set(xlabel="time $t$ (for the method: $k\\sqrt{s}$)", ylabel="$z$")
    found = "Nesterov's method approaches its flow as its step gets smaller"
    title = found if approaches(walks) else "Nesterov's method and its flow on a quadratic"
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    alt = (
        f"The position against time on a quadratic. {title}; our solver lies on the Bessel form within "
        f"{furthest(walks):.0e}. "
        "All of them overshoot the minimum and come back."
    )
    return Picture("fig_03_origin", figure, alt, walks)


def say_origin(walks: pd.DataFrame) -> Text:
    """How exact our solver is on the quadratic."""
    return Text(f"Our solver's largest distance from the Bessel form: **{furthest(walks):.1e}**.")


def say_signs(until: float, corrected: float, printed: float) -> Text:
    """Where both signs of Eq. (8) lead on the quadratic at t = ``until``, beside the closed form."""
    return Text(
        f"At $t = {until:g}$ the Bessel form says $z = {bessel(until):.3f}$. "
        f"Corrected signs: **{corrected:.3f}**. As printed it runs away, here to **{printed:.1e}** "
        "and with finer steps farther, since a force that pushes as $3/t$ has no bound at the start."
    )


def velocity_by_rk4(eps: float) -> float:
    """v at the end of the first slice of the quadratic, by RK4 through Eq. (8) with its signs corrected."""
    objective = quadratic()

    def field(t: float, state: Tensor) -> Tensor:
        return torch.stack([state[1], -3 / (t + eps) * state[1] - objective.value_and_grad(state[0])[1]])

    at_rest = torch.zeros(2, 1, 1, dtype=torch.float64)
    return rk4(field, 0.0, FIRST_SLICE, at_rest, field(0.0, at_rest))[1].item()


def table_eps() -> Table:
    """What the guard eps does to the first slice, by RK4 and in closed form, and to the whole flow."""
    rows, objective, rest, h = [], quadratic(), quadratic().start(), FIRST_SLICE
    force = objective.value_and_grad(rest)[1]  # grad l = -1 at z = 0
    for eps in GUARDS:
        closed = Nesterov(1.0, eps=eps).first_slice(h, rest, force)[1].item()
        path = Nesterov(END, 200, eps=eps).encode(objective, record=True).path
        assert path is not None
        bent = np.abs(path.z[1:, 0, 0].numpy() - bessel(path.t[1:, 0].numpy())).max()
        velocities = {"v(h) by RK4": velocity_by_rk4(eps) / (h / 4), "v(h) in closed form": closed / (h / 4)}
        rows.append({"eps": eps} | velocities | {"flow bent by": bent})
    guards = pd.DataFrame(rows)
    return Table(
        "table_03_eps",
        guards,
        guards.map("{:.3g}".format),
        f"The first slice (h = {h:g}) on the quadratic, in units of h/4, the velocity of the true flow",
        "The last column is the largest distance, over the whole flow, from the flow with $\\epsilon = 0$.",
    )
