"""How theta is updated beyond the paper: by Adam, at a constant rate or one that falls to zero."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.optim import Optimizer

from gfe_core.training import CosineRecipe


@dataclass(frozen=True)
class AdamRecipe(CosineRecipe):
    """Adam, on batches drawn with replacement, in the place of RMSprop (Sec. 4; Sec. 5 speaks of Adam).

    ``alpha`` is the memory of the squares, as RMSprop's, and ``momentum`` that of the gradients. The rate is constant
    unless ``until`` says when it has fallen to zero. The gradient's scale, and so that the batch's loss is a sum, does
    not matter to Adam.
    """

    alpha: float = 0.999
    epsilon: float = 1e-8
    until: int = 0
    momentum: float = 0.9

    def optimizer(self, model: nn.Module) -> Optimizer:
        """Adam for the parameters of ``model``."""
        return torch.optim.Adam(
            model.parameters(), self.learning_rate, betas=(self.momentum, self.alpha), eps=self.epsilon,
            weight_decay=self.weight_decay,
        )  # fmt: skip
