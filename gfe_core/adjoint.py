"""Sec. 3.1: gradients of the training loss in the decoder's parameters theta."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gfe_core.encoding import Encoding
from gfe_core.objective import Objective


@dataclass(frozen=True)
class ApproximateGradient:
    """Eq. (6): d_theta L = partial_theta l(y, D(z*, theta)), the dependence of z* on theta ignored.

    Exact where z* is a minimiser (there grad_z l = 0 and the neglected integral of Eq. (4) vanishes). Costs one forward
    and one backward pass for each image, whatever the length of the path.
    """

    def __call__(self, objective: Objective, encoding: Encoding) -> tuple[Tensor, ...]:
        """One tensor for each decoder parameter: the gradient of the batch's summed loss at z*."""
        objective.passes.forward += len(objective)
        objective.passes.backward += len(objective)
        loss = objective.loss(objective.decoder(encoding.z.detach()), objective.images).sum()
        return torch.autograd.grad(loss, tuple(objective.decoder.parameters()))
