"""Letters drawn in the fonts that matplotlib ships: a stand-in with ten classes and thousands of grey images."""

from __future__ import annotations

from functools import cache

import torch

from gfe_companion.datasets.base import Split, Splits


@cache
def letters() -> Splits:
    """Grey patches of scikit-learn's two photographs."""
    from sklearn.datasets import load_sample_images

    grey = torch.stack([torch.tensor(photograph) for photograph in load_sample_images().images]).float().mean(3) / 255
    parts = []
    for first, end in ((0, 440), (440, 530), (530, 640)):  # of 640 columns
        patches = grey[:, :, first:end].unfold(1, 28, 14).unfold(2, 28, 14).reshape(2, -1, 784)
        labels = torch.arange(2).repeat_interleave(patches.shape[1])
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        parts.append(Split(patches.flatten(0, 1)[order], labels[order]))
    return parts[0], parts[1], parts[2]
