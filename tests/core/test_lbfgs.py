"""Limited-memory BFGS for each image: its direction is BFGS's, its bounds are SciPy's, its memory is linear in d."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import Problem, identity, linear_problem, mlp, quadratic, seeded
from scipy import optimize
from torch import Tensor, nn

from gfe_core.encoding import Status
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.many import encode_all
from gfe_core.objective import Objective


def objective_of(kind: str, seed: int) -> Objective:
    """A convex problem with 8 latents, or a decoder of three layers with 4; five images each."""
    if kind == "decoder":
        return Problem((4, 8, 12), 5, 1.0, seed, torch.float64).objective()
    decoder, _, _, images = linear_problem(rows=12, columns=8, batch=5, seed=seed)
    return Objective(decoder, images, quadratic)


def box(objective: Objective, seed: int) -> tuple[Tensor, Tensor]:
    """Bounds (B, d) around zero, other ones for each image; some on one side only."""
    shape, generator = objective.start().shape, seeded(seed)
    lower, upper = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    lower[:, 0], upper[:, 1] = math.inf, math.inf
    return -lower, upper


def by_scipy(objective: Objective, image: int, z: Tensor, lower: Tensor, upper: Tensor) -> optimize.OptimizeResult:
    """SciPy's L-BFGS-B from ``z`` (d,)."""
    one = objective.select(torch.tensor([image]))

    def both(z: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = one.value_and_grad(torch.tensor(z)[None])
        return float(loss), gradient[0].numpy()

    bounds = list(zip(lower.tolist(), upper.tolist(), strict=True))
    options = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-10}
    return optimize.minimize(both, z.numpy(), jac=True, method="L-BFGS-B", bounds=bounds, options=options)


# --- the direction


def two_loops(pairs: list[tuple[Tensor, Tensor]], gradient: Tensor) -> Tensor:
    """Nocedal and Wright's Algorithm 7.4 for one image, the oldest pair first."""
    q, weights = gradient.clone(), []
    for move, turn in reversed(pairs):
        weights.append(float(move @ q / (move @ turn)))
        q -= weights[-1] * turn
    move, turn = pairs[-1]
    q *= move @ turn / (turn @ turn)
    for (move, turn), weight in zip(pairs, reversed(weights), strict=True):
        q += (weight - float(turn @ q / (move @ turn))) * move
    return q


@pytest.mark.parametrize("kind", ["convex", "decoder"])
@pytest.mark.parametrize("size", [1, 3, 30])
def test_each_accepted_step_is_that_of_the_two_loops(kind, size):
    """From the recorded path, with gradients taken again: z - z_next is s = beta^k times the direction."""
    objective = objective_of(kind, 3)
    solver = LBFGSAMD(pairs=size, tolerance=0.0, max_trials=12)
    path = solver.encode(objective, record=True).path
    steps = 0
    for image in range(len(objective)):
        one = objective.select(torch.tensor([image]))
        z = list(path.z[:, image])
        gradients = [one.value_and_grad(row[None])[1][0] for row in z]
        pairs: list[tuple[Tensor, Tensor]] = []
        for here, there, gradient, later in zip(z, z[1:], gradients, gradients[1:], strict=False):
            if torch.equal(here, there) or gradient.norm() < 1e-6:
                break
            if pairs:
                direction = two_loops(pairs[-size:], gradient)
                ratio = float((here - there) @ direction / (direction @ direction))
                shrunk = math.log(ratio) / math.log(solver.beta)
                assert shrunk == pytest.approx(round(shrunk), abs=1e-6) and round(shrunk) >= 0
                assert torch.allclose(here - there, ratio * direction, rtol=1e-6, atol=1e-10)
                steps += 1
            if (there - here) @ (later - gradient) > 0:
                pairs.append((there - here, later - gradient))
    assert steps > 20


class Valley(nn.Module):
    """The residuals of Rosenbrock's function, whose minimum lies at the end of a bent valley, at (1, 1)."""

    latent_dim = 2

    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([1 - z[:, 0], 10 * (z[:, 1] - z[:, 0].square())], dim=1)


def test_along_a_bent_valley_the_loss_falls_at_every_step_to_the_minimum():
    images = torch.zeros(12, 2, dtype=torch.float64)
    start = 2 * torch.randn(12, 2, generator=seeded(5), dtype=torch.float64)
    objective = Objective(Valley(), images, quadratic)
    encoding = LBFGSAMD(tolerance=0.0, max_trials=200).encode(objective, start, record=True)
    assert torch.allclose(encoding.z, torch.ones_like(encoding.z), atol=1e-6)
    for image in range(12):
        losses = encoding.path.loss[: int(encoding.steps[image]) + 1, image]
        assert (losses.diff() < 0).all() and len(losses) > 10
    alone = LBFGSAMD(tolerance=0.0, max_trials=200).encode(objective.select(torch.tensor([7])), start[7:8])
    assert torch.equal(alone.steps, encoding.steps[7:8]) and torch.allclose(alone.z, encoding.z[7:8], atol=1e-9)


def test_a_step_that_lowers_the_loss_by_less_than_a_tenth_of_its_promise_is_shrunk():
    """On z^2 / 2 from 1 a step of length s lowers the loss by s - s^2 / 2 where its slope promises s."""
    objective = Objective(identity(), torch.zeros(1, 1, dtype=torch.float64), quadratic)
    start = torch.ones(1, 1, dtype=torch.float64)
    for first, kept in ((1.7, 1.7), (1.9, 1.9 / 4)):
        encoding = LBFGSAMD(s_0=first, tolerance=0.0, max_trials=2).encode(objective, start, record=True)
        assert float(encoding.path.z[1, 0, 0]) == pytest.approx(1 - kept)


# --- bounds


@pytest.mark.parametrize("kind", ["convex", "decoder"])
@pytest.mark.parametrize("seed", range(5))
def test_within_bounds_it_ends_where_scipy_ends(kind, seed):
    objective = objective_of(kind, seed)
    lower, upper = box(objective, seed)
    encoding = LBFGSAMD(lower=lower, upper=upper, tolerance=1e-10, max_trials=2000).encode(objective)
    assert (encoding.z >= lower).all() and (encoding.z <= upper).all()
    assert ((encoding.z == lower) | (encoding.z == upper)).any()  # bounds that matter
    for image in range(len(objective)):
        start = encoding.z[image] if kind == "decoder" else torch.zeros_like(lower[image])
        best = by_scipy(objective, image, start, lower[image], upper[image])
        assert float(encoding.loss[image]) <= best.fun * (1 + 1e-9)
        assert np.abs(best.x - encoding.z[image].numpy()).max() < 1e-6


def test_bounds_go_with_their_image():
    objective = objective_of("convex", 1)
    lower, upper = box(objective, 1)
    whole = LBFGSAMD(lower=lower, upper=upper).encode(objective)
    for chosen in ([3], [4, 0], [2, 1, 0, 4, 3]):
        rows = torch.tensor(chosen)
        part = LBFGSAMD(lower=lower[rows], upper=upper[rows]).encode(objective.select(rows))
        assert torch.allclose(part.z, whole.z[rows], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("fields", "inside"), [({"lower": -0.1}, -0.1), ({"upper": 0.1}, 0.1)])
def test_one_bound_alone_holds(fields, inside):
    objective = objective_of("convex", 2)
    z = LBFGSAMD(**fields, tolerance=1e-8).encode(objective).z
    assert (z == inside).any() and ((z >= inside) if inside < 0 else (z <= inside)).all()


def test_bounds_that_are_nowhere_met_change_nothing_but_rounding():
    objective = objective_of("decoder", 0)
    free = LBFGSAMD().encode(objective)
    wide = LBFGSAMD(lower=torch.full((4,), -1e6), upper=1e6).encode(objective)
    assert torch.allclose(free.z, wide.z, rtol=1e-6, atol=1e-8)


def test_a_start_outside_is_moved_inside_and_one_that_is_held_there_is_finished():
    """|z - y|^2 / 2 with y in [0, 1]: from below -1, within [-2, -1], the minimum is -1."""
    decoder = mlp((3, 3))
    with torch.no_grad():
        decoder[0].weight.copy_(torch.eye(3))
        decoder[0].bias.zero_()
    objective = Objective(decoder, torch.rand(2, 3, dtype=torch.float64, generator=seeded()), quadratic)
    solver = LBFGSAMD(lower=-2.0, upper=-1.0)
    encoding = solver.encode(objective, torch.full((2, 3), 5.0, dtype=torch.float64), record=True)
    assert (encoding.z == -1).all() and (encoding.path.z == -1).all()
    assert encoding.steps.tolist() == [0, 0] and (encoding.status == Status.CONVERGED).all()
    assert (solver.encode(objective, torch.full((2, 3), -1.9, dtype=torch.float64)).z == -1).all()


# --- large latents


class Wide(nn.Module):
    """10,000 latents, each of which has a part in one of 50 outputs."""

    latent_dim = 10_000

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(10_000, generator=seeded()) / 14)

    def forward(self, z: Tensor) -> Tensor:
        return (torch.tanh(z) * self.weight).unflatten(1, (50, 200)).sum(dim=2)


def test_ten_thousand_latents_fit(monkeypatch):
    """2 x 8 + 8 vectors of 40 kB an image; one d x d would be 400 MB."""
    images = torch.rand(8, 50, generator=seeded(1))
    objective = Objective(Wide(), images, quadratic)
    solver = LBFGSAMD(max_trials=60)
    state = solver.begin(objective, objective.start(), torch.zeros(8, dtype=torch.int64))
    held = sum(column.numel() for column in vars(state).values())
    assert held <= 8 * (2 * solver.pairs + 8) * 10_000
    sizes, bmm = [], torch.bmm

    def watched(*operands: Tensor) -> Tensor:
        sizes.append(bmm(*operands).numel())
        return bmm(*operands)

    monkeypatch.setattr(torch, "bmm", watched)
    encoding = solver.encode(objective)
    assert 0 < max(sizes) <= 8 * 10_000
    assert (encoding.loss < 1e-3 * quadratic(torch.zeros(8, 50), images)).all()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pairs": 0}, "pairs = 0"),
        ({"lower": 1.0, "upper": 0.0}, "lower <= upper"),
        ({"lower": math.nan}, "lower <= upper"),
        ({"lower": torch.zeros(3), "upper": -torch.ones(3)}, "lower <= upper"),
        ({"lower": torch.zeros(3), "upper": torch.ones(4)}, "one shape"),
        ({"beta": 1.0}, "beta = "),
        ({"s_0": 0.0}, "s_0 = "),
    ],
)  # fmt: skip
def test_fields_out_of_range_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        LBFGSAMD(**fields)


def test_bounds_of_single_images_fit_one_batch_and_those_of_all_fit_several():
    objective = objective_of("decoder", 0)
    lower = torch.full((5, 4), -0.1, dtype=torch.float64)
    whole = LBFGSAMD(lower=lower).encode(objective)
    parts = encode_all(objective.decoder, objective.images, LBFGSAMD(lower=lower[0]), batch_size=3)
    torch.testing.assert_close(torch.cat([part.z for part in parts]), whole.z)
    with pytest.raises(ValueError, match=r"lower has shape \(5, 4\), which does not fit 3 latents"):
        list(encode_all(objective.decoder, objective.images, LBFGSAMD(lower=lower), batch_size=3))


def test_bounds_that_do_not_fit_the_latents_are_refused():
    with pytest.raises(ValueError, match=r"lower has shape \(3,\), which does not fit 5 latents of 8 numbers"):
        LBFGSAMD(lower=torch.zeros(3)).encode(objective_of("convex", 0))
