"""What one batch can tell the next: where to start, and in which coordinates (beyond the paper).

A decoder changes little from batch to batch, so that recent latents say where those of new images lie, and how steep
the loss is around them. No network is trained for it: both are closed forms of what encoding has found anyway.
"""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.curvature import or_identity
from gfe_core.encoding import Encoding, MovedFlow, SeparateSteps, Solver, shaped
from gfe_core.landscape import Landscape, NotFinite, Start, require_finite
from gfe_core.learnt import Learnt, begun, copied, ridge_regression, with_one
from gfe_core.precision import in_full_precision
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

    Raises ``ValueError`` for fields out of range, and for a ``solver`` with bounds: they would bound u.
    """

    solver: Solver = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=5)
    memory: float = 0.99
    ridge: float = 10.0
    refresh: int = 10
    probes: int = 4
    penalty: float = 0.0
    learner: ClassVar[type[WarmEncoder]]  # what :meth:`encoder` makes

    def __post_init__(self) -> None:
        if getattr(self.solver, "bounded", False):
            told = "the bounds of a warm start's solver would bound u, and not z = z0 + L u"
            raise ValueError(f"{told}; leave them out, or encode with the solver itself.")
        if not (0 <= self.memory <= 1 and 0 <= self.ridge < math.inf):
            raise ValueError(f"memory = {self.memory}, ridge = {self.ridge}: needed is 0 <= memory <= 1, ridge >= 0.")
        if self.refresh < 1 or self.probes < 1:
            raise ValueError(f"refresh = {self.refresh}, probes = {self.probes}: at least one batch and one image.")

    @in_full_precision
    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode as an encoder does that knows nothing yet."""
        return self.encoder().encode(objective, z0, record)

    def encoder(self, knowledge: dict[str, Tensor] | None = None) -> WarmEncoder:
        """A solver that learns, from the ``knowledge`` of an earlier one; by default it knows nothing yet.

        It then starts at zero, in the latent's own coordinates.
        """
        encoder = self.learner(self)
        encoder.learnt = Learnt(state=copied(knowledge or {}))
        return encoder


class WarmEncoder:
    """A solver that starts at W [y, 1] and sees the loss in the coordinates z = z0 + L u, with L L^T = H^-1.

    W (P + 1, d) is the ridge regression of recent latents on their images, whatever their shape; H (d, d) the mean
    Gauss-Newton matrix at recent latents. :meth:`learn` updates both; encoding alone changes nothing, so that an
    image's encoding does not depend on its batch. An interrupted :meth:`learn` has learnt the batch or nothing of it.
    """

    def __init__(self, settings: WarmStart) -> None:
        self.settings, self.learnt = settings, Learnt()

    def __repr__(self) -> str:
        return f"{self.settings!r}.encoder()"

    @property
    def batches(self) -> int:
        """How many batches it has learnt from."""
        return self.learnt.batches

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors of :class:`Learnt`, to be read and not changed; :meth:`state_dict` copies them."""
        return self.learnt.state

    @property
    def has_start(self) -> bool:
        """Whether it has learnt where to start."""
        return bool(self.state)

    @property
    def refreshes(self) -> bool:
        """Whether the next batch that is taken in brings a look at the curvature, and a new map and factor."""
        return self.batches % self.settings.refresh == 0

    def start(self, images: Tensor) -> Tensor:
        """z0 (B, d) for images (B, ...): W [y, 1]. Raises ``ValueError`` for images of another size than before."""
        known = self.state["map"]
        x = with_one(images, known.dtype)
        if x.shape[1] != len(known):
            raise ValueError(
                f"images have {x.shape[1] - 1} pixels and the encoder has learnt from images of {len(known) - 1}; "
                "give it images of that size, or make a new encoder."
            )
        return x @ known

    def factor(self, curvature: Tensor) -> Tensor:
        """L (d, d) for the mean ``curvature`` H (d, d)."""
        return inverse_factor(curvature)

    @in_full_precision
    def encode(self, objective: Landscape, z0: Start | None = None, record: bool = False) -> Encoding:
        """Encode by ``settings.solver`` from ``z0`` (B, d), by default from :meth:`start`, zero before any batch."""
        state = self.state
        z0 = objective.start(self.start(objective.images) if z0 is None and state else z0)
        factor = state["factor"] if state else torch.eye(z0.shape[1]).to(z0)
        return encode_moved(self.settings, objective, z0, factor, record)

    @in_full_precision
    def learn(self, objective: Landscape, encoding: Encoding) -> None:
        """Take in a batch that was encoded. Costs, every ``refresh`` batches, 1 + d passes for each probe."""
        curvature = None
        if self.refreshes and len(objective):
            probes = slice(self.settings.probes)
            at = encoding.z.flatten(1)[probes]
            curvature = usable(at, *objective.select(probes).gauss_newton(at))
        self.learnt = self.after(objective.images, encoding.z, curvature)  # at once: there is no state in between

    @torch.inference_mode(False)
    @torch.no_grad()
    def after(self, images: Tensor, z: Tensor, curvature: Tensor | None = None) -> Learnt:
        """What it will have learnt from ``images`` (B, ...) too, whose latents are ``z`` (B, d), unless there are none.

        At a refresh ``curvature`` (n, d, d) is that of probes.
        """
        if not len(images):
            return self.learnt
        settings, state, z = self.settings, self.state, z.flatten(1)
        require_finite(z, "the latent")
        x = with_one(images, z.dtype)
        size = x.shape[1]
        if not {"map", "moments"} <= state.keys():
            state = begun(size, z, state, settings.ridge)
        rows = torch.cat([state["recent"], torch.cat([x, z], dim=1)])
        weight = torch.cat([settings.memory * state["weight"], z.new_ones(len(z))])
        state = state | {"recent": rows, "weight": weight}
        if curvature is not None or len(rows) > size:
            moments = torch.addmm(weight[0] * state["moments"], (weight[1:, None] * rows[:, :size]).T, rows)
            state |= {"moments": moments, "recent": rows[:0], "weight": torch.ones_like(weight[:1])}
        if curvature is not None:
            share = max(0.3, 1 / (1 + self.batches / settings.refresh))
            mean = torch.lerp(state["curvature"], curvature.mean(dim=0).to(z), share)
            solved = ridge_regression(state["moments"][:, :size], state["moments"][:, size:], settings.ridge)
            state |= {"curvature": mean, "factor": self.factor(mean), "map": solved}
        return Learnt(self.batches + 1, state)

    def taught(self, images: Tensor, z: Tensor, curvature: Tensor | None = None) -> WarmEncoder:
        """One that has also taken in this batch; this one has not."""
        other = copy(self)
        other.learnt = self.after(images, z, curvature)
        return other

    def knowledge(self) -> dict[str, Tensor]:
        """A copy of what encoding needs of it: the map (P + 1, d) and the factor (d, d); empty before any batch."""
        state = self.state
        return copied({name: state[name] for name in ("map", "factor") if state})

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that :meth:`load_state_dict` needs to go on as if nothing had happened."""
        learnt = self.learnt
        return {"batches": learnt.batches, "state": copied(learnt.state)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a copy of a :meth:`state_dict`."""
        self.learnt = Learnt(state["batches"], copied(state["state"]))


WarmStart.learner = WarmEncoder


def encode_moved(settings: WarmStart, objective: Landscape, z0: Tensor, factor: Tensor, record: bool) -> Encoding:
    """Encode from ``z0`` (B, d) in the coordinates u of z = z0 + L u, L being ``factor``, as in :class:`Moved`."""
    penalised = Penalised(objective, settings.penalty)
    coordinates = Moved(penalised, z0, factor)
    moved = settings.solver.encode(coordinates, torch.zeros_like(z0), record)
    z, path = coordinates.at(moved.z), moved.path
    if path is not None:
        at, flow = coordinates.at(path.z), path.flow
        if not isinstance(flow, SeparateSteps):
            flow = MovedFlow(flow, z0, factor, settings.penalty)
        path = replace(path, z=at, loss=path.loss - penalised.added(at), flow=flow)
    return shaped(replace(moved, z=z, loss=moved.loss - penalised.added(z), path=path), objective)


def usable(at: Tensor, loss: Tensor, gradient: Tensor, curvature: Tensor) -> Tensor:
    """What the Gauss-Newton matrices (n, d, d) of probes tell of how steep the loss is around their latents (n, d).

    A scaled identity stands for one that has vanished or is not finite. Probes on whose latents the loss no longer
    depends are left out. Raises :class:`NotFinite` where none is left, and for a loss or gradient that is not finite.
    """
    require_finite(loss, "the loss")
    require_finite(gradient, "the loss gradient")
    size, slope = curvature.diagonal(dim1=1, dim2=2).mean(dim=1), gradient.norm(dim=1)
    alive = (slope > VANISHED) | ~(size <= VANISHED)
    if not alive.any():
        raise NotFinite(
            f"at recent latents the gradient is {float(slope.mean()):.3g} and the curvature {float(size.mean()):.3g}: "
            "the training has collapsed; encode with a penalty on |z|^2, or lower the learning rate."
        )
    return or_identity(curvature, gradient, at)[alive]


def inverse_factor(curvature: Tensor, floor: float = 1e-4) -> Tensor:
    """L with L L^T = (H + floor m I)^-1, m the mean of H's diagonal: (d, d) -> (d, d).

    Raises :class:`NotFinite` where H is not finite or m has vanished: the loss no longer depends on the latents.
    """
    size = curvature.diagonal().mean()
    if not (size > VANISHED and torch.isfinite(curvature).all()):
        raise NotFinite(
            f"the mean curvature at recent latents is {float(size):.3g}: the training has collapsed; encode with a "
            "penalty on |z|^2, or lower the learning rate."
        )
    damped = curvature + floor * size * torch.eye(len(curvature)).to(curvature)
    factor, failed = torch.linalg.cholesky_ex(torch.linalg.inv(damped))
    if failed:  # by rounding, where H is steep in one direction and flat in the others
        factor = torch.linalg.cholesky(torch.linalg.inv(damped.double())).to(curvature)
    return factor
