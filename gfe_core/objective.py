"""l(y, D(z)) for each image, its value and its gradient in z: the only caller of the decoder while encoding.

Every solver sees the decoder through an :class:`Objective`, so that the cost of a method is *counted* here, in decoder
passes, and never assumed.
"""

from __future__ import annotations

import math
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from gfe_core.contract import HALF, fitting_dtypes, latent_shape_of, probe, require_steady_modules
from gfe_core.curvature import gauss_newton
from gfe_core.extra import Extra, checked, handing, require_taken, rows
from gfe_core.landscape import InTheta, Landscape, NotFinite, Passes, Start, require_finite
from gfe_core.losses import Loss, bce, require_unit_interval
from gfe_core.precision import as_the_caller_has_it, full_precision

__all__ = ["Landscape", "Loss", "NotFinite", "Objective", "Passes", "bce", "require_finite"]

AT_ONCE = 2**25  # numbers of the Jacobians that are held at a time


class Objective(Landscape):
    """The distance l(y, D(z)) of Sec. 3 for a batch of images y, as a function of their latents z.

    - ``decoder`` maps latents (B, d) to what ``loss`` takes: logits or pixels of any shape, or several tensors.
    - ``images`` (B, ...), of the shape and kind that the loss takes; for the cross-entropy in [0, 1].
    - ``loss`` maps (output, images) to (B,), one loss for each image.
    - ``extra``: what belongs to each image besides, a tensor of B rows or a dict of them: a mask, weights, labels. It
      is selected with the images, and handed to the loss and to the decoder if they take it: a tensor as the next
      argument, an entry of a dict as the argument of its name.
    - ``latent_dim`` d, or ``latent_shape`` where a latent is no vector; by default the decoder's ``latent_dim``, if it
      has one, else the shape of the first z0.
    - ``columns``: how many of the d columns of the decoder's Jacobian are computed at a time.

    Latents and losses have the decoder's dtype; beside a decoder of half precision they are float32, and z is rounded
    where it enters. At construction (or at the first z0, where the latent's shape is not known before) decoder and loss
    are tried on one and on two images, in a few passes that are not counted. Raises ``ValueError``, with the remedy,
    for a loss that is not one floating number for each image, that depends on the batch or cannot be repeated (dropout,
    batch normalisation in training mode, noise), for tensors that do not fit one another, and for images that the
    cross-entropy cannot take.
    """

    def __init__(
        self, decoder: nn.Module, images: Tensor, loss: Loss = bce, extra: Extra | None = None,
        latent_dim: int | None = None, latent_shape: tuple[int, ...] | None = None, columns: int = 64,
    ) -> None:  # fmt: skip
        if not isinstance(decoder, nn.Module):
            raise ValueError(f"the decoder is a {type(decoder).__name__}; pass an nn.Module, which has its parameters.")
        if columns < 1:
            raise ValueError(f"columns = {columns}: at least one column of the Jacobian at a time.")
        self.decoder, self.loss, self.columns = decoder, loss, columns
        self.floor = 0.0 if loss is bce else None
        self.latent_shape = latent_shape_of(decoder, latent_dim, latent_shape)
        self.probed = False
        self._take(images, extra)
        self.to_decoder = handing(decoder, 1, self.extra, unknown=False)
        self.to_loss = handing(loss, 2, self.extra, unknown=True)
        require_taken(self.extra, self.to_decoder, self.to_loss)
        if self.latent_shape is not None:
            self._probe(math.prod(self.latent_shape))

    def _take(self, images: Tensor, extra: Extra | None) -> None:
        """Check what can differ from batch to batch, and start a new count."""
        require_steady_modules(self.decoder)
        self.accepts, self.dtype = fitting_dtypes(self.decoder, images)
        if images.ndim == 0:
            raise ValueError("images has no dimension; it needs one row for each image.")
        self.extra = checked(extra, len(images))
        with torch.inference_mode(False):
            images = images.clone() if images.is_inference() else images
            self.images = images.to(self.dtype) if images.is_floating_point() else images
        if self.loss is bce:
            require_unit_interval(self.images)
        self.passes = Passes()

    def _probe(self, dim: int) -> None:
        """Try the contract once, at latents that are neither zero nor alike."""
        if not self.probed and len(self):
            z = torch.arange(2 * dim, device=self.images.device).reshape(2, dim).cos() / 2
            counted, self.passes = self.passes, Passes()
            probe(self, z.to(self.dtype))
            self.passes, self.probed = counted, True

    @property
    def evaluations(self) -> int:
        """Forward and backward decoder passes so far, in images; selections of the same objective share the count."""
        return self.passes.forward + self.passes.backward

    def start(self, z0: Start | None = None) -> Tensor:
        """z(0), a (B, d) tensor: ``z0``, checked, or the zero vector of the paper (Sec. 3). Costs nothing.

        ``z0`` has a row for each image, (B, d) or (B, *latent_shape), or is one start for all, or a function of the
        images that returns either.
        """
        shape = self.latent_shape
        if z0 is None:
            if shape is None:
                raise ValueError(
                    "this decoder has no `latent_dim`, so z(0) = 0 has no size; pass latent_dim or latent_shape to the "
                    "objective, or pass z0 of shape (B, d)."
                )
            return torch.zeros(len(self), math.prod(shape), dtype=self.dtype, device=self.images.device)
        z0 = z0(self.images) if callable(z0) else z0
        if not isinstance(z0, Tensor):
            raise ValueError(f"z0 is a {type(z0).__name__}; it needs to be a tensor, or a function that returns one.")
        if z0.ndim == 1 if shape is None else tuple(z0.shape) in (shape, (math.prod(shape),)):
            z0 = z0.expand(len(self), *z0.shape)
        fits = z0.ndim >= 2 and len(z0) == len(self)
        if not fits or (shape is not None and tuple(z0.shape[1:]) not in (shape, (math.prod(shape),))):
            wanted = "d" if shape is None else ", ".join(map(str, shape))
            raise ValueError(
                f"z0 has shape {tuple(z0.shape)}; it needs ({len(self)}, {wanted}): one row for each of the "
                f"{len(self)} images."
            )
        if shape is None:
            self.latent_shape = tuple(z0.shape[1:])
        start = z0.detach().to(self.images.device, self.dtype).flatten(1).clone()
        require_finite(start, "z0")
        self._probe(start.shape[1])
        return start

    def shaped(self, z: Tensor) -> Tensor:
        """Latents (..., d) in the shape that the decoder takes: (..., *latent_shape)."""
        if self.latent_shape is None or len(self.latent_shape) == 1:
            return z
        return z.reshape(*z.shape[:-1], *self.latent_shape)

    def output(self, z: Tensor) -> Any:
        """D(z), and its part of ``extra``: one row for each image. Not counted: whoever calls it counts."""
        if self.latent_shape is not None:
            z = z.reshape(len(z), *self.latent_shape)
        z = z if self.accepts is None else z.to(self.accepts)
        with as_the_caller_has_it(self.images.device.type):
            return self.to_decoder.call(self.decoder, z, extra=self.extra)

    def raw_losses(self, output: Any) -> Tensor:
        """The loss of what the decoder returns: (B,). It is computed in single precision at least, also in autocast."""
        output = tree_map(_lifted, output) if not isinstance(output, Tensor) else _lifted(output)
        with full_precision(self.images.device.type):
            return self.to_loss.call(self.loss, output, self.images, extra=self.extra)

    def losses(self, output: Any) -> Tensor:
        """The same in the latents' dtype."""
        return self.raw_losses(output).to(self.dtype)

    @torch.no_grad()
    def value(self, z: Tensor) -> Tensor:
        """l(y, D(z)): (B, d) -> (B,). Costs one forward pass."""
        self.passes.forward += len(z)
        return self.losses(self.output(z))

    def value_and_grad(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """l(y, D(z)) and its gradient in z: (B, d) -> (B,), (B, d). Costs one forward and one backward pass."""
        self.passes.forward += len(z)
        self.passes.backward += len(z)
        with torch.inference_mode(False), torch.enable_grad():
            z = _leaf(z)
            loss = self.losses(self.output(z))
            (gradient,) = torch.autograd.grad(loss.sum(), z)
            return loss.detach(), gradient

    def all_gradients(self, z: Tensor) -> tuple[Tensor, InTheta]:
        """grad_z l (B, d) of each image, and partial_theta of the summed loss: an entry for each decoder parameter.

        The entry of a parameter that requires no gradient, or is not used, is None. Costs one forward and one backward
        pass.
        """
        self.passes.forward += len(z)
        self.passes.backward += len(z)
        with torch.inference_mode(False), torch.enable_grad():
            z = _leaf(z)
            loss = self.losses(self.output(z)).sum()  # Eq. (1)
            return self._in_z_and_theta(loss, z, None)

    def vector_jacobian(self, z: Tensor, vector: Tensor) -> tuple[Tensor, InTheta]:
        """vector^T applied to both Jacobians of grad_z l: nabla_z^2 l (B, d), and partial_theta grad_z l.

        ``vector`` is (B, d); the latter is summed over the images, an entry for each decoder parameter, None as in
        :meth:`all_gradients`. Costs four passes: one forward, one backward, and the way back through both of them.
        """
        self.passes.forward += len(z)
        self.passes.backward += 3 * len(z)
        with torch.inference_mode(False), torch.enable_grad():
            z, vector = _leaf(z), vector.clone() if vector.is_inference() else vector
            loss = self.losses(self.output(z)).sum()
            (gradient,) = torch.autograd.grad(loss, z, create_graph=True)
            if not gradient.requires_grad:  # the loss is linear in z and theta alike
                return torch.zeros_like(z), tuple(None for _ in self.decoder.parameters())
            return self._in_z_and_theta(gradient, z, vector)

    def _in_z_and_theta(self, of: Tensor, z: Tensor, vector: Tensor | None) -> tuple[Tensor, InTheta]:
        """The derivative of ``of``, times ``vector``, in z and in each parameter."""
        free = [parameter for parameter in self.decoder.parameters() if parameter.requires_grad]
        in_z, *in_theta = torch.autograd.grad(of, (z, *free), vector, allow_unused=True)
        each = iter(in_theta)
        found = tuple(next(each) if parameter.requires_grad else None for parameter in self.decoder.parameters())
        return torch.zeros_like(z) if in_z is None else in_z, found

    def gauss_newton(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """l(y, D(z)), its gradient, and its Gauss-Newton matrix J^T H J in z: (B, d) -> (B,), (B, d), (B, d, d).

        See :func:`gfe_core.curvature.gauss_newton`. Costs d forward passes and one for each ``columns`` of them; where
        the decoder has no forward mode, two forward passes and a backward pass for each number that it returns. Images
        are taken a few at a time where their Jacobians would be large.
        """
        few = max(1, AT_ONCE // (z.shape[1] * max(1, self.images[:1].numel())))
        parts = []
        with torch.inference_mode(False), full_precision(self.images.device.type):
            for first in range(0, max(1, len(z)), few):
                some = slice(first, first + few)
                part = self if few >= len(z) else self.select(some)
                *found, forward, backward = gauss_newton(part.output, part.losses, z[some].clone(), self.columns)
                self.passes.forward += forward * len(z[some])
                self.passes.backward += backward * len(z[some])
                parts.append(found)
        loss, gradient, curvature = (torch.cat(each) for each in zip(*parts, strict=True))
        return loss, gradient, curvature

    def select(self, index: Tensor | slice) -> Objective:
        """The same objective for the images at ``index``; it counts into the same passes."""
        part = copy(self)
        with torch.inference_mode(False):
            part.images, part.extra = self.images[index], rows(self.extra, index)
        return part

    def renewed(self, images: Tensor, extra: Extra | None = None) -> Objective:
        """The same decoder and loss for other images, with a count of their own; the contract is not tried again."""
        fresh = copy(self)
        if (extra is None) != (self.extra is None):
            raise ValueError("extra came with some images and not with others; pass it with all of them, or with none.")
        fresh._take(images, extra)
        return fresh


def _leaf(z: Tensor) -> Tensor:
    """The latents as the start of a graph."""
    return (z.clone() if z.is_inference() else z.detach()).requires_grad_()


def _lifted(output: Any) -> Any:
    return output.float() if isinstance(output, Tensor) and output.dtype in HALF else output
