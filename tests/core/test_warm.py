"""A warm start is a closed form of what was encoded before: least squares, and coordinates that are steep alike."""

import pytest
import torch
from conftest import linear_problem, mlp, quadratic, seeded

from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.encoding import Encoding
from gfe_core.objective import Objective
from gfe_core.warm import WarmStart, inverse_factor

pytestmark = pytest.mark.usefixtures("one_thread")
SOLVER = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=5)


def encoded(z):
    nothing = torch.zeros(len(z))
    return Encoding(z, nothing, nothing, nothing, nothing, 0)


def batches(count, size=6, pixels=9):
    """Images whose latents are an affine function of them, and that function."""
    generator = seeded(1)
    weight = torch.randn(pixels + 1, 4, generator=generator, dtype=torch.float64)
    for _ in range(count):
        y = torch.rand(size, pixels, generator=generator, dtype=torch.float64)
        yield y, y @ weight[:-1] + weight[-1], weight


def test_the_first_batch_is_encoded_as_by_the_solver_itself():
    decoder, _, _, y = linear_problem()
    plain = SOLVER.encode(Objective(decoder, y, quadratic), record=True)
    warm = WarmStart(SOLVER).encoder().encode(Objective(decoder, y, quadratic), record=True)
    assert torch.equal(plain.z, warm.z)
    assert torch.equal(plain.path.z, warm.path.z)


def test_an_affine_relation_is_learnt_exactly():
    decoder = mlp((4, 9))
    encoder = WarmStart(SOLVER, memory=1.0, ridge=1e-9, refresh=1).encoder()
    for y, z, _ in batches(10):
        encoder.learn(Objective(decoder, y), encoded(z))
    y, z, weight = next(batches(1))
    assert torch.allclose(encoder.state["map"], weight, atol=1e-5)
    assert torch.allclose(encoder.start(y), z, atol=1e-5)


def test_the_map_is_ridge_regression_with_a_fading_memory():
    decoder, seen = mlp((4, 9)), []
    encoder = WarmStart(SOLVER, memory=0.8, ridge=0.3, refresh=1).encoder()
    for y, z, _ in batches(5):
        encoder.learn(Objective(decoder, y), encoded(z))
        seen.append((torch.cat([y, torch.ones(6, 1)], 1).double(), z))
    weights = [0.8 ** (len(seen) - 1 - place) for place in range(len(seen))]
    squares = sum(w * x.T @ x for w, (x, _) in zip(weights, seen, strict=True)) + 0.3 * torch.eye(10)
    products = sum(w * x.T @ z for w, (x, z) in zip(weights, seen, strict=True))
    assert torch.allclose(encoder.state["map"], torch.linalg.solve(squares, products), rtol=1e-8)


def test_in_its_coordinates_a_quadratic_is_solved_in_one_step():
    """L L^T = H^-1: with W and H learnt, BFGS's first trial, a step of one, is Newton's."""
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=6)
    encoder = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=1)).encoder()
    objective = Objective(decoder, y, quadratic)
    encoder.learn(objective, encoded(torch.randn(6, 4, generator=seeded(), dtype=torch.float64)))
    encoding = encoder.encode(Objective(decoder, y, quadratic))
    assert torch.allclose(encoding.z, torch.linalg.solve(h, a.T @ y.T).T, atol=1e-3)
    assert encoding.evaluations == 2 * 2 * 6


def test_the_factor_is_an_inverse_square_root():
    root = torch.randn(5, 5, generator=seeded(), dtype=torch.float64)
    h = root @ root.T
    factor = inverse_factor(h, floor=0.0)
    assert torch.allclose(factor @ factor.T @ h, torch.eye(5, dtype=torch.float64), atol=1e-8)
    assert inverse_factor(torch.zeros(5, 5) + torch.diag(torch.tensor([1.0, 0, 0, 0, 0]))).isfinite().all()


def test_a_curvature_that_is_steep_in_few_directions_is_inverted_in_float32():
    """Where the inverse is not positive any more by rounding, as it is for most of these matrices."""
    for seed in range(20):
        turn = torch.linalg.qr(torch.randn(20, 20, generator=seeded(seed), dtype=torch.float64))[0]
        h = turn @ torch.diag(torch.logspace(-9, 0, 20, dtype=torch.float64)) @ turn.T
        factor = inverse_factor(h.float()).double()
        exact = torch.linalg.inv(h + 1e-4 * h.diagonal().mean() * torch.eye(20, dtype=torch.float64))
        assert torch.allclose(factor @ factor.T, exact, atol=2e-3 * float(exact.max()))


def test_a_penalty_shortens_the_latents_and_is_no_part_of_the_loss():
    decoder, _, _, y = linear_problem(rows=9, columns=4, batch=6)
    objective = Objective(decoder, y, quadratic)
    solver = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=60)
    free, held = (WarmStart(solver, penalty=p).encoder().encode(objective, record=True) for p in (0.0, 1.0))
    assert (held.z.norm(dim=1) < free.z.norm(dim=1)).all()
    for encoding in (free, held):
        assert torch.allclose(encoding.loss, objective.value(encoding.z))
        assert torch.allclose(encoding.path.loss[-1], encoding.loss)


def test_with_a_penalty_the_optimum_is_that_of_ridge_regression():
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=6)
    solver = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=200)
    z = WarmStart(solver, penalty=0.5).encoder().encode(Objective(decoder, y, quadratic)).z
    ridge = h + 0.5 * torch.eye(len(h), dtype=h.dtype)
    assert torch.allclose(z, torch.linalg.solve(ridge, a.T @ y.T).T, atol=1e-6)
