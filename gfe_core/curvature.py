"""The Gauss-Newton matrix J^T H J of a loss in the latents, for any decoder and any twice differentiable loss."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

ONE_AT_A_TIME = threading.Lock()  # torch counts the levels of forward mode for all threads together
VANISHED = 1e-6  # a curvature has vanished where a step along it would be longer than the latent's size over this
Decode = Callable[[Tensor], Any]
Losses = Callable[[Any], Tensor]


def flat(output: Any, images: int) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """What a decoder returns for B ``images`` as one (B, P) tensor, and the way back: one of any shape, or several.

    What has no row for each image is a constant; a complex number is two. Raises ``ValueError`` where nothing in it is
    a floating tensor.
    """
    if isinstance(output, Tensor) and output.ndim == 2 and not output.is_complex():
        return output, lambda rows: rows
    leaves, structure = tree_flatten(output)
    real = [torch.view_as_real(x) if isinstance(x, Tensor) and x.is_complex() else x for x in leaves]
    floating = (isinstance(x, Tensor) and x.is_floating_point() and x.ndim > 0 for x in real)
    moving = [i for i, one in enumerate(floating) if one and len(real[i]) == images]
    if not moving:
        raise ValueError(
            f"the decoder returns a {type(output).__name__} that holds no floating tensor with a row for each image; "
            "return one."
        )

    def back(rows: Tensor) -> Any:
        parts = rows.split([math.prod(real[i].shape[1:]) for i in moving], dim=1)
        given = list(leaves)
        for i, part in zip(moving, parts, strict=True):
            part = part.reshape(real[i].shape)
            given[i] = torch.view_as_complex(part) if leaves[i].is_complex() else part
        return tree_unflatten(given, structure)

    return torch.cat([real[i].reshape(images, math.prod(real[i].shape[1:])) for i in moving], dim=1), back


def gauss_newton(decode: Decode, losses: Losses, z: Tensor, columns: int) -> tuple[Tensor, Tensor, Tensor, int, int]:
    """The losses (B,), their gradient (B, d), and J^T H J (B, d, d); and what it cost, in passes an image each way.

    J (P, d) is the decoder's Jacobian, ``columns`` of it at a time by forward mode: as many forward passes as latent
    dimensions, one for each group of columns, and one more where it returns several tensors. A decoder with an
    operation that has no forward mode gets its P rows by reverse mode instead: two forward passes, and a backward pass
    for each row. H (P, P) is the loss's Hessian in the decoder's output, never formed: its products with the columns of
    J need no decoder. Negative eigenvalues of J^T H J are set to zero.
    """
    z, dim = z.detach(), z.shape[1]
    try:
        output, back, jacobian, calls = _forward_mode(decode, z, columns)
        cost = dim + calls, 0
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        output, back, jacobian = _reverse_mode(decode, z)
        cost = 2, output.shape[1]
    dtype = torch.promote_types(output.dtype, z.dtype)  # single precision for what comes out in half
    output, jacobian = output.to(dtype), jacobian.to(dtype)
    with torch.enable_grad():
        output = output.detach().requires_grad_()
        loss = losses(back(output))
        slope = _slope(loss.sum(), output)
        curvature = torch.empty(len(z), dim, dim, dtype=z.dtype, device=z.device)
        by_image = jacobian.permute(1, 2, 0)  # (B, P, d)
        for first in range(0, dim, columns):
            turned = _hessian_products(slope, output, jacobian[first : first + columns])  # (columns, B, P)
            curvature[:, first : first + columns] = turned.transpose(0, 1) @ by_image
    gradient = (slope.detach()[:, None] @ by_image)[:, 0].to(z.dtype)
    return loss.detach(), gradient, positive((curvature + curvature.mT) / 2), *cost


def positive(curvature: Tensor) -> Tensor:
    """Symmetric matrices (B, d, d) with their negative eigenvalues set to zero; such as are not finite stay so."""
    dim = curvature.shape[1]
    size = curvature.diagonal(dim1=1, dim2=2).abs().mean(dim=1)
    margin = (1e-5 + dim * torch.finfo(curvature.dtype).eps) * size + torch.finfo(curvature.dtype).tiny
    eye = torch.eye(dim, dtype=curvature.dtype, device=curvature.device)
    negative = torch.linalg.cholesky_ex(curvature + margin[:, None, None] * eye)[1] != 0
    negative &= torch.isfinite(curvature).flatten(1).all(dim=1)
    if negative.any():
        values, vectors = torch.linalg.eigh(curvature[negative])
        curvature = curvature.clone()
        curvature[negative] = vectors @ (values.clamp_min(0)[:, :, None] * vectors.mT)
    return curvature


def vanished(curvature: Tensor, gradient: Tensor, z: Tensor) -> Tensor:
    """Which (B,) of the ``curvature`` (B, d, d) say nothing about how far to go from ``z`` (B, d).

    They are not finite, or so flat that a step down the ``gradient`` (B, d) would be 1e6 times as long as the latent.
    """
    size = curvature.diagonal(dim1=1, dim2=2).mean(dim=1)
    flat = size <= VANISHED * _per_length(gradient, z)
    return flat | ~torch.isfinite(curvature).flatten(1).all(dim=1)


def or_identity(curvature: Tensor, gradient: Tensor, z: Tensor) -> Tensor:
    """The ``curvature`` (B, d, d), and a scaled identity where it has vanished or is not finite.

    The scale makes a step down the ``gradient`` (B, d) as long as the latent ``z`` (B, d), or of length 1.
    """
    lost = vanished(curvature, gradient, z)
    if not lost.any():
        return curvature
    scale = _per_length(gradient, z)
    scale = torch.where((scale > 0) & torch.isfinite(scale), scale, 1.0)
    identity = torch.diag_embed(scale[:, None].expand(z.shape))
    return torch.where(lost[:, None, None], identity, curvature)


def _per_length(gradient: Tensor, z: Tensor) -> Tensor:
    """The curvature (B,) at which a step down the gradient has the length of the latent, but at least 1."""
    return gradient.norm(dim=1) / z.norm(dim=1).clamp_min(1.0)


def _forward_mode(decode: Decode, z: Tensor, columns: int) -> tuple[Tensor, Callable[[Tensor], Any], Tensor, int]:
    """The output (B, P), the way back from it, the Jacobian's columns (d, B, P), and the calls of the decoder."""
    dim, parts = z.shape[1], []
    whole: list[Any] = []

    def rows(z: Tensor) -> Tensor:
        whole.append(decode(z))
        return flat(whole[-1], len(z))[0]

    along = torch.eye(dim, dtype=z.dtype, device=z.device)[:, None, :].expand(dim, len(z), dim)
    outputs: Any = (None, 0)  # one output, and one column of J for each direction
    with ONE_AT_A_TIME, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what torch itself calls at its first forward mode
        for some in along.split(columns):
            forward: Any = torch.func.vmap(partial(torch.func.jvp, rows, (z,)), out_dims=outputs)
            output, part = forward((some,))
            parts.append(part)
        if isinstance(whole[0], Tensor) and not whole[0].is_complex():
            shape = whole[0].shape
            return output, lambda rows: rows.reshape(shape), torch.cat(parts), len(whole)
        back = flat(decode(z), len(z))[1]  # what forward mode has seen is of use there only
        return output, back, torch.cat(parts), len(whole) + 1


def _reverse_mode(decode: Decode, z: Tensor) -> tuple[Tensor, Callable[[Tensor], Any], Tensor]:
    """The same by one backward pass for each number that the decoder returns."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        output, back = flat(decode(z), len(z))
        rows = [
            torch.autograd.grad(column.sum(), z, retain_graph=True, materialize_grads=True, allow_unused=True)[0]
            for column in output.unbind(dim=1)
        ]
    return output.detach(), back, torch.stack(rows, dim=1).permute(2, 0, 1)


def _slope(total: Tensor, output: Tensor) -> Tensor:
    """The gradient of the summed loss in the output (B, P), to be differentiated again."""
    return torch.autograd.grad(total, output, create_graph=True, allow_unused=True, materialize_grads=True)[0]


def _hessian_products(slope: Tensor, output: Tensor, vectors: Tensor) -> Tensor:
    """H v for each of the ``vectors`` (n, B, P), v in the decoder's output: (n, B, P)."""
    if not slope.requires_grad:  # the loss is linear in the output
        return torch.zeros_like(vectors)
    again = partial(torch.autograd.grad, slope, output, retain_graph=True, allow_unused=True, materialize_grads=True)
    try:
        return again(vectors, is_grads_batched=True)[0]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # an operation that cannot be batched
        return torch.stack([again(vector)[0] for vector in vectors])
