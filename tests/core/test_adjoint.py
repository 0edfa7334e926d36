"""Sec. 3.1: gradients in theta, against autograd through the unrolled solver, and what the approximation leaves out."""

import weakref
from dataclasses import replace

import pytest
import torch
from conftest import Counting, linear_problem, mlp, orders, problems, quadratic, seeded
from hypothesis import given, reject
from hypothesis import strategies as st
from numpy.polynomial.legendre import leggauss
from tensors import draw, encoded, flat, relative
from torch import nn

from gfe_core.adjoint import AdjointGradient, ApproximateGradient, TooCoarse, integral
from gfe_core.amd import AMD
from gfe_core.fixed_grid import FixedGrid, rk4
from gfe_core.models import Decoder
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective, bce
from gfe_core.prior import Prior
from gfe_core.warm import WarmStart
from gfe_core.wrappers import Moved, Penalised

FLOAT64 = (torch.float64,)
FLOWS = {
    "fixed grid": lambda slices: FixedGrid(2.0, slices),
    "Nesterov": lambda slices: Nesterov(2.0, slices),
    "Nesterov, large eps": lambda slices: Nesterov(2.0, slices, eps=0.3),
    "AMD": lambda slices: AMD(tau=2.0, s_0=2 / slices, s_max=4 / slices, tolerance=0.0),
    "AMD, stopped": lambda slices: AMD(tau=1e3, s_0=0.5, s_max=50.0, tolerance=0.05, max_steps=slices),
}


def unrolled(objective, solver, path):
    """The total derivative by autograd through every step of the solver; AMD's step sizes are taken as they were."""

    def slope(z):
        loss = objective.loss(objective.decoder(z), objective.images).sum()
        return torch.autograd.grad(loss, z, create_graph=True)[0]

    z = objective.start().requires_grad_()
    if isinstance(solver, AMD):
        for h in path.t.diff(dim=0):
            z = z - h[:, None] * slope(z)
    elif isinstance(solver, FixedGrid):

        def field(t, z):
            return -solver.alpha(t, solver.tau) * slope(z)

        for t, h in steps(solver.times()):
            z = rk4(field, t, h, z, field(t, z))
    else:

        def field(t, state):
            return solver.slope(t, state[1], slope(state[0]))

        state = solver.first_slice(solver.times()[1], z, slope(z))
        for t, h in steps(solver.times()[1:]):
            state = rk4(field, t, h, state, field(t, state))
        z = state[0]
    return torch.autograd.grad(
        objective.loss(objective.decoder(z), objective.images).sum(), tuple(objective.decoder.parameters())
    )


def steps(times):
    return [(t, later - t) for t, later in zip(times, times[1:], strict=False)]


def problem_of(loss, seed, between=nn.ELU, batch=4):
    decoder = mlp((3, 8, 12), 1.0 if loss is quadratic else 2.0, seed, between=between)
    return Objective(decoder, torch.rand(batch, 12, generator=seeded(seed + 1), dtype=torch.float64), loss)


# --- Eq. (6), the approximation


@given(problems(FLOAT64))
def test_the_approximation_is_the_gradient_of_the_summed_loss_at_fixed_latents(problem):
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


@pytest.mark.parametrize("gradient", [ApproximateGradient(), AdjointGradient()])
def test_parameters_and_latents_are_left_without_a_trace(gradient):
    decoder = mlp((2, 4, 5))
    objective = Objective(decoder, torch.zeros(3, 5, dtype=torch.float64))
    encoding = FixedGrid(0.5, 5).encode(objective, record=True)
    encoding.z.requires_grad_()
    gradients = gradient(objective, encoding)
    assert not any(gradient.requires_grad for gradient in gradients)
    assert encoding.z.grad is None
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


# --- Eq. (2)-(4), the full adjoint


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("loss", [bce, quadratic])
@pytest.mark.parametrize("flow", FLOWS)
def test_with_a_hundred_slices_it_is_autograd_through_the_solver(flow, loss, seed):
    """Within 1e-3 on decoders like the paper's, which the approximation misses by much more."""
    objective, solver = problem_of(loss, seed), FLOWS[flow](100)
    encoding = solver.encode(objective, record=True)
    reference = unrolled(objective, solver, encoding.path)
    error = relative(AdjointGradient()(objective, encoding), reference)
    assert error < (1e-10 if "AMD" in flow else 1e-3)
    assert relative(ApproximateGradient()(objective, encoding), reference) > max(10 * error, 1e-6)


@pytest.mark.parametrize("loss", [bce, quadratic])
@pytest.mark.parametrize("flow", ["fixed grid", "Nesterov", "Nesterov, large eps"])
def test_its_error_falls_with_the_square_of_the_slices(flow, loss):
    errors = []
    for slices in (50, 100, 200):
        objective, solver = problem_of(loss, 1, nn.Tanh), FLOWS[flow](slices)
        encoding = solver.encode(objective, record=True)
        errors.append(relative(AdjointGradient()(objective, encoding), unrolled(objective, solver, encoding.path)))
    assert orders(errors) == pytest.approx([2, 2], abs=0.2)


def test_a_linear_decoder_has_the_adjoint_in_closed_form():
    """l = 1/2 |A z - y|^2 with alpha = 1: lambda(0) = exp(-H tau) lambda(tau), and so falls out of Eq. (4) at 0."""
    decoder, a, hessian, y = linear_problem(curvature=1.0)
    objective = Objective(decoder, y, quadratic)
    tau = 1.5
    encoding = FixedGrid(tau, 200, alpha=lambda t, tau: 1.0).encode(objective, record=True)
    best = torch.linalg.solve(hessian, a.T @ y.T)
    z_end = best - torch.linalg.matrix_exp(-hessian * tau) @ best
    at_end = a.T @ (a @ z_end - y.T)
    total = (a @ z_end - y.T) @ z_end.T
    nodes, weights = map(torch.from_numpy, leggauss(20))
    for t, w in zip((nodes + 1) * tau / 2, weights * tau / 2, strict=True):  # the integral, by Gauss and Legendre
        z = best - torch.linalg.matrix_exp(-hessian * t) @ best
        adjoint = torch.linalg.matrix_exp(-hessian * (tau - t)) @ at_end
        total -= w * ((a @ z - y.T) @ adjoint.T + a @ adjoint @ z.T)  # lambda^T partial_A (A^T (A z - y))
    ours = AdjointGradient()(objective, encoding)[0]
    assert ours.flatten().tolist() == pytest.approx(total.flatten().tolist(), rel=1e-3, abs=1e-5)


def test_the_signs_of_the_paper_are_worse_than_no_integral():
    """Errata 1: with lambda(tau) = -grad and d lambda/dt = -alpha H lambda, Eq. (4) misses by more than Eq. (6)."""
    objective, solver = problem_of(bce, 1), FLOWS["fixed grid"](100)
    encoding = solver.encode(objective, record=True)
    reference = unrolled(objective, solver, encoding.path)
    path, alpha = encoding.path, encoding.path.flow.alpha
    at_end, partial = objective.all_gradients(encoding.z)

    def total(of_lambda, of_flow):
        adjoint, result = of_lambda * at_end, list(partial)
        for n in reversed(range(len(path.t) - 1)):
            h = float(path.t[n + 1, 0] - path.t[n, 0])
            in_z, in_theta = objective.vector_jacobian((path.z[n] + path.z[n + 1]) / 2, adjoint)
            rate = float(alpha[n] + alpha[n + 1]) / 2
            adjoint = adjoint - of_flow * h * rate * in_z
            result = [whole - h * rate * part for whole, part in zip(result, in_theta, strict=True)]
        return relative(result, reference)

    dropped = relative(partial, reference)
    assert total(1, 1) < 0.05 * dropped
    assert total(-1, -1) > 1.5 * dropped


@given(problems(FLOAT64, (2, 5)), st.sampled_from(sorted(FLOWS)))
def test_a_batch_has_the_sum_of_its_images_gradients(problem, flow):
    solver = FLOWS[flow](5)
    if "AMD" not in flow:
        solver = replace(solver, tau=0.1)
    elif problem.scale > 1:  # so steep that rounding decides between two trial steps
        reject()

    def gradient(objective):
        return flat(AdjointGradient()(objective, solver.encode(objective, record=True)))

    try:
        whole = gradient(problem.objective())
        alone = [gradient(problem.objective().select(torch.tensor([i]))) for i in range(problem.batch)]
    except TooCoarse:
        reject()
    assert torch.allclose(whole, sum(alone), rtol=1e-6, atol=1e-9 * float(1 + sum(alone).abs().max()))


# --- through wrappers


Z0, ONE, EACH = draw(4, 3, seed=2), 0.5 * draw(3, 3, seed=3), 0.5 * draw(4, 3, 3, seed=4)
WRAPPED = {
    "penalised": lambda within: Penalised(within, 0.3),
    "prior": lambda within: Prior(within, lambda z: (1 + (z @ ONE).square().sum(dim=1)).sqrt()),
    "moved": lambda within: Moved(within, Z0, ONE),
    "moved, one each": lambda within: Moved(within, Z0, EACH),
    "moved and penalised": lambda within: Moved(Penalised(within, 0.3), Z0, EACH),
    "penalised and moved": lambda within: Penalised(Moved(within, Z0, ONE), 0.3),
    "moved twice": lambda within: Moved(Moved(within, Z0, ONE), Z0.flip(0), EACH),
    "selected": lambda within: Moved(Penalised(within, 0.3), Z0, EACH).select(torch.tensor([2, 0])),
    "selected by a mask": lambda within: Penalised(Moved(within, Z0, EACH), 0.3).select(Z0[:, 0] > Z0[:, 0].min()),
}
LONG = {  # flows, and how near the adjoint comes to what they do
    "fixed grid": (FixedGrid(1.0, 100), 1e-4),
    "Nesterov": (Nesterov(1.0, 100), 1e-4),
    "AMD": (AMD(tau=1.0, s_0=0.05, s_max=0.05, tolerance=0.0), 1e-7),
    "AMD, stopped": (AMD(tau=1e3, s_0=0.1, s_max=0.2, tolerance=0.07, max_steps=20), 1e-7),
}


def along_a_direction(decoder, gradient, loss_at_end, close):
    """``gradient`` against a central difference of ``loss_at_end()``, all parameters moved at once, at random."""
    direction = [torch.randn(p.shape, generator=seeded(50 + p.ndim), dtype=p.dtype) for p in decoder.parameters()]
    h, sums = 1e-5, []
    for shift in (h, -2 * h):
        with torch.no_grad():
            for parameter, along in zip(decoder.parameters(), direction, strict=True):
                parameter.add_(shift * along)
        sums.append(float(loss_at_end()))
    found = sum(float((slope * along).sum()) for slope, along in zip(gradient, direction, strict=True))
    assert found == pytest.approx((sums[0] - sums[1]) / (2 * h), rel=close)


@pytest.mark.parametrize(("solver", "close"), LONG.values(), ids=LONG)
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_it_is_the_derivative_of_what_a_wrapped_objective_ends_with(wrap, solver, close):
    """Encoded anew for each shifted theta; AMD takes the same steps at each, so that their sizes may be held fixed."""
    landscape, times = wrap(problem_of(bce, 0, nn.Tanh)), []

    def end():
        encoding = solver.encode(landscape, record=True)
        times.append(encoding.path.t)
        return encoding.loss.sum()

    gradient = AdjointGradient()(landscape, solver.encode(landscape, record=True))
    along_a_direction(landscape.decoder, gradient, end, close)
    assert all(torch.equal(t, times[0]) for t in times)


@pytest.mark.parametrize("penalty", [0.0, 0.2])
@pytest.mark.parametrize(("solver", "close"), LONG.values(), ids=LONG)
def test_along_a_warm_start_it_is_the_derivative_of_the_loss_itself(solver, close, penalty):
    """z0 and factor are what earlier batches have taught; the penalty counts in the flow, and not in the loss."""
    objective = problem_of(bce, 0, nn.Tanh)
    encoder = WarmStart(solver=solver, penalty=penalty, refresh=1).encoder()
    for seed in (5, 6):
        batch = Objective(objective.decoder, torch.rand(4, 12, generator=seeded(seed), dtype=torch.float64))
        encoder.learn(batch, encoder.encode(batch))
    encoding = encoder.encode(objective, record=True)
    assert torch.allclose(encoding.loss, objective.value(encoding.z), rtol=1e-12)
    gradient = AdjointGradient()(objective, encoding)
    assert relative(ApproximateGradient()(objective, encoding), gradient) > 1e-2
    along_a_direction(objective.decoder, gradient, lambda: encoder.encode(objective).loss.sum(), close)


def test_a_warm_start_that_follows_no_flow_is_refused():
    objective = problem_of(bce, 0)
    encoding = WarmStart().encode(objective, record=True)
    with pytest.raises(ValueError, match="follows no flow that an adjoint could follow back; train with Approx"):
        AdjointGradient()(objective, encoding)


class TwoBiases(nn.Module):
    """Two parameters that are added have one gradient, and autograd hands out one tensor for both."""

    latent_dim = 3

    def __init__(self):
        super().__init__()
        self.decoder = mlp((3, 8, 12), 2.0, 0, between=nn.Tanh)
        self.one, self.other = (nn.Parameter(torch.zeros(12, dtype=torch.float64)) for _ in range(2))

    def forward(self, z):
        return self.decoder(z) + (self.one + self.other)


def test_two_parameters_with_one_gradient_have_the_integral_taken_off_once_each():
    objective = Objective(TwoBiases(), torch.rand(4, 12, generator=seeded(1), dtype=torch.float64))
    encoding = FLOWS["AMD"](20).encode(objective, record=True)
    gradient = AdjointGradient()(objective, encoding)
    names = [name for name, _ in objective.decoder.named_parameters()]
    of = dict(zip(names, gradient, strict=True))
    assert torch.equal(of["one"], of["other"])
    assert torch.allclose(of["one"], of["decoder.2.bias"], rtol=1e-10)


# --- cost


@pytest.mark.parametrize("slices", [10, 100])
@pytest.mark.parametrize("flow", FLOWS)
def test_it_costs_at_most_five_passes_a_slice_counted(flow, slices):
    objective, solver = problem_of(bce, 0), FLOWS[flow](slices)
    encoding = solver.encode(objective, record=True)
    before = objective.evaluations
    AdjointGradient()(objective, encoding)
    cost = (objective.evaluations - before) / len(objective)
    assert cost <= 5 * (len(encoding.path.t) - 1)
    assert cost >= 4 * float(encoding.steps.double().mean())


def test_an_image_that_was_finished_costs_the_adjoint_nothing():
    """Two images with 3 and many steps: the passes of the backward path are those of the steps taken."""
    objective = problem_of(bce, 0, batch=2)
    encoding = AMD(tau=1e4, tolerance=0.05).encode(objective, record=True)
    assert encoding.steps[0] != encoding.steps[1]
    before = objective.evaluations
    AdjointGradient()(objective, encoding)
    assert objective.evaluations - before == 4 * int(encoding.steps.sum()) + 2 * len(objective)


@pytest.mark.parametrize("flow", FLOWS)
def test_its_memory_does_not_grow_with_the_slices_beyond_the_path(flow):
    """The bytes that autograd holds at any one time are those of one slice, however many there are."""

    def held(slices):
        objective, solver = problem_of(bce, 0), FLOWS[flow](slices)
        encoding = solver.encode(objective, record=True)
        size = sum(x.numel() for x in (encoding.path.t, encoding.path.z, encoding.path.loss))
        assert size <= (len(encoding.path.t)) * len(objective) * (3 + 2)
        now, peak = 0, 0

        class Kept:
            def __init__(self, tensor):
                self.tensor = tensor

        def pack(tensor):
            nonlocal now, peak
            kept, bytes_ = Kept(tensor), tensor.numel() * tensor.element_size()
            now += bytes_
            peak = max(peak, now)
            weakref.finalize(kept, release, bytes_)
            return kept

        def release(bytes_):
            nonlocal now
            now -= bytes_

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
            AdjointGradient()(objective, encoding)
        return peak

    few, many = held(10), held(100)
    assert few > 0
    assert many <= 1.1 * few


@pytest.mark.parametrize("flow", FLOWS)
def test_the_parts_of_the_integral_are_not_kept(flow, monkeypatch):
    """Each has the size of theta, and a hundred of them would be a hundred decoders."""
    objective, solver, made, alive = problem_of(bce, 0), FLOWS[flow](30), [], []
    encoding, product = solver.encode(objective, record=True), Objective.vector_jacobian

    def watched(self, z, vector):
        alive.append(sum(part() is not None for part in made))
        result = product(self, z, vector)
        made.append(weakref.ref(result[1][0]))
        return result

    monkeypatch.setattr(Objective, "vector_jacobian", watched)
    AdjointGradient()(objective, encoding)
    assert len(alive) > 10
    assert max(alive) <= 2


def test_the_passes_are_those_that_the_decoder_sees():
    """A decoder that counts for itself; the way back through a backward pass shows at its output once more."""
    decoder = Counting(mlp((3, 8, 12)))
    objective = Objective(decoder, torch.rand(4, 12, generator=seeded(), dtype=torch.float64))
    encoding = FixedGrid(1.0, 10).encode(objective, record=True)
    objective.passes.forward = objective.passes.backward = decoder.forward_images = decoder.backward_images = 0
    AdjointGradient()(objective, encoding)
    assert objective.passes.forward == decoder.forward_images == (11 + 1) * 4
    assert decoder.backward_images == (2 * 11 + 1) * 4
    assert objective.passes.backward == (3 * 11 + 1) * 4


# --- bad input


def test_a_path_that_was_not_recorded_is_asked_for():
    objective = problem_of(bce, 0)
    with pytest.raises(ValueError, match="call encode.objective, record=True"):
        AdjointGradient()(objective, FixedGrid(1.0, 10).encode(objective))


@pytest.mark.parametrize("solver", [FixedGrid(300.0, 4), Nesterov(60.0, 4)], ids=["fixed grid", "Nesterov"])
def test_a_path_that_is_too_sparse_for_the_adjoint_is_refused(solver):
    objective = problem_of(quadratic, 0)
    encoding = solver.encode(objective, record=True)
    with pytest.raises(
        ValueError, match=r"image \d of the batch is too coarse for the adjoint: slice \d is too long.*"
    ):
        AdjointGradient()(objective, encoding)
    finer = FixedGrid(2.0, 100).encode(objective, record=True)
    assert all(g.isfinite().all() for g in AdjointGradient()(objective, finer))


def test_a_decoder_with_batch_normalisation_in_training_mode_is_refused():
    decoder = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    with pytest.raises(ValueError, match="in training mode.*call decoder.eval"):
        Objective(decoder, torch.zeros(4, 3))


def test_the_parts_of_the_integral_are_those_of_the_slices():
    """As a notebook uses them: their sum is the difference of the two gradients."""
    objective = Objective(Decoder(generator=seeded()), torch.rand(2, 784, generator=seeded(1)))
    encoding = FixedGrid(10.0, 8).encode(objective, record=True)
    at_end, partial = objective.all_gradients(encoding.z)
    parts = list(integral(objective, encoding, at_end))
    assert len(parts) == 9
    total = [whole - sum(each) for whole, *each in zip(partial, *parts, strict=True)]
    assert torch.allclose(flat(total), flat(AdjointGradient()(objective, encoding)), rtol=1e-4, atol=1e-6)
