"""Notebook 01's study, where a number can be had by hand."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch

from gfe_companion.methods import UNCAPPED
from gfe_companion.runs.configs import Train
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import borrowed, encoding_on_a_bowl, encoding_on_a_toy
from gfe_companion.studies import encoding_as_gradient_flow as study
from gfe_core.encoding import Encoding, Path, Status
from gfe_core.models import Decoder
from gfe_core.objective import Objective

LOSSES = torch.tensor([[8.0, 4.0], [6.0, 4.5], [4.0, 2.0]])  # the second image's loss rises once


@pytest.fixture
def setting():
    return Setting.of("quick", "embedded", device="cpu")


@pytest.fixture
def encoding():
    path = Path(torch.tensor([[0.0, 0.0], [1.0, 1.0], [100.0, 100.0]]), torch.zeros(3, 2, 20), LOSSES)
    steps = torch.tensor([2, 2])
    return Encoding(path.z[-1], LOSSES[-1], path.t[-1], steps, torch.tensor([0, 1]), 12, path)


def test_what_rises_and_how_far_a_loss_has_fallen():
    path = Path(torch.zeros(3, 2), torch.zeros(3, 2, 20), LOSSES)
    assert study.count_rises(path) == 1
    assert study.way_gone(LOSSES, torch.tensor([1, 2])).tolist() == [0.5, 1.0]


def test_the_sentence_on_many_images_counts_steps_rises_and_endings(encoding):
    said = study.say_many(encoding)
    assert "Of 4 steps, **1** raised" in said
    assert said.endswith("REACHED_TAU (1), CONVERGED (1).")
    with pytest.raises(ValueError, match="record=True"):
        study.say_many(replace(encoding, path=None))


def test_pictures_are_evenly_spaced_in_the_logarithm_of_time():
    assert study.pictured(torch.tensor([0.0, 1.0, 2.0, 10.0, 20.0, 100.0, 1000.0, 1e4])) == [0, 1, 3, 5, 6, 7]


def test_what_the_budget_stopped_has_not_converged(encoding):
    stopped = int(Status.BUDGET_SPENT)
    assert "converged:" not in study.say_many(encoding)
    half = study.say_many(replace(encoding, status=torch.tensor([0, stopped])))
    assert "**1 of 2 have not converged:**" in half
    none = study.say_many(replace(encoding, status=torch.tensor([stopped, stopped])))
    assert "BUDGET_SPENT (2)." in none and "**None of them has converged:**" in none


def test_another_start_is_told_by_loss_and_distance(encoding):
    first = replace(encoding, z=torch.zeros(1, 20), loss=torch.tensor([4.0]))
    other = replace(first, z=torch.full((1, 20), 0.5), loss=torch.tensor([4.5]))
    assert "4.5000 instead of 4.0000, at a distance of 2.2" in study.say_elsewhere(first, other)  # sqrt(20) / 2


def test_the_recap_has_three_sentences(encoding):
    said = study.say_seen(encoding, torch.tensor([2.0]), torch.tensor([1.0]))
    assert "at 1 of 4 steps of 2 images" in said and said.endswith("one update lowered the loss.")
    assert said.count(". ") == 2


def test_figure_1_follows_two_trainings_of_the_first_seed(setting):
    assert set(study.figure1(setting).method) == {"gfe", "gfe_nesterov"}
    first, *flows = study.needs(replace(setting, seeds=(2, 0)))
    assert first.seed == 2 and [flow.seed for flow in flows] == [2, 2]
    assert all(isinstance(config, Train) for config in (first, *flows))
    assert first.solver == UNCAPPED


def test_borrowed_decoders_come_in_the_order_of_images_seen(setting, monkeypatch):
    kept = {images: Decoder().state_dict() for images in ("5760", "480", "960")}
    monkeypatch.setattr(borrowed, "run_grid", lambda configs, setting: [SimpleNamespace(weights=kept)])
    decoders = borrowed.decoders(setting)
    assert list(decoders) == [480, 960, 5760]
    assert torch.equal(decoders[960][0].weight, kept["960"]["0.weight"])


class Line(torch.nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, z):
        return z[:, :1]


def squared_error(output, images):
    return (output - images).square().sum(dim=1)


def test_walks_on_the_toy_have_one_budget():
    objective, z = Objective(Line(2), torch.zeros(1, 1), squared_error), torch.tensor
    fixed = {0.25: [z([[1.0, 0.0]]), z([[0.5, 0.0]]), z([[0.3, 0.0]])]}
    walks = encoding_on_a_toy.paths(objective, fixed, [z([[1.0, 0.0]]), z([[0.5, 0.0]])], [0, 2])
    assert walks.method.tolist() == ["Euler, h = 0.25"] * 3 + ["AMD"] * 2
    assert walks.trials.tolist() == [0, 1, 2, 0, 2]
    assert walks.loss.tolist() == pytest.approx([1.0, 0.25, 0.09, 1.0, 0.25])
    said = encoding_on_a_toy.say_toy(objective, torch.zeros(1, 2), walks, 2)
    assert "Euler, h = 0.25: 9e-02; AMD: 2e-01" in said and "AMD refused 1 of" in said
    picture = encoding_on_a_toy.fig_toy(objective, torch.zeros(1, 2), walks)
    assert picture.figure.get_suptitle().startswith("Toy: 0 of 1 fixed steps end above AMD")
    plt.close(picture.figure)


def test_steps_on_the_bowl_multiply_the_distance_by_one_minus_h_mu():
    objective = Objective(Line(1), torch.ones(1, 1), squared_error)  # curvature 2
    walk = [torch.tensor([[0.0]]), torch.tensor([[1.5]]), torch.tensor([[0.75]])]
    steps = encoding_on_a_bowl.steps_of(objective, {1.5: walk})
    assert steps.left.tolist() == [1.0, 0.5, 0.25]
    said = encoding_on_a_bowl.say_bowl(objective, {1.5: walk}, 2.0)
    assert "$2/\\mu$ = 1.0" in said and "-0.50 for $h = 1.5 / \\mu$" in said
