"""Notebook 02, how exact the adjoint is: against autograd through every step of a solver, on random decoders."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import Tensor, nn

from gfe_companion.methods import METHODS
from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.progress import over
from gfe_companion.studies.drawing import WIDTH
from gfe_companion.studies.results import Picture, Table, Text
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.encoding import Path
from gfe_core.fixed_grid import FixedGrid, rk4
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective

Flow = FixedGrid | Nesterov | AMD
# objective, path, and the signs of lambda(tau) and of d lambda/dt in Eq. (3) -> the gradient in theta
Sweep = Callable[[Objective, Path, int, int], Iterable[Tensor | None]]

FLOWS: dict[str, Callable[[int], Flow]] = {
    "fixed grid": lambda n: FixedGrid(2.0, n),
    "2nd order": lambda n: Nesterov(2.0, n),
    "AMD": lambda n: AMD(tau=2.0, s_0=2 / n, s_max=2 / n, tolerance=0.0),  # steps of one size, as many as slices
}
LOOKS = dict(zip(FLOWS, (METHODS[name].look for name in ("gfe", "gfe_nesterov", "gfe_amd_uncapped")), strict=True))


def random_decoder(between: type[nn.Module] = nn.ELU, seed: int = 0) -> nn.Module:
    """3 latents to 12 pixels in float64, all weights standard normal; torch's own generator starts from ``seed``."""
    torch.manual_seed(seed)
    decoder = nn.Sequential(nn.Linear(3, 8), between(), nn.Linear(8, 12)).double()
    decoder.latent_dim = 3  # type: ignore[assignment]
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=1.0)
    return decoder


def relative_error(ours: Iterable[Tensor | None], truth: Iterable[Tensor | None]) -> float:
    """How far ``ours`` lies from ``truth``, relative to the norm of ``truth``.

    Both have an entry for each parameter; None, of one that has no gradient, leaves it out.
    """
    pairs = [(a, b) for a, b in zip(ours, truth, strict=True) if a is not None and b is not None]
    square = sum(float((a - b).square().sum()) for a, b in pairs)
    return math.sqrt(square / sum(float(b.square().sum()) for _, b in pairs))


def through_the_solver(objective: Objective, solver: Flow, path: Path, penalty: float = 0.0) -> tuple[Tensor, ...]:
    """The total derivative in theta of the summed loss at the end of ``path``, by autograd through every step.

    The steps went down the loss and ``penalty`` |z|^2 / 2. AMD's step sizes are taken from ``path`` as they were. One
    graph holds all steps: for small decoders.
    """
    z = _walk(objective, solver, path, penalty)
    loss = objective.loss(objective.decoder(z), objective.images).sum()
    return torch.autograd.grad(loss, tuple(objective.decoder.parameters()))


def _walk(objective: Objective, solver: Flow, path: Path, penalty: float) -> Tensor:
    """The end of ``path`` once more, from z(0) = 0, with its graph."""

    def slope(z: Tensor) -> Tensor:
        loss = objective.loss(objective.decoder(z), objective.images).sum()
        return torch.autograd.grad(loss, z, create_graph=True)[0] + penalty * z

    z = objective.start().requires_grad_()
    if isinstance(solver, AMD):
        for h in path.t.diff(dim=0):
            z = z - h[:, None] * slope(z)
        return z
    times = solver.times()
    if isinstance(solver, FixedGrid):
        alpha, tau = solver.alpha, solver.tau
        for t, later in pairwise(times):
            z = rk4(lambda t, z: -alpha(t, tau) * slope(z), t, later - t, z, -alpha(t, tau) * slope(z))
        return z

    def field(t: float, state: Tensor) -> Tensor:
        return solver.slope(t, state[1], slope(state[0]))

    state = solver.first_slice(times[1], z, slope(z))
    for t, later in pairwise(times[1:]):
        state = rk4(field, t, later - t, state, field(t, state))
    return state[0]


def signs(setting: Setting, sweep: Sweep) -> pd.DataFrame:
    """The relative error of ``sweep`` with both choices of signs, of Eq. (6) and of gfe_core, one row a decoder."""
    solver, rows = FixedGrid(tau=2.0, slices=setting.profile.drawn_slices // 2), []
    for seed in range(5):
        y = torch.rand(4, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        objective = Objective(random_decoder(seed=seed), y)
        encoding = solver.encode(objective, record=True)
        assert encoding.path is not None
        truth = through_the_solver(objective, solver, encoding.path)
        gradients = {
            "as printed": sweep(objective, encoding.path, -1, -1),
            "integral dropped, Eq. (6)": ApproximateGradient()(objective, encoding),
            "corrected": sweep(objective, encoding.path, 1, 1),
            "corrected, gfe_core": AdjointGradient()(objective, encoding),
        }
        errors = {name: relative_error(gradient, truth) for name, gradient in gradients.items()}
        rows.append({"decoder": seed} | errors)
    return pd.DataFrame(rows)


def table_signs(setting: Setting, errors: pd.DataFrame) -> Table:
    """What :func:`signs` measured."""
    return Table(
        "table_02_signs",
        errors,
        errors.map(lambda value: f"{value:.1e}" if isinstance(value, float) else value),
        "The signs of Eq. (3): relative error of the gradient in theta, against autograd through the solver",
        f"{len(errors)} random decoders, float64, cross-entropy, RK4 with {setting.profile.drawn_slices // 2} slices. "
        "Random data: no data set is involved.",
    )


def say_signs(errors: pd.DataFrame) -> Text:
    """How often the printed signs are worse than no integral at all."""
    worse = (errors["as printed"] > errors["integral dropped, Eq. (6)"]).sum()
    return Text(
        "*Reading it:* with the printed signs the integral is added where it should be subtracted, "
        f"which is worse than leaving it out in {worse} of {len(errors)} cases; "
        "with the corrected ones the error is that of the grid."
    )


def orders(setting: Setting) -> pd.DataFrame:
    """The error of the adjoint on ever finer paths: columns decoder (what bends it), flow, slices, error."""
    rows = []
    for between in (nn.Tanh, nn.ELU):
        objective = Objective(random_decoder(between), torch.rand(4, 12, dtype=torch.float64))
        for name, make in over(FLOWS.items(), f"flows under a decoder with {between.__name__}"):
            for slices in (setting.profile.drawn_slices // part for part in (8, 4, 2, 1)):
                encoding = make(slices).encode(objective, record=True)
                assert encoding.path is not None
                truth = through_the_solver(objective, make(slices), encoding.path)
                wrong = relative_error(AdjointGradient()(objective, encoding), truth)
                rows.append({"decoder": between.__name__, "flow": name, "slices": slices, "error": wrong})
    return pd.DataFrame(rows)


def measured_orders(errors: pd.DataFrame) -> dict[str, float]:
    """By which power of 1/N the error of each flow falls on the smooth decoder, over its last two doublings of N."""
    smooth = errors.query("decoder == 'Tanh' and flow != 'AMD'").pivot(index="slices", columns="flow", values="error")
    return {name: math.log2(smooth[name].iloc[-3] / smooth[name].iloc[-1]) / 2 for name in smooth}


def of_second_order(errors: pd.DataFrame) -> bool:
    """Whether both flows have a measured order from 1.7 to 2.3, and AMD's errors are all below 1e-12."""
    exact = errors[errors.flow == "AMD"].error.max() < 1e-12
    return exact and all(1.7 < order < 2.3 for order in measured_orders(errors).values())


def fig_order(errors: pd.DataFrame) -> Picture:
    """The error of the adjoint against the number of slices, on a smooth decoder and on one with ELU."""
    figure, panels = plt.subplots(1, 2, figsize=(WIDTH, 3.5), sharey=True)
    for axes, (between, part) in zip(panels, errors.groupby("decoder", sort=False), strict=True):
        for name, curve in part.groupby("flow", sort=False):
            look = LOOKS[name]
            axes.loglog(curve.slices, curve.error, color=look.color, marker=look.marker, label=name)
        n = part.slices.unique()
        axes.loglog(n, 2e-3 * (n[0] / n) ** 2, color="black", linestyle=":", label="$1/N^2$")
        axes.set(xlabel="slices $N$", title=f"random decoder with {between}", xticks=n, xticklabels=n)
        axes.minorticks_off()
    panels[0].set_ylabel("relative error of $d_\\theta l$")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    found = "On the smooth decoder the adjoint's error falls as $1/N^2$;\nalong AMD's steps it is rounding"
    figure.suptitle(found if of_second_order(errors) else "The error of the adjoint", fontsize="medium")
    alt = (
        "Relative error of the adjoint gradient against the number of slices, log-log, on random decoders. "
        "Measured orders on the smooth decoder: "
        + ", ".join(f"{name} {order:.1f}" for name, order in measured_orders(errors).items())
        + ". AMD's stays at rounding."
    )
    return Picture("fig_02_order", figure, alt, errors)
