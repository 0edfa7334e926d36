"""Which networks the playground shows: those on which both solvers of the report do well."""

import json

import torch
from torch import nn

from gfe_companion.lessons.playground import make, weights
from gfe_companion.lessons.playground.racers import everyone


def test_a_decoder_on_which_one_solver_fails_is_not_shown(monkeypatch):
    losses = {"sharp": {"AMD": 1.5, "quasi-Newton": 0.079}, "even": {"AMD": 0.094, "quasi-Newton": 0.085}}
    monkeypatch.setattr(make, "encoded", lambda decoder, images: losses[decoder])
    assert make.best({name: name for name in losses}, torch.rand(2, 784)) == "even"
    losses["sharp"]["AMD"] = 0.08
    assert make.best({name: name for name in losses}, torch.rand(2, 784)) == "sharp"


def test_the_losses_are_those_of_the_two_solvers_of_the_report():
    decoder = nn.Sequential(nn.Linear(4, 784))
    decoder.latent_dim = 4
    found = make.encoded(decoder, torch.rand(3, 784).round())
    assert list(found) == list(everyone())[:2]
    assert all(0 < loss < 1 for loss in found.values())


def test_what_is_published_suits_both_solvers():
    told = json.loads(weights.PUBLISHED.with_suffix(".json").read_text())["validation_loss"]
    for losses in told.values():
        solved = [loss for name, loss in losses.items() if name != "autoencoder"]
        assert max(solved) < 1.5 * losses["autoencoder"]
