"""Sec. 3.1: the approximate gradient is a partial derivative, and the whole one where z* is a minimiser."""

import pytest
import torch
from conftest import mlp, problems, seeded
from hypothesis import given

from gfe_core.adjoint import ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.encoding import Encoding
from gfe_core.objective import Objective

FLOAT64 = (torch.float64,)


def quadratic(logits, images):
    return 0.5 * (logits - images).square().sum(dim=1)


def encoded(z):
    """An encoding that ended at z; a gradient in theta needs nothing else of it."""
    count = torch.zeros(len(z), dtype=torch.int64)
    return Encoding(z, z.new_zeros(len(z)), z.new_zeros(len(z)), count, count, 0)


@given(problems(FLOAT64))
def test_it_is_the_gradient_of_the_summed_loss_at_fixed_latents(problem):
    """One parameter's finite difference in a random direction, and the counts."""
    objective, z = problem.objective(), problem.z0()
    gradients = ApproximateGradient()(objective, encoded(z))
    assert objective.evaluations == 2 * problem.batch
    assert objective.decoder.forward_images + objective.decoder.backward_images == 2 * problem.batch
    parameters, h = list(objective.decoder.parameters()), 1e-6
    assert [g.shape for g in gradients] == [p.shape for p in parameters]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=seeded(problem.seed), dtype=torch.float64)
        sums = []
        for shift in (h, -2 * h, h):  # there, to the other side, and back
            with torch.no_grad():
                parameter.add_(shift * direction)
            sums.append(float(objective.value(z).sum()))
        expected = (sums[0] - sums[1]) / (2 * h)
        assert float((gradient * direction).sum()) == pytest.approx(expected, rel=1e-4, abs=1e-6 * (1 + abs(sums[2])))


def test_it_leaves_parameters_and_latents_without_a_trace():
    decoder = mlp((2, 4, 5))
    z = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    objective = Objective(decoder, torch.zeros(3, 5, dtype=torch.float64))
    gradients = ApproximateGradient()(objective, encoded(z))
    assert not any(gradient.requires_grad for gradient in gradients)
    assert z.grad is None
    assert all(parameter.grad is None for parameter in decoder.parameters())


@pytest.mark.parametrize(("tau", "exact"), [(1e4, True), (1.0, False)], ids=["at the minimiser", "on the way to it"])
def test_at_a_minimiser_the_neglected_term_vanishes(tau, exact):
    """The whole derivative of l(y, D(z*(theta), theta)), by encoding anew for each shifted theta (errata 7)."""
    decoder, y = mlp((2, 4), seed=3), torch.rand(3, 4, generator=seeded(), dtype=torch.float64)
    solver = AMD(tau=tau, s_0=0.1, s_max=0.1, tolerance=0.0, max_steps=3000)
    objective = Objective(decoder, y, quadratic)
    weight = decoder[0].weight
    gradient = ApproximateGradient()(objective, solver.encode(objective))[0]
    whole, h = torch.zeros_like(weight), 1e-5
    for place in range(weight.numel()):
        for sign in (1, -1):
            with torch.no_grad():
                weight.view(-1)[place] += sign * h
                whole.view(-1)[place] += sign * solver.encode(objective).loss.sum() / (2 * h)
                weight.view(-1)[place] -= sign * h
    error = float((gradient - whole).norm() / whole.norm())
    assert error < 1e-6 if exact else error > 1e-2
