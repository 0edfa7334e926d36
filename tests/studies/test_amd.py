"""Notebook 04's studies, where a number can be had by hand or in closed form."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import brentq

from gfe_companion.methods import FLOW_TAU
from gfe_companion.runs.profiles import Setting
from gfe_companion.studies import amd, amd_stiffness, amd_training
from gfe_core.fixed_grid import FixedGrid
from gfe_core.objective import Objective


@pytest.fixture
def setting():
    return Setting.of("smoke", "embedded", device="cpu")


class Scale(torch.nn.Module):
    """D(z) = w z, one latent and one pixel."""

    latent_dim = 1

    def __init__(self, w):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, z):
        return self.w * z


def half_square(output, images):
    return (output - images).square().sum(dim=1) / 2


def one_pixel(y, w=1.0, loss=None):
    return Objective(Scale(w), torch.tensor([[y]], dtype=torch.float64), **({"loss": loss} if loss else {}))


def test_amd_is_held_to_the_steps_that_were_taken_by_hand():
    """For l = (0.3 z - 1)^2 / 2 a step s takes the share 0.09 s of the way to 0.3 z = 1, and s grows by 1.1 from 1."""
    objective = one_pixel(1.0, 0.3, half_square)
    distance = np.cumprod(1 - 0.09 * 1.1 ** np.arange(8))
    steps = pd.DataFrame({"loss": distance**2 / 2})
    assert "the same 8 steps" in amd.say_same_steps(objective, steps)
    with pytest.raises(ValueError, match="other steps"):
        amd.say_same_steps(objective, steps.assign(loss=1.01 * steps.loss))


def test_the_longest_step_ends_where_the_loss_is_back_at_its_start():
    w, y = 0.7, 0.8  # l = log(1 + e^u) - y u with u = w z, mu = w^2 / 4 at z = 0, grad l = w (1/2 - y)
    u = brentq(lambda u: math.log1p(math.exp(u)) - y * u - math.log(2), 0.1, 20)
    longest, bound = amd.longest_step(one_pixel(y, w))
    exact = u / (w**2 * (y - 0.5))
    assert exact / 1.06 < longest < exact  # 300 steps on seven decades
    assert bound == pytest.approx(8 / w**2)


def test_an_image_that_is_encoded_at_the_origin_has_no_longest_step():
    with pytest.raises(ValueError, match="no step"):
        amd.longest_step(one_pixel(0.5))


def test_what_a_field_matters_is_told_from_the_ends_alone():
    rows = [
        ("beta", 0.5, 10, 5.0), ("beta", 0.5, 100, 2.0), ("beta", 0.75, 10, 4.0), ("beta", 0.75, 100, 3.0),
        ("s_max", 1.0, 10, 6.0), ("s_max", 1.0, 100, 2.2), ("s_max", 9.0, 10, 1.9), ("s_max", 9.0, 100, 2.0),
    ]  # fmt: skip
    effect = pd.DataFrame(rows, columns=["field", "value", "passes", "loss"])
    assert amd.spreads(effect).to_dict() == pytest.approx({"beta": 0.5, "s_max": 0.1})
    said = amd.say_effect(effect)
    assert "**50%** ($\\beta$) and **10%** ($s_{max}$)" in said
    assert "$\\beta$ = 0.75 and $s_{max}$ = 9; with many, $\\beta$ = 0.5 and $s_{max}$ = 9" in said


def test_the_two_readings_are_compared_by_trials_and_loss():
    rows = [("literal", 60, 0.2), ("literal", 60, 0.2), ("uncapped", 90, 0.202), ("uncapped", 30, 0.2)]
    readings = pd.DataFrame(rows, columns=["AMD", "trials", "loss"])
    readings["s grows from"] = ["s of the last step", "accepted step"] * 2
    said = amd.say_growth(readings)
    assert "1.0% in loss" in said
    assert "**1.00 times** the trials literally, **3.0 times** uncapped" in said


def test_the_slices_needed_have_a_closed_form():
    """For many slices h alpha = tau log(4) (1 + 3u) exp(-2u) / 3N with u = t / tau, which is largest at u = 1/6."""
    exact = FLOW_TAU * math.log(4) / 2 * math.exp(-1 / 3) * 0.01 / 2.79
    assert amd_stiffness.slices_needed(0.01) == pytest.approx(exact, rel=2e-3)


@pytest.mark.parametrize(("share", "rises"), [(0.9, True), (1.1, False)])
def test_rk4_is_stable_with_the_slices_needed_and_not_with_fewer(share, rises):
    mu = 0.05
    slices = round(share * amd_stiffness.slices_needed(mu))
    objective = one_pixel(1.0, math.sqrt(mu), half_square)
    path = FixedGrid(FLOW_TAU, slices).encode(objective, record=True).path
    assert (path.loss.diff(dim=0) > 0).any() == rises


def test_the_stages_are_medians_over_images_and_means_over_seeds():
    ends = {(0, 0): [1, 3, 80], (0, 1): [4, 5, 9], (48, 0): [10, 30, 99], (48, 1): [50, 50, 50]}
    rows = [(images, seed, 1.0, end, 20, 5, 8.0) for (images, seed), part in ends.items() for end in part]
    stages = pd.DataFrame(rows, columns=["images", "seed", "start", "end", "evaluations", "steps", "late_median"])
    assert amd_stiffness.growth(stages).end.to_dict() == {0: 4.0, 48: 40.0}
    assert amd_stiffness.medians(stages).end.to_dict() == {0: 4.5, 48: 50.0}


def test_the_costs_are_compared_seed_by_seed(setting):
    rows = [(480, 0, "dopri5", 100.0), (480, 0, "gfe_amd", 50.0), (480, 1, "dopri5", 400.0), (480, 1, "gfe_amd", 100.0)]
    costs = pd.DataFrame(rows, columns=["images", "seed", "method", "gradients"])
    shown = amd_stiffness.table_dopri5(setting, costs).shown.iloc[0]
    assert shown["dopri5"].startswith("250 ±")
    assert shown["ratio"].startswith("3.0 ±")  # the mean of 2 and 4, not 500 / 150


def training(method, seed, losses):
    rows = [(method, seed, 10 * (n + 1), float(n), np.nan, loss, None) for n, loss in enumerate(losses)]
    columns = ["method", "seed", "iterations", "seconds", "training_loss", "validation_loss", "failure"]
    return pd.DataFrame(rows, columns=columns)


def test_a_curve_ends_where_a_seed_breaks_off_and_a_cross_says_so(setting):
    curves = [training("gfe", 0, [3.0, 2.0, 1.0]), training("gfe", 1, [3.0, 2.0, np.nan])]
    figure = amd_training.fig3_right(setting, pd.concat(curves, ignore_index=True)).figure
    curve, cross = figure.axes[0].lines
    assert list(curve.get_xdata()) == [10, 20]
    assert (cross.get_marker(), list(cross.get_xdata())) == ("x", [30])
