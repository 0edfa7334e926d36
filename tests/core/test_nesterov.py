"""The second-order flow: the closed Bessel form of Su, Boyd and Candes, SciPy, and the sign that the paper prints."""

import math

import numpy as np
import pytest
import torch
from conftest import identity, mlp, orders, problems, quadratic, seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.special import j1
from torch import nn

from gfe_core.encoding import NesterovFlow, Status
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective, bce


def bessel(curvature, t):
    """z(t) for l = curvature/2 (z - 1)^2 from rest at 0: 1 - 2 J_1(t sqrt(curvature)) / (t sqrt(curvature))."""
    x = math.sqrt(curvature) * np.asarray(t)
    return 1 - 2 * j1(x) / np.where(x == 0, 1, x) - (x == 0)


def oscillator(curvature):
    return Objective(identity(weight=math.sqrt(curvature)), torch.ones(1, 1, dtype=torch.float64), to_one(curvature))


def to_one(curvature):
    return lambda logits, images: 0.5 * (logits - math.sqrt(curvature) * images).square().sum(dim=1)


@pytest.mark.parametrize("curvature", [0.3, 2.0])
def test_a_quadratic_follows_the_bessel_function_with_order_four(curvature):
    tau, errors = 12.0, []
    for slices in (25, 50, 100, 200):
        path = Nesterov(tau, slices, eps=1e-9).encode(oscillator(curvature), record=True).path
        errors.append(np.abs(path.z[:, 0, 0].numpy() - bessel(curvature, path.t[:, 0].numpy())).max())
    assert errors[-1] < 1e-6
    assert orders(errors) == pytest.approx([4, 4, 4], abs=0.6)


def test_the_flow_overshoots_and_comes_back():
    path = Nesterov(12.0, 100).encode(oscillator(1.0), record=True).path
    assert path.z.max() > 1.1
    assert (path.loss.diff(dim=0) > 0).any()


@pytest.mark.parametrize(("eps", "expected"), [(1e-5, 4), (0.3, 3)])
def test_the_order_is_four_while_eps_is_small_against_the_first_slice(eps, expected):
    decoder = mlp((3, 6, 8), seed=4, between=nn.Tanh)
    objective = Objective(decoder, torch.rand(2, 8, generator=seeded(1), dtype=torch.float64))
    ends = [Nesterov(4.0, slices, eps=eps).encode(objective).z for slices in (25, 50, 100, 800)]
    errors = [float((z - ends[-1]).norm()) for z in ends[:-1]]
    assert orders(errors) == pytest.approx([expected, expected], abs=0.35)


@pytest.mark.parametrize("eps", [1e-5, 0.3])
@pytest.mark.parametrize("loss", [bce, quadratic])
def test_it_agrees_with_scipy_on_a_decoder(eps, loss):
    decoder, tau = mlp((3, 6, 8), seed=4, between=nn.Tanh), 4.0
    y = torch.rand(2, 8, generator=seeded(1), dtype=torch.float64)
    objective = Objective(decoder, y, loss)
    path = Nesterov(tau, 400, eps=eps).encode(objective, record=True).path

    def field(t, state):
        z, v = state.reshape(2, 2, 3)
        gradient = objective.value_and_grad(torch.from_numpy(z))[1].numpy()
        return np.concatenate([v, -3 / (t + eps) * v - gradient]).ravel()

    reference = solve_ivp(
        field, (0, tau), np.zeros(12), method="DOP853", rtol=1e-11, atol=1e-12, t_eval=path.t[::100, 0].numpy()
    )
    assert path.z[::100].reshape(5, 6).numpy() == pytest.approx(reference.y[:6].T, abs=1e-6)


@given(st.floats(1e-6, 10), st.floats(1e-6, 10))
def test_the_first_slice_solves_the_equation_for_a_constant_gradient(h, eps):
    """d/ds (s^3 v) = -s^3 g and dz/ds = v with s = t + eps, checked by central differences."""
    solver, g = Nesterov(1.0, eps=eps), torch.ones(1, 1, dtype=torch.float64)
    rest = solver.first_slice(0.0, 0 * g, g)
    assert rest.abs().max() <= 1e-12 * eps**2 + 1e-12 * eps
    d = 1e-4 * h
    (z_less, v_less), (_, v), (z_more, v_more) = (solver.first_slice(t, 0 * g, g) for t in (h - d, h, h + d))
    scale = float(v.abs())
    assert float((z_more - z_less) / (2 * d)) == pytest.approx(float(v), abs=1e-4 * scale)
    slope = float((v_more - v_less) / (2 * d))
    assert slope == pytest.approx(-3 / (h + eps) * float(v) - 1, abs=1e-4)


def test_it_starts_downhill_where_rk4_alone_would_start_uphill():
    """From rest, v(h) is about -h/4 grad l. RK4's stages at t = 0 and h/2 make it +3h/2 grad l."""
    h, g = 0.1, 1.0
    objective = oscillator(1.0)
    _, v = Nesterov(1.0).first_slice(h, torch.zeros(1, 1, dtype=torch.float64), objective.value_and_grad(
        torch.zeros(1, 1, dtype=torch.float64))[1])  # fmt: skip
    assert float(v) == pytest.approx(h / 4, rel=1e-3)
    k1 = -g
    k2 = -3 / (h / 2) * (h / 2 * k1) - g
    k3 = -3 / (h / 2) * (h / 2 * k2) - g
    k4 = -3 / h * (h * k3) - g
    assert h / 6 * (k1 + 2 * k2 + 2 * k3 + k4) == pytest.approx(1.5 * h)


@pytest.mark.parametrize("eps", [0.0, -1.0, math.nan, math.inf])
def test_an_eps_that_guards_nothing_is_refused(eps):
    with pytest.raises(ValueError, match="it keeps the friction finite"):
        Nesterov(1.0, eps=eps)


def test_a_grid_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match="slices = 0"):
        Nesterov(1.0, 0)
    with pytest.raises(ValueError, match="tau = -1"):
        Nesterov(-1.0)


@given(problems(), st.integers(1, 6))
def test_an_encoding_says_what_was_done(problem, slices):
    objective = problem.objective()
    encoding = Nesterov(0.3, slices).encode(objective, problem.z0(), record=True)
    assert encoding.evaluations == (8 * slices - 5) * problem.batch
    assert encoding.path.flow == NesterovFlow(1e-5)
    assert (encoding.steps == slices).all()
    assert (encoding.status == Status.REACHED_TAU).all()
