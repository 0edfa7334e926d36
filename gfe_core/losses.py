"""The paper's loss: the cross-entropy of Sec. 4, one number for each image."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Loss = Callable[..., Tensor]  # (output, images) or (output, images, extra) -> (B,)


def bce(logits: Tensor, images: Tensor) -> Tensor:
    """Binary cross-entropy with logits, the mean over the pixels: (B, ...), (B, ...) -> (B,).

    The sigmoid lives in the loss, so a decoder ends in logits. An untrained decoder has about log 2 = 0.69. Images may
    be floating, bool or integer, with values in [0, 1]. Raises ``ValueError`` for shapes that differ.
    """
    if logits.shape != images.shape:
        raise ValueError(f"the logits have shape {tuple(logits.shape)}; give the images the same one by reshape")
    losses = functional.binary_cross_entropy_with_logits(logits, images.to(logits.dtype), reduction="none")
    return losses.flatten(1).mean(dim=1)


def require_unit_interval(images: Tensor) -> None:
    """Raise ``ValueError`` for images (B, ...) that the cross-entropy cannot take, naming the first."""
    inside = (images >= 0) & (images <= 1)
    outside = ~inside.reshape(len(images), math.prod(images.shape[1:])).all(dim=1)
    if outside.any():
        raise ValueError(
            f"image {int(outside.nonzero()[0])} of the batch has pixels that are not finite or not in [0, 1]; "
            "scale the images (for bytes: divide by 255) and drop damaged ones, or pass another loss."
        )
