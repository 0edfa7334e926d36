"""Encodings and losses of whole data sets, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gfe_core.batches import Batch, moved, split
from gfe_core.encoding import Encoding, Solver
from gfe_core.extra import Extra, checked, rows
from gfe_core.landscape import Start
from gfe_core.models import AutoEncoder
from gfe_core.objective import Loss, Objective, bce
from gfe_core.steps import wanted


def encode_all(
    decoder: nn.Module, images: Tensor | Iterable[Any], solver: Solver, loss: Loss = bce, batch_size: int = 500, *,
    extra: Extra | None = None, z0: Start | None = None, latent_dim: int | None = None,
    latent_shape: tuple[int, ...] | None = None,
) -> Iterator[Encoding]:  # fmt: skip
    """Encode many images: one :class:`Encoding` a batch, in order.

    ``images`` (N, ...) are taken ``batch_size`` at a time, with their ``extra``; or they are a DataLoader, or another
    source of batches, each of images or of a pair (images, extra). ``z0`` has a row for each image, or is one start for
    all, or a function of a batch's images. All else is as in :class:`~gfe_core.objective.Objective`, whose
    ``ValueError`` it raises. Costs the solver's decoder passes. The batch size changes the speed and not the result.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size = {batch_size}: at least one image at a time.")
    each = z0 if isinstance(z0, Tensor) and z0.ndim > 1 and tuple(z0.shape) != tuple(latent_shape or ()) else None
    batches: Iterator[Batch]
    if isinstance(images, Tensor):
        extra = checked(extra, len(images))
        if each is not None and len(each) != len(images):
            raise ValueError(f"z0 has {len(each)} rows for {len(images)} images; pass one for each.")
        parts = [slice(first, first + batch_size) for first in range(0, max(1, len(images)), batch_size)]
        batches = ((images[part], rows(extra, part)) for part in parts)
    elif extra is not None:
        raise ValueError("extra belongs to images in a tensor; a loader gives it with each batch: (images, extra).")
    else:
        batches = ((some, wanted(theirs, decoder, loss)) for some, theirs in map(split, images))
    return _encoded(decoder, batches, solver, loss, z0, each, latent_dim, latent_shape)


def _encoded(
    decoder: nn.Module, batches: Iterator[Batch], solver: Solver, loss: Loss, z0: Start | None, each: Tensor | None,
    latent_dim: int | None, latent_shape: tuple[int, ...] | None,
) -> Iterator[Encoding]:  # fmt: skip
    parameter, objective, done = next(decoder.parameters(), None), None, 0
    for batch in batches:
        images, extra = moved(batch, None if parameter is None else parameter.device)
        if objective is None:
            objective = Objective(decoder, images, loss, extra, latent_dim, latent_shape)
        else:
            objective = objective.renewed(images, extra)
        if each is not None:
            z0 = each[done : done + len(images)]
            if len(z0) < len(images):
                raise ValueError(f"z0 has {len(each)} rows for more images than that; pass one for each.")
        done += len(images)
        yield solver.encode(objective, z0)
    if each is not None and done < len(each):
        raise ValueError(f"z0 has {len(each)} rows for {done} images; pass one for each.")


@torch.no_grad()
def autoencoder_losses(autoencoder: AutoEncoder, images: Tensor, loss: Loss = bce) -> tuple[Tensor, Tensor]:
    """The autoencoder's own encoding of images (N, P): latents (N, d) and losses (N,). Costs one pass of each net."""
    z = autoencoder.encoder(images)
    return z, loss(autoencoder.decoder(z), images)
