"""What a warm encoder has learnt, and the least squares that it learns by: ridge regression with a fading memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

LARGEST = 20_000  # entries of a row [y, 1]: the least squares hold a matrix of so many rows and columns, 1.6 GB


@dataclass(frozen=True)
class Learnt:
    """What a :class:`~gfe_core.warm.WarmEncoder` has learnt from ``batches`` batches.

    Its tensors are replaced and never changed, so that an old one stays what it was. ``state`` is empty before any
    batch. Else it holds, for images of P pixels and latents of d dimensions:

    - ``map`` (P + 1, d) and ``factor`` (d, d), which encoding needs; ``curvature`` (d, d), which the factor is made of.
    - ``moments`` (P + 1, P + 1 + d): the faded sum of [y, 1]^T [y, 1, z] over all images but the recent ones.
    - ``recent`` (R, P + 1 + d): rows [y, 1, z], added to it at the next refresh, or once there are more than P + 1.
    - ``weight`` (1 + R,): by how much the moments, and then each recent row, have faded.
    """

    batches: int = 0
    state: dict[str, Tensor] = field(default_factory=dict)


def begun(size: int, z: Tensor, known: dict[str, Tensor], ridge: float) -> dict[str, Tensor]:
    """The state before the first batch, for rows [y, 1] of ``size`` entries and latents like ``z`` (B, d).

    Raises ``ValueError`` for rows of more than :data:`LARGEST` entries, one for each pixel and one more.
    """
    if size > LARGEST:
        raise ValueError(
            f"images of {size - 1:,} pixels are too large for a warm start, which solves least squares in the pixels; "
            "encode by another solver, or give it smaller images."
        )
    dim = z.shape[1]
    start, eye = known.get("map", z.new_zeros(size, dim)), torch.eye(dim).to(z)
    return {
        "map": start, "factor": known.get("factor", eye), "curvature": torch.zeros_like(eye),
        "moments": torch.cat([z.new_zeros(size, size), ridge * start], dim=1),
        "recent": z.new_zeros(0, size + dim), "weight": z.new_ones(1),
    }  # fmt: skip


def ridge_regression(squares: Tensor, products: Tensor, ridge: float) -> Tensor:
    """W with (X^T X + ridge I) W = X^T Z, for ``squares`` X^T X (n, n) and ``products`` X^T Z (n, d): (n, d)."""
    damped = squares.clone()
    damped.diagonal().add_(ridge)
    root, failed = torch.linalg.cholesky_ex(damped)
    if failed:  # by rounding, where the ridge is small beside the squares
        damped = damped.double()
        damped.diagonal().add_(10 * torch.finfo(squares.dtype).eps * squares.trace())
        root = torch.linalg.cholesky(damped)
    return torch.cholesky_solve(products.to(root), root).to(products)


def with_one(images: Tensor, dtype: torch.dtype) -> Tensor:
    """The pixels of images (B, ...) in rows, and a column of ones for the constant of the linear map: (B, P + 1)."""
    rows = images.flatten(1).to(dtype)
    return torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)


def copied(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors in memory of their own."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
