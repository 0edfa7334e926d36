"""The minimisers of other projects, as encoders: they reach known minima, and say what they cannot do."""

import sys

import pytest
import torch
from conftest import linear_problem, mlp, quadratic, seeded
from torch import nn

from gfe_companion.methods import in_jax, peers
from gfe_companion.methods.networks import ConvolutionalDecoder
from gfe_companion.methods.peers import OptimistixEncoder, ScipyEncoder
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.models import Decoder
from gfe_core.objective import Objective
from gfe_core.warm import WarmStart

needs_jax = pytest.mark.skipif(bool(peers.missing()), reason="optimistix is not installed: the extra `peers`")
METHODS = ("LBFGS", "BFGS")


@pytest.fixture
def problem():
    """A decoder of 4 latents, images that it can draw, and their lowest losses."""
    decoder = mlp((4, 6, 9), seed=4, dtype=torch.float32)
    images = decoder(torch.randn(8, 4, generator=seeded(4))).sigmoid().detach()
    return decoder, images, QuasiNewtonAMD(tolerance=0.0).encode(Objective(decoder, images)).loss


def test_scipy_finds_the_minimum_of_a_quadratic():
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=3)
    objective = Objective(decoder, y, quadratic)
    encoding = ScipyEncoder(50).encode(objective)
    best = torch.linalg.solve(h, a.T @ y.T).T
    assert torch.allclose(encoding.z, best, atol=1e-5) and torch.allclose(encoding.loss, objective.value(best))
    assert 0 < encoding.evaluations < objective.evaluations
    assert ScipyEncoder(50).joint and not OptimistixEncoder("BFGS", 1e-3).joint


def test_scipy_takes_the_iterations_it_is_given(problem):
    decoder, images, best = problem
    few, many = (ScipyEncoder(steps).encode(Objective(decoder, images)) for steps in (2, 60))
    assert (few.steps == 2).all() and few.loss.mean() > 1.01 * best.mean()
    assert many.loss.mean() <= (1 + 1e-3) * best.mean()


@needs_jax
@pytest.mark.parametrize("method", METHODS)
def test_optimistix_finds_the_minimum_of_a_quadratic(method):
    _, a, h, y = linear_problem(rows=9, columns=4, batch=3)

    def value(u, weights, image):
        return 0.5 * ((weights @ u - image) ** 2).sum()

    run = in_jax.minimise(value, method, pairs=5, steps=100)
    given = (torch.zeros(3, 4).numpy(), a.float().numpy(), y.float().numpy(), 1e-4)
    z, loss, steps = (torch.tensor(part.tolist()) for part in run(*given))
    best = torch.linalg.solve(h, a.T @ y.T).T
    assert torch.allclose(z.double(), best, atol=1e-3)
    assert torch.allclose(loss.double(), 0.5 * (best @ a.T - y).square().sum(dim=1), rtol=1e-4)
    assert (steps > 2).all() and (steps < 100).all()


@needs_jax
@pytest.mark.parametrize("method", METHODS)
def test_optimistix_encodes_each_image_to_its_optimum(problem, method):
    decoder, images, best = problem
    objective = Objective(decoder, images)
    encoding = OptimistixEncoder(method, 1e-4).encode(objective)
    assert torch.allclose(encoding.loss, objective.value(encoding.z), rtol=1e-5)
    assert encoding.loss.mean() <= (1 + 2e-3) * best.mean()
    alone = OptimistixEncoder(method, 1e-4).encode(Objective(decoder, images[2:3]))
    assert torch.allclose(alone.loss, encoding.loss[2:3], rtol=1e-3)
    assert encoding.evaluations == len(images) * (2 * int(encoding.steps.max()) + 1)


@needs_jax
def test_optimistix_starts_where_a_warm_start_points_to_in_its_coordinates(problem):
    decoder, images, _ = problem
    generator = seeded(7)
    known = {"map": torch.randn(10, 4, generator=generator), "factor": torch.randn(4, 4, generator=generator).tril()}
    warm = WarmStart(OptimistixEncoder("LBFGS", 1e6, steps=2), penalty=1e-2).encoder(known)
    found = warm.encode(Objective(decoder, images))  # one step, and the test that ends it
    z0 = warm.start(images)
    u = torch.linalg.solve_triangular(known["factor"], (found.z - z0).T, upper=False).T
    gradient = (Objective(decoder, images).value_and_grad(z0)[1] + 1e-2 * z0) @ known["factor"]
    assert torch.allclose(u / u.norm(dim=1, keepdim=True), -gradient / gradient.norm(dim=1, keepdim=True), atol=1e-3)
    assert torch.allclose(found.loss, Objective(decoder, images).value(found.z), rtol=1e-4)


@needs_jax
@pytest.mark.parametrize("kind", ["linear", "convolutional"])
def test_a_decoder_is_the_same_function_in_jax(kind):
    made = ConvolutionalDecoder if kind == "convolutional" else Decoder
    decoder, z = made(latent_dim=5, generator=seeded(1)), torch.randn(3, 5, generator=seeded(2))
    layers, weights = in_jax.layers_of(decoder)
    given = [weight.numpy() for weight in weights]
    rows = [in_jax.output(layers, given, row.numpy()).tolist() for row in z]
    assert torch.allclose(torch.tensor(rows), decoder(z), atol=1e-5)


def test_what_optimistix_cannot_be_given_is_told(problem):
    with pytest.raises(ValueError, match="Tanh.* has no counterpart in JAX"):
        in_jax.layers_of(nn.Sequential(nn.Linear(3, 4), nn.Tanh()))
    with pytest.raises(ValueError, match="no counterpart"):
        in_jax.layers_of(nn.ConvTranspose2d(3, 4, (2, 3)))
    decoder, images, _ = problem
    with pytest.raises(ValueError, match="loss=bce"):
        peers._unwrapped(Objective(decoder, images, quadratic))


def test_what_is_missing_is_told_with_the_remedy(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name == "jax" else object())
    assert peers.missing() == ["jax"]
    assert peers.say_missing().endswith(f"{sys.executable} -m pip install -c {peers.LOCK} jax")
    assert "the extra `peers`" in peers.say_missing() and peers.LOCK.exists()
    monkeypatch.setattr(peers, "find_spec", lambda name: object())
    assert peers.say_missing() == "" and peers.missing() == []
