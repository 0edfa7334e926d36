"""A warm start is a closed form of what was encoded before: least squares, and coordinates that are steep alike."""

import contextlib
import copy
import math
import sys

import pytest
import torch
from conftest import linear_problem, mlp, quadratic, seeded
from torch import nn

from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.adjoint import ApproximateGradient
from gfe_core.encoding import Encoding
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.learnt import ridge_regression
from gfe_core.objective import NotFinite, Objective
from gfe_core.warm import WarmStart, inverse_factor, usable

SOLVER = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=5)


def encoded(z):
    nothing = torch.zeros(len(z))
    return Encoding(z, nothing, nothing, nothing, nothing, 0)


def batches(count, size=6, pixels=9):
    """Images whose latents are an affine function of them, and that function."""
    generator = seeded(1)
    weight = torch.randn(pixels + 1, 4, generator=generator, dtype=torch.float64)
    for _ in range(count):
        y = torch.rand(size, pixels, generator=generator, dtype=torch.float64)
        yield y, y @ weight[:-1] + weight[-1], weight


def test_the_first_batch_is_encoded_as_by_the_solver_itself():
    decoder, _, _, y = linear_problem()
    plain = SOLVER.encode(Objective(decoder, y, quadratic), record=True)
    warm = WarmStart(SOLVER).encoder().encode(Objective(decoder, y, quadratic), record=True)
    assert torch.equal(plain.z, warm.z)
    assert torch.equal(plain.path.z, warm.path.z)


def test_an_affine_relation_is_learnt_exactly():
    decoder = mlp((4, 9))
    encoder = WarmStart(SOLVER, memory=1.0, ridge=1e-9, refresh=1).encoder()
    for y, z, _ in batches(10):
        encoder.learn(Objective(decoder, y), encoded(z))
    y, z, weight = next(batches(1))
    assert torch.allclose(encoder.state["map"], weight, atol=1e-5)
    assert torch.allclose(encoder.start(y), z, atol=1e-5)


def test_the_map_is_ridge_regression_with_a_fading_memory():
    decoder, seen = mlp((4, 9)), []
    encoder = WarmStart(SOLVER, memory=0.8, ridge=0.3, refresh=1).encoder()
    for y, z, _ in batches(5):
        encoder.learn(Objective(decoder, y), encoded(z))
        seen.append((torch.cat([y, torch.ones(6, 1)], 1).double(), z))
    weights = [0.8 ** (len(seen) - 1 - place) for place in range(len(seen))]
    squares = sum(w * x.T @ x for w, (x, _) in zip(weights, seen, strict=True)) + 0.3 * torch.eye(10)
    products = sum(w * x.T @ z for w, (x, z) in zip(weights, seen, strict=True))
    assert torch.allclose(encoder.state["map"], torch.linalg.solve(squares, products), rtol=1e-8)


def test_in_its_coordinates_a_quadratic_is_solved_in_one_step():
    """L L^T = H^-1: with W and H learnt, BFGS's first trial, a step of one, is Newton's."""
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=6)
    encoder = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=1)).encoder()
    objective = Objective(decoder, y, quadratic)
    encoder.learn(objective, encoded(torch.randn(6, 4, generator=seeded(), dtype=torch.float64)))
    encoding = encoder.encode(Objective(decoder, y, quadratic))
    assert torch.allclose(encoding.z, torch.linalg.solve(h, a.T @ y.T).T, atol=1e-3)
    assert encoding.evaluations == 2 * 2 * 6


def test_the_factor_is_an_inverse_square_root():
    root = torch.randn(5, 5, generator=seeded(), dtype=torch.float64)
    h = root @ root.T
    factor = inverse_factor(h, floor=0.0)
    assert torch.allclose(factor @ factor.T @ h, torch.eye(5, dtype=torch.float64), atol=1e-8)
    assert inverse_factor(torch.zeros(5, 5) + torch.diag(torch.tensor([1.0, 0, 0, 0, 0]))).isfinite().all()


def test_a_curvature_that_is_steep_in_few_directions_is_inverted_in_float32():
    """Where the inverse is not positive any more by rounding, as it is for most of these matrices."""
    for seed in range(20):
        turn = torch.linalg.qr(torch.randn(20, 20, generator=seeded(seed), dtype=torch.float64))[0]
        h = turn @ torch.diag(torch.logspace(-9, 0, 20, dtype=torch.float64)) @ turn.T
        factor = inverse_factor(h.float()).double()
        exact = torch.linalg.inv(h + 1e-4 * h.diagonal().mean() * torch.eye(20, dtype=torch.float64))
        assert torch.allclose(factor @ factor.T, exact, atol=2e-3 * float(exact.max()))


def test_a_penalty_shortens_the_latents_and_is_no_part_of_the_loss():
    decoder, _, _, y = linear_problem(rows=9, columns=4, batch=6)
    objective = Objective(decoder, y, quadratic)
    solver = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=60)
    free, held = (WarmStart(solver, penalty=p).encoder().encode(objective, record=True) for p in (0.0, 1.0))
    assert (held.z.norm(dim=1) < free.z.norm(dim=1)).all()
    for encoding in (free, held):
        assert torch.allclose(encoding.loss, objective.value(encoding.z))
        assert torch.allclose(encoding.path.loss[-1], encoding.loss)


def test_with_a_penalty_the_optimum_is_that_of_ridge_regression():
    decoder, a, h, y = linear_problem(rows=9, columns=4, batch=6)
    solver = QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=200)
    z = WarmStart(solver, penalty=0.5).encoder().encode(Objective(decoder, y, quadratic)).z
    ridge = h + 0.5 * torch.eye(len(h), dtype=h.dtype)
    assert torch.allclose(z, torch.linalg.solve(ridge, a.T @ y.T).T, atol=1e-6)


# --- what it has learnt is its own, and whole


def same(one, other):
    return (
        one["batches"] == other["batches"]
        and one["state"].keys() == other["state"].keys()
        and all(torch.equal(tensor, other["state"][name]) for name, tensor in one["state"].items())
    )


def taught(count, refresh=3, **settings):
    encoder = WarmStart(SOLVER, refresh=refresh, **settings).encoder()
    for y, z, _ in batches(count):
        encoder.learn(Objective(DECODER, y), encoded(z))
    return encoder


DECODER = mlp((4, 9))
Y, Z = next(batches(1))[:2]


def test_its_state_is_a_copy_either_way():
    encoder = taught(4)
    saved, known = encoder.state_dict(), encoder.knowledge()
    kept, told = copy.deepcopy(saved), copy.deepcopy(known)
    for _ in range(6):
        encoder.learn(Objective(DECODER, Y), encoded(Z))
    assert same(saved, kept)
    assert not same(encoder.state_dict(), kept)
    assert all(torch.equal(known[name], told[name]) for name in told)
    before = encoder.state_dict()
    for tensor in (*encoder.state_dict()["state"].values(), *encoder.knowledge().values()):
        tensor.fill_(7.0)
    assert same(encoder.state_dict(), before)
    other = WarmStart(SOLVER, refresh=3).encoder()
    other.load_state_dict(saved)
    resumed = WarmStart(SOLVER).encoder(known)
    for tensor in (*saved["state"].values(), *known.values()):
        tensor.fill_(7.0)
    assert same(other.state_dict(), kept)
    assert torch.equal(resumed.state["map"], told["map"])


@pytest.mark.parametrize("count", [0, 3, 4])
def test_an_empty_batch_changes_nothing(count):
    encoder = taught(count)
    before, objective = encoder.state_dict(), Objective(DECODER, Y[:0])
    encoder.learn(objective, encoder.encode(objective))
    assert encoder.after(Y[:0], Z[:0]) is encoder.learnt
    assert same(encoder.state_dict(), before)
    assert objective.evaluations == 0


@pytest.mark.parametrize("count", [0, 3, 4], ids=["first batch", "refresh", "between"])
def test_interrupted_at_any_line_it_has_learnt_the_batch_or_nothing_of_it(count):
    encoder = taught(count)
    before, after = encoder.state_dict(), taught(count + 1).state_dict()
    *_, (y, z, _) = batches(count + 1)
    lines = 0
    while interrupted(lambda: encoder.learn(Objective(DECODER, y), encoded(z)), after_lines=lines):
        state = encoder.state_dict()
        assert same(state, before) or same(state, after)
        encoder.load_state_dict(before)
        lines += 1
    assert lines > 20
    assert same(encoder.state_dict(), after)


def interrupted(work, after_lines):
    """Whether Ctrl-C stopped ``work``, pressed when so many lines of the package were executed."""
    left = [after_lines]

    def trace(frame, event, argument):
        if "gfe_core" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    return False


def test_batches_are_added_up_between_refreshes_and_fade_as_they_would_one_by_one():
    """Some of which have more images than pixels, so that they are added up at once."""
    seen, encoder = [], WarmStart(SOLVER, memory=0.7, ridge=0.3, refresh=4).encoder()
    for place, (y, z, _) in enumerate([*batches(5), *batches(2, size=15), *batches(2)]):
        encoder.learn(Objective(DECODER, y), encoded(z))
        seen.append((torch.cat([y, torch.ones(len(y), 1, dtype=y.dtype)], 1), z))
        weights = [0.7 ** (place - earlier) for earlier in range(place + 1)]
        if place % 4 == 0:
            squares = sum(w * x.T @ x for w, (x, _) in zip(weights, seen, strict=True)) + 0.3 * torch.eye(10)
            products = sum(w * x.T @ z for w, (x, z) in zip(weights, seen, strict=True))
            assert torch.allclose(encoder.state["map"], torch.linalg.solve(squares, products), rtol=1e-8)
        assert len(encoder.state["recent"]) <= 10


def test_an_encoder_made_of_knowledge_goes_on_learning_from_there():
    known = taught(10, memory=1.0, ridge=1e-3).knowledge()
    encoder = WarmStart(SOLVER, refresh=1).encoder(known)
    assert torch.equal(encoder.start(Y), torch.cat([Y, torch.ones(6, 1, dtype=Y.dtype)], 1) @ known["map"])
    encoder.learn(Objective(DECODER, Y[:1]), encoded(Z[:1]))
    assert torch.allclose(encoder.start(Y), Z, atol=0.1)  # one image has not undone what ten batches had taught
    assert encoder.batches == 1


def test_a_latent_that_is_not_finite_is_not_learnt():
    encoder = taught(2)
    before = encoder.state_dict()
    with pytest.raises(NotFinite, match="the latent of image 1 of the batch is not finite"):
        encoder.learn(Objective(DECODER, Y), encoded(Z.index_fill(0, torch.tensor([1]), torch.nan)))
    assert same(encoder.state_dict(), before)


# --- images, latents, decoders and losses of any kind


class Shaped(nn.Module):
    """Latents (B, 2, 2) -> images (B, 3, 3)."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, z):
        return self.decoder(z.flatten(1)).reshape(-1, 3, 3)


def test_images_and_latents_of_any_shape_are_learnt_as_their_rows():
    rows, shaped = (WarmStart(SOLVER, refresh=2).encoder() for _ in range(2))
    decoder = Shaped(DECODER)
    for y, _, _ in batches(5):
        flat, own = Objective(DECODER, y), Objective(decoder, y.reshape(-1, 3, 3), latent_shape=(2, 2))
        one, other = rows.encode(flat, record=True), shaped.encode(own, record=True)
        assert other.z.shape == (6, 2, 2)
        assert other.path.z.shape[1:] == (6, 2, 2)
        assert torch.allclose(other.z.flatten(1), one.z, rtol=1e-6)
        rows.learn(flat, one)
        shaped.learn(own, other)
    assert torch.allclose(shaped.state["map"], rows.state["map"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_images_of_bits_are_learnt_as_numbers(dtype):
    bits = (Y > 0.5).to(dtype)
    encoders = WarmStart(SOLVER).encoder(), WarmStart(SOLVER).encoder()
    for encoder, images in zip(encoders, (bits, bits.to(Z)), strict=True):
        for _ in range(2):
            objective = Objective(DECODER, images)
            encoder.learn(objective, encoder.encode(objective))
    assert torch.allclose(encoders[0].state["map"], encoders[1].state["map"], rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_beside_a_decoder_of_half_precision_it_learns_in_single(dtype):
    decoder, images = mlp((4, 9), dtype=torch.float32).to(dtype), Y.to(dtype)
    encoder = WarmStart(SOLVER, refresh=1).encoder()
    for _ in range(3):
        objective = Objective(decoder, images)
        encoding = encoder.encode(objective)
        encoder.learn(objective, encoding)
    assert {tensor.dtype for tensor in encoder.state.values()} == {torch.float32}
    assert encoding.loss.dtype == torch.float32
    start = Objective(decoder, images).value(encoder.start(images))
    assert (start < Objective(decoder, images).value(torch.zeros(6, 4))).all()


def test_what_was_learnt_in_inference_mode_serves_outside():
    inside, outside = WarmStart(SOLVER, refresh=2).encoder(), WarmStart(SOLVER, refresh=2).encoder()
    for y, _, _ in batches(5):
        for encoder, mode in ((inside, torch.inference_mode), (outside, contextlib.nullcontext)):
            with mode():
                objective = Objective(DECODER, y)
                encoder.learn(objective, encoder.encode(objective))
    assert not any(tensor.is_inference() for tensor in inside.state.values())
    assert same(inside.state_dict(), outside.state_dict())
    objective = Objective(DECODER, Y)
    ApproximateGradient()(objective, inside.encode(objective, record=True))


def l1(output, images):
    return (output - images).abs().mean(dim=1)


def test_a_loss_without_curvature_is_no_collapse():
    """L1: a scaled identity takes the place of the Gauss-Newton matrix, and encoding gets better."""
    encoder, losses = WarmStart(refresh=2).encoder(), []
    for seed in range(12):
        z = torch.randn(6, 4, generator=seeded(seed), dtype=torch.float64)
        objective = Objective(DECODER, DECODER(z).detach(), l1)
        encoding = encoder.encode(objective)
        losses.append(float(encoding.loss.mean()))
        encoder.learn(objective, encoding)
    factor = encoder.state["factor"]
    assert torch.allclose(factor, factor[0, 0] * torch.eye(4, dtype=factor.dtype))
    assert losses[-1] < losses[0] / 2


def test_a_real_collapse_is_told():
    """The loss no longer depends on the latents."""
    decoder = mlp((4, 9))
    nn.init.zeros_(decoder[0].weight)
    encoder = WarmStart(SOLVER).encoder()
    with pytest.raises(NotFinite, match="the gradient is 0 and the curvature 0: the training has collapsed; encode"):
        encoder.learn(Objective(decoder, Y, quadratic), encoded(Z))
    assert not encoder.state


def test_a_probe_without_slope_does_not_count():
    at, curvature = torch.ones(2, 3), torch.stack([torch.zeros(3, 3), 4 * torch.eye(3)])
    found = usable(at, torch.ones(2), torch.tensor([[0.0, 0, 0], [1, 0, 0]]), curvature)
    assert torch.equal(found, curvature[1:])
    with pytest.raises(NotFinite, match="the loss gradient of image 0"):
        usable(at, torch.ones(2), torch.full((2, 3), torch.inf), curvature)


def test_images_of_another_size_are_refused_and_too_large_ones():
    encoder = taught(1)
    with pytest.raises(ValueError, match="images have 4 pixels and the encoder has learnt from images of 9; give it"):
        encoder.start(Y[:, :4])
    with pytest.raises(ValueError, match="images of 30,000 pixels are too large for a warm start.*another solver"):
        WarmStart().encoder().after(torch.zeros(1, 3, 100, 100), torch.zeros(1, 4))


def test_a_ridge_too_small_for_the_rounding_is_no_error():
    """Images of bytes: the squares are 1e8 times the ridge, in single precision."""
    x = torch.cat([torch.randint(256, (300, 200), generator=seeded()).float(), torch.ones(300, 1)], dim=1)
    x[:, 1] = x[:, 0]
    found = ridge_regression(x.T @ x, x.T @ x[:, :3], 1e-6)
    assert torch.allclose(x @ found, x[:, :3], atol=1.0)


def test_bounds_within_a_warm_start_are_refused():
    with pytest.raises(ValueError, match="would bound u"):
        WarmStart(LBFGSAMD(lower=-1.0))
    WarmStart(LBFGSAMD())


@pytest.mark.parametrize(
    ("field", "value"),
    [("memory", -0.1), ("memory", 1.1), ("ridge", -1.0), ("ridge", math.inf), ("refresh", 0), ("probes", 0)],
)
def test_fields_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(ValueError, match=f"{field} = "):
        WarmStart(**{field: value})
