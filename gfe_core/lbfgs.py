"""Limited-memory BFGS for each image, for latents of any size, and within bounds (beyond the paper)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gfe_core.descent import Measured, Trial
from gfe_core.encoding import Status
from gfe_core.landscape import Landscape
from gfe_core.trials import Scaled, StepSize, watched

ENOUGH = 0.1  # of the decrease that the slope at a point promises for the step (Armijo)
KNOWN = 1e-8  # the cosine of a move and of the turn of the gradient, below which they say nothing of the curvature


@dataclass
class LimitedState(Scaled):
    """With each image's last pairs, how many it has seen, its direction, and its bounds.

    ``pairs`` (b, m, 2, d) holds the last m moves, and by how much the gradient turned, each pair scaled so that their
    product is 1. Pair k stands at k modulo m. ``inverse`` (b, m, m) is that of the matrix of products of each move with
    its own turn and all later ones; bounds make it anew at each step. ``gamma`` (b,) is the first step, and then the
    scale that the newest pair tells of. ``lower`` and ``upper`` are (b, d), or (b, 1) where they are the same for all
    latent variables.
    """

    pairs: Tensor
    inverse: Tensor
    seen: Tensor
    gamma: Tensor
    direction: Tensor
    lower: Tensor
    upper: Tensor


@dataclass(frozen=True)
class LBFGSAMD(StepSize[LimitedState]):
    """AMD along the direction of limited-memory BFGS: :class:`QuasiNewtonAMD` for latents of up to 10,000 dimensions.

    Each image keeps the last ``pairs`` moves, and how they turned its gradient. The direction is that of BFGS from
    gamma times the identity, gamma = m^T t / t^T t of the newest pair (Nocedal; the compact form of Byrd, Nocedal and
    Schnabel). The trial is the full step, which a refusal shrinks by ``beta``; ``s_0`` is the first step. A step counts
    where the loss falls by a tenth of what its slope promises (Armijo): a first step that is far too long may lower the
    loss a little, and lead where the decoder is flat. One forward and one backward pass a trial. Memory of an image:
    2 ``pairs`` + 8 vectors of d numbers, and no d x d.

    ``lower`` and ``upper`` bound the latents that the solver sees: numbers, or tensors that broadcast to (B, d). Bounds
    with a row for each image fit one batch; ``encode_all``, which makes several, takes numbers and (d,). A start that
    is outside is moved to the nearest point inside, and trial points likewise. Variables that a gradient step would
    carry to their bound take that step, and the others the direction of BFGS among themselves (Bertsekas). An image all
    of whose variables are held by their bounds is ``CONVERGED``.

    The loss falls at every step (Eq. 9), and an encoding does not depend on the batch. Raises ``ValueError`` for fields
    out of range, and for bounds that do not fit the latents.
    """

    beta: float = 0.25
    pairs: int = 8
    lower: float | Tensor = -math.inf
    upper: float | Tensor = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs < 1:
            raise ValueError(f"pairs = {self.pairs}: how many to remember, at least 1 (5 to 10 are usual).")
        try:
            apart = torch.as_tensor(self.lower) <= torch.as_tensor(self.upper)
        except RuntimeError as failed:
            raise ValueError(f"lower and upper do not fit one another ({failed}); give both one shape.") from None
        if not apart.all():
            raise ValueError(
                "lower and upper: needed is lower <= upper everywhere; swap them, or pass -math.inf and math.inf where "
                "there is no bound."
            )

    @property
    def bounded(self) -> bool:
        """Whether there are bounds at all."""
        if isinstance(self.lower, Tensor) or isinstance(self.upper, Tensor):
            return True
        return self.lower > -math.inf or self.upper < math.inf

    def begin(self, objective: Landscape, z: Tensor, steps: Tensor) -> LimitedState:
        """With s_0 times the identity, at the point within the bounds next to z. One forward and one backward pass."""
        lower, upper = self._rows("lower", z), self._rows("upper", z)
        if self.bounded:
            z = z.clamp(lower, upper)
        at = Measured.at(objective, z)
        gamma = self.first_step(objective, at, z)
        state = LimitedState(
            **watched(at, z, steps), s=torch.ones_like(gamma), pairs=z.new_zeros(len(z), self.pairs, 2, z.shape[1]),
            inverse=z.new_zeros(len(z), self.pairs, self.pairs), seen=torch.zeros_like(steps), gamma=gamma, direction=z,
            lower=lower, upper=upper,
        )  # fmt: skip
        state.direction = self.direction(state)
        return state

    def propose(self, state: LimitedState) -> Trial:
        """A step along the direction, or to the bounds."""
        moved = state.s[:, None] * state.direction
        point = state.z - moved
        if self.bounded:
            point = point.clamp(state.lower, state.upper)
            moved = state.z - point
        return Trial(point, (state.gradient * moved).sum(dim=1))

    def falls(self, state: LimitedState, trial: Trial, at: Measured) -> Tensor:
        """Where (b,) the loss falls by at least :data:`ENOUGH` of what its slope promises."""
        return super().falls(state, trial, at) & (at.loss <= state.loss - ENOUGH * trial.predicted)

    def advance(self, state: LimitedState, trial: Trial, at: Measured, falls: Tensor) -> None:
        """Remember what the step has seen, in place of the oldest pair."""
        moved, turned = trial.point - state.z, at.gradient - state.gradient
        along = (moved * turned).sum(dim=1)
        known = falls & (along > KNOWN * moved.norm(dim=1) * turned.norm(dim=1))
        pair = torch.cat([moved, turned], dim=1) * along.rsqrt()[:, None]
        stored = state.pairs.view(-1, pair.shape[1])
        oldest = torch.arange(0, len(stored), self.pairs, device=pair.device) + state.seen % self.pairs
        stored.index_copy_(0, oldest, torch.where(known[:, None], pair, stored[oldest]))
        if not self.bounded:
            state.inverse = self._inverse(state, known, pair[:, moved.shape[1] :])
        state.seen = state.seen + known
        state.gamma = torch.where(known, along / turned.square().sum(dim=1), state.gamma)
        state.s = torch.where(falls, 1.0, self.beta * state.s)
        self.accept(state, trial, at, falls)
        state.direction = self.direction(state)

    def _inverse(self, state: LimitedState, known: Tensor, turn: Tensor) -> Tensor:
        """The inverse after a new pair with this ``turn`` (b, d), where it is ``known``: one column in one's place."""
        new = known[:, None] & (torch.arange(self.pairs, device=turn.device) == (state.seen % self.pairs)[:, None])
        rest = state.inverse.masked_fill(new[:, :, None] | new[:, None], 0.0)
        products = torch.bmm(state.pairs[:, :, 0], turn[:, :, None])
        column = torch.baddbmm(new[:, :, None].to(rest), rest, products, alpha=-1)
        return torch.where(new[:, None], column, rest)

    def endings(self, state: LimitedState) -> list[tuple[Status, Tensor]]:
        """Where the convergence curve is flat, or where the bounds hold every variable."""
        ends = super().endings(state)
        if self.bounded:
            low, high = state.z <= state.lower, state.z >= state.upper
            held = (low & (state.gradient >= 0)) | (high & (state.gradient <= 0))
            ends.append((Status.CONVERGED, held.all(dim=1)))
        return ends

    def direction(self, state: LimitedState) -> Tensor:
        """The inverse curvature that the pairs tell of, times the gradient: (b, d)."""
        gradient, pairs, gamma = state.gradient, state.pairs, state.gamma[:, None]
        if not self.bounded:
            return self._among(gradient, pairs, state.inverse, gamma)
        scaled = gamma * gradient
        there, each = state.z - scaled, torch.arange(self.pairs, device=pairs.device)
        free = ~((there <= state.lower) & (gradient > 0) | (there >= state.upper) & (gradient < 0))
        pairs = pairs * free[:, None, None]
        moves, turns = pairs.unbind(dim=2)
        along = (moves * turns).sum(dim=2)
        known = (each < state.seen[:, None]) & (along > KNOWN * moves.norm(dim=2) * turns.norm(dim=2))
        moves, turns = (pairs * torch.where(known, along.rsqrt(), 0.0)[:, :, None, None]).unbind(dim=2)
        order = (each - state.seen[:, None]) % self.pairs  # 0 for the oldest
        upper = torch.bmm(moves, turns.mT) * (order[:, :, None] < order[:, None]) + torch.eye(self.pairs).to(pairs)
        pairs, inverse = torch.stack([moves, turns], dim=2), torch.linalg.inv_ex(upper)[0]
        return torch.where(free, self._among(gradient * free, pairs, inverse, gamma), scaled)

    def _among(self, gradient: Tensor, pairs: Tensor, inverse: Tensor, gamma: Tensor) -> Tensor:
        """The same for ``pairs`` with this ``inverse``, by the compact form of Byrd, Nocedal and Schnabel."""
        moves, turns = pairs.unbind(dim=2)
        w = torch.bmm(inverse, torch.bmm(moves, gradient[:, :, None]))
        q = torch.baddbmm(gradient[:, None], w.mT, turns, beta=-1)  # what of the gradient the pairs do not explain
        u = torch.bmm(torch.baddbmm(w, turns, gamma[:, None] * q.mT).mT, inverse)
        direction = torch.baddbmm(gamma[:, None] * q, u, moves, beta=-1)[:, 0]
        downhill = (direction * gradient).sum(dim=1, keepdim=True) > 0  # but for rounding
        return torch.where(downhill, direction, gamma * gradient)

    def _rows(self, name: str, z: Tensor) -> Tensor:
        """The bound ``name``, for the latents z (B, d): (B, d) or (B, 1)."""
        bound = torch.as_tensor(getattr(self, name), dtype=z.dtype, device=z.device)
        if bound.ndim == 0:
            return bound.expand(len(z), 1)
        try:
            return bound.expand(z.shape)
        except RuntimeError:
            raise ValueError(
                f"{name} has shape {tuple(bound.shape)}, which does not fit {len(z)} latents of {z.shape[1]} numbers; "
                f"pass a number, or a tensor of shape ({z.shape[1]},) or {tuple(z.shape)}."
            ) from None
