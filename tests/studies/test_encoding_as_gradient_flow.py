"""Notebook 01's study, where a number can be had by hand."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from gfe_companion.methods import UNCAPPED
from gfe_companion.runs.configs import Train
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import borrowed, encoding_on_a_toy
from gfe_companion.studies import encoding_as_gradient_flow as study
from gfe_core.encoding import Encoding, Path
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


def test_the_answers_measure_the_way_gone_and_the_distance(encoding):
    one = Path(encoding.path.t[:, :1], encoding.path.z[:, :1], torch.tensor([[8.0], [8.0], [4.0]]))
    first = replace(encoding, z=torch.zeros(1, 20), loss=torch.tensor([4.0]), path=one)
    other = replace(first, z=torch.full((1, 20), 0.5), loss=torch.tensor([4.5]))
    said = study.say_answers(first, other)
    assert "1. **100%** of the way" in said  # the first row at 10 or later is the last
    assert "4.5000 instead of 4.0000, at a distance of 2.2" in said  # sqrt(20) / 2


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


def test_euler_on_the_toy_is_counted_until_it_is_as_near_as_amd():
    class Line(torch.nn.Module):
        def forward(self, z):
            return z[:, :1]

    objective = Objective(Line(), torch.zeros(1, 1), lambda logits, images: (logits - images).square().sum(dim=1))
    amd = Path(torch.tensor([[0.0], [1.0]]), torch.zeros(2, 1, 2), torch.tensor([[1.0], [0.1]]))
    walks = encoding_on_a_toy.paths([(1.0, 0.0, 1.0), (0.5, 0.0, 0.25), (0.3, 0.0, 0.09)], 0.25, amd, [0, 3])
    assert walks.method.tolist() == ["Euler, step 0.25"] * 3 + ["AMD"] * 2
    assert walks.trials.tolist() == [0, 1, 2, 0, 3]
    said = encoding_on_a_toy.say_toy(objective, torch.zeros(1, 2), walks)
    assert "**1 steps**" in said and "2 were refused" in said
    assert "Euler's method needs 2 steps" in said
    short = encoding_on_a_toy.say_toy(objective, torch.zeros(1, 2), pd.concat([walks[:2], walks[3:]]))
    assert "has not got there after 1 steps" in short
