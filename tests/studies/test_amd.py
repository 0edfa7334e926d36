"""Notebook 04's studies, where a number can be had by hand or in closed form."""

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import brentq

from gfe_companion.methods import FLOW_TAU
from gfe_companion.studies import amd, amd_stiffness, amd_training
from gfe_core.amd import AMD
from gfe_core.fixed_grid import FixedGrid
from gfe_core.objective import Objective


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


def test_the_steps_that_amd_takes_are_those_by_hand():
    """For l = (0.3 z - 1)^2 / 2 a step s takes the share 0.09 s of the way to 0.3 z = 1, and s grows by 1.1 from 1."""
    steps = amd.steps_taken(AMD(tolerance=0.0, max_steps=8), one_pixel(1.0, 0.3, half_square))
    assert steps.loss.tolist() == pytest.approx((np.cumprod(1 - 0.09 * 1.1 ** np.arange(8)) ** 2 / 2).tolist())
    assert steps.s.tolist() == pytest.approx((1.1 ** np.arange(8)).tolist())
    assert steps.dt.tolist() == pytest.approx(steps.s.tolist())
    assert not steps.refused.any()


@pytest.mark.parametrize(("accepted", "second", "refused"), [(False, 7.5, 2), (True, 3.75, 1)])
def test_a_refused_step_is_counted_by_how_often_it_was_shrunk(accepted, second, refused):
    """For l = (z - 1)^2 / 2 a step is taken below 2: of 2.5 it takes 1.25, and tries three times one of them next."""
    solver = AMD(tau=100.0, beta=0.5, kappa=3.0, s_0=2.5, s_max=8.0, tolerance=0.0, max_steps=2, grow_accepted=accepted)
    steps = amd.steps_taken(solver, one_pixel(1.0, 1.0, half_square))
    assert steps.s.tolist() == pytest.approx([2.5, second])
    assert steps.dt.tolist() == pytest.approx([1.25, 1.875])
    assert steps.refused.tolist() == [1, refused]


@pytest.mark.filterwarnings("ignore:AMD has ended")
def test_the_last_step_is_shortened_and_not_refused():
    steps = amd.steps_taken(AMD(tau=2.5, tolerance=0.0), one_pixel(1.0, 0.3, half_square))
    assert steps.t.iloc[-1] == 2.5 and steps.dt.iloc[-1] == pytest.approx(0.4)
    assert not steps.refused.any()


def test_the_cap_is_told_in_steps_to_tau():
    said = amd.say_cap(lambda s_max: round(1e4 / s_max) + 7)
    assert "| 10 | 1,000 | 1,007 |" in said and "| 1,000 | 10 | 17 |" in said


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
    assert "30 passes: $\\beta$: 0.75, $s_{max}$: 9; with many: $\\beta$: 0.5, $s_{max}$: 9." in said


def test_values_that_are_as_good_are_named_together():
    rows = [("beta", 0.5, 2.0), ("beta", 0.75, 2.01), ("s_max", 1.0, 2.2), ("s_max", 10.0, 2.0), ("s_max", 100.0, 1.99)]
    effect = pd.DataFrame(rows, columns=["field", "value", "loss"])
    assert amd.best_values(effect) == {"beta": "$\\beta$: any of them", "s_max": "$s_{max}$: 10 or 100"}


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


def test_a_curvature_below_zero_is_told_where_it_cannot_be_drawn(setting):
    rows = [(images, seed, start, 1.0, 20, 5, 8.0, 10.0) for images, start in ((0, 0.5), (48, -2.0)) for seed in (0, 1)]
    columns = ["images", "seed", "start", "end", "evaluations", "steps", "late_median", "reached"]
    stages = pd.DataFrame(rows, columns=columns)
    panel = amd_stiffness.fig_stiffness(setting, stages).figure.axes[0]
    drawn = {line.get_label(): list(line.get_ydata()) for line in panel.lines}
    assert drawn["$\\mu$ at $z = 0$"] == [0.5] and drawn["$\\mu$ at $z_\\tau$"] == [1.0, 1.0]
    runs = pd.DataFrame({"config": [SimpleNamespace(tau=10.0, limit=100)]})
    assert "From 48 images on, $\\mu$ at $z = 0$ is negative" in amd_stiffness.say_stiffness(runs, stages)
    assert "negative" not in amd_stiffness.say_stiffness(runs, stages.assign(start=0.5))


def test_the_costs_are_compared_seed_by_seed(setting):
    rows = [(480, 0, "dopri5", 100.0), (480, 0, "gfe_amd", 50.0), (480, 1, "dopri5", 400.0), (480, 1, "gfe_amd", 100.0)]
    costs = pd.DataFrame(rows, columns=["images", "seed", "method", "gradients"]).assign(stopped=0.0)
    shown = amd_stiffness.table_dopri5(setting, costs).shown.iloc[0]
    assert shown["dopri5"].startswith("250 ±") and shown["stopped"] == "0%"
    assert shown["ratio"].startswith("3.0 ±")  # the mean of 2 and 4, not 500 / 150
    costs.loc[0, "stopped"] = 0.5
    cut = amd_stiffness.table_dopri5(setting, costs).shown.iloc[0]
    assert cut["dopri5"].startswith("at least 250 ±") and cut["stopped"] == "25%" and "at least 3.0" in cut["ratio"]


def training(method, seed, losses):
    rows = [(method, seed, 10 * (n + 1), float(n), np.nan, loss, None) for n, loss in enumerate(losses)]
    columns = ["method", "seed", "iterations", "seconds", "training_loss", "validation_loss", "failure"]
    return pd.DataFrame(rows, columns=columns)


def test_a_curve_ends_where_a_seed_breaks_off_and_a_cross_says_so(setting):
    curves = [training("gfe", 0, [3.0, 2.0, 1.0]), training("gfe", 1, [3.0, 2.0, np.nan])]
    figure = amd_training.fig3_right(setting, pd.concat(curves, ignore_index=True)).figure
    curve, *seeds, cross = figure.axes[0].lines
    assert len(seeds) == 2, "two seeds are thin lines"
    assert len(figure.axes[1].lines) == 1, "there is nothing but GFE itself"
    assert list(curve.get_xdata()) == [10, 20]
    assert (cross.get_marker(), list(cross.get_xdata())) == ("x", [30])


def test_other_methods_are_compared_with_gfe_seed_by_seed(setting):
    pairs = {"gfe": ([2.0, 1.0], [4.0, 2.0]), "gfe_nesterov": ([2.2, 1.0], [4.4, 1.0]), "gfe_amd": ([1.0, np.nan],)}
    curves = pd.concat([training(m, seed, losses) for m, each in pairs.items() for seed, losses in enumerate(each)])
    relative = amd_training.relative_to_gfe(curves).set_index(["method", "seed", "iterations"]).relative
    assert relative.to_dict() == pytest.approx({
        ("gfe_nesterov", 0, 10): 0.1, ("gfe_nesterov", 0, 20): 0.0, ("gfe_nesterov", 1, 10): 0.1,
        ("gfe_nesterov", 1, 20): -0.5, ("gfe_amd", 0, 10): -0.5,
    })  # fmt: skip
    picture = amd_training.fig3_right(setting, curves[curves.method != "gfe_amd"])
    assert "At iteration 20 relative to GFE: 2nd order GFE -25.0%" in picture.figure.get_suptitle()
