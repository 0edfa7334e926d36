"""Trainings that do more than encode each batch: encoded images rehearsed, or an autoencoder first (beyond the paper).

An encoding of five trials costs about six times what the decoder's own gradient costs. These steps get more updates of
theta from each encoding, or begin without any.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Generator, Tensor

from gfe_core.objective import bce
from gfe_core.steps import AutoEncoderStep, EncodingStep, add_to_grad, encoded

TINY = 1e-12  # in the place of no slope at all


class Recent:
    """The last ``capacity`` images that were encoded, with their latents."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.seen = capacity, 0
        self.images, self.z = torch.empty(0), torch.empty(0)

    def __len__(self) -> int:
        return min(self.seen, self.capacity)

    def add(self, images: Tensor, z: Tensor) -> None:
        """Keep ``images`` (B, ...) and their latents (B, d), in the place of the oldest."""
        if not self.seen:
            self.images, self.z = (part.new_zeros(self.capacity, *part.shape[1:]) for part in (images, z))
        places = torch.arange(self.seen, self.seen + len(images), device=images.device) % self.capacity
        self.images[places], self.z[places] = images, z
        self.seen += len(images)

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on as if nothing had happened."""
        return {"seen": self.seen, "images": self.images.clone(), "z": self.z.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.seen, self.images, self.z = state["seen"], state["images"].clone(), state["z"].clone()


class RehearsedStep:
    """Algorithm 1 where each batch that is encoded is followed by ``rehearsals`` updates on recently encoded images.

    - ``encoding``: the step of a warm encoder, which encodes every (1 + ``rehearsals``)-th batch.
    - ``capacity``: how many encoded images are kept; the others' latents would be of too old a decoder.
    - ``generator``: draws from these.

    A rehearsal is Eq. (6) at the kept latents: one forward pass, and one backward pass for theta and z together. Each
    of its latents then makes one step of ``length`` along -L L^T grad_z, in the coordinates of the warm encoder. No
    trial is tested, so that this step may raise the loss; an encoding never does. Where |L^T grad_z|^2 is above
    ``share`` of the loss, the step is shortened as if that gradient were scaled down until both are equal. A batch
    that is drawn while images are rehearsed counts as seen and is not looked at.
    """

    def __init__(
        self, encoding: EncodingStep, rehearsals: int, capacity: int, generator: Generator, length: float = 0.7,
        share: float = 0.02,
    ) -> None:  # fmt: skip
        self.encoding, self.rehearsals, self.length, self.share = encoding, rehearsals, length, share
        self.recent, self.generator, self.updates = Recent(capacity), generator, 0

    @property
    def solver(self) -> Any:
        """The warm encoder."""
        return self.encoding.solver

    def __call__(self, images: Tensor) -> Tensor:
        """The losses (B,) of ``images`` (B, P), or of as many rehearsed ones; theta's gradient is added to .grad."""
        encodes = self.updates % (1 + self.rehearsals) == 0
        losses = self.encode(images) if encodes else self.rehearse(len(images))
        self.updates += 1
        return losses

    def encode(self, images: Tensor) -> Tensor:
        """The losses (B,) of ``images`` at z_tau; both are kept."""
        objective = self.encoding.renewed(images, None)
        encoding = encoded(objective, self.solver, self.encoding.gradient)
        add_to_grad(self.encoding.decoder, self.encoding.gradient(objective, encoding))
        self.recent.add(images, encoding.z.detach())
        return encoding.loss

    def rehearse(self, count: int) -> Tensor:
        """The losses (count,) of kept images, whose latents move afterwards."""
        index = torch.randint(len(self.recent), (count,), generator=self.generator).to(self.recent.z.device)
        z = self.recent.z[index].requires_grad_()
        losses = bce(self.encoding.decoder(z), self.recent.images[index])
        losses.sum().backward()
        assert z.grad is not None
        factor = self.solver.state["factor"]
        u = (z.grad + self.solver.settings.penalty * z.detach()) @ factor
        promised = u.square().sum(dim=1).clamp(min=TINY)
        shortened = (self.share * losses.detach() / promised).sqrt().clamp(max=1.0)
        self.recent.z[index] = z.detach() - self.length * shortened[:, None] * u @ factor.T
        return losses.detach()

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on as if nothing had happened."""
        parts = {"encoding": self.encoding.state_dict(), "recent": self.recent.state_dict()}
        return parts | {"generator": self.generator.get_state(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.encoding.load_state_dict(state["encoding"])
        self.recent.load_state_dict(state["recent"])
        self.generator.set_state(state["generator"])
        self.updates = state["updates"]


class HybridStep:
    """An autoencoder for the first ``switch`` images, its decoder by encoding from there on.

    Decoder and optimiser go on as they are; the encoder stays where it is at the switch.
    """

    def __init__(self, first: AutoEncoderStep, then: EncodingStep | RehearsedStep, switch: int) -> None:
        self.first, self.then, self.switch, self.images = first, then, switch, 0

    @property
    def solver(self) -> Any:
        """What encodes after the switch."""
        return self.then.solver

    def __call__(self, images: Tensor) -> Tensor:
        """The losses (B,) of ``images`` (B, P); the gradient of their sum is added to .grad."""
        losses = (self.first if self.images < self.switch else self.then)(images)
        self.images += len(images)
        return losses

    def state_dict(self) -> dict[str, Any]:
        """All that :meth:`load_state_dict` needs to go on as if nothing had happened."""
        return {"images": self.images, "then": self.then.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state_dict`."""
        self.images = state["images"]
        self.then.load_state_dict(state["then"])
