"""What is said of stiffness, on decoders whose curvature is known."""

import pytest
import torch
from conftest import linear_problem, mlp, quadratic, seeded
from torch import nn

from gfe_companion.runs.hessian import curvature
from gfe_companion.runs.stiffness import dopri5, stiffness
from gfe_core.objective import Objective


def test_the_curvature_is_that_of_finite_differences():
    decoder, y = mlp((3, 5, 7), between=nn.Tanh), torch.rand(2, 7, generator=seeded(), dtype=torch.float64)
    z = torch.randn(2, 3, generator=seeded(1), dtype=torch.float64)
    objective, h = Objective(decoder, y), 1e-5
    columns = [(objective.value_and_grad(z + h * e)[1] - objective.value_and_grad(z - h * e)[1]) / (2 * h)
               for e in torch.eye(3, dtype=torch.float64)]  # fmt: skip
    expected = torch.linalg.eigvalsh(torch.stack(columns, dim=-1))
    assert torch.allclose(curvature(decoder, y, z), expected, atol=1e-7)


def test_dopri5_follows_a_quadratic_and_counts_its_gradients():
    decoder, a, hessian, y = linear_problem(batch=1)
    objective = Objective(decoder, y, quadratic)
    told = dopri5(objective, 3.0, 5000)
    best = torch.linalg.solve(hessian, a.T @ y.T)
    exact = (best - torch.linalg.matrix_exp(-3.0 * hessian) @ best).T
    assert told["loss"] == pytest.approx(float(objective.value(exact)), rel=1e-4)
    assert told["reached"] == pytest.approx(3.0)
    assert told["evaluations"] >= 6 * told["steps"] > 0
    assert objective.passes.backward == told["evaluations"]


def test_dopri5_is_stopped_at_its_limit():
    decoder, _, _, y = linear_problem(batch=1, curvature=100.0)
    told = dopri5(Objective(decoder, y, quadratic), 1000.0, 90)
    assert told["evaluations"] == 90
    assert 0 < told["reached"] < 1000
    _, a, hessian, _ = linear_problem(batch=1, curvature=100.0)
    best = torch.linalg.solve(hessian, a.T @ y.T)
    there = (best - torch.linalg.matrix_exp(-told["reached"] * hessian) @ best).T
    assert told["loss"] == pytest.approx(float(Objective(decoder, y, quadratic).value(there)), rel=1e-3)


def test_a_steeper_loss_takes_more_gradients():
    """The late step of a stiff flow is held down by the curvature: about 3.3 over it."""
    rows = []
    for curvature_ in (1.0, 30.0):
        decoder, _, _, y = linear_problem(batch=1, curvature=curvature_)
        rows.append(dopri5(Objective(decoder, y, quadratic), 200.0, 20_000))
    assert rows[1]["evaluations"] > 5 * rows[0]["evaluations"]
    assert rows[1]["late_median"] == pytest.approx(3.3 / 30, rel=0.4)


def test_every_image_has_a_row_and_the_decoder_is_left_as_it_was():
    decoder = mlp((3, 5, 7), dtype=torch.float32)
    table = stiffness(decoder, torch.rand(2, 7, generator=seeded()), torch.zeros(2, 3), 10.0, 500)
    assert list(table.image) == [0, 1]
    assert list(table.start) == pytest.approx(list(table.end))
    assert decoder[0].weight.dtype == torch.float32
    assert decoder[0].weight.requires_grad
