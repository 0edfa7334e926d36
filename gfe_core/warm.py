"""What one batch can tell the next: where to start, and in which coordinates (beyond the paper).

A decoder changes little from batch to batch, so that recent latents say where those of new images lie, and how steep
the loss is around them. No network is trained for it: both are closed forms of what encoding has found anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.encoding import Encoding, SeparateSteps, Solver
from gfe_core.objective import Landscape, NotFinite
from gfe_core.wrappers import Moved, Penalised

VANISHED = 1e-20  # of a curvature, which lies between 1e-6 and 1e-2 while a decoder learns


@dataclass(frozen=True)
class WarmStart:
    """How a :class:`WarmEncoder` starts: fields of a solver, of which :meth:`encoder` makes one that learns.

    - ``solver``: encodes from the start, in the coordinates u of z = z0 + L u.
    - ``memory``: by how much what was seen fades with each batch.
    - ``ridge``: added to the squares of the pixels in the least squares.
    - ``refresh``: batches between two solutions of the least squares and two looks at the curvature.
    - ``probes``: images whose curvature is looked at.
    - ``penalty``: encoding minimises l + penalty |z|^2 / 2, which keeps the latents of a long training from growing.
    """

    solver: Solver = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=5)
    memory: float = 0.99
    ridge: float = 10.0
    refresh: int = 10
    probes: int = 4
    penalty: float = 0.0
    learner: ClassVar[type[WarmEncoder]]  # what :meth:`encoder` makes

    def encode(self, objective: Landscape, z0: Tensor | None = None, record: bool = False) -> Encoding:
        """Encode as an encoder does that knows nothing yet."""
        return self.encoder().encode(objective, z0, record)

    def encoder(self, knowledge: dict[str, Tensor] | None = None) -> WarmEncoder:
        """A solver that learns, from the ``knowledge`` of an earlier one; by default it knows nothing yet.

        It then starts at zero, in the latent's own coordinates.
        """
        encoder = self.learner(self)
        encoder.state |= knowledge or {}
        return encoder


class WarmEncoder:
    """A solver that starts at W [y, 1] and sees the loss in the coordinates z = z0 + L u, with L L^T = H^-1.

    W (P + 1, d) is the ridge regression of recent latents on their images; H (d, d) the mean Gauss-Newton matrix at
    recent latents. :meth:`learn` updates both; encoding alone changes nothing, so that an image's encoding does not
    depend on its batch.
    """

    def __init__(self, settings: WarmStart) -> None:
        self.settings, self.batches = settings, 0
        self.state: dict[str, Tensor] = {}

    def __repr__(self) -> str:
        return f"{self.settings!r}.encoder()"

    def start(self, images: Tensor) -> Tensor:
        """z0 (B, d) for images (B, P): W [y, 1]."""
        return _with_one(images) @ self.state["map"]

    def encode(self, objective: Landscape, z0: Tensor | None = None, record: bool = False) -> Encoding:
        """Encode by ``settings.solver`` from ``z0`` (B, d), by default from :meth:`start`, zero before any batch."""
        z0 = objective.start(self.start(objective.images) if z0 is None and self.state else z0)
        factor = self.state["factor"] if self.state else torch.eye(z0.shape[1]).to(z0)
        return encode_moved(self.settings, objective, z0, factor, record)

    @property
    def refreshes(self) -> bool:
        """Whether the next batch that is taken in brings a look at the curvature, and a new map and factor."""
        return self.batches % self.settings.refresh == 0

    def learn(self, objective: Landscape, encoding: Encoding) -> None:
        """Take in a batch that was encoded. Costs, every ``refresh`` batches, 1 + d passes for each probe."""
        probed, curvature = slice(self.settings.probes), None
        if self.refreshes:
            curvature = objective.select(probed).gauss_newton(encoding.z[probed])[2]
        self.take_in(objective.images, encoding.z, curvature)

    @torch.no_grad()
    def take_in(self, images: Tensor, z: Tensor, curvature: Tensor | None) -> None:
        """Learn from ``images`` (B, P), their latents (B, d) and, at a refresh, the probes' ``curvature`` (n, d, d)."""
        x, settings = _with_one(images), self.settings
        if not self.state:
            size, eye = x.shape[1], torch.eye(z.shape[1]).to(z)
            self.state = {
                "squares": settings.ridge * torch.eye(size).to(x), "products": x.new_zeros(size, z.shape[1]),
                "curvature": torch.zeros_like(eye), "map": x.new_zeros(size, z.shape[1]), "factor": eye,
            }  # fmt: skip
        squares, products = self.state["squares"], self.state["products"]
        squares.mul_(settings.memory).addmm_(x.T, x)
        squares.diagonal().add_((1 - settings.memory) * settings.ridge)
        products.mul_(settings.memory).addmm_(x.T, z)
        if curvature is not None:
            self.state["map"] = torch.cholesky_solve(products, torch.linalg.cholesky(squares))
            weight = max(0.3, 1 / (1 + self.batches / settings.refresh))
            self.state["curvature"] = torch.lerp(self.state["curvature"], curvature.mean(dim=0), weight)
            self.state["factor"] = inverse_factor(self.state["curvature"])
        self.batches += 1

    def knowledge(self) -> dict[str, Tensor]:
        """What encoding needs of it: the map (P + 1, d) and the factor (d, d); empty before any batch."""
        return {name: self.state[name] for name in ("map", "factor") if self.state}

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on as if nothing had happened."""
        return {"batches": self.batches, "state": self.state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.batches, self.state = state["batches"], state["state"]


WarmStart.learner = WarmEncoder


def encode_moved(settings: WarmStart, objective: Landscape, z0: Tensor, factor: Tensor, record: bool) -> Encoding:
    """Encode from ``z0`` (B, d) in the coordinates u of z = z0 + L u, L being ``factor``, as in :class:`Moved`."""
    penalised = Penalised(objective, settings.penalty)
    coordinates = Moved(penalised, z0, factor)
    moved = settings.solver.encode(coordinates, torch.zeros_like(z0), record)
    z, path = coordinates.at(moved.z), moved.path
    if path is not None:
        at = coordinates.at(path.z)
        path = replace(path, z=at, loss=path.loss - penalised.added(at), flow=SeparateSteps())
    return replace(moved, z=z, loss=moved.loss - penalised.added(z), path=path)


def inverse_factor(curvature: Tensor, floor: float = 1e-4) -> Tensor:
    """L with L L^T = (H + floor m I)^-1, m the mean of H's diagonal: (d, d) -> (d, d).

    Raises :class:`NotFinite` where m is not finite or has vanished: the loss no longer depends on the latents.
    """
    size = curvature.diagonal().mean()
    if not VANISHED < size < torch.inf:
        raise NotFinite(
            f"the mean curvature at recent latents is {float(size):.3g}: the training has collapsed; encode with a "
            "penalty on |z|^2, or lower the learning rate."
        )
    damped = curvature + floor * size * torch.eye(len(curvature)).to(curvature)
    factor, failed = torch.linalg.cholesky_ex(torch.linalg.inv(damped))
    if failed:  # by rounding, where H is steep in one direction and flat in the others
        factor = torch.linalg.cholesky(torch.linalg.inv(damped.double())).to(curvature)
    return factor


def _with_one(images: Tensor) -> Tensor:
    """A column of ones beside the pixels, for the constant of the linear map."""
    return torch.cat([images, images.new_ones(len(images), 1)], dim=1)
