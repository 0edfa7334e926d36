"""A penalty, a prior and other coordinates: each question of a landscape, against autograd on the composed function."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import linear_problem, mlp, quadratic, seeded
from tensors import draw
from torch import Tensor

from gfe_companion.lessons.playground.watched import Watched
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.objective import Landscape, Objective, bce
from gfe_core.prior import Prior
from gfe_core.wrappers import Moved, Penalised, Wrapped

IMAGES, LATENTS, PIXELS, PENALTY = 4, 3, 7, 0.3


def objective(loss=bce) -> Objective:
    y = torch.rand(IMAGES, PIXELS, generator=seeded(1), dtype=torch.float64)
    return Objective(mlp((LATENTS, 6, PIXELS), between=torch.nn.Tanh), y, loss)


Z0 = draw(IMAGES, LATENTS, seed=2)
ONE, EACH = draw(LATENTS, LATENTS, seed=3), draw(IMAGES, LATENTS, LATENTS, seed=4)  # neither is symmetric


def times(rows: Tensor, factor: Tensor) -> Tensor:
    """L u of each image, spelt out: ``factor`` is one for all or one for each."""
    each = factor if factor.ndim == 3 else factor.expand(len(rows), *factor.shape)
    return torch.stack([matrix @ row for matrix, row in zip(each, rows, strict=True)])


def energy(z: Tensor) -> Tensor:
    """-log of a prior whose Hessian is neither constant nor diagonal; convex."""
    return (1 + (z @ ONE).square().sum(dim=1)).sqrt()


# What is made of an objective, and the same as a function of (decoder, images, loss, u), at these images.
WRAPPED = {
    "penalised": (lambda within: Penalised(within, PENALTY), lambda u, at: (u, PENALTY / 2 * u.square().sum(dim=1))),
    "prior": (lambda within: Prior(within, energy), lambda u, at: (u, energy(u))),
    "moved and prior": (
        lambda within: Moved(Prior(within, energy), Z0, EACH),
        lambda u, at: (Z0[at] + times(u, EACH[at]), energy(Z0[at] + times(u, EACH[at]))),
    ),
    "moved": (lambda within: Moved(within, Z0, ONE), lambda u, at: (Z0[at] + times(u, ONE), 0.0)),
    "moved, one each": (lambda within: Moved(within, Z0, EACH), lambda u, at: (Z0[at] + times(u, EACH[at]), 0.0)),
    "moved and penalised": (
        lambda within: Moved(Penalised(within, PENALTY), Z0, ONE),
        lambda u, at: (Z0[at] + times(u, ONE), PENALTY / 2 * (Z0[at] + times(u, ONE)).square().sum(dim=1)),
    ),
    "penalised and moved": (
        lambda within: Penalised(Moved(within, Z0, EACH), PENALTY),
        lambda u, at: (Z0[at] + times(u, EACH[at]), PENALTY / 2 * u.square().sum(dim=1)),
    ),
}  # fmt: skip
wraps = pytest.mark.parametrize(("wrap", "spelt"), WRAPPED.values(), ids=WRAPPED)
ALL = torch.arange(IMAGES)


def losses(within: Objective, spelt, u: Tensor, at: Tensor = ALL) -> Tensor:
    """The composed function itself, for autograd."""
    z, added = spelt(u, at)
    return within.loss(within.decoder(z), within.images[at]) + added


@pytest.fixture
def u() -> Tensor:
    return draw(IMAGES, LATENTS, seed=5)


@wraps
def test_value_and_gradient(wrap, spelt, u):
    within = objective()
    landscape, u = wrap(within), u.requires_grad_()
    expected = losses(within, spelt, u)
    (slope,) = torch.autograd.grad(expected.sum(), u)
    value, gradient = landscape.value_and_grad(u.detach())
    for found in (value, landscape.value(u.detach())):
        assert torch.allclose(found, expected, rtol=1e-12) and not found.requires_grad
    assert torch.allclose(gradient, slope, rtol=1e-10, atol=1e-12) and not gradient.requires_grad


@wraps
def test_the_gradient_is_that_of_finite_differences(wrap, spelt, u):
    landscape, h = wrap(objective()), 1e-6
    _, gradient = landscape.value_and_grad(u)
    for axis in torch.eye(LATENTS, dtype=torch.float64):
        slope = (landscape.value(u + h * axis) - landscape.value(u - h * axis)) / (2 * h)
        assert torch.allclose(gradient @ axis, slope, rtol=1e-6, atol=1e-8)


@wraps
def test_all_gradients(wrap, spelt, u):
    within = objective()
    landscape, u = wrap(within), u.requires_grad_()
    in_u, in_theta = landscape.all_gradients(u)
    expected = torch.autograd.grad(losses(within, spelt, u).sum(), (u, *within.decoder.parameters()))
    for found, slope in zip((in_u, *in_theta), expected, strict=True):
        assert torch.allclose(found, slope, rtol=1e-10, atol=1e-12)


@wraps
def test_vector_jacobian(wrap, spelt, u):
    within, vector = objective(), draw(IMAGES, LATENTS, seed=6)
    landscape, u = wrap(within), u.requires_grad_()
    in_u, in_theta = landscape.vector_jacobian(u, vector)
    (gradient,) = torch.autograd.grad(losses(within, spelt, u).sum(), u, create_graph=True)
    wanted = (u, *within.decoder.parameters())
    expected = torch.autograd.grad(gradient, wanted, vector, materialize_grads=True)
    for found, slope in zip((in_u, *in_theta), expected, strict=True):
        assert torch.allclose(found, slope, rtol=1e-9, atol=1e-12)


@wraps
@pytest.mark.parametrize("loss", [bce, quadratic])
def test_gauss_newton(wrap, spelt, u, loss):
    """J^T W J of each image with the Jacobian of its logits in u, and the Hessian of what is added."""
    within = objective(loss)
    value, gradient, curvature = wrap(within).gauss_newton(u)
    same_value, same_gradient = wrap(within).value_and_grad(u)
    assert torch.allclose(value, same_value) and torch.allclose(gradient, same_gradient)
    for image in range(IMAGES):
        at = ALL[image : image + 1]
        logits = lambda one, at=at: within.decoder(spelt(one[None], at)[0])[0]  # noqa: E731
        added = lambda one, at=at: torch.as_tensor(spelt(one[None], at)[1] + 0 * one.sum()).sum()  # noqa: E731
        jacobian = torch.autograd.functional.jacobian(logits, u[image])
        p = logits(u[image]).sigmoid()
        weight = p * (1 - p) / PIXELS if loss is bce else torch.ones_like(p)
        expected = jacobian.T @ (weight[:, None] * jacobian) + torch.autograd.functional.hessian(added, u[image])
        assert torch.allclose(curvature[image], expected, rtol=1e-9, atol=1e-12)


@wraps
@pytest.mark.parametrize(
    "index", [torch.tensor([2]), torch.tensor([3, 0]), torch.tensor([True, False, True, False]), slice(1, 3)], ids=str
)
def test_a_selection_answers_for_its_images(wrap, spelt, u, index):
    within = objective()
    part, whole = wrap(within).select(index), wrap(within)
    assert type(part) is type(whole) and len(part) == len(u[index])
    assert torch.equal(part.images, within.images[index])
    for ask in ("value_and_grad", "gauss_newton"):
        for found, expected in zip(getattr(part, ask)(u[index]), getattr(whole, ask)(u), strict=True):
            assert torch.allclose(found, expected[index], rtol=1e-12)
    vector = draw(IMAGES, LATENTS, seed=6)
    found, expected = part.vector_jacobian(u[index], vector[index])[0], whole.vector_jacobian(u, vector)[0]
    assert torch.allclose(found, expected[index], rtol=1e-12)
    assert torch.allclose(part.all_gradients(u[index])[0], whole.all_gradients(u)[0][index], rtol=1e-12)
    assert torch.allclose(part.select(torch.tensor([0])).value(u[index][:1]), losses(within, spelt, u)[index][:1])


@wraps
def test_every_pass_counts_once_into_the_same_number(wrap, spelt, u):
    """One, two, two, four and 1 + d passes an image, whichever of them is asked."""
    within = objective()
    landscape = wrap(within)
    costs = {"value": 1, "value_and_grad": 2, "all_gradients": 2, "vector_jacobian": 4, "gauss_newton": 1 + LATENTS}
    for asked, cost in costs.items():
        for place in (landscape, landscape.select(torch.tensor([0, 2]))):
            before, rows = landscape.evaluations, u[: len(place)]
            getattr(place, asked)(*((rows, rows) if asked == "vector_jacobian" else (rows,)))
            assert landscape.evaluations - before == cost * len(place)
            assert landscape.evaluations == place.evaluations == within.evaluations


def test_a_penalty_starts_where_the_objective_does_and_coordinates_at_their_zero():
    within, given = objective(), draw(IMAGES, LATENTS, seed=8)
    penalised, moved = Penalised(within, PENALTY), Moved(within, Z0, ONE)
    assert torch.equal(penalised.start(), torch.zeros_like(Z0))
    assert torch.equal(moved.start(), torch.zeros_like(Z0)) and torch.equal(moved.at(moved.start()), Z0)
    for landscape in (penalised, moved):
        start = landscape.start(given)
        assert torch.equal(start, given) and start.data_ptr() != given.data_ptr()
        with pytest.raises(ValueError, match="z0 has shape"):
            landscape.start(given[:2])
        with pytest.raises(ValueError, match="z0 of image 1 of the batch is not finite"):
            landscape.start(torch.where(torch.arange(IMAGES)[:, None] == 1, math.nan, given))
        assert landscape.evaluations == 0


def test_coordinates_of_a_decoder_without_a_latent_size_start_all_the_same():
    within = objective()
    del within.decoder.latent_dim
    assert Moved(within, Z0, ONE).start().shape == Z0.shape


def test_points_of_a_path_are_moved_all_at_once():
    path = draw(5, IMAGES, LATENTS, seed=9)
    for factor in (ONE, EACH):
        moved = Moved(objective(), Z0, factor)
        assert torch.allclose(moved.at(path), torch.stack([moved.at(row) for row in path]))
    added = Penalised(objective(), PENALTY).added(path)
    assert torch.allclose(added, PENALTY / 2 * path.square().sum(dim=2))


def test_a_penalty_of_nothing_changes_nothing(u):
    within = objective()
    for found, expected in zip(Penalised(within, 0.0).gauss_newton(u), within.gauss_newton(u), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("penalty", [-1e-9, math.nan, math.inf])
def test_a_penalty_out_of_range_is_refused(penalty):
    with pytest.raises(ValueError, match=f"penalty = {penalty}"):
        Penalised(objective(), penalty)


# --- any prior


def test_the_penalty_is_the_gaussian_prior(u):
    within, vector = objective(), draw(IMAGES, LATENTS, seed=6)
    gaussian, penalised = Prior(within, lambda z: PENALTY * z.square().sum(dim=1) / 2), Penalised(within, PENALTY)
    for asked, given in (("value", (u,)), ("value_and_grad", (u,)), ("gauss_newton", (u,)), ("all_gradients", (u,)),
                         ("vector_jacobian", (u, vector))):  # fmt: skip
        found, expected = getattr(gaussian, asked)(*given), getattr(penalised, asked)(*given)
        for one, other in zip(*((x,) if isinstance(x, Tensor) else x for x in (found, expected)), strict=True):
            for a, b in zip(*((x,) if isinstance(x, Tensor) else x for x in (one, other)), strict=True):
                assert torch.allclose(a, b, rtol=1e-12, atol=1e-14)


def test_a_posterior_is_found_where_it_is_known_in_closed_form():
    """y = A z + noise of deviation s, z ~ N(m, C): the MAP estimate is the mean of the Gaussian posterior."""
    decoder, a, hessian, y = linear_problem(rows=9, columns=LATENTS, batch=IMAGES)
    root, mean, noise = draw(LATENTS, LATENTS, seed=3), draw(LATENTS, seed=4), 0.3
    precision = root @ root.T
    landscape = Prior(
        Objective(decoder, y, lambda output, images: quadratic(output, images) / noise**2),
        lambda z: ((z - mean) @ root).square().sum(dim=1) / 2,
    )
    found = QuasiNewtonAMD(s_0=0.1, tolerance=0.0, max_trials=300).encode(landscape).z
    posterior = torch.linalg.solve(hessian / noise**2 + precision, (y @ a / noise**2 + precision @ mean).mT).mT
    assert torch.allclose(found, posterior, rtol=1e-6, atol=1e-7)


def test_a_prior_with_several_summits_leaves_no_negative_curvature(u):
    """A mixture's energy is not convex: the matrix keeps its positive eigenvalues, and loses the others."""
    within = objective()

    def mixture(z: Tensor) -> Tensor:
        return -torch.logsumexp(-5 * torch.stack([(z - c).square().sum(dim=1) for c in (-1.0, 1.0)]), dim=0)

    between = torch.zeros_like(u)
    landscape, plain = Prior(within, mixture), within.gauss_newton(between)[2]
    hessian = torch.stack([
        torch.autograd.functional.hessian(lambda one: mixture(one[None])[0], row) for row in between
    ])  # fmt: skip
    values, vectors = torch.linalg.eigh(plain + hessian)
    assert (values[:, 0] < 0).all() and (values[:, -1] > 0).all()
    expected = vectors @ (values.clamp_min(0)[:, :, None] * vectors.mT)
    assert torch.allclose(landscape.gauss_newton(between)[2], expected, rtol=1e-9, atol=1e-9)


def test_a_linear_energy_has_no_curvature(u):
    within, tilt = objective(), draw(LATENTS, seed=3)
    landscape = Prior(within, lambda z: z @ tilt)
    assert torch.allclose(landscape.value_and_grad(u)[1], within.value_and_grad(u)[1] + tilt)
    assert torch.allclose(landscape.gauss_newton(u)[2], within.gauss_newton(u)[2])
    assert torch.allclose(landscape.vector_jacobian(u, u)[0], within.vector_jacobian(u, u)[0])


def test_a_prior_works_where_autograd_is_switched_off(u):
    landscape, u = Prior(objective(), energy), u.clone()
    expected = (landscape.value(u), *landscape.value_and_grad(u), landscape.vector_jacobian(u, u)[0])
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            v = u + 0.0
            found = (landscape.value(v), *landscape.value_and_grad(v), landscape.vector_jacobian(v, v)[0])
            landscape.gauss_newton(v)
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other) and not one.requires_grad


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda z: z.square().sum(), r"is \(\); it needs one number for each image, \(2,\)"),
        (lambda z: z.square(), r"is \(2, 3\); it needs one number for each image"),
        (lambda z: 0.0, "is float; it needs one number for each image"),
        (lambda z: z.float().square().sum(dim=1), "latents is torch.float32; compute it in the latents' dtype"),
        (lambda z: z.detach().square().sum(dim=1), "does not depend on the latents as far as autograd can see"),
    ],
    ids=["of the batch", "of each coordinate", "no tensor", "another dtype", "without a graph"],
)
def test_an_energy_that_is_none_is_refused(u, wrong, said):
    with pytest.raises(ValueError, match=said):
        Prior(objective(), wrong).value_and_grad(u)


def test_the_floor_of_a_loss_is_known_under_a_penalty_and_not_under_a_prior():
    within = objective()
    assert within.floor == Penalised(within, PENALTY).floor == Moved(within, Z0, ONE).floor == 0.0
    assert Prior(within, energy).floor is None


def test_coordinates_and_the_way_back():
    path = draw(5, IMAGES, LATENTS, seed=9)
    for factor in (ONE, EACH):
        moved = Moved(objective(), Z0, factor)
        assert torch.allclose(moved.back(moved.at(path)), path)
        assert torch.allclose(moved.back(moved.at(path[0])), path[0])


@wraps
def test_solvers_reach_its_own_minimum(wrap, spelt, u):
    within = objective()
    end = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=300).encode(wrap(within), u).z.requires_grad_()
    (slope,) = torch.autograd.grad(losses(within, spelt, end).sum(), end)
    assert slope.abs().max() < 1e-6


# --- nothing is answered for another function


# What all of them may share: the count of passes; and where a start is, which a prior or a look does not move.
SHARED = {of: {"evaluations", "start", "shaped"} for of in (Penalised, Prior, Watched)} | {Moved: {"evaluations"}}


def concrete(kind: type) -> list[type]:
    return [kind, *(found for sub in kind.__subclasses__() for found in concrete(sub))]


@pytest.mark.parametrize("kind", [kind for kind in concrete(Wrapped) if kind is not Wrapped])
def test_every_question_is_answered_by_the_class_itself(kind):
    """An inherited answer would be that of another function: the loss without its penalty, or in other coordinates."""
    questions = Landscape.__abstractmethods__
    assert {"value", "value_and_grad", "all_gradients", "vector_jacobian", "gauss_newton", "select"} <= questions
    assert questions - set(vars(kind)) <= SHARED.get(kind, {"evaluations"})
    assert not issubclass(kind, Objective)


def test_what_is_shared_answers_no_question_of_the_loss():
    """Nothing that returns numbers of a function of z is in the classes between."""
    for kind in (Wrapped, Landscape):
        asked = {name for name in vars(kind) if not name.startswith("_")} - set(Landscape.__abstractmethods__)
        assert asked == set(), f"{kind.__name__} has a public method of its own"
    assert set(vars(Wrapped)) & set(Landscape.__abstractmethods__) == {"evaluations", "start", "shaped", "select"}
    assert "select" in Wrapped.__abstractmethods__


@pytest.mark.parametrize(
    ("energy", "said"),
    [
        (lambda z: (z - z.mean(dim=0)).square().sum(dim=1), "depends on those of other images"),
        (lambda z: (z - torch.zeros(5, z.shape[1]).to(z)).square().sum(dim=1), "nothing that belongs to single images"),
        (lambda z: (z + torch.randn(z.shape).to(z)).square().sum(dim=1), "differs from call to call"),
        (lambda z: z.sum(dim=(1, 2)), "any number of rows"),
    ],
    ids=["coupled", "of single images", "random", "of another shape"],
)
def test_an_energy_that_is_no_function_of_one_latent_is_told(energy, said):
    objective = Objective(mlp((3, 7)), torch.rand(5, 7, generator=seeded(), dtype=torch.float64))
    with pytest.raises(ValueError, match=said):
        Prior(objective, energy)
