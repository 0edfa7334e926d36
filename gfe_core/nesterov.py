"""Sec. 3.2: the second-order flow behind Nesterov's accelerated gradient method."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gfe_core.encoding import Encoding, NesterovFlow, warn_of_dead_starts
from gfe_core.fixed_grid import LogarithmicGrid, follow, rk4
from gfe_core.landscape import Landscape, Start
from gfe_core.precision import in_full_precision


@dataclass(frozen=True)
class Nesterov(LogarithmicGrid):
    """z'' + 3 / (t + eps) z' + grad_z l = 0 with z'(0) = 0 (Eq. 7; Su, Boyd, Candes), by RK4.

    Solved as two coupled equations (Eq. 8), dv/dt = -3 / (t + eps) v - grad_z l and dz/dt = v; the paper prints both
    terms of the first with the opposite sign, against its own Eq. (7). ``eps`` is the paper's guard against the
    division by zero at t = 0. It does not make the first slice harmless for RK4, whose stages there feel a friction
    3 / (t + eps) that changes from 3 / eps to 3 / h: the first velocity would point uphill. So the first slice is
    solved exactly with the gradient held at its start. While eps is small against that slice the error of z is of order
    4 in 1/N, as RK4's; with an eps that is not, the held gradient's error is less damped and the order is 3.

    Cost for each image: 4N - 3 forward and backward passes, and one forward pass for the loss at tau. The loss need not
    fall: the flow overshoots and comes back. Raises ``ValueError`` as :class:`FixedGrid` does.
    """

    eps: float = 1e-5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.eps < math.inf:
            raise ValueError(f"eps = {self.eps}: it keeps the friction finite at t = 0 and must be positive.")

    @in_full_precision
    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode every image from ``z0`` (B, d), zero by default: see the class."""
        times = self.times()

        def field(t: float, state: Tensor) -> Tensor:
            z, v = state
            return self.slope(t, v, objective.value_and_grad(z)[1])

        def steps() -> Iterator[tuple[Tensor, Tensor]]:
            z = objective.start(z0)
            loss, gradient = objective.value_and_grad(z)
            warn_of_dead_starts(gradient)
            yield z, loss
            state = self.first_slice(times[1], z, gradient)
            for t, t_next in pairwise(times[1:]):
                z, v = state
                loss, gradient = objective.value_and_grad(z)
                yield z, loss
                state = rk4(field, t, t_next - t, state, self.slope(t, v, gradient))
            yield state[0], objective.value(state[0])

        return follow(steps(), times, objective, NesterovFlow(self.eps), record)

    def slope(self, t: float, v: Tensor, gradient: Tensor) -> Tensor:
        """(dz/dt, dv/dt) of Eq. (8), signs corrected, stacked: (2, B, d)."""
        return torch.stack([v, -3 / (t + self.eps) * v - gradient])  # Eq. (8), for Eq. (7)

    def first_slice(self, h: float, z: Tensor, gradient: Tensor) -> Tensor:
        """(z, v) at t = h from rest, exact for a constant gradient; for eps = 0: z - h^2/8 grad l, -h/4 grad l."""
        s, eps = h + self.eps, self.eps
        v = -(s - eps**4 / s**3) / 4 * gradient
        return torch.stack([z - (s * s - eps * eps) ** 2 / (8 * s * s) * gradient, v])
