"""Implicit differentiation: against finite differences of the minimiser, a long flow's adjoint, and closed forms."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import pytest
import torch
from conftest import linear_problem, mlp, quadratic, seeded
from tensors import encoded, flat, relative
from torch import Tensor, nn

from gfe_core import encoding_step
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.adjoint import ApproximateGradient, integral
from gfe_core.amd import AMD
from gfe_core.encoding import Encoding
from gfe_core.implicit import ImplicitGradient, NoMinimum, NotSolved
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.objective import Landscape, NotFinite, Objective, bce
from gfe_core.prior import Prior
from gfe_core.warm import WarmStart
from gfe_core.wrappers import Moved, Penalised

LATENTS, PIXELS, BATCH = 3, 12, 4


def problem_of(loss=bce, seed=4, dtype=torch.float64) -> Objective:
    decoder = mlp((LATENTS, 8, PIXELS), 1.5, seed, between=nn.Softplus).to(dtype)
    return Objective(
        decoder, torch.rand(BATCH, PIXELS, generator=seeded(seed + 1), dtype=torch.float64).to(dtype), loss
    )


def minimiser(inner: Landscape, near: Tensor | None = None) -> Tensor:
    """Where the gradient of ``inner`` is zero up to rounding: quasi-Newton, then Newton's own steps."""
    z = QuasiNewtonAMD(tolerance=0.0, max_trials=300).encode(inner).z.flatten(1) if near is None else near
    units = torch.eye(z.shape[1], dtype=z.dtype)
    for _ in range(4):
        gradient = inner.value_and_grad(z)[1]
        columns = [inner.vector_jacobian(z, unit.expand_as(z))[0] for unit in units]
        z = z - torch.linalg.solve(torch.stack(columns, dim=2), gradient)
    return z


def directions(decoder: nn.Module, count: int) -> list[list[Tensor]]:
    generator = seeded(50)
    return [
        [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in decoder.parameters()] for _ in range(count)
    ]


def differences(decoder: nn.Module, along: list[Tensor], loss, h: float = 1e-4) -> float:
    """The derivative of ``loss()`` in theta ``along`` a direction: differences of order four in ``h``."""
    values, now = [], 0.0
    for place in (-2, -1, 1, 2, 0):
        with torch.no_grad():
            for parameter, direction in zip(decoder.parameters(), along, strict=True):
                parameter.add_((place - now) * h * direction)
        now = place
        values.append(float(loss()) if place else 0.0)
    return (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)


def weighted(output: Tensor, images: Tensor) -> Tensor:
    """Another loss than those that are minimised."""
    return (torch.linspace(0, 1, PIXELS, dtype=output.dtype) * (output.sigmoid() - images).abs().pow(3)).sum(dim=1)


INNER = {  # what is minimised, made of the loss that is differentiated
    "a penalty": partial(Penalised, penalty=0.02),
    "a prior": lambda outer: Prior(outer, lambda z: 0.05 * (1 + z.square()).sqrt().sum(dim=1) + 0.1 * z[:, 0]),
    "another loss": lambda outer: Penalised(Objective(outer.decoder, outer.images, bce), 0.02),
    "the same": lambda outer: outer,
}


@pytest.mark.parametrize("outer", [bce, weighted])
@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
def test_it_is_the_derivative_of_the_loss_at_the_minimiser(inner, outer):
    """Found anew for each shifted theta. Where two losses differ, Eq. (6) is another number."""
    objective = problem_of(outer)
    z = minimiser(inner(objective))
    gradient = ImplicitGradient(inner=inner)(objective, encoded(z))
    for along in directions(objective.decoder, 3):
        expected = differences(objective.decoder, along, lambda: objective.value(minimiser(inner(objective), z)).sum())
        found = sum(float((slope * part).sum()) for slope, part in zip(gradient, along, strict=True))
        assert found == pytest.approx(expected, rel=1e-7)
    same = inner(objective) is objective
    assert (relative(ApproximateGradient()(objective, encoded(z)), gradient) > 1e-2) != same


def test_at_a_minimum_of_the_loss_itself_it_is_the_approximation():
    objective = problem_of()
    z = minimiser(objective)
    assert relative(ImplicitGradient()(objective, encoded(z)), ApproximateGradient()(objective, encoded(z))) < 1e-10


def test_where_the_encoding_stopped_early_its_error_is_quadratic_in_the_distance():
    """And that of Eq. (6) linear: what is left is what Newton's step leaves."""
    objective = problem_of()
    best, errors = minimiser(objective), []
    truth = ApproximateGradient()(objective, encoded(best))
    away = torch.randn(best.shape, generator=seeded(8), dtype=best.dtype)
    for distance in (4e-2, 2e-2, 1e-2):
        at = encoded(best + distance * away)
        errors.append([relative(way(objective, at), truth) for way in (ApproximateGradient(), ImplicitGradient())])
    halved = torch.tensor(errors).log2().diff(dim=0).neg()
    assert torch.allclose(halved, torch.tensor([1.0, 2.0]).expand(2, 2), atol=0.3)


def test_it_is_where_the_adjoint_of_ever_longer_flows_leads():
    """Along the flow of a penalised loss: the derivative of the loss itself at its end, by Eq. (2)-(4)."""
    objective, inner, errors = problem_of(quadratic), partial(Penalised, penalty=0.5), []
    for steps in (10, 20, 40, 80):
        solver = AMD(tau=1e3, s_0=0.05, s_max=0.05, tolerance=0.0, max_steps=steps)
        encoding = solver.encode(inner(objective), record=True)
        at_end, total = objective.all_gradients(encoding.z)
        for part in integral(inner(objective), encoding, at_end):
            total = tuple(whole - slope for whole, slope in zip(total, part, strict=True))
        errors.append(relative(ImplicitGradient(inner=inner)(objective, encoding), total))
    assert all(later < 0.7 * earlier for earlier, later in pairwise(errors))
    assert errors[0] > 1e-3 and errors[-1] < 1e-5


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_a_linear_decoder_has_it_in_closed_form(gauss_newton):
    """Ridge regression: z* = M^-1 A^T y with M = A^T A + c I, and l = |A z* - y|^2 / 2."""
    decoder, a, curvature, y = linear_problem()
    penalty, size = 0.3, len(curvature)
    inverse = torch.linalg.inv(curvature + penalty * torch.eye(size, dtype=a.dtype))
    z = y @ a @ inverse
    residual = z @ a.T - y
    adjoint = residual @ a @ inverse  # M lambda = A^T (A z* - y)
    expected = residual.T @ z - residual.T @ adjoint - (a @ adjoint.T) @ z
    way = ImplicitGradient(inner=partial(Penalised, penalty=penalty), gauss_newton=gauss_newton)
    in_weight, in_bias = way(Objective(decoder, y, quadratic), encoded(z))
    assert torch.allclose(in_weight, expected, rtol=1e-9, atol=1e-12)
    assert torch.allclose(in_bias, residual.sum(dim=0) - a @ adjoint.sum(dim=0), rtol=1e-9, atol=1e-12)


def test_the_gauss_newton_matrix_serves_where_the_decoder_is_linear_or_fits():
    """Elsewhere it is another system, whose solution is told by hand."""
    objective, inner = problem_of(), partial(Penalised, penalty=0.02)
    z = minimiser(inner(objective))
    matrix, at_end = inner(objective).gauss_newton(z)[2], objective.all_gradients(z)[0]
    adjoint = torch.linalg.solve(matrix, at_end)
    wanted = (
        whole - part
        for whole, part in zip(objective.all_gradients(z)[1], objective.vector_jacobian(z, adjoint)[1], strict=True)
    )
    found = ImplicitGradient(inner=inner, gauss_newton=True)(objective, encoded(z))
    assert relative(found, list(wanted)) < 1e-10
    assert relative(found, ImplicitGradient(inner=inner)(objective, encoded(z))) > 1e-2


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_a_damping_leads_from_the_derivative_to_the_approximation(gauss_newton):
    objective, inner = problem_of(), partial(Penalised, penalty=0.02)
    at = encoded(minimiser(inner(objective)))
    approximate = ApproximateGradient()(objective, at)
    gradients = [
        ImplicitGradient(inner, gauss_newton, damping)(objective, at) for damping in (0.0, 1e-9, 0.1, 10.0, 1e9)
    ]
    assert relative(gradients[1], gradients[0]) < 1e-5
    away = [relative(gradient, approximate) for gradient in gradients[1:]]
    assert away == sorted(away, reverse=True) and away[-1] < 1e-8


# --- each image on its own, and the cost


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_a_batch_has_the_sum_of_its_images_gradients(gauss_newton):
    objective, inner = problem_of(), partial(Penalised, penalty=0.02)
    z, way = minimiser(inner(objective)), ImplicitGradient(inner=inner, gauss_newton=gauss_newton)
    whole = flat(way(objective, encoded(z)))
    alone = [flat(way(objective.select(slice(i, i + 1)), encoded(z[i : i + 1]))) for i in range(BATCH)]
    assert torch.allclose(whole, sum(alone), rtol=1e-9, atol=1e-12)


def test_an_image_leaves_the_batch_when_its_own_system_is_solved():
    """A product for each eigenvalue that counts: 1 for the first image, none for the second, 3 for the third."""
    decoder = mlp((3, 3))
    with torch.no_grad():
        decoder[0].weight.copy_(torch.diag(torch.tensor([1.0, 2.0, 3.0])))
        decoder[0].bias.zero_()
    y = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    objective = Objective(decoder, y, quadratic)
    before = objective.evaluations
    ImplicitGradient()(objective, encoded(torch.zeros_like(y)))
    assert objective.evaluations - before == 3 * 6 + 4 * (1 + 0 + 3)
    before = objective.evaluations
    ImplicitGradient(gauss_newton=True)(objective, encoded(torch.zeros_like(y)))
    matrix = objective.evaluations
    objective.gauss_newton(torch.zeros_like(y))
    assert matrix - before == 3 * 6 + (objective.evaluations - matrix)


def test_parameters_and_latents_are_left_without_a_trace():
    objective = problem_of()
    at = encoded(minimiser(objective).requires_grad_())
    gradients = ImplicitGradient()(objective, at)
    assert not any(gradient.requires_grad for gradient in gradients)
    assert at.z.grad is None and all(parameter.grad is None for parameter in objective.decoder.parameters())


def test_other_coordinates_change_nothing():
    """The same minimum, seen in u of z = z0 + u L^T: a relation that no system of its own tells."""
    objective, inner = problem_of(), partial(Penalised, penalty=0.02)
    z = minimiser(inner(objective))
    z0, factor = (torch.randn(*shape, generator=seeded(3), dtype=z.dtype) for shape in ((BATCH, 3), (BATCH, 3, 3)))
    moved = Moved(objective, z0, factor)
    found = ImplicitGradient(inner=lambda outer: Moved(inner(objective), z0, factor))(moved, encoded(moved.back(z)))
    assert relative(found, ImplicitGradient(inner=inner)(objective, encoded(z))) < 1e-7


def test_float32_is_near_float64():
    inner = partial(Penalised, penalty=0.02)
    whole, half = problem_of(), problem_of(dtype=torch.float32)
    z = minimiser(inner(whole))
    found = ImplicitGradient(inner=inner)(half, encoded(z.float()))
    assert relative(found, [x.float() for x in ImplicitGradient(inner=inner)(whole, encoded(z))]) < 1e-3


def test_a_frozen_layer_and_latents_of_several_dimensions():
    class Reshaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.decoder = mlp((4, 8, PIXELS), 1.5, 4, between=nn.Softplus)
            self.unused = nn.Parameter(torch.zeros(2, dtype=torch.float64))

        def forward(self, z):
            return self.decoder(z.flatten(1))

    decoder = Reshaped()
    decoder.decoder[0].weight.requires_grad_(False)
    y = torch.rand(BATCH, PIXELS, generator=seeded(5), dtype=torch.float64)
    objective, inner = Objective(decoder, y, latent_shape=(2, 2)), partial(Penalised, penalty=0.02)
    z = minimiser(inner(objective))
    gradient = dict(
        zip(
            (name for name, _ in decoder.named_parameters()),
            ImplicitGradient(inner=inner)(objective, encoded(z.reshape(-1, 2, 2))),
            strict=True,
        )
    )
    assert gradient["unused"] is None and gradient["decoder.0.weight"] is None
    plain = decoder.decoder
    plain.latent_dim = 4
    plain[0].weight.requires_grad_(True)
    expected = ImplicitGradient(inner=inner)(Objective(plain, y), encoded(z))
    for (name, _), slope in zip(plain.named_parameters(), expected, strict=True):
        if name != "0.weight":
            assert torch.allclose(gradient[f"decoder.{name}"], slope, rtol=1e-9, atol=1e-12)


class Two(nn.Module):
    """What is minimised rests on one of two outputs, and what is differentiated on the other."""

    latent_dim = LATENTS

    def __init__(self):
        super().__init__()
        self.one, self.other = (mlp((LATENTS, PIXELS), seed=seed) for seed in (1, 2))

    def forward(self, z):
        return self.one(z), self.other(z)


def test_a_parameter_that_counts_only_in_what_is_minimised():
    y = torch.rand(BATCH, PIXELS, generator=seeded(5), dtype=torch.float64)
    objective = Objective(Two(), y, lambda output, images: quadratic(output[1], images))

    def inner(outer):
        return Objective(outer.decoder, outer.images, lambda output, images: quadratic(output[0], images))

    z = minimiser(inner(objective))
    gradient = ImplicitGradient(inner=inner)(objective, encoded(z))
    for along in directions(objective.decoder, 2):
        expected = differences(objective.decoder, along, lambda: objective.value(minimiser(inner(objective))).sum())
        found = sum(float((slope * part).sum()) for slope, part in zip(gradient, along, strict=True))
        assert found == pytest.approx(expected, rel=1e-7)


def test_it_trains():
    """As any gradient: what is left in .grad of a step of training."""
    objective, inner = problem_of(), partial(Penalised, penalty=0.02)
    solver = WarmStart(solver=QuasiNewtonAMD(tolerance=0.0, max_trials=100), penalty=0.02)
    encoding_step(objective.decoder, solver, ImplicitGradient(inner=inner))(objective.images)
    expected = ImplicitGradient(inner=inner)(objective, encoded(minimiser(inner(objective))))
    assert relative([parameter.grad for parameter in objective.decoder.parameters()], expected) < 1e-3


# --- where there is no answer


def saddle(z: Tensor) -> Tensor:
    """Curvature -1 along the first latent, 1 along the others."""
    return (z.square().sum(dim=1) - 2 * z[:, 0].square()) / 2


def of_latents(loss, z: Tensor) -> tuple[Objective, Encoding]:
    """A decoder that returns its latents, scaled by its one parameter."""
    decoder = mlp((z.shape[1], z.shape[1]))
    with torch.no_grad():
        decoder[0].weight.copy_(torch.eye(z.shape[1]))
        decoder[0].bias.zero_()
    return Objective(decoder, torch.zeros_like(z), lambda output, images: loss(output)), encoded(z)


Z = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.5]], dtype=torch.float64)


def test_a_saddle_is_refused_with_the_remedy():
    objective, at = of_latents(saddle, Z)
    with pytest.raises(NoMinimum, match=r"image 2 of the batch has curvature .* no isolated minimum; encode further"):
        ImplicitGradient()(objective, at)
    for remedy in (ImplicitGradient(damping=2.0), ImplicitGradient(inner=partial(Penalised, penalty=2.0))):
        assert all(slope.isfinite().all() for slope in remedy(objective, at))


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_a_flat_direction_that_counts_is_refused(gauss_newton):
    """The loss falls along a direction without curvature: no minimum, and nothing that could be differentiated."""
    objective, at = of_latents(lambda z: z[:, 0] + z[:, 1:].square().sum(dim=1) / 2, Z)
    with pytest.raises(NoMinimum, match="image 0 of the batch has curvature 0 along a direction"):
        ImplicitGradient(gauss_newton=gauss_newton)(objective, at)


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_a_latent_that_changes_nothing_does_no_harm(gauss_newton):
    """A singular Hessian, whose null space the gradient does not touch: the least lambda, as without that latent."""
    objective = problem_of()
    with torch.no_grad():
        objective.decoder[0].weight[:, 2] = 0.0
    z = QuasiNewtonAMD(tolerance=0.0, max_trials=300).encode(Penalised(objective, 0.02)).z
    smaller = mlp((2, 8, PIXELS), between=nn.Softplus)
    with torch.no_grad():
        for one, other in zip(smaller.parameters(), objective.decoder.parameters(), strict=True):
            one.copy_(other[:, :2] if other.shape == (8, 3) else other)
    found = ImplicitGradient(gauss_newton=gauss_newton)(objective, encoded(z))
    expected = ImplicitGradient(gauss_newton=gauss_newton)(Objective(smaller, objective.images), encoded(z[:, :2]))
    assert torch.allclose(found[0][:, :2], expected[0], rtol=1e-6)
    assert relative(found[1:], expected[1:]) < 1e-6


def test_a_flat_loss_has_nothing_to_solve():
    objective, at = of_latents(lambda z: 0.0 * z.sum(dim=1), Z)
    for way in (ImplicitGradient(), ImplicitGradient(gauss_newton=True)):
        assert all((slope == 0).all() for slope in way(objective, at))


def test_a_system_that_was_not_solved_is_refused():
    objective, inner = problem_of(), partial(Penalised, penalty=0.02)
    at = encoded(minimiser(inner(objective)))
    with pytest.raises(NotSolved, match=r"left .* of the gradient of image \d of the batch; allow more max_products"):
        ImplicitGradient(inner=inner, max_products=1)(objective, at)
    rough = ImplicitGradient(inner=inner, tolerance=0.3, max_products=2)(objective, at)
    assert 1e-6 < relative(rough, ImplicitGradient(inner=inner)(objective, at)) < 0.3


@pytest.mark.parametrize(
    ("field", "value"),
    [("damping", -1.0), ("damping", math.inf), ("damping", math.nan), ("tolerance", 0.0), ("tolerance", 1.0),
     ("max_products", 0)],
)  # fmt: skip
def test_fields_out_of_range_are_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} = {value}"):
        ImplicitGradient(**{field: value})


def test_an_inner_loss_of_other_images_or_another_decoder_is_refused():
    objective, at = problem_of(), encoded(torch.zeros(BATCH, LATENTS, dtype=torch.float64))
    for inner in (lambda outer: outer.select(slice(2)), lambda outer: problem_of()):
        with pytest.raises(ValueError, match="inner must be a loss of the same images with the same decoder"):
            ImplicitGradient(inner=inner)(objective, at)


def test_a_latent_that_is_not_finite_is_named():
    objective, z = problem_of(), torch.zeros(BATCH, LATENTS, dtype=torch.float64)
    z[2] = math.nan
    with pytest.raises(NotFinite, match="the loss gradient at z of image 2 of the batch is not finite"):
        ImplicitGradient()(objective, encoded(z))


@pytest.mark.parametrize("gauss_newton", [False, True])
def test_a_latent_variable_at_its_bound_takes_no_part(gauss_newton):
    """With a linear decoder and MSE, z* within a box moves by what is free: Eq. (6) is exact at the minimiser."""
    decoder = mlp((4, 12))
    images = torch.rand(6, 12, generator=seeded(), dtype=torch.float64)
    objective = Objective(decoder, images, lambda output, y: (output - y).square().mean(dim=1))
    encoding = LBFGSAMD(lower=-0.1, upper=0.1, tolerance=0.0).encode(objective)
    assert 0 < (encoding.z.abs() >= 0.1).double().mean() < 1
    bounded = ImplicitGradient(lower=-0.1, upper=0.1, gauss_newton=gauss_newton)(objective, encoding)
    expected = ApproximateGradient()(objective, encoding)
    for ours, theirs in zip(bounded, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-7)
    unaware = ImplicitGradient(gauss_newton=gauss_newton)(objective, encoding)
    assert not torch.allclose(unaware[0], expected[0], atol=1e-3)
