"""What a solver returns, how it remembers its way, and the protocol that all solvers meet."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Protocol

import torch
from torch import Tensor

from gfe_core.landscape import Landscape, Start


class Status(IntEnum):
    """Why an image's encoding ended."""

    REACHED_TAU = 0  # the flow was followed to t = tau
    CONVERGED = 1  # the convergence curve is flat: a new final tau' was assigned (Sec. 3.4)
    STALLED = 2  # no step that is tried lowers the loss beyond its rounding: a minimum, or a kink of one not smooth
    BUDGET_SPENT = 3  # the solver's own limit on steps or trials was reached before tau
    DIVERGED = 4  # a fixed grid was too coarse for the flow: the loss at tau is not finite


@dataclass(frozen=True)
class EulerSteps:
    """The path's own steps define it, z_{n+1} = z_n - (t_{n+1} - t_n) grad_z l (Eq. 10); nothing lies in between."""


@dataclass(frozen=True)
class GradientFlow:
    """The path samples dz/dt = -alpha grad_z l (Eq. 2); ``alpha`` (steps + 1,) holds alpha(t) at its rows."""

    alpha: Tensor


@dataclass(frozen=True)
class NesterovFlow:
    """The path samples z'' + 3 / (t + eps) z' + grad_z l = 0 (Eq. 7-8)."""

    eps: float


@dataclass(frozen=True)
class SeparateSteps:
    """The path's points are what a minimiser went through; it follows no flow, and t counts its steps."""


@dataclass(frozen=True)
class MovedFlow:
    """The path is ``flow`` in the coordinates u of z = z0 + u L^T, along the loss and ``penalty`` |z|^2 / 2.

    ``z0`` (B, d) and L, the ``factor`` (d, d) or (B, d, d), are constants: they do not change with theta.
    """

    flow: Flow
    z0: Tensor
    factor: Tensor
    penalty: float


Flow = EulerSteps | GradientFlow | NesterovFlow | SeparateSteps | MovedFlow


@dataclass(frozen=True)
class Path:
    """The trajectory of every image, one row a step; a finished image repeats its last state.

    ``t`` (steps + 1, B) . ``z`` (steps + 1, B, d), or with *latent_shape for d . ``loss`` (steps + 1, B) . Row 0 is the
    start, t = 0 . ``flow`` what was followed, which an adjoint must know.
    """

    t: Tensor
    z: Tensor
    loss: Tensor
    flow: Flow = EulerSteps()


@dataclass(frozen=True)
class Encoding:
    """Where the flow ended for a batch of B images; ``torch.load`` takes it with ``weights_only=True``.

    ``z`` (B, d) latents, or (B, *latent_shape) . ``loss`` (B,) l(y, D(z)), or what the encoded objective has in its
    place, as with a prior . ``t`` (B,) time reached; without a flow, the number of steps . ``steps`` (B,) steps taken .
    ``status`` (B,) values of :class:`Status` . ``evaluations`` decoder passes spent, in images, all images together .
    ``path`` the trajectory, or None unless it was recorded.
    """

    z: Tensor
    loss: Tensor
    t: Tensor
    steps: Tensor
    status: Tensor
    evaluations: int
    path: Path | None = None


torch.serialization.add_safe_globals(
    [Encoding, Path, EulerSteps, GradientFlow, MovedFlow, NesterovFlow, SeparateSteps, Status]
)


def shaped(encoding: Encoding, objective: Landscape) -> Encoding:
    """The same encoding with its latents in the shape that the decoder of ``objective`` takes."""
    path = encoding.path
    if path is not None:
        path = replace(path, z=objective.shaped(path.z))
    return replace(encoding, z=objective.shaped(encoding.z), path=path)


def warn_of_dead_starts(gradient: Tensor) -> None:
    """Warn where the loss does not change with z at the start: its ``gradient`` (B, d) is zero, and no step follows."""
    if gradient.numel() and (gradient == 0).all(dim=1).any():
        warnings.warn(
            "there are images whose loss has the gradient zero at z(0), so that they cannot be encoded from there (a "
            "decoder of ReLUs without biases is flat at z = 0): pass another start z0, for example lambda images: "
            "0.1 * torch.randn(len(images), d).",
            RuntimeWarning,
            stacklevel=5,
        )


class Solver(Protocol):
    """Encodes every image of an objective on its own: a result does not depend on what else is in the batch."""

    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Follow the flow from ``z0`` (B, d), the zero vector by default; ``record`` keeps the path."""
        ...


def encoder_of(solver: Solver) -> Solver:
    """What a training encodes with: an encoder of its own, where ``solver`` makes some that learn, else ``solver``.

    An encoder that learns has ``learn(objective, encoding)``, called after each batch, ``knowledge()``, the tensors
    that encoding needs of it, from which ``solver.encoder(knowledge)`` makes it again, and a ``state_dict``.
    """
    return solver.encoder() if hasattr(solver, "encoder") else solver


@dataclass
class PathRecorder:
    """Collects the steps of images that advance independently, and lays them out as a :class:`Path`."""

    images: int
    index: list[Tensor] = field(default_factory=list)
    step: list[Tensor] = field(default_factory=list)
    states: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def add(self, index: Tensor, step: Tensor, t: Tensor, z: Tensor, loss: Tensor) -> None:
        """Image ``index[i]`` stands after its ``step[i]``-th step at t[i], z[i] with loss[i]. All of length k."""
        self.index.append(index)
        self.step.append(step)
        self.states.append((t, z, loss))

    def path(self, flow: EulerSteps | SeparateSteps = EulerSteps()) -> Path:
        """The recorded steps as one row a step, later rows repeating the last state of a finished image."""
        index, step = torch.cat(self.index), torch.cat(self.step)
        rows = int(step.max()) + 1 if len(step) else 1
        last = step.new_zeros(self.images).scatter_reduce(0, index, step, "amax")
        row = torch.arange(rows, device=step.device)[:, None].minimum(last)  # (rows, B): which step each row shows
        place = row.new_zeros(rows, self.images)
        place[step, index] = torch.arange(len(step), device=step.device)
        shown = place[row, torch.arange(self.images, device=step.device)]
        t, z, loss = (torch.cat(column)[shown] for column in zip(*self.states, strict=True))
        return Path(t, z, loss, flow)
