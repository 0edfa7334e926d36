"""How long the steps of fixed grids are: against closed forms, where the curvature is known."""

import math
from types import SimpleNamespace

import pytest
import torch
from conftest import linear_problem, quadratic

from gfe_companion.runs.coarseness import RK4_DECAY, RK4_SWING, Coarseness, coarseness
from gfe_companion.runs.configs import Train
from gfe_core.fixed_grid import FixedGrid
from gfe_core.models import Decoder
from gfe_core.nesterov import Nesterov

TAU = 1000.0


def growth(x):
    """By how much RK4 multiplies the solution of x' = lambda x in a step h, where x = h lambda."""
    return abs(1 + x + x**2 / 2 + x**3 / 6 + x**4 / 24)


@pytest.mark.parametrize(("bound", "direction"), [(RK4_DECAY, -1), (RK4_SWING, 1j)], ids=["decay", "swing"])
def test_the_bounds_are_where_rk4_neither_grows_nor_shrinks(bound, direction):
    assert growth(bound * direction) == pytest.approx(1, abs=1e-12)
    assert growth(1.01 * bound * direction) > 1 > growth(0.99 * bound * direction)


def measured(grid, mu, looks=1000, batch=2):
    decoder, _, _, y = linear_problem(batch=batch, curvature=mu)
    return coarseness(decoder, y, grid, quadratic, looks)


def test_the_longest_step_of_the_first_order_flow_has_a_closed_form():
    """h alpha = tau log(4) (1 + 3u) exp(-2u) / 3N with u = t / tau for many slices, which is largest at u = 1/6."""
    found = measured(FixedGrid(TAU, 400), 0.4)
    exact = TAU * math.log(4) / 2 * math.exp(-1 / 3) * 0.4 / 400 / RK4_DECAY
    assert found.share.tolist() == pytest.approx([exact] * 2, rel=5e-3)
    assert found.t.tolist() == pytest.approx([TAU / 6] * 2, rel=0.1)
    assert found.curvature.tolist() == pytest.approx([0.4] * 2)


def test_the_longest_step_of_the_second_order_flow_is_the_last():
    grid = Nesterov(100.0, 50)
    found = measured(grid, 0.25)
    times = grid.times()
    assert found.share.tolist() == pytest.approx([(times[-1] - times[-2]) * 0.5 / math.sqrt(8)] * 2)
    assert found.t.tolist() == pytest.approx([times[-2]] * 2)


def test_the_first_slice_is_told_apart():
    grid = FixedGrid(TAU, 40)
    found = measured(grid, 0.4)
    assert found.start.tolist() == pytest.approx([grid.times()[1] * 0.4 / RK4_DECAY] * 2)
    steep = torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False, dtype=torch.float64), torch.nn.Tanh())
    steep.latent_dim = 1
    with torch.no_grad():
        steep[0].weight.fill_(3.0)
    images = torch.full((1, 1), 0.99, dtype=torch.float64)  # where tanh is flat, far from the slope at z = 0
    flat = coarseness(steep, images, FixedGrid(10.0, 40), quadratic)
    assert flat.start[0] > 5 * flat.share[0], "the curvature of the start does not count later on"


@pytest.mark.parametrize(("share", "rises"), [(0.9, False), (1.2, True)])
def test_above_one_the_loss_rises_on_the_way(share, rises):
    grid = FixedGrid(TAU, 25)
    found = measured(grid, share / measured(grid, 1.0).share[0])
    assert found.share[0] == pytest.approx(share)
    assert (found.rises == rises).all()


def test_a_quarter_of_the_slices_takes_steps_that_are_four_times_as_long():
    fine, coarse = (measured(FixedGrid(TAU, slices), 1e-3).share[0] for slices in (400, 100))
    assert coarse / fine == pytest.approx(4, rel=0.01)


def test_a_flow_that_is_lost_is_infinitely_too_coarse():
    found = measured(FixedGrid(1e6, 40), 1e9)
    assert (found.share == math.inf).all() and (found.start == math.inf).all()
    assert found.rises.all() and found.curvature.isna().all()


def test_few_looks_take_in_the_last_slice():
    grid = Nesterov(100.0, 50)
    assert measured(grid, 0.25, looks=2).share[0] == pytest.approx(measured(grid, 0.25).share[0])


def test_a_run_measures_every_stage_that_was_kept():
    training = Train("mnist", True, 0, FixedGrid(100.0, 4), (16, 32), (16, 32))
    config = Coarseness(training, FixedGrid(100.0, 4), count=3)
    weights = {str(stage): Decoder(generator=torch.Generator().manual_seed(stage)).state_dict() for stage in (16, 32)}
    images = torch.rand(5, 784, generator=torch.Generator().manual_seed(0))
    dataset = SimpleNamespace(train=SimpleNamespace(images=images))
    history, kept = config.execute(dataset, [weights], None)
    assert history.groupby("images").image.nunique().to_dict() == {16: 3, 32: 3}
    assert (history.share > 0).all() and kept == {}
    nothing, _ = config.execute(dataset, [{}], None)
    assert nothing.empty and list(nothing) == list(history)
