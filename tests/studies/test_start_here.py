"""Notebook 00's study: sizes are those of the networks, and pictures are taken at the times that they name."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch

from gfe_companion.runs.profiles import Setting
from gfe_companion.runs.sizes import PROFILES
from gfe_companion.studies import borrowed
from gfe_companion.studies import start_here as study
from gfe_core.encoding import Path
from gfe_core.models import Decoder, Encoder


def test_sizes_are_those_of_the_networks():
    assert study.layers(Decoder()) == [20, 150, 300, 600, 784]
    assert study.layers(Encoder()) == study.layers(Decoder())[::-1]
    assert study.parameters(Decoder()) == 21 * 150 + 151 * 300 + 301 * 600 + 601 * 784
    assert "A latent has 20 numbers, an image 784 pixels" in study.say_networks()
    picture = study.fig_networks()
    shown = [axes.get_title() for axes in picture.figure.axes]
    assert "700,234 parameters" in shown[1] and "1,399,704" in shown[0]
    plt.close(picture.figure)


def test_an_image_is_pictured_at_the_last_step_before_a_time():
    path = Path(torch.tensor([[0.0, 0.0], [1.0, 2.0], [5.0, 2.0]]), torch.zeros(3, 2, 1), torch.zeros(3, 2))
    assert study.rows_at(path, 0.0).tolist() == [0, 0]
    assert study.rows_at(path, 1.5).tolist() == [1, 0]
    assert study.rows_at(path, 3.0).tolist() == [1, 2]  # the second image was finished, and repeats its end


def test_the_idea_starts_every_image_from_one_picture(monkeypatch):
    decoder = Decoder(generator=torch.Generator().manual_seed(0))
    run = SimpleNamespace(weights={"16": decoder.state_dict()})
    monkeypatch.setattr(borrowed, "run_grid", lambda configs, setting: [run])
    monkeypatch.setattr(study, "IMAGES", 2)
    picture = study.fig_idea(Setting.of("smoke", "embedded", device="cpu"))
    panels = picture.figure.axes
    first, second = panels[0].images[0].get_array(), panels[len(panels) // 2].images[0].get_array()
    assert (first == second).all()
    assert picture.data.loss.iloc[-1] < picture.data.loss.iloc[0] == pytest.approx(0.69, abs=0.02)
    assert "by a decoder that learned from 16 images" in picture.alt
    plt.close(picture.figure)


def test_the_table_has_every_profile():
    table = study.table_profiles()
    assert table.data.profile.tolist() == list(PROFILES)
    assert "480 to 5,760" in table.shown.values
