"""Colour photographs cut to 32 x 32, a convolutional decoder and MSE: encoders against the best of many starts."""

from __future__ import annotations

import pytest
import torch
from conftest import seeded
from sklearn.datasets import load_sample_images
from torch import nn

from gfe_companion.methods import METHODS
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.encoding import Status
from gfe_core.objective import Objective

DIM, STARTS = 32, 5
ENCODERS = ("quasi_newton", "limited_memory", "gauss_newton_bfgs", "levenberg_marquardt")


def mse(output, images):
    return (output - images).square().flatten(1).mean(dim=1)


def squares() -> torch.Tensor:
    """Squares of the two photographs at half their size, in an order of their own."""
    cut = []
    for picture in load_sample_images().images:
        pixels = torch.tensor(picture).permute(2, 0, 1).float()[None] / 255
        small = nn.functional.interpolate(pixels, scale_factor=0.5, mode="area")[0]
        cut.append(small.unfold(1, 32, 16).unfold(2, 32, 16).permute(1, 2, 0, 3, 4).reshape(-1, 3, 32, 32))
    together = torch.cat(cut)
    return together[torch.randperm(len(together), generator=seeded())]


@pytest.fixture(scope="module")
def trained():
    """A decoder that was trained in an autoencoder, and squares that it has not seen."""
    torch.manual_seed(0)
    up = [nn.ConvTranspose2d(*channels, 4, 2, 1) for channels in ((64, 32), (32, 16), (16, 3))]
    first = [nn.Linear(DIM, 1024), nn.ELU(), nn.Unflatten(1, (64, 4, 4))]
    decoder = nn.Sequential(*first, up[0], nn.ELU(), up[1], nn.ELU(), up[2])
    down = [nn.Conv2d(*channels, 4, 2, 1) for channels in ((3, 16), (16, 32), (32, 64))]
    encoder = nn.Sequential(down[0], nn.ELU(), down[1], nn.ELU(), down[2], nn.ELU(), nn.Flatten(), nn.Linear(1024, DIM))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3)
    pictures, generator = squares(), seeded(1)
    learn, test = pictures[24:], pictures[:24]
    for _ in range(250):
        batch = learn[torch.randint(len(learn), (32,), generator=generator)]
        optimizer.zero_grad()
        mse(decoder(encoder(batch)), batch).mean().backward()
        optimizer.step()
    return decoder, test


@pytest.fixture(scope="module")
def best(trained):
    """The lowest loss of each image from zero and from several random starts, encoded at length."""
    decoder, test = trained
    at_length = QuasiNewtonAMD(tolerance=0.0, max_trials=300)
    starts = [k * torch.randn(len(test), DIM, generator=seeded(k)) for k in range(STARTS)]
    losses = [at_length.encode(Objective(decoder, test, mse, latent_dim=DIM), z0).loss for z0 in starts]
    return torch.stack(losses).amin(dim=0)


@pytest.mark.parametrize("name", ENCODERS)
def test_from_zero_it_is_within_1_percent_of_the_best_of_many_starts(name, trained, best):
    decoder, test = trained
    encoding = (METHODS[name].tester or METHODS[name].solver).encode(Objective(decoder, test, mse, latent_dim=DIM))
    assert float(encoding.loss.mean() / best.mean()) < 1.01
    assert not (encoding.status == Status.DIVERGED).any()
