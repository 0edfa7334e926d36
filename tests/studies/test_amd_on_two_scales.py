"""Notebook 04's lessons: bounds and walks that are known in closed form."""

import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from gfe_companion.studies import amd_on_two_scales as study


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def euler_leaves(x):
    return 1 - x


def rk4_leaves(x):
    return 1 - x + x**2 / 2 - x**3 / 6 + x**4 / 24


SOLVERS = {"Euler's method": euler_leaves, "RK4": rk4_leaves}
MU = torch.tensor([1.0, 100.0], dtype=torch.float64)


def walk(late, early=0.001, latents=2):
    """Steps of the length ``early`` to the time 1, and ``late`` from there to 8."""
    times = [(1.0, early), *((t, late) for t in (3.0, 5.0, 6.0, 7.0, 8.0))]
    return [(t, h, *[math.exp(-t), 0.0][:latents]) for t, h in times]


def test_the_borders_are_those_of_the_textbooks():
    assert study.border(euler_leaves) == pytest.approx(2)
    assert study.border(rk4_leaves) == pytest.approx(2.7853, abs=1e-4)
    picture = study.fig_bound(SOLVERS)
    assert picture.figure.axes[0].get_title().endswith("below 2 by Euler's method and 2.79 by RK4")
    assert picture.data.loc[80, ["h_mu", "Euler's method"]].tolist() == pytest.approx([1.6, 0.6])
    said = study.say_bound(SOLVERS)
    assert "Euler's method leaves 0.900000, and leads away where $h\\mu$ is above 2.000" in said
    assert "RK4 leaves 0.904838" in said and "The flow leaves 0.904837" in said


def test_late_steps_are_told_in_units_of_the_bound():
    walks = {"coarse": walk(0.019), "fine": walk(0.021, 1e-4), "alone": walk(0.5, latents=1)}
    steps = study.steps_of(walks)
    assert study.late_steps(steps).to_dict() == {"coarse": 0.019, "fine": 0.021, "alone": 0.5}
    assert steps.z2.isna().sum() == len(walks["alone"])
    picture = study.fig_stiff(walks, MU)
    assert "whatever accuracy is asked for" in picture.figure.get_suptitle().replace("\n", " ")
    assert "coarse 0.95 (6 steps); fine 1.05 (6 steps); alone 25.00 (6 steps)" in picture.alt
    assert "| alone | 6 | 25.0 |" in study.say_stiff(walks, MU)


def test_the_title_says_nothing_of_a_bound_that_does_not_decide():
    walks = {"coarse": walk(0.019), "fine": walk(0.002)}
    assert not study.bound_decides(study.steps_of(walks), MU)
    assert "whatever" not in study.fig_stiff(walks, MU).figure.get_suptitle()


def on_a_grid(mu, h, steps):
    factors = [(1 - h * each) ** steps for each in (1, mu)]
    return (factors[0] ** 2 + mu * factors[1] ** 2) / 2


def test_the_grid_is_lost_where_the_step_is_too_long():
    ends = study.ends_of(on_a_grid, lambda mu, trials: 0.1)
    assert study.breaks(ends)
    assert (ends.mu > 2 / study.STEP).any() and (ends.mu < 2 / study.STEP).any()
    picture = study.fig_grid(ends)
    assert "the grid is lost beyond" in picture.figure.axes[0].get_title()
    assert f"At mu = {ends.mu.max():.0f}" in picture.alt
    assert "multiplies the steep distance by -5.3, 200 times" in study.say_grid(ends)
    for wrong in (ends.assign(amd=ends.start + 1), ends.assign(grid=0.1)):
        assert not study.breaks(wrong)
        assert "is lost" not in study.fig_grid(wrong).figure.axes[0].get_title()


def test_losses_that_fall_are_counted():
    said = study.say_falling([1.0, 0.5, 0.25, 0.25])
    assert "2 of 3 steps lower the loss" in said and "**0.25000** in the end" in said


def test_the_numbers_behind_the_pictures_are_frames():
    for picture in (study.fig_bound(SOLVERS), study.fig_stiff({"one": walk(0.02)}, MU)):
        assert isinstance(picture.data, pd.DataFrame) and len(picture.data)
