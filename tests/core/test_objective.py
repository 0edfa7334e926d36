"""The objective: values, gradients, counts, and what it refuses."""

import math

import pytest
import torch
from conftest import mlp, problems, seeded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gfe_core.models import Decoder
from gfe_core.objective import Objective, bce, require_finite
from gfe_core.wrappers import Penalised

FLOAT64 = (torch.float64,)


def squares(logits, images):
    return (logits - images).square().sum(dim=1)


@given(problems(FLOAT64), st.sampled_from((bce, squares)))
def test_the_gradient_is_that_of_finite_differences(problem, loss):
    objective, z, h = Objective(problem.decoder(), problem.images(), loss), problem.z0(), 1e-6
    value, gradient = objective.value_and_grad(z)
    assert torch.equal(value, objective.value(z))
    for column in range(z.shape[1]):
        shift = torch.zeros_like(z)
        shift[:, column] = h
        difference = (objective.value(z + shift) - objective.value(z - shift)) / (2 * h)
        assert torch.allclose(gradient[:, column], difference, rtol=1e-4, atol=1e-6 * (1 + float(value.max())))


@given(problems(FLOAT64))
def test_the_gradient_is_each_images_own(problem):
    objective, z = problem.objective(), problem.z0()
    net = problem.decoder().decoder
    jacobian = torch.func.jacrev(lambda z: bce(net(z), objective.images))(z)  # (B, B, d): zero off the diagonal
    gradient = objective.value_and_grad(z)[1]
    assert torch.allclose(jacobian, torch.diag_embed(gradient.T).permute(1, 2, 0), rtol=1e-10, atol=1e-14)


def test_value_and_gradient_leave_no_trace():
    decoder, z = mlp((2, 5, 6)), torch.zeros(3, 2, dtype=torch.float64)
    with torch.no_grad():  # where a caller switched autograd off, there is a gradient all the same
        loss, gradient = Objective(decoder, torch.ones(3, 6, dtype=torch.float64)).value_and_grad(z)
    assert gradient.abs().sum() > 0
    assert not (loss.requires_grad or gradient.requires_grad or z.requires_grad)
    assert not Objective(decoder, torch.ones(3, 6, dtype=torch.float64)).value(z).requires_grad
    assert all(parameter.grad is None for parameter in decoder.parameters())


@given(problems())
def test_evaluations_are_what_the_decoder_sees(problem):
    objective, z = problem.objective(), problem.z0()
    decoder, images = objective.decoder, problem.batch
    objective.start()
    objective.start(z)
    assert objective.evaluations == 0
    objective.value(z)
    assert (objective.evaluations, decoder.forward_images, decoder.backward_images) == (images, images, 0)
    objective.value_and_grad(z)
    assert (objective.passes.forward, objective.passes.backward) == (2 * images, images)
    assert (decoder.forward_images, decoder.backward_images) == (2 * images, images)
    assert objective.evaluations == 3 * images


@pytest.mark.parametrize("index", [torch.tensor([2, 0]), torch.tensor([True, False, True, False])], ids=str)
def test_a_selection_is_the_same_objective_with_the_same_count(index):
    decoder, images = mlp((2, 5, 6)), torch.rand(4, 6, generator=seeded(), dtype=torch.float64)
    objective, z = Objective(decoder, images, squares), torch.randn(4, 2, generator=seeded(1), dtype=torch.float64)
    part = objective.select(index)
    assert len(part) == 2
    assert torch.allclose(part.value(z[index]), objective.value(z)[index], rtol=1e-14)
    part.value_and_grad(z[index])
    assert part.evaluations == objective.evaluations == 2 + 4 + 2 * 2


def test_all_gradients_are_those_of_the_summed_loss():
    objective = Objective(mlp((3, 5, 7), between=nn.Tanh), torch.rand(4, 7, generator=seeded(), dtype=torch.float64))
    z = torch.randn(4, 3, generator=seeded(1), dtype=torch.float64)
    in_z, in_theta = objective.all_gradients(z)
    assert objective.evaluations == 8
    assert torch.equal(in_z, objective.value_and_grad(z)[1])
    loss = objective.loss(objective.decoder(z), objective.images).sum()
    expected = torch.autograd.grad(loss, tuple(objective.decoder.parameters()))
    assert all(torch.allclose(ours, theirs) for ours, theirs in zip(in_theta, expected, strict=True))


def test_the_vector_jacobian_product_has_the_hessian_and_the_mixed_derivatives():
    """Against central differences of the two gradients along the vector."""
    objective = Objective(mlp((3, 5, 7), between=nn.Tanh), torch.rand(4, 7, generator=seeded(), dtype=torch.float64))
    z, vector = torch.randn(2, 4, 3, generator=seeded(1), dtype=torch.float64)
    in_z, in_theta = objective.vector_jacobian(z, vector)
    assert objective.evaluations == 16
    h = 1e-5
    more, less = objective.all_gradients(z + h * vector), objective.all_gradients(z - h * vector)
    assert torch.allclose(in_z, (more[0] - less[0]) / (2 * h), atol=1e-8)
    for ours, a, b in zip(in_theta, more[1], less[1], strict=True):
        assert torch.allclose(ours, (a - b) / (2 * h), atol=1e-8)
    assert not any(parameter.grad is not None for parameter in objective.decoder.parameters())


def test_bce_is_the_mean_cross_entropy_over_the_pixels():
    x = torch.randn(5, 7, generator=seeded(), dtype=torch.float64) * 3
    y = torch.rand(5, 7, generator=seeded(1), dtype=torch.float64)
    p = 1 / (1 + torch.exp(-x))
    expected = [
        -sum(float(y[i, j]) * math.log(p[i, j]) + (1 - float(y[i, j])) * math.log(1 - p[i, j]) for j in range(7)) / 7
        for i in range(5)
    ]
    assert bce(x, y).tolist() == pytest.approx(expected, rel=1e-12)


def test_bce_of_nothing_known_is_log_2():
    images = torch.rand(6, 784, generator=seeded())
    assert bce(torch.zeros(6, 784), images).tolist() == pytest.approx([math.log(2)] * 6, rel=1e-6)
    untrained = Objective(Decoder(generator=seeded(1)), images).value(torch.zeros(6, 20))
    assert untrained.tolist() == pytest.approx([math.log(2)] * 6, rel=0.01)


def test_bce_is_finite_for_any_logits():
    assert bce(torch.tensor([[1e4, -1e4]]), torch.tensor([[1.0, 0.0]])).tolist() == [0.0]
    assert bce(torch.tensor([[1e4, -1e4]]), torch.tensor([[0.0, 1.0]])).tolist() == [1e4]


def test_the_loss_is_the_callers():
    z = torch.ones(2, 3, dtype=torch.float64)
    decoder = mlp((3, 4))
    objective = Objective(decoder, torch.zeros(2, 4, dtype=torch.float64), lambda logits, images: logits.sum(dim=1))
    assert torch.equal(objective.value(z), decoder(z).sum(dim=1))


@pytest.mark.parametrize("pixel", [-1e-6, 1 + 1e-6, 255.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [0, 2])
def test_images_out_of_range_are_named(pixel, at):
    images = torch.rand(3, 4, generator=seeded(), dtype=torch.float64)
    images[at, 1] = pixel
    with pytest.raises(ValueError, match=f"image {at} of the batch .*divide by 255"):
        Objective(mlp((2, 4)), images)


def test_black_and_white_images_are_in_range():
    assert len(Objective(mlp((2, 4)), torch.tensor([[0.0, 0, 0, 0], [1, 1, 1, 1]], dtype=torch.float64))) == 2


@pytest.mark.parametrize("shape", [(784,), (2, 28, 28), (2, 1, 28, 28)])
def test_images_that_are_not_flat_are_refused_with_the_remedy(shape):
    with pytest.raises(ValueError, match="reshape"):
        Objective(Decoder(generator=seeded()), torch.zeros(shape))


def test_batch_normalisation_without_running_statistics_is_refused_in_any_mode():
    decoder = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, track_running_stats=False)).eval()
    with pytest.raises(ValueError, match="keeps no running statistics.*track_running_stats=True"):
        Objective(decoder, torch.zeros(4, 3))


def test_batch_normalisation_must_not_be_in_training_mode():
    decoder = nn.Sequential(nn.Linear(2, 8), nn.Sequential(nn.BatchNorm1d(8), nn.ELU()), nn.Linear(8, 4))
    images, z = torch.rand(3, 4, generator=seeded()), torch.randn(3, 2, generator=seeded(1))
    with pytest.raises(ValueError, match=r"'1\.0' is in training mode.*decoder\.eval\(\)"):
        Objective(decoder, images)
    objective = Objective(decoder.eval(), images)
    alone = objective.select(torch.tensor([1])).value(z[1:2])
    assert torch.allclose(objective.value(z)[1:2], alone, rtol=1e-5)


def test_the_start_is_zero_or_a_copy_of_z0():
    images = torch.zeros(3, 4, dtype=torch.float64)
    objective = Objective(mlp((2, 4)), images)
    zero = objective.start()
    assert torch.equal(zero, torch.zeros(3, 2, dtype=torch.float64))
    z0 = torch.randn(3, 2, generator=seeded(), requires_grad=True)  # float32: cast to the images' dtype
    start = objective.start(z0)
    assert start.dtype == torch.float64
    assert not start.requires_grad
    assert torch.equal(start, z0.detach().double())
    same = torch.ones(3, 2, dtype=torch.float64)
    objective.start(same).zero_()
    assert torch.equal(same, torch.ones(3, 2, dtype=torch.float64))


def test_a_decoder_of_unknown_latent_size_needs_z0():
    objective = Objective(nn.Linear(2, 4), torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"no `latent_dim`.*pass z0"):
        objective.start()
    assert objective.start(torch.ones(3, 2)).shape == (3, 2)


@pytest.mark.parametrize("values", [[0.0, 1.0, math.nan], [[0.0, 1], [2, 3], [4, math.inf]]], ids=["(B,)", "(B, d)"])
def test_the_first_image_that_is_not_finite_is_named(values):
    with pytest.raises(ValueError, match="the thing of image 2 of the batch"):
        require_finite(torch.tensor(values), "the thing")
    require_finite(torch.tensor(values)[:2], "the thing")


@given(problems(FLOAT64))
def test_a_penalty_adds_its_value_its_gradient_and_its_curvature(problem):
    objective, z, dim = Objective(problem.decoder(), problem.images()), problem.z0(), problem.z0().shape[1]
    penalised = Penalised(objective, 0.3)
    (loss, gradient, curvature), expected = penalised.gauss_newton(z), objective.gauss_newton(z)
    assert torch.allclose(loss, expected[0] + 0.15 * z.square().sum(dim=1))
    assert torch.allclose(gradient, expected[1] + 0.3 * z)
    assert torch.allclose(curvature, expected[2] + 0.3 * torch.eye(dim, dtype=z.dtype))
    assert torch.allclose(penalised.value(z), loss)
    assert torch.allclose(penalised.value_and_grad(z)[1], gradient)
    last = penalised.select(torch.tensor([-1]))
    assert torch.allclose(last.value(z[-1:]), loss[-1:])
    assert penalised.evaluations == objective.evaluations > 0


@pytest.mark.parametrize("penalty", (-1e-3, math.inf, math.nan))
def test_a_penalty_out_of_range_is_refused(penalty):
    with pytest.raises(ValueError, match="penalty"):
        Penalised(Objective(mlp((4, 9)), torch.zeros(2, 9).double()), penalty)
