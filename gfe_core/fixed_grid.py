"""Sec. 3.3: the gradient flow on a fixed logarithmic grid of time slices, by the classical Runge-Kutta method."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gfe_core.encoding import Encoding, Flow, GradientFlow, Path, Status, shaped, warn_of_dead_starts
from gfe_core.landscape import Landscape, Start, require_finite
from gfe_core.precision import in_full_precision


def decaying(t: float, tau: float) -> float:
    """alpha(t) = exp(-2t / tau), "empirically set [...] to facilitate faster convergence of z" (Sec. 3.3)."""
    return math.exp(-2 * t / tau)


def constant(t: float, tau: float) -> float:
    """alpha(t) = 1, as in Eq. (5)."""
    return 1.0


@dataclass(frozen=True)
class LogarithmicGrid:
    """N slices of [0, tau] that are shorter near t = 0, where the flow changes fastest (Sec. 3.3).

    t_i = tau (b^(i/N) - 1) / (b - 1): each slice is b^(1/N) times as long as the one before. Fields: ``tau`` the final
    time, ``slices`` N, ``base`` b > 1. The paper says "logarithmic series" and N of about 100; b = 4 is ours to choose.
    Raises ``ValueError`` for fields out of range.
    """

    tau: float
    slices: int = 100
    base: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.tau < math.inf:
            raise ValueError(f"tau = {self.tau}: the final time must be positive and finite.")
        if self.slices < 1:
            raise ValueError(f"slices = {self.slices}: at least one time slice is needed (the paper: about 100).")
        if not 1 < self.base < math.inf:
            raise ValueError(f"base = {self.base}: slices grow only for a base above 1 (here usually 4).")

    def times(self) -> list[float]:
        """t_0 = 0, ..., t_N = tau."""
        inner = (math.expm1(i / self.slices * math.log(self.base)) / (self.base - 1) for i in range(self.slices))
        return [*(self.tau * share for share in inner), self.tau]


def rk4(field: Callable[[float, Tensor], Tensor], t: float, h: float, x: Tensor, slope: Tensor) -> Tensor:
    """One step of the classical fourth-order Runge-Kutta method for dx/dt = field(t, x); ``slope`` is field(t, x).

    Costs three evaluations of the field, besides ``slope``.
    """
    k2 = field(t + h / 2, x + h / 2 * slope)
    k3 = field(t + h / 2, x + h / 2 * k2)
    k4 = field(t + h, x + h * k3)
    return x + h / 6 * (slope + 2 * k2 + 2 * k3 + k4)


@dataclass(frozen=True)
class FixedGrid(LogarithmicGrid):
    """The gradient flow dz/dt = -alpha(t) grad_z l (Eq. 2) by RK4, order 4 in 1/N, on a :class:`LogarithmicGrid`.

    ``alpha`` is called with t and tau. Cost for each image: 4N forward and 4N backward passes, and one forward pass for
    the loss at tau. Nothing controls the step: where h alpha(t) times the largest eigenvalue of the Hessian exceeds
    2.79, the flow is not followed but thrown about; an image whose loss is not finite at the end is ``DIVERGED``.
    Raises ``ValueError`` for fields out of range, for an alpha that is negative or not finite somewhere on the grid,
    and for images whose loss at z(0) is not finite.
    """

    alpha: Callable[[float, float], float] = decaying

    @in_full_precision
    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode every image from ``z0`` (B, d), zero by default: see the class."""
        times = self.times()
        for t in (*times, *((t + later) / 2 for t, later in pairwise(times))):  # where RK4 asks for it
            if not 0 <= self.alpha(t, self.tau) < math.inf:
                raise ValueError(f"alpha({t:g}) = {self.alpha(t, self.tau)}: it must be finite and at least 0.")

        def field(t: float, z: Tensor) -> Tensor:
            return -self.alpha(t, self.tau) * objective.value_and_grad(z)[1]  # Eq. (2)

        def steps() -> Iterator[tuple[Tensor, Tensor]]:
            z = objective.start(z0)
            for t, t_next in pairwise(times):
                loss, gradient = objective.value_and_grad(z)
                if t == 0:
                    warn_of_dead_starts(gradient)
                yield z, loss
                z = rk4(field, t, t_next - t, z, -self.alpha(t, self.tau) * gradient)
            yield z, objective.value(z)

        alpha = [self.alpha(t, self.tau) for t in times]
        flow = GradientFlow(torch.tensor(alpha, dtype=objective.dtype, device=objective.images.device))
        return follow(steps(), times, objective, flow, record)


def follow(
    steps: Iterator[tuple[Tensor, Tensor]], times: list[float], objective: Landscape, flow: Flow, record: bool
) -> Encoding:
    """The :class:`Encoding` of a walk over the rows of a grid; ``steps`` yields z (B, d) and loss (B,) at ``times``."""
    before, path = objective.evaluations, None
    z, loss = next(steps)
    require_finite(loss, "the loss at z(0)")
    rows = [(z, loss)]
    for z, loss in steps:
        if record:
            rows.append((z, loss))
    if record:
        t = loss.new_tensor(times)[:, None].expand(-1, len(objective))
        path = Path(t, torch.stack([z for z, _ in rows]), torch.stack([loss for _, loss in rows]), flow)
    status = torch.where(torch.isfinite(loss), Status.REACHED_TAU, Status.DIVERGED)
    count = torch.full_like(status, len(times) - 1)
    spent = objective.evaluations - before
    end = Encoding(z, loss, torch.full_like(loss, times[-1]), count, status, spent, path)
    return shaped(end, objective)
