"""What the project's own methods are compared with: library encoders, half a warm start, an auto-decoder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from gfe_core.encoding import Encoding, Status, shaped
from gfe_core.landscape import Landscape, Start, require_finite
from gfe_core.objective import bce
from gfe_core.warm import WarmEncoder, WarmStart


class Library:
    """An optimiser or an integrator of a library as an encoder. It keeps no path."""

    @property
    def joint(self) -> bool:
        """Whether the images of a batch share their steps, so that an encoding depends on what else is in the batch."""
        return False


@dataclass(frozen=True)
class AdamEncoder(Library):
    """``torch.optim.Adam`` on the latents of a batch, ``steps`` gradients at ``learning_rate``."""

    learning_rate: float
    steps: int

    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode from ``z0``; every latent has its own moments, so that images do not depend on one another."""
        return _minimise(objective, z0, self.steps, self.steps, lambda z: torch.optim.Adam([z], self.learning_rate))


@dataclass(frozen=True)
class LBFGSEncoder(Library):
    """``torch.optim.LBFGS`` on all latents of a batch as one vector, with its strong Wolfe line search.

    ``steps`` is the number of iterations; a line search may take several gradients in each.
    """

    learning_rate: float
    steps: int

    @property
    def joint(self) -> bool:
        """One step length for all images."""
        return True

    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode from ``z0``. One step length and one history serve the whole batch."""

        def optimizer(z: Tensor) -> torch.optim.Optimizer:
            return torch.optim.LBFGS(
                [z], self.learning_rate, max_iter=self.steps, max_eval=100 * self.steps, tolerance_grad=0.0,
                tolerance_change=0.0, line_search_fn="strong_wolfe",
            )  # fmt: skip

        return _minimise(objective, z0, 1, self.steps, optimizer)


@dataclass(frozen=True)
class OdeEncoder(Library):
    """torchdiffeq on the gradient flow dz/dt = -grad_z l (Eq. 5) to ``tau``, all images of a batch in one system.

    ``method`` is "dopri5", held to ``tolerance`` relative and absolute, or "rk4", in ``slices`` equal steps.
    """

    method: str
    tau: float
    tolerance: float = 1e-3
    slices: int = 100

    @property
    def joint(self) -> bool:
        """One step length for all images, where it follows the error."""
        return self.method == "dopri5"

    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode from ``z0``."""
        from torchdiffeq import odeint  # slow to import, and needed for this encoder only

        before, z, gradients = objective.evaluations, objective.start(z0), _Gradients(objective)
        span, equal = torch.tensor([0.0, self.tau]).to(z), self.method == "rk4"
        options = {"step_size": self.tau / self.slices} if equal else None
        steps: list[Tensor] = []  # their lengths

        def field(t: Tensor, z: Tensor) -> Tensor:
            return -gradients(z)[1]

        setattr(field, "callback_step" if equal else "callback_accept_step", lambda t, z, dt: steps.append(dt))
        if len(z):
            tolerances = {"rtol": self.tolerance, "atol": self.tolerance}
            z = odeint(field, z, span, **tolerances, method=self.method, options=options)[-1]
        return _ended(objective, z, before, Status.REACHED_TAU, self.tau, len(steps))


class _StartOnly(WarmEncoder):
    def factor(self, curvature: Tensor) -> Tensor:
        return torch.eye(len(curvature)).to(curvature) / curvature.diagonal().mean().sqrt()


class _CoordinatesOnly(WarmEncoder):
    def start(self, images: Tensor) -> Tensor:
        return torch.zeros_like(super().start(images))


class StartOnly(WarmStart):
    """A warm start without its coordinates: only the mean curvature, a step size, is carried from batch to batch."""

    learner = _StartOnly


class CoordinatesOnly(WarmStart):
    """A warm start's coordinates, from z = 0."""

    learner = _CoordinatesOnly


class StoredLatents:
    """DeepSDF's auto-decoder (Park et al., 2019): one stored latent a training image, optimised beside the decoder.

    ``images`` (N, P) get latents drawn from a normal distribution of deviation 0.01; ``torch.optim.SparseAdam`` moves
    those of a batch once, by ``learning_rate``, on their loss + penalty |z|^2 / 2.
    """

    def __init__(
        self, images: Tensor, latent_dim: int, learning_rate: float, penalty: float, generator: Generator
    ) -> None:
        drawn = 0.01 * torch.randn(len(images), latent_dim, generator=generator)
        self.images, self.penalty = images, penalty
        self.table = nn.Embedding.from_pretrained(drawn.to(images.device), freeze=False, sparse=True)
        self.optimizer = torch.optim.SparseAdam(self.table.parameters(), learning_rate)

    def step(self, decoder: nn.Module, index: Tensor) -> Tensor:
        """Losses (B,) of the images at ``index`` (B,), whose latents move; the decoder's gradient is added to .grad.

        Costs one forward and one backward pass.
        """
        self.optimizer.zero_grad()
        z = self.table(index)
        losses = bce(decoder(z), self.images[index])
        (losses.sum() + self.penalty / 2 * z.square().sum()).backward()
        self.optimizer.step()
        return losses.detach()

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on as if nothing had happened."""
        return {"table": self.table.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.table.load_state_dict(state["table"])
        self.optimizer.load_state_dict(state["optimizer"])


@dataclass(frozen=True)
class StoredStep:
    """The step of a training with ``stored`` latents, which the training saves with its own state."""

    stored: StoredLatents
    decoder: nn.Module

    def __call__(self, index: Tensor) -> Tensor:
        """See :meth:`StoredLatents.step`."""
        return self.stored.step(self.decoder, index)

    def state_dict(self) -> dict[str, Any]:
        """That of the stored latents."""
        return self.stored.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.stored.load_state_dict(state)


class _Gradients:
    """Losses and gradients of ``objective``, the first of which must be finite."""

    def __init__(self, objective: Landscape) -> None:
        self.objective, self.first = objective, True

    def __call__(self, z: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = self.objective.value_and_grad(z)
        if self.first:
            require_finite(loss, "the loss at z(0)")
            require_finite(gradient, "the loss gradient at z(0)")
        self.first = False
        return loss, gradient


def _minimise(
    objective: Landscape, z0: Start | None, calls: int, steps: int, make: Callable[[Tensor], torch.optim.Optimizer]
) -> Encoding:
    """``calls`` of the optimizer that ``make`` builds of z, which take ``steps`` steps together."""
    before, z, gradients = objective.evaluations, objective.start(z0), _Gradients(objective)
    optimizer = make(z)

    def closure() -> Tensor:
        loss, z.grad = gradients(z)
        return loss.sum()

    for _ in range(calls if len(z) else 0):
        optimizer.step(closure)  # type: ignore[arg-type]
    return _ended(objective, z.detach(), before, Status.BUDGET_SPENT, float(steps), steps)


def _ended(objective: Landscape, z: Tensor, before: int, status: Status, t: float, steps: int) -> Encoding:
    loss = objective.value(z)
    ended, taken = (torch.full(loss.shape, int(value), device=loss.device) for value in (status, steps))
    spent = objective.evaluations - before
    return shaped(Encoding(z, loss, torch.full_like(loss, t), taken, ended, spent), objective)
