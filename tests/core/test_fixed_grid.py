"""The gradient flow on a fixed grid: closed forms, SciPy and torchdiffeq, and what a bad grid is told."""

import math

import numpy as np
import pytest
import torch
from conftest import identity, linear_problem, mlp, orders, problems, quadratic, seeded
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from torch import nn
from torchdiffeq import odeint

from gfe_core.encoding import GradientFlow, Status
from gfe_core.fixed_grid import FixedGrid, LogarithmicGrid, constant, decaying, rk4
from gfe_core.objective import Objective, bce

FLOAT64 = (torch.float64,)


# --- the grid


@given(st.floats(1e-3, 1e5), st.integers(1, 300), st.floats(1.01, 100))
def test_the_slices_fill_the_interval_and_grow_by_one_factor(tau, slices, base):
    t = np.array(LogarithmicGrid(tau, slices, base).times())
    assert len(t) == slices + 1
    assert t[0] == 0
    assert t[-1] == tau
    h = np.diff(t)
    assert (h > 0).all()
    assert h[1:] / h[:-1] == pytest.approx(base ** (1 / slices), rel=1e-6)


def test_the_grid_is_the_stated_one():
    assert LogarithmicGrid(9.0, 2).times() == pytest.approx([0, 9 * (2 - 1) / 3, 9])
    assert LogarithmicGrid(30.0, 4, 16.0).times() == pytest.approx([0, 2, 6, 14, 30])


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"tau": 0.0}, "tau = 0.0: the final time must be positive"),
        ({"tau": -1.0}, "tau = -1.0: the final time must be positive"),
        ({"tau": math.nan}, "tau = nan"),
        ({"tau": math.inf}, "tau = inf"),
        ({"tau": 1.0, "slices": 0}, "slices = 0: at least one time slice"),
        ({"tau": 1.0, "slices": -5}, "slices = -5"),
        ({"tau": 1.0, "base": 1.0}, "base = 1.0: slices grow only"),
        ({"tau": 1.0, "base": math.nan}, "base = nan"),
    ],
    ids=str,
)
def test_a_grid_that_cannot_be_is_refused(fields, told):
    with pytest.raises(ValueError, match=told):
        FixedGrid(**fields)


@pytest.mark.parametrize(
    ("alpha", "told"),
    [
        (lambda t, tau: math.nan, r"alpha\(0\) = nan: it must be finite"),
        (lambda t, tau: 1.0 if t < tau else math.inf, r"alpha\(4\) = inf"),
        (lambda t, tau: 1 - t, "must be finite and at least 0"),
        (lambda t, tau: 1.0 if t in FixedGrid(4.0, 10).times() else math.nan, r"alpha\(.*\) = nan"),
    ],
    ids=["nan", "infinite at the end", "negative", "nan in the middle of a slice"],
)
def test_an_alpha_that_is_not_a_rate_is_refused(alpha, told):
    decoder, _, _, y = linear_problem()
    with pytest.raises(ValueError, match=told):
        FixedGrid(4.0, 10, alpha=alpha).encode(Objective(decoder, y, quadratic))


# --- order and accuracy


def test_a_quadratic_flow_is_followed_with_order_four():
    """z(tau) = (1 - exp(-H A(tau))) z*, where A is the integral of alpha."""
    decoder, a, hessian, y = linear_problem(curvature=1.5)
    tau = 4.0
    decay = torch.linalg.matrix_exp(-hessian * tau / 2 * (1 - math.exp(-2)))
    best = torch.linalg.solve(hessian, a.T @ y.T)
    exact = (best - decay @ best).T
    errors = []
    for slices in (10, 20, 40, 80):
        encoding = FixedGrid(tau, slices).encode(Objective(decoder, y, quadratic))
        errors.append(float((encoding.z - exact).norm() / exact.norm()))
    assert errors[-1] < 1e-7
    assert orders(errors) == pytest.approx([4, 4, 4], abs=0.25)


def test_rk4_is_the_classical_method_stage_by_stage():
    """On dx/dt = t x the stages can be worked out by hand."""
    t, h, x = 0.5, 0.2, torch.tensor([[3.0]], dtype=torch.float64)
    k1 = t * 3
    k2 = (t + h / 2) * (3 + h / 2 * k1)
    k3 = (t + h / 2) * (3 + h / 2 * k2)
    k4 = (t + h) * (3 + h * k3)
    new = rk4(lambda t, x: t * x, t, h, x, t * x)
    assert float(new) == pytest.approx(3 + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), rel=1e-14)


@pytest.mark.parametrize("alpha", [decaying, constant])
@pytest.mark.parametrize("loss", [bce, quadratic])
def test_it_agrees_with_scipy_on_a_decoder(alpha, loss):
    decoder, tau = mlp((3, 6, 8), seed=4, between=nn.Tanh), 3.0
    y = torch.rand(2, 8, generator=seeded(1), dtype=torch.float64)
    objective = Objective(decoder, y, loss)
    encoding = FixedGrid(tau, 400, alpha=alpha).encode(objective, record=True)

    def field(t, z):
        gradient = objective.value_and_grad(torch.from_numpy(z.reshape(2, 3)))[1]
        return -alpha(t, tau) * gradient.numpy().ravel()

    reference = solve_ivp(field, (0, tau), np.zeros(6), rtol=1e-11, atol=1e-12, t_eval=encoding.path.t[::100, 0])
    assert encoding.path.z[::100].reshape(5, 6).numpy() == pytest.approx(reference.y.T, abs=2e-8)


def test_it_agrees_with_torchdiffeq_on_the_same_grid():
    """There "rk4" is the 3/8 rule: another method of the same order, so the two differ by h^4 and no more."""
    decoder, tau = mlp((3, 6, 8), seed=4, between=nn.Tanh), 3.0
    y = torch.rand(2, 8, generator=seeded(1), dtype=torch.float64)
    objective, differences = Objective(decoder, y, bce), []
    for slices in (50, 100):
        solver = FixedGrid(tau, slices)
        t = torch.tensor(solver.times(), dtype=torch.float64)
        theirs = odeint(
            lambda t, z: -decaying(float(t), tau) * objective.value_and_grad(z)[1], objective.start(), t, method="rk4"
        )
        ours = solver.encode(objective, record=True).path.z
        assert ours.shape == theirs.shape
        differences.append(float((ours - theirs).abs().max()))
    assert differences[1] < 1e-7
    assert differences[1] < differences[0] / 8


# --- what it costs, and how it ends


@given(problems(), st.integers(1, 6))
def test_an_encoding_says_what_was_done(problem, slices):
    objective, solver = problem.objective(), FixedGrid(0.3, slices)
    encoding = solver.encode(objective, problem.z0(), record=True)
    assert encoding.evaluations == (8 * slices + 1) * problem.batch
    path = encoding.path
    assert path.t[:, 0].tolist() == pytest.approx(solver.times())
    assert isinstance(path.flow, GradientFlow)
    assert path.flow.alpha.tolist() == pytest.approx([decaying(t, 0.3) for t in solver.times()])
    assert (encoding.steps == slices).all()
    assert (encoding.t == path.t[-1]).all()
    assert (encoding.status == Status.REACHED_TAU).all()


def test_a_flow_that_a_coarse_grid_throws_out_is_called_diverged():
    """Curvature 1 and 1e4: three slices throw only the second image to infinity."""
    y = torch.full((2, 1), 0.5, dtype=torch.float32)

    def weighted(logits, images, weight):
        return weight * (logits - images).square().sum(dim=1)

    weight = torch.tensor([1.0, 1e30])
    encoding = FixedGrid(1.0, 3).encode(Objective(identity(dtype=torch.float32), y, weighted, weight))
    assert encoding.status.tolist() == [Status.REACHED_TAU, Status.DIVERGED]
