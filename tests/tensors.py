"""What tests of several rooms do with tensors."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import torch
from conftest import seeded
from torch import Tensor

from gfe_core.encoding import Encoding


def draw(*shape: int, seed: int) -> Tensor:
    """Normal numbers of ``shape``, the same ones each time."""
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All numbers of ``tensors``, such as a gradient in theta, in one row."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def relative(ours: Iterable[Tensor], reference: Iterable[Tensor]) -> float:
    """The distance of ``ours`` from ``reference``, relative to its norm."""
    return float((flat(ours) - flat(reference)).norm() / flat(reference).norm())


def encoded(z: Tensor) -> Encoding:
    """An encoding that ended at ``z``, of which nothing else is needed."""
    count = torch.zeros(len(z), dtype=torch.int64)
    return Encoding(z, z.new_zeros(len(z)), z.new_zeros(len(z)), count, count, 0)


def reloaded(state: Any) -> Any:
    """``state`` as it comes back from a file that may hold nothing but tensors."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
