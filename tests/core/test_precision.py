"""Under autocast the decoder runs in half precision, and everything around it does not."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from conftest import seeded
from torch import nn

from gfe_companion.methods import METHODS
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.implicit import ImplicitGradient
from gfe_core.objective import Objective
from gfe_core.precision import as_the_caller_has_it, full_precision
from gfe_core.prior import Prior
from gfe_core.steps import encoding_step
from gfe_core.warm import WarmStart
from gfe_core.wrappers import Penalised

IMAGES = torch.rand(6, 12, generator=seeded())
SOLVERS = {name: method.solver for name, method in METHODS.items() if method.solver is not None}


def mse(output, images):
    return (output - images).square().mean(dim=1)


class Watched(nn.Module):
    """A decoder that remembers the dtype of what it returns."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.latent_dim, self.seen = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 12)), 4, set()

    def forward(self, z):
        output = self.net(z)
        self.seen.add(output.dtype)
        return output


@pytest.fixture
def autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        yield


@pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)
def test_every_solver_works_under_autocast(solver, autocast):
    decoder = Watched()
    objective = Objective(decoder, IMAGES, mse)
    encoding = solver.encode(objective)
    assert encoding.z.dtype == encoding.loss.dtype == torch.float32
    assert decoder.seen == {torch.bfloat16}
    start = objective.value(objective.start())
    assert (encoding.loss <= start * 1.01).all() and encoding.loss.mean() < start.mean()
    assert torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    "gradient",
    [AdjointGradient(), ApproximateGradient(), ImplicitGradient(partial(Penalised, penalty=0.05), gauss_newton=True)],
    ids=lambda gradient: type(gradient).__name__,
)
def test_gradients_are_near_those_without(gradient):
    objective = Objective(Watched(), IMAGES, mse)
    encoding = AMD(tau=100.0).encode(objective, record=True)
    plain = gradient(objective, encoding)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gradient(objective, encoding)
    for one, other in zip(plain, half, strict=True):
        assert other.dtype == torch.float32
        assert (one - other).norm() < 0.05 * one.norm() + 1e-3


def test_a_warm_start_learns_in_single_precision(autocast):
    step = encoding_step(Watched(), WarmStart(), ApproximateGradient(), mse)
    for _ in range(12):
        step(IMAGES)
    assert {tensor.dtype for tensor in step.solver.state.values()} == {torch.float32}


def test_a_prior_with_a_product_is_computed_in_the_latents_dtype(autocast):
    prior = Prior(Objective(Watched(), IMAGES, mse), lambda z: (z @ torch.eye(4)).square().sum(dim=1))
    assert QuasiNewtonAMD(max_trials=10).encode(prior).loss.dtype == torch.float32


def test_the_callers_autocast_comes_back_for_the_decoder_alone():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision("cpu"):
            assert not torch.is_autocast_enabled("cpu")
            with as_the_caller_has_it("cpu"):
                assert torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
            assert not torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_enabled("cpu")
    with full_precision("cpu"), as_the_caller_has_it("cpu"):
        assert not torch.is_autocast_enabled("cpu")
