"""Several decoders trained at once, as one stacked computation: for devices that a single batch leaves idle.

The members of a stack share nothing but the time: each gets the values, gradients and updates that it would get alone,
up to rounding. Only an exception, of a loss that is not finite, ends all where it would have ended one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import one_hot

from gfe_core.adjoint import ApproximateGradient
from gfe_core.batches import Drawn
from gfe_core.encoding import Encoding, Solver
from gfe_core.extra import Extra
from gfe_core.objective import Loss, Objective, bce
from gfe_core.steps import iteration, state_of
from gfe_core.training import Recipe, Training
from gfe_core.warm import WarmStart, encode_moved, usable


class StackedDecoder(nn.Module):
    """S decoders of one architecture as a module whose parameters are theirs, stacked: (S, B, d) -> logits (S, B, P).

    Raises ``ValueError`` for no decoders and for decoders that were not built alike.
    """

    def __init__(self, decoders: Sequence[nn.Module]) -> None:
        super().__init__()
        if not decoders:
            raise ValueError("there is no decoder to stack; pass one or more.")
        built = [(repr(d), [(k, x.shape, x.dtype, x.device) for k, x in d.state_dict().items()]) for d in decoders]
        if others := [place for place, one in enumerate(built) if one != built[0]]:
            raise ValueError(
                f"decoder {others[0]} was not built like decoder 0; stack only decoders of the same layers, sizes, "
                "dtype and device, and train the others on their own."
            )
        self.members, self.latent_dim = len(decoders), getattr(decoders[0], "latent_dim", None)
        self.decoder = deepcopy(decoders[0])  # never called as it is: its tensors have a dimension too many
        parameters, buffers = stack_module_state(list(decoders))
        for name, own in (*self.decoder.named_parameters(), *self.decoder.named_buffers()):
            own.data = (parameters | buffers)[name].detach()

    def forward(self, z: Tensor) -> Tensor:
        """Logits of latents (S, B, d), each member's by its own parameters: (S, B, P)."""
        state = dict(self.decoder.named_parameters()) | dict(self.decoder.named_buffers())
        return vmap(lambda own, z: functional_call(self.decoder, own, (z,)))(state, z)

    def state_dicts(self) -> list[dict[str, Tensor]]:
        """A copy of the ``state_dict`` of each decoder."""
        state = self.decoder.state_dict()
        return [{name: tensor[m].clone() for name, tensor in state.items()} for m in range(self.members)]


class _Rows(nn.Module):
    """A stack as a decoder of single rows, each decoded by the member that ``member`` (R,) names: (R, d) -> (R, P).

    Groups of unequal size are padded by rows of zeros, whose logits nobody sees.
    """

    def __init__(self, stack: StackedDecoder, member: Tensor) -> None:
        super().__init__()
        self.stack, self.member, self.latent_dim = stack, member, stack.latent_dim
        seen = one_hot(member, stack.members).cumsum(dim=0)  # rows of each member so far
        self.size = int(seen[-1:].sum(dim=0).max())
        self.place = member * self.size + seen.gather(1, member[:, None])[:, 0] - 1
        self.even = torch.equal(self.place, torch.arange(stack.members * self.size, device=member.device))

    def forward(self, z: Tensor) -> Tensor:
        return self.flat(self.stack(self.grouped(z)))

    def grouped(self, rows: Tensor) -> Tensor:
        """(R, n) -> (S, M, n), M the size of the largest group."""
        shape = self.stack.members, self.size, rows.shape[1]
        if not self.even:
            rows = rows.new_zeros(shape).flatten(0, 1).index_copy(0, self.place, rows)
        return rows.reshape(shape)

    def flat(self, groups: Tensor) -> Tensor:
        """(S, M, n) -> (R, n)."""
        rows = groups.flatten(0, 1)
        return rows if self.even else rows[self.place]


class StackedObjective(Objective):
    """An :class:`Objective` of S x B images, those of the first member first: (S B, P).

    Latents, losses and their gradients have a row for each image; gradients in theta are stacked like the parameters.
    Raises ``ValueError`` as there, and for a number of images that cannot be shared out.
    """

    def __init__(self, decoder: StackedDecoder, images: Tensor, loss: Loss = bce) -> None:
        each, left = divmod(len(images), decoder.members)
        if left:
            raise ValueError(f"{len(images)} images for {decoder.members} decoders; pass as many for each of them.")
        member = torch.arange(decoder.members, device=images.device)
        self.rows = _Rows(decoder, member.repeat_interleave(each))
        super().__init__(self.rows, images, loss)

    def select(self, index: Tensor | slice) -> StackedObjective:
        """The same objective for the images at ``index``; it counts into the same passes."""
        part = super().select(index)
        assert isinstance(part, StackedObjective)
        part.decoder = part.rows = _Rows(self.rows.stack, self.rows.member[index])
        return part

    def renewed(self, images: Tensor, extra: Extra | None = None) -> StackedObjective:
        """The same decoders for other images, as many as these."""
        if len(images) != len(self):
            raise ValueError(f"{len(images)} images after {len(self)}; give a stack as many each time.")
        fresh = super().renewed(images, extra)
        assert isinstance(fresh, StackedObjective)
        return fresh


class StackedWarmEncoder:
    """A :class:`~gfe_core.warm.WarmEncoder` for each member, as one solver of :class:`StackedObjective`."""

    def __init__(self, settings: WarmStart, members: int) -> None:
        self.settings, self.encoders = settings, [settings.encoder() for _ in range(members)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.settings!r}, {len(self.encoders)})"

    def encode(self, objective: StackedObjective, z0: Tensor | None = None, record: bool = False) -> Encoding:
        """Encode from ``z0`` (R, d), by default from each member's own start, in its own coordinates."""
        rows, factors = objective.rows, [encoder.state["factor"] for encoder in self.encoders if encoder.state]
        if z0 is None and factors:
            images = rows.grouped(objective.images)
            z0 = rows.flat(torch.stack([each.start(own) for each, own in zip(self.encoders, images, strict=True)]))
        z0 = objective.start(z0)
        factor = torch.stack(factors)[rows.member] if factors else torch.eye(z0.shape[1]).to(z0)
        return encode_moved(self.settings, objective, z0, factor, record)

    def learn(self, objective: StackedObjective, encoding: Encoding) -> None:
        """Take in a batch, as many images of each member. Costs what it costs them: 1 + d passes for each probe.

        An interrupted one has learnt the batch for all members, or for none.
        """
        rows, z = objective.rows, encoding.z
        curvatures: list[Tensor | None] = [None] * len(self.encoders)
        if self.encoders[0].refreshes and len(z):  # as all members do at once
            probes = torch.arange(len(z), device=z.device) % rows.size < self.settings.probes
            seen = z[probes], *objective.select(probes).gauss_newton(z[probes])
            shares = zip(*(each.chunk(len(self.encoders)) for each in seen), strict=True)
            curvatures = [usable(*share) for share in shares]
        batches = zip(self.encoders, rows.grouped(objective.images), rows.grouped(z), curvatures, strict=True)
        self.encoders = [encoder.taught(*batch) for encoder, *batch in batches]

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that :meth:`load_state_dict` needs to go on as if nothing had happened."""
        return {"encoders": [encoder.state_dict() for encoder in self.encoders]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a copy of a :meth:`state_dict`."""
        encoders = [self.settings.encoder() for _ in self.encoders]
        for encoder, kept in zip(encoders, state["encoders"], strict=True):
            encoder.load_state_dict(kept)
        self.encoders = encoders


class StackedStep:
    """An iteration of Algorithm 1 with Eq. (6) for all members of a ``stack`` at once, S x B images at a time.

    ``summed`` (S,) adds up the losses of each. A :class:`WarmStart` becomes a warm encoder for each.
    """

    def __init__(self, stack: StackedDecoder, solver: Solver, device: torch.device) -> None:
        warm = isinstance(solver, WarmStart)
        self.solver: Any = StackedWarmEncoder(solver, stack.members) if warm else solver  # type: ignore[arg-type]
        self.stack = stack
        self.objective: StackedObjective | None = None
        self.summed = torch.zeros(stack.members, dtype=torch.float64, device=device)

    def __call__(self, images: Tensor) -> Tensor:
        """The losses (S B,) at z_tau; the gradient of their sum is added to .grad."""
        self.objective = self.objective.renewed(images) if self.objective else StackedObjective(self.stack, images)
        losses = iteration(self.objective, self.solver, ApproximateGradient())
        self.summed += losses.unflatten(0, (self.stack.members, -1)).sum(dim=1)
        return losses

    def state_dict(self) -> dict[str, Any]:
        """What the solver has learnt; empty for one that does not learn."""
        return state_of(self.solver) or {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        if state:
            self.solver.load_state_dict(state)


class StackedTraining(Training):
    """S trainings by encoding at once: each decoder's as by a :class:`Training` with its generator and ``solver``.

    A :class:`WarmStart` becomes a warm encoder for each. ``images`` counts those of one decoder, ``seconds`` the time
    of all. Raises ``ValueError`` as :class:`StackedDecoder`, and unless there is one generator for each decoder.
    """

    def __init__(
        self, decoders: Sequence[nn.Module], generators: Sequence[Generator], solver: Solver, pool: Tensor,
        recipe: Recipe | None = None,
    ) -> None:  # fmt: skip
        stack = StackedDecoder(decoders)
        if len(generators) != stack.members:
            raise ValueError(f"{len(generators)} generators for {stack.members} decoders; pass one for each of them.")
        self.stacked = StackedStep(stack, solver, pool.device)
        super().__init__(stack, self.stacked, pool, generators[0], recipe)
        self.batches = Drawn(pool, self.recipe.batch_size, generators)

    def advance(self, images: int, progress: Callable[[int], object] = lambda seen: None) -> Tensor:  # type: ignore[override]
        """As :meth:`Training.advance`; returns the mean training loss of each decoder on the way (S,)."""
        before = self.images
        self.stacked.summed.zero_()
        super().advance(images, progress)
        return self.stacked.summed / (self.images - before)

    def counted(self, images: Tensor) -> int:
        """How many training images of each decoder a batch counts as."""
        return len(images) // len(self.stacked.summed)
