"""When an encoder says that it has converged: whatever the loss's sign, constant and scale, not with much left."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from conftest import mlp, seeded
from torch import Tensor

from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.encoding import Encoding, Status
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.models import AutoEncoder
from gfe_core.objective import Loss, Objective, bce
from gfe_core.prior import Prior
from gfe_core.training import Training, autoencoder_step

ACCELERATED = {
    "nesterov": NesterovAMD(), "barzilai-borwein": BarzilaiBorweinAMD(), "quasi-newton": QuasiNewtonAMD(),
    "limited memory": LBFGSAMD(), "gauss-newton bfgs": GaussNewtonBFGS(), "lm": LevenbergMarquardt(),
}  # fmt: skip
every = pytest.mark.parametrize("solver", ACCELERATED.values(), ids=ACCELERATED)


def squares(output: Tensor, images: Tensor) -> Tensor:
    """The mean squared error of each image."""
    return (output - images).square().mean(dim=1)


def likelihood(output: Tensor, images: Tensor) -> Tensor:
    """-log N(y; D(z), 0.1^2), a mean over pixels: negative near the minimum."""
    return 50 * (output - images).square().mean(dim=1) - 2.3026 + 0.9189


def scaled(scale: float, constant: float = 0.0) -> Loss:
    return lambda output, images: scale * squares(output, images) + constant


@cache
def blobs() -> Tensor:
    """640 images of 12 x 12 pixels, each with two soft dots."""
    place = torch.rand(640, 2, 2, 1, generator=seeded(3))
    row, column = (torch.linspace(0, 1, 12) for _ in range(2))
    far = (row - place[:, :, 0]).square()[:, :, :, None] + (column - place[:, :, 1]).square()[:, :, None, :]
    return torch.exp(-far / 0.02).amax(dim=1).flatten(1)


@cache
def decoder_of(loss: Loss) -> torch.nn.Module:
    """The decoder of an autoencoder trained on a few thousand of them, in float64."""
    model = AutoEncoder()
    model.encoder = mlp((144, 64, 32, 8), dtype=torch.float32)
    model.decoder = mlp((8, 32, 64, 144), seed=1, dtype=torch.float32)
    Training(model, autoencoder_step(model, loss), blobs()[64:], seeded(1)).advance(16 * 400)
    return model.decoder.double()


def problem(loss: Loss, trained: Loss = squares, images: int = 24) -> Objective:
    return Objective(decoder_of(trained), blobs()[:images].double(), loss)


def left(encoding: Encoding, objective: Objective) -> Tensor:
    """The share of what could be gained that has not been, (B,)."""
    onward = replace(QuasiNewtonAMD(), tolerance=0.0, max_trials=2000).encode(objective, encoding.z).loss
    first = objective.value(objective.start())
    return (encoding.loss - onward) / (first - onward)


# --- the accelerated encoders


@every
@pytest.mark.parametrize("loss", [bce, squares], ids=["bce", "squares"])
def test_who_says_converged_is_within_half_a_percent_of_the_basin(solver, loss):
    """Of the minimum's own loss, from where going on with thousands of trials finds nothing lower."""
    objective = problem(loss, loss)
    encoding = solver.encode(objective)
    said = encoding.status == Status.CONVERGED
    onward = replace(QuasiNewtonAMD(), tolerance=0.0, max_trials=3000).encode(objective, encoding.z).loss
    assert (encoding.loss[said] <= 1.005 * onward[said]).all()
    ended = set(encoding.status.tolist())
    assert ended <= {Status.CONVERGED, Status.STALLED, Status.BUDGET_SPENT}


@every
@pytest.mark.parametrize(
    "loss", [scaled(1.0, -7.0), scaled(1.0, 1e3), scaled(1e-4), scaled(1e4), likelihood],
    ids=["negative", "beside a constant", "x 1e-4", "x 1e4", "likelihood"],
)  # fmt: skip
def test_sign_constant_and_scale_change_nothing(solver, loss):
    """A tolerance of 1 % of the gain in float64: images converge, near where the plain loss has them."""
    solver = replace(solver, tolerance=1e-2, max_trials=200)
    if isinstance(solver, LevenbergMarquardt):
        solver = replace(solver, first=QuasiNewtonAMD(tolerance=0.0, max_trials=10))
    plain, other = problem(squares), problem(loss)
    one, two = solver.encode(plain), solver.encode(other)
    ends = {Status.CONVERGED}
    if isinstance(solver, (GaussNewtonBFGS, LevenbergMarquardt)):
        ends.add(Status.STALLED)  # near a minimum five of their steps lead from 1 % to the rounding of the loss
    assert {*one.status.tolist(), *two.status.tolist()} <= ends
    assert torch.allclose(plain.value(two.z), one.loss, rtol=1e-3)


@every
def test_a_plateau_late_in_a_descent_is_not_an_end(solver):
    """What counts are three tenths of all steps: five flat ones after many are none, unless ``share`` is 0."""
    for steps, since, due in ((10, 5, True), (50, 5, False), (50, 16, True), (6, 4, False)):
        assert looked_at(replace(solver, tolerance=0.5), steps, since) == due
    assert looked_at(replace(solver, tolerance=0.5, share=0.0), 50, 5)


def looked_at(solver, steps: int, since: int) -> bool:
    """Whether an image is finished whose last ``since`` of ``steps`` steps have gained next to nothing."""
    objective = problem(squares, images=1)
    z = objective.start()
    state = solver.begin(objective, z, torch.tensor([steps - 1]))
    state.since, state.initial, state.earlier = torch.tensor([since - 1]), state.loss + 1, state.loss + 1e-9
    trial = solver.propose(state)
    at = solver.measure(objective, trial.point, state)
    at.loss = state.loss - 1e-9
    solver.advance(state, trial, at, torch.tensor([True]))
    return bool(state.flat)


# --- AMD


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e-2, 1.0, 144.0, 1e4])
@pytest.mark.parametrize("constant", [0.0, -5.0, 1e3])
@pytest.mark.parametrize("solver", [AMD(max_trials=1500), AMD(s_max=1000.0, grow_accepted=True, max_trials=300)])
@pytest.mark.filterwarnings("ignore:AMD")
def test_amd_never_says_converged_with_much_left(solver, scale, constant):
    objective = problem(scaled(scale, constant), images=6)
    encoding = solver.encode(objective)
    said = encoding.status == Status.CONVERGED
    assert (left(encoding, objective)[said] < 0.05).all()
    if scale == 1.0:
        assert said.any()


@pytest.mark.parametrize(
    ("scale", "solver", "said"),
    [
        (1e-4, AMD(), "too small for the scale of this loss.*raise s_0, s_max and tau"),
        (1e-2, AMD(tau=300.0), "too small"),
        (1e5, AMD(max_trials=300), "s_0 is too large for the scale.*Divide the loss"),
    ],
)
def test_amd_says_that_its_steps_are_not_of_the_right_order(scale, solver, said):
    with pytest.warns(RuntimeWarning, match=said) as found:
        solver.encode(problem(scaled(scale), images=6))
    assert len(found) == 1 and found[0].filename == __file__


def test_literal_amd_on_a_thousandfold_loss_hardly_comes_nearer_to_tau():
    """Its docstring says so: from one look to the next t goes on, but by less than a trial step of s_0 each."""
    objective = problem(scaled(1e3), images=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        near, far = (AMD(tolerance=0.0, max_trials=n).encode(objective) for n in (200, 400))
    assert (far.status == Status.BUDGET_SPENT).all()
    assert (200 * 1e4 / (far.t - near.t) > 1e5).all()  # trials until tau at this pace


@pytest.mark.parametrize(
    ("loss", "solver"),
    [
        (squares, AMD()), (scaled(1.0, -5.0), AMD()), (squares, AMD(s_max=1000.0, grow_accepted=True, max_trials=100)),
        (squares, AMD(max_trials=5)), (scaled(144.0), AMD(max_trials=1500)), (likelihood, AMD(max_trials=1500)),
        (bce, AMD(tau=1.0)),
    ],
)  # fmt: skip
def test_amd_is_silent_where_its_steps_suit_the_loss_and_on_the_papers(loss, solver):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solver.encode(problem(loss, images=6))


def test_the_stop_on_other_losses_is_what_another_tau_would_gain():
    """Along the recorded path: the first point with tau |grad|^2 <= tolerance (l(0) - l) is the last."""
    objective, solver = problem(squares, images=6), AMD(s_max=1000.0, tolerance=0.01, grow_accepted=True)
    encoding = solver.encode(objective, record=True)
    assert (encoding.status == Status.CONVERGED).any()
    for image, steps in enumerate(encoding.steps.tolist()):
        one = objective.select(torch.tensor([image]))
        loss, gradient = zip(*(one.value_and_grad(z[image, None]) for z in encoding.path.z[: steps + 1]), strict=True)
        met = [
            solver.tau * float(g.square().sum()) <= solver.tolerance * float(loss[0] - now)
            for now, g in zip(loss, gradient, strict=True)
        ]
        converged = encoding.status[image] == Status.CONVERGED
        assert met[:-1] == [False] * steps and met[-1] == bool(converged)


def test_on_other_losses_the_loop_equals_its_plain_statement_and_a_prior_has_no_floor():
    spec = importlib.util.spec_from_file_location("reference_amd", Path(__file__).with_name("reference_amd.py"))
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    solver = AMD(s_max=300.0, grow_accepted=True, max_trials=150)
    with_prior = Prior(problem(bce, images=6), lambda z: 1e-3 * z.square().sum(dim=1))
    for objective in (problem(squares, images=6), with_prior):
        assert objective.floor is None
        one, two = solver.encode(objective), reference.encode(solver, objective)
        for name in ("z", "loss", "t", "steps", "status"):
            assert torch.equal(getattr(one, name), getattr(two, name)), name


# --- where the scale of a loss is not known, the first step is of length 1


@pytest.mark.parametrize("solver", [NesterovAMD(), BarzilaiBorweinAMD(), QuasiNewtonAMD(), LBFGSAMD()])
def test_the_first_trial_is_of_length_one_or_as_long_as_the_latent_and_a_hundred_gradients_on_the_papers_loss(solver):
    for loss, length in ((scaled(1e-4), None), (scaled(1e4), None), (bce, 100.0)):
        objective = problem(loss, images=3)
        for z in (objective.start(), objective.start() + 2):
            state = solver.begin(objective, z, torch.zeros(3, dtype=torch.int64))
            moved = (solver.propose(state).point - z).norm(dim=1)
            expected = z.norm(dim=1).clamp_min(1) if length is None else length * state.gradient.norm(dim=1)
            assert torch.allclose(moved, expected)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
@every
def test_a_first_step_of_the_wrong_order_is_mended_within_the_budget(solver, scale):
    """s_0 as for the paper's loss, given by hand."""
    if not hasattr(solver, "s_0"):
        solver = replace(solver, first=QuasiNewtonAMD(s_0=100.0, tolerance=0.0, max_trials=10))
    else:
        solver = replace(solver, s_0=100.0, s_max=1e9)
    objective = problem(scaled(scale), images=6)
    assert (left(solver.encode(objective), objective) < 0.01).all()
