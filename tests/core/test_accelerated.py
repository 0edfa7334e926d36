"""The accelerated encoders keep AMD's promises on any problem, and reach minima that other codes find."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import Problem, linear_problem, mlp, problems, quadratic, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD, QuasiNewtonState
from gfe_core.adjoint import AdjointGradient
from gfe_core.descent import Measured, Trial
from gfe_core.encoding import Status
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.objective import Objective, bce
from gfe_core.trials import watched

FIRST_ORDER = {"nesterov": NesterovAMD, "barzilai-borwein": BarzilaiBorweinAMD, "quasi-newton": QuasiNewtonAMD}
ALL = FIRST_ORDER | {
    "lm": LevenbergMarquardt,
    "lm alone": lambda **fields: LevenbergMarquardt(first=None, **fields),
    "gauss-newton bfgs": GaussNewtonBFGS,
}
FIELDS = ("z", "loss", "t", "steps", "status")
FLOAT64 = (torch.float64,)

every = pytest.mark.parametrize("make", ALL.values(), ids=ALL)
first_order = pytest.mark.parametrize("make", FIRST_ORDER.values(), ids=FIRST_ORDER)


@every
@given(problem=problems(), trials=st.integers(1, 30), tolerance=st.sampled_from((0.0, 0.01)))
@settings(max_examples=25)
def test_the_loss_falls_on_every_step_and_never_exceeds_the_start(make, problem, trials, tolerance):
    objective = problem.objective()
    encoding = make(max_trials=trials, tolerance=tolerance).encode(objective, problem.z0(), record=True)
    path = encoding.path
    assert torch.equal(path.z[0], problem.z0())
    for image, steps in enumerate(encoding.steps.tolist()):
        walked = path.loss[: steps + 1, image]
        assert (walked[1:] < walked[:-1]).all()
        assert (path.loss[steps:, image] == encoding.loss[image]).all()
        assert (path.z[steps:, image] == encoding.z[image]).all()
    rounding = 1e-5 if problem.dtype == torch.float32 else 1e-12
    assert torch.allclose(encoding.loss, objective.value(encoding.z), rtol=rounding)
    assert torch.equal(encoding.t, encoding.steps.to(encoding.t))


@first_order
@given(problem=problems(), trials=st.integers(1, 30))
@settings(max_examples=25)
def test_every_pass_is_counted_and_a_trial_costs_two(make, problem, trials):
    objective = problem.objective()
    encoding = make(max_trials=trials, tolerance=0.0).encode(objective, problem.z0())
    decoder = objective.decoder
    assert encoding.evaluations == objective.evaluations == decoder.forward_images + decoder.backward_images
    assert encoding.evaluations <= 2 * (1 + trials) * problem.batch
    spent = encoding.status == Status.BUDGET_SPENT
    if spent.all():
        assert encoding.evaluations == 2 * (1 + trials) * problem.batch


@pytest.mark.parametrize("latent_dim", [1, 4])
def test_a_gauss_newton_matrix_costs_a_pass_for_each_latent_and_one(latent_dim):
    objective = Objective(mlp((latent_dim, 6, 9)), torch.rand(3, 9, dtype=torch.float64, generator=seeded()))
    encoding = LevenbergMarquardt(first=None, max_trials=4, tolerance=0.0).encode(objective)
    refused = 4 * 3 - int(encoding.steps.sum())
    accepted = int(encoding.steps.sum())
    assert encoding.evaluations == (1 + latent_dim) * 3 + (2 + latent_dim) * accepted + refused


@pytest.mark.parametrize("latent_dim", [1, 4])
def test_one_look_at_the_jacobian_comes_before_trials_of_two_passes(latent_dim):
    objective = Objective(mlp((latent_dim, 6, 9)), torch.rand(3, 9, dtype=torch.float64, generator=seeded()))
    encoding = GaussNewtonBFGS(max_trials=4, tolerance=0.0).encode(objective)
    assert encoding.evaluations == 3 * (1 + latent_dim + 2 * 4)


# --- minima that others find


@every
@pytest.mark.parametrize("seed", range(3))
def test_least_squares_ends_at_the_closed_form(make, seed):
    decoder, a, h, y = linear_problem(seed=seed)
    extra = {"s_0": 1.0} if make in FIRST_ORDER.values() else {}
    encoding = make(max_trials=400, tolerance=0.0, **extra).encode(Objective(decoder, y, quadratic))
    best = torch.linalg.solve(h, a.T @ y.T).T
    assert torch.allclose(encoding.z, best, atol=1e-5)


@pytest.mark.parametrize("fields", [(LevenbergMarquardt, {"first": None}), (GaussNewtonBFGS, {})])
def test_one_undamped_step_solves_least_squares(fields):
    decoder, a, h, y = linear_problem()
    make, extra = fields
    solver = make(damping=1e-14, max_trials=1, **extra)
    encoding = solver.encode(Objective(decoder, y, quadratic), torch.randn(3, 4, dtype=torch.float64))
    assert torch.allclose(encoding.z, torch.linalg.solve(h, a.T @ y.T).T, atol=1e-9)


@every
@pytest.mark.parametrize("seed", range(4))
def test_the_minimum_is_the_one_that_scipy_finds_from_there(make, seed):
    """From the encoding, SciPy's BFGS finds nothing lower nearby."""
    problem = Problem((3, 8, 12), 4, 1.0, seed, torch.float64)
    objective = problem.objective()
    encoding = make(max_trials=600, tolerance=0.0).encode(objective)
    for image in range(problem.batch):
        one = objective.select(torch.tensor([image]))

        def both(z, one=one):
            loss, gradient = one.value_and_grad(torch.tensor(z)[None])
            return float(loss), gradient[0].numpy()

        polished = optimize.minimize(both, encoding.z[image].numpy(), jac=True, method="BFGS", options={"gtol": 1e-9})
        assert float(encoding.loss[image]) <= polished.fun * (1 + 1e-2)


def test_the_curvature_is_gauss_newtons():
    """Against the definition, with Jacobians by autograd: J^T diag(p (1 - p) / P) J, and J^T J for half squares."""
    decoder, y = mlp((3, 7, 5)), torch.rand(2, 5, dtype=torch.float64, generator=seeded(2))
    z = torch.randn(2, 3, dtype=torch.float64, generator=seeded(3))
    jacobian = torch.stack([torch.autograd.functional.jacobian(decoder, one[None])[0, :, 0] for one in z])
    p = decoder(z).sigmoid().detach()
    for loss, weight in ((bce, p * (1 - p) / 5), (quadratic, torch.ones_like(p))):
        objective = Objective(decoder, y, loss)
        value, gradient, curvature = objective.gauss_newton(z)
        expected = torch.einsum("bpd,bp,bpe->bde", jacobian, weight, jacobian)
        assert torch.allclose(curvature, expected, rtol=1e-9)
        same_value, same_gradient = objective.value_and_grad(z)
        assert torch.allclose(value, same_value) and torch.allclose(gradient, same_gradient)


# --- how an image ends, and what is refused


@every
def test_in_float32_an_image_stalls_instead_of_trying_for_ever(make):
    objective = Problem((3, 8, 12), 6, 1.0, 0, torch.float32).objective()
    encoding = make(max_trials=100_000, tolerance=0.0).encode(objective)
    assert (encoding.status == Status.STALLED).all()


@every
def test_a_flat_curve_is_finished_and_a_decoder_that_ignores_z_at_once(make):
    problem = Problem((3, 8, 12), 6, 1.0, 0, torch.float64)
    encoding = make(max_trials=1000, tolerance=0.01, patience=2).encode(problem.objective())
    assert (encoding.status == Status.CONVERGED).all()
    decoder = problem.decoder()
    with torch.no_grad():
        decoder.decoder[0].weight.zero_()
    encoding = make().encode(Objective(decoder, problem.images()))
    assert encoding.steps.tolist() == [0] * 6


@first_order
def test_a_trial_that_is_not_finite_is_refused_and_leaves_no_trace(make):
    """The first step leads where the loss overflows; after refusals the minimum is found as if it had never been."""
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=3)
    objective = Objective(decoder, y, quadratic)
    best = objective.value(torch.linalg.solve(h, a.T @ y.T).T)
    solver = make(s_0=1e200, s_max=1e300, beta=1e-5, tolerance=0.0, max_trials=3000)
    encoding = solver.encode(objective)
    assert torch.allclose(encoding.loss, best, rtol=1e-3)


def test_the_inverse_curvature_is_that_of_bfgs():
    """One update against the textbook's product form, and the secant equation H t = m."""
    generator = seeded(5)
    root = torch.randn(2, 4, 4, generator=generator, dtype=torch.float64)
    inverse, m, t = root @ root.mT, *torch.randn(2, 2, 4, generator=generator, dtype=torch.float64)
    t = torch.where((m * t).sum(dim=1, keepdim=True) > 0, t, -t)
    one = torch.ones(2, dtype=torch.float64)
    flat, ahead = Measured(one, 0 * m, 0 * one), Measured(0 * one, t, one)
    start = watched(flat, 0 * m, torch.zeros(2, dtype=torch.int64))
    state = QuasiNewtonState(**start, s=one, inverse=inverse, direction=m, fresh=one == 0)
    QuasiNewtonAMD().advance(state, Trial(m, one), ahead, one == 1)
    found = state.inverse
    rho = (1 / (m * t).sum(dim=1))[:, None, None]
    side = torch.eye(4, dtype=torch.float64) - rho * m[:, :, None] * t[:, None, :]
    assert torch.allclose(found, side @ inverse @ side.mT + rho * m[:, :, None] * m[:, None, :])
    assert torch.allclose((found @ t[:, :, None])[:, :, 0], m)


@pytest.mark.parametrize("solver", (NesterovAMD, BarzilaiBorweinAMD, QuasiNewtonAMD))
def test_refusals_are_not_taken_for_a_flat_curve(solver):
    """A first step a million times too long is refused some twenty times, more than ``patience``, and then mended."""
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=3)
    objective = Objective(decoder, y, quadratic)
    best = objective.value(torch.linalg.solve(h, a.T @ y.T).T)
    encoding = solver(s_0=1e6, s_max=1e7, tolerance=1e-6, max_trials=2000).encode(objective)
    assert torch.allclose(encoding.loss, best, rtol=1e-2)


@pytest.mark.parametrize(
    ("field", "value"),
    [("tolerance", -0.1), ("tolerance", 1.0), ("patience", 0), ("share", 1.0), ("max_trials", 0)],
)
@every
def test_shared_fields_out_of_range_are_refused_by_name(make, field, value):
    with pytest.raises(ValueError, match=f"{field} = "):
        make(**{field: value})


@pytest.mark.parametrize(("field", "value"), [("beta", 0.0), ("beta", 1.0), ("s_0", 0.0), ("s_max", 1.0)])
@first_order
def test_step_fields_out_of_range_are_refused_by_name(make, field, value):
    with pytest.raises(ValueError, match=f"{field} = "):
        make(**{field: value})


@pytest.mark.parametrize("kappa", [-1.0, 0.9, math.inf, math.nan])
def test_a_growth_out_of_range_is_refused_by_name(kappa):
    with pytest.raises(ValueError, match="kappa = "):
        NesterovAMD(kappa=kappa)


@pytest.mark.parametrize(("field", "value"), [("damping", 0.0), ("damping", math.inf), ("beta", 1.0)])
def test_damping_out_of_range_is_refused_by_name(field, value):
    for make in (LevenbergMarquardt, GaussNewtonBFGS):
        with pytest.raises(ValueError, match=f"{field} = "):
            make(**{field: value})


@every
def test_there_is_no_flow_for_the_adjoint_to_follow(make):
    objective = Problem((3, 8, 12), 2, 1.0, 0, torch.float64).objective()
    encoding = make(max_trials=5).encode(objective, record=True)
    with pytest.raises(ValueError, match="follows no flow"):
        AdjointGradient()(objective, encoding)


@first_order
def test_a_longer_budget_never_ends_higher(make):
    problem = Problem((4, 12, 18), 5, 1.0, 1, torch.float64)
    losses = [replace(make(), max_trials=n, tolerance=0.0).encode(problem.objective()).loss for n in (1, 3, 10, 40)]
    assert all((later <= sooner).all() for sooner, later in zip(losses, losses[1:], strict=False))
