"""How curved the loss is in z."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import hessian, vmap

from gfe_core.objective import Loss, bce


def curvature(decoder: nn.Module, images: Tensor, z: Tensor, loss: Loss = bce) -> Tensor:
    """The eigenvalues (B, d) of nabla_z^2 l, ascending, for ``images`` (B, P) at ``z`` (B, d).

    Costs d forward-mode passes through the gradient; an :class:`Objective` does not count them.
    """
    return torch.linalg.eigvalsh(vmap(hessian(lambda z, y: loss(decoder(z[None]), y[None])[0]))(z, images))
