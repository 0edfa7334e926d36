"""J^T H J against automatic differentiation in float64: any loss, any shape, any operator, threads, half precision."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from conftest import mlp, seeded
from decoders import Counted, WithVariance, convolutional, drawn, huber, l1, likelihood, mse, per_image, perceptual
from torch import nn
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_unflatten

from gfe_core import curvature
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.curvature import positive
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.objective import Objective, bce

SIZE, DIM, BATCH = 8, 5, 3


def colour(dtype=torch.float64, batch=BATCH, size=SIZE, seed=1):
    return torch.rand(batch, 3, size, size, generator=seeded(seed), dtype=dtype)


def latents(dtype=torch.float64, batch=BATCH, dim=DIM):
    return torch.randn(batch, dim, generator=seeded(2), dtype=dtype)


def reference(objective, z):
    """J and H of every image by reverse mode alone, H as a whole matrix; negative eigenvalues taken out."""
    found, scale = [], 0.0
    for i in range(len(z)):
        part, given = objective.select(torch.tensor([i])), z[i : i + 1]
        leaves, structure = tree_flatten(part.output(given))

        def flat(z, part=part):
            real = (torch.view_as_real(x) if x.is_complex() else x for x in tree_flatten(part.output(z))[0])
            return torch.cat([leaf.flatten() for leaf in real])

        def loss(row, part=part, leaves=leaves, structure=structure):
            parts = row.split([leaf.numel() * (1 + leaf.is_complex()) for leaf in leaves])
            shaped = [
                torch.view_as_complex(piece.reshape(*leaf.shape, 2)) if leaf.is_complex() else piece.reshape(leaf.shape)
                for piece, leaf in zip(parts, leaves, strict=True)
            ]
            return part.losses(tree_unflatten(shaped, structure)).sum()

        jacobian = torch.autograd.functional.jacobian(flat, given)[:, 0]
        hessian = torch.autograd.functional.hessian(loss, flat(given).detach())
        values, vectors = torch.linalg.eigh(jacobian.T @ hessian @ jacobian)
        scale = max(scale, float(values.abs().max()))
        found.append(vectors @ torch.diag(values.clamp_min(0)) @ vectors.T)
    return torch.stack(found), scale


def agrees(objective, z, tolerance=1e-9):
    loss, gradient, matrix = objective.gauss_newton(z)
    expected_loss, expected_gradient = objective.value_and_grad(z)
    expected, scale = reference(objective, z)
    assert scale > 0
    assert torch.allclose(loss, expected_loss, rtol=tolerance)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-6, atol=tolerance)
    assert torch.allclose(matrix, expected, rtol=tolerance, atol=tolerance * scale)
    assert not (loss.requires_grad or gradient.requires_grad or matrix.requires_grad)
    return matrix


# --- losses that are no sums over pixels


def image_gradient(output, images):
    """Squared differences of neighbours: it does not change where both images are shifted."""
    return sum(per_image(((output - images).diff(dim=axis)).square()) for axis in (2, 3))


def smooth_total_variation(output, images):
    residual = output - images
    return per_image(residual.square()) + sum(
        per_image((residual.diff(dim=axis).square() + 1e-2).sqrt()) for axis in (2, 3)
    )


def correlation(output, images):
    one, other = (x.flatten(1) - x.flatten(1).mean(dim=1, keepdim=True) for x in (output, images))
    return 1 - (one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1))


def cosine(output, images):
    return 1 - F.cosine_similarity(output.flatten(1), images.flatten(1))


def structural(output, images):
    """1 - SSIM of windows of 4 x 4."""
    x, y = F.avg_pool2d(output, 4, 2), F.avg_pool2d(images, 4, 2)
    xx, yy, xy = (F.avg_pool2d(a * b, 4, 2) for a, b in ((output, output), (images, images), (output, images)))
    above = (2 * x * y + 0.01) * (2 * (xy - x * y) + 0.03)
    return 1 - per_image(above / ((x * x + y * y + 0.01) * (xx - x * x + yy - y * y + 0.03)))


def log_of_a_sum(output, images):
    return (output - images).square().flatten(1).sum(dim=1).log()


def root_of_a_sum(output, images):
    return (output - images).flatten(1).norm(dim=1)


def up_to_a_shift(output, images):
    """The variance of the residual."""
    return (output - images).flatten(1).var(dim=1)


def up_to_a_shift_and_a_scale(output, images):
    residual = output.flatten(1).log_softmax(dim=1)
    return -(residual * images.flatten(1)).sum(dim=1)


def spectral(output, images):
    return per_image(torch.fft.rfft2(output - images).abs().square())


def softmax_over_channels(output, images):
    return F.cross_entropy(output, images.argmax(dim=1), reduction="none").flatten(1).mean(dim=1)


LOSSES = [
    bce, mse, huber, image_gradient, smooth_total_variation, correlation, cosine, structural, log_of_a_sum,
    root_of_a_sum, up_to_a_shift, up_to_a_shift_and_a_scale, spectral, softmax_over_channels, perceptual(),
]  # fmt: skip


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_it_is_that_of_automatic_differentiation_for_any_loss(loss):
    agrees(Objective(convolutional(DIM, size=SIZE), colour(), loss), latents())


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("solver", [GaussNewtonBFGS(), LevenbergMarquardt()], ids=lambda s: type(s).__name__)
def test_solvers_that_use_it_end_as_low_as_quasi_newton(loss, solver):
    objective = Objective(convolutional(DIM, size=SIZE), colour(), loss)
    start, other = objective.value(objective.start()), QuasiNewtonAMD().encode(objective).loss
    found = solver.encode(objective).loss
    assert (found < start).all()
    assert (start - found).sum() >= 0.8 * (start - other).sum()  # they may end in other basins


@pytest.mark.parametrize("loss", [l1, lambda o, y: -per_image(o * y)], ids=["L1", "linear"])
@pytest.mark.parametrize("solver", [GaussNewtonBFGS(), LevenbergMarquardt()], ids=lambda s: type(s).__name__)
def test_a_loss_without_curvature_is_encoded_all_the_same(loss, solver):
    decoder = nn.Sequential(convolutional(DIM, size=SIZE), nn.Tanh())
    decoder.latent_dim = DIM
    objective = Objective(decoder, colour(), loss)
    assert (objective.gauss_newton(latents())[2] == 0).all()
    start, other = objective.value(objective.start()), QuasiNewtonAMD().encode(objective).loss
    assert (start - solver.encode(objective).loss).sum() >= 0.8 * (start - other).sum()


class Spoilt(torch.autograd.Function):
    """x with the gradient 1, whose own derivative is not a number."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient + 0 * torch.sqrt(ctx.saved_tensors[0] - ctx.saved_tensors[0])  # infinite slope at 0


def power(output, images):
    """|r|^1.5, of infinite curvature where the residual is zero."""
    return per_image((output - images).abs() ** 1.5)


def second_derivative_is_not_a_number(output, images):
    return mse(Spoilt.apply(output), images)


def one_sided(output, images):
    residual = output - images
    return per_image(torch.where(residual >= 0, residual.clamp_min(0) ** 1.2, residual.square()))


@pytest.mark.parametrize("solver", [GaussNewtonBFGS(), LevenbergMarquardt()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("loss", [power, second_derivative_is_not_a_number, one_sided], ids=lambda loss: loss.__name__)
def test_where_the_curvature_is_not_finite_solvers_go_on_and_improve(loss, solver):
    decoder, images = mlp((3, 8, 12)), torch.rand(4, 12, generator=seeded(), dtype=torch.float64)
    images[:, :6] = decoder(torch.zeros(1, 3, dtype=torch.float64))[0, :6].detach()  # residuals of zero
    objective = Objective(decoder, images, loss)
    before = objective.value(objective.start())
    assert not objective.gauss_newton(objective.start())[2].isfinite().all()
    encoding, other = solver.encode(objective), QuasiNewtonAMD().encode(objective).loss
    assert encoding.z.isfinite().all()
    assert ((before - encoding.loss) >= 0.8 * (before - other)).all()


# --- what a decoder returns


class Returns(nn.Module):
    latent_dim = DIM

    def __init__(self, what):
        super().__init__()
        self.net, self.what = convolutional(DIM, size=SIZE), what

    def forward(self, z):
        x = self.net(z)
        if self.what == "tuple":
            return x[:, :2], x[:, 2:]
        if self.what == "list":
            return [x[:, 0], x[:, 1:].flatten(1)]
        if self.what == "dict":
            return {"mean": x, "scale": z.square().sum(dim=1)}
        if self.what == "what is the same for all":
            return x, torch.arange(len(z)), None, torch.tensor(0.5, dtype=z.dtype), torch.ones(7, dtype=z.dtype)
        if "complex" in self.what:
            return torch.fft.fft2(x) if self.what == "complex" else (torch.complex(x, x.tanh()), x.exp())
        if self.what == "one number":
            return x.mean(dim=(1, 2, 3))
        return x.permute(0, 2, 3, 1) if self.what == "channels last" else x[:, :, :1, 0]


RETURNED = {
    "tuple": lambda o, y: mse(torch.cat(o, dim=1), y),
    "list": lambda o, y: mse(o[0], y[:, 0]) + mse(o[1], y[:, 1:].flatten(1)),
    "dict": lambda o, y: mse(o["mean"], y) * torch.exp(-o["scale"]) + o["scale"],
    "what is the same for all": lambda o, y: mse(o[0], y) * o[3] * o[4][0],
    "channels last": lambda o, y: mse(o.permute(0, 3, 1, 2), y),
    "few": lambda o, y: mse(o, y[:, :, :1, 0]),
    "complex": lambda o, y: per_image((o - y).abs().square()) + per_image(o.real * o.imag),
    "complex and real": lambda o, y: per_image((o[0] - y).abs().square()) + mse(o[1], y),
    "one number": lambda o, y: (o - y.mean(dim=(1, 2, 3))).square(),
}


@pytest.mark.parametrize("what", RETURNED)
def test_a_decoder_may_return_any_shape_or_several(what):
    objective = Objective(Returns(what), colour(), RETURNED[what])
    if what == "what is the same for all":
        plain = Objective(convolutional(DIM, size=SIZE), colour(), mse).gauss_newton(latents())[2]
        assert torch.allclose(objective.gauss_newton(latents())[2], plain / 2)
    else:
        agrees(objective, latents())


def test_a_mean_and_a_variance():
    agrees(Objective(WithVariance(convolutional(DIM, size=SIZE)), colour(), likelihood), latents())


def test_an_output_without_a_floating_tensor_is_refused():
    class Text(nn.Module):
        latent_dim = 2

        def forward(self, z):
            return {"a": "b"}

    with pytest.raises(ValueError):
        Objective(Text(), torch.zeros(2, 3), lambda o, y: y.mean(dim=1))


# --- operators without a forward mode


class Sampled(nn.Module):
    """An image that is seen from where the latent says."""

    latent_dim = DIM

    def __init__(self):
        super().__init__()
        self.net, self.move = convolutional(DIM, size=SIZE), drawn(nn.Linear(DIM, 6), 3, 0.2).double()

    def forward(self, z):
        theta = self.move(z).reshape(-1, 2, 3) + torch.eye(2, 3, dtype=z.dtype)
        grid = F.affine_grid(theta, (len(z), 3, SIZE, SIZE), align_corners=False)
        return F.grid_sample(self.net(z), grid, align_corners=False, padding_mode="border")


class Attending(nn.Module):
    latent_dim = DIM

    def __init__(self):
        super().__init__()
        self.into, self.out = (
            drawn(nn.Linear(DIM, 3 * 4 * 8), 1).double(),
            drawn(nn.Linear(32, 3 * SIZE**2), 2).double(),
        )

    def forward(self, z):
        q, k, v = self.into(z).reshape(len(z), 3, 1, 4, 8).unbind(dim=1)
        return self.out(F.scaled_dot_product_attention(q, k, v).flatten(1)).reshape(-1, 3, SIZE, SIZE)


class Cube(torch.autograd.Function):
    """No jvp, no vmap: as many extensions are."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        return 3 * ctx.saved_tensors[0] ** 2 * gradient


class Custom(nn.Module):
    latent_dim = DIM

    def __init__(self):
        super().__init__()
        self.net = convolutional(DIM, size=SIZE)

    def forward(self, z):
        return Cube.apply(self.net(z)) + self.net(z)


class InNumpy(torch.autograd.Function):
    """It leaves torch altogether."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.from_numpy(x.detach().numpy() ** 2)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Numpy(Custom):
    def forward(self, z):
        return InNumpy.apply(self.net(z)) + self.net(z)


class Recurrent(nn.Module):
    latent_dim = DIM

    def __init__(self):
        super().__init__()
        self.cell, self.out = drawn(nn.GRU(DIM, 6, batch_first=True), 1).double(), drawn(nn.Linear(6, 48), 2).double()

    def forward(self, z):
        return self.out(self.cell(z[:, None].expand(-1, 4, -1))[0]).reshape(-1, 3, SIZE, SIZE)


class Transformer(nn.Module):
    latent_dim = DIM

    def __init__(self):
        super().__init__()
        self.into, self.out = drawn(nn.Linear(DIM, 32), 1).double(), drawn(nn.Linear(32, 3 * SIZE**2), 2).double()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dtype=torch.float64)
        self.net = drawn(layer, 3, 0.5).eval()

    def forward(self, z):
        return self.out(self.net(self.into(z).reshape(-1, 4, 8)).flatten(1)).reshape(-1, 3, SIZE, SIZE)


class Checkpointed(Custom):
    def forward(self, z):
        return torch.utils.checkpoint.checkpoint(self.net, z, use_reentrant=False)


class Branching(Custom):
    """What it does depends on the latents' values."""

    def forward(self, z):
        return self.net(z if bool((z.sum() > 1e9).item()) else 2 * z)


OPERATORS = [Sampled, Attending, Custom, Numpy, Recurrent, Transformer, Checkpointed, Branching]


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("loss", [mse, image_gradient], ids=lambda loss: loss.__name__)
def test_a_decoder_with_any_operator(kind, loss):
    agrees(Objective(kind().eval(), colour(), loss), latents(), tolerance=1e-8)


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
def test_each_is_encoded_by_gauss_newton(kind):
    objective = Objective(kind().eval(), colour(), mse)
    start = objective.value(objective.start())
    for solver in (GaussNewtonBFGS(max_trials=20), LevenbergMarquardt(max_trials=10)):
        assert (solver.encode(objective).loss < start).all()


def test_a_loss_with_an_operator_that_cannot_be_batched():
    agrees(Objective(convolutional(DIM, size=SIZE), colour(), lambda o, y: mse(Cube.apply(o), y)), latents())


def test_reverse_mode_costs_a_pass_for_each_number_that_is_returned():
    counted = Counted(Custom())
    objective = Objective(counted, colour(), mse)
    counted.forget()
    objective.gauss_newton(latents())
    assert objective.passes.forward == counted.forward_images == 2 * BATCH
    assert objective.passes.backward == counted.backward_images == BATCH * 3 * SIZE**2


@pytest.mark.parametrize("columns", [2, 64])
def test_forward_mode_costs_a_pass_for_each_column_and_each_call(columns):
    one = convolutional(DIM, size=SIZE)
    for decoder, loss in ((one, mse), (WithVariance(one), likelihood)):
        counted = Counted(decoder)
        objective = Objective(counted, colour(), loss, columns=columns)
        counted.forget()
        objective.gauss_newton(latents())
        assert objective.passes.forward == counted.forward_images + BATCH * DIM
        assert objective.passes.backward == counted.backward_images == 0


def test_an_error_of_the_decoder_itself_is_its_own():
    class Breaks(nn.Module):
        latent_dim = DIM
        broken = False

        def __init__(self):
            super().__init__()
            self.net = convolutional(DIM, size=SIZE)

        def forward(self, z):
            if self.broken:
                raise RuntimeError("the licence has run out")
            return self.net(z)

    objective = Objective(Breaks(), colour(), mse)
    Breaks.broken = True
    with pytest.raises(RuntimeError, match="licence"):
        objective.gauss_newton(latents())


# --- threads, precision, memory


def test_threads_side_by_side_have_the_results_of_one_alone():
    objectives = [Objective(convolutional(DIM, size=SIZE), colour(seed=i), mse, columns=1) for i in range(8)]
    alone = [objective.gauss_newton(latents()) for objective in objectives]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            together = list(pool.map(lambda objective: objective.gauss_newton(latents()), objectives))
            for one, other in zip(alone, together, strict=True):
                assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-14) for a, b in zip(one, other, strict=True))


def test_solvers_in_threads_end_as_each_alone():
    objectives = [
        Objective(Sampled() if i % 2 else convolutional(DIM, size=SIZE), colour(seed=i), mse) for i in range(6)
    ]
    solver = GaussNewtonBFGS(max_trials=5)
    alone = [solver.encode(objective).z for objective in objectives]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda objective: solver.encode(objective).z, objectives))
    assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-8) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("solver", [GaussNewtonBFGS(), LevenbergMarquardt()], ids=lambda s: type(s).__name__)
def test_beside_half_precision_it_is_factorised_in_single(half, solver):
    whole, rounded = (convolutional(DIM, dtype, SIZE) for dtype in (torch.float32, half))
    single, objective = (Objective(net, colour(torch.float32), mse) for net in (whole, rounded))
    z = latents(torch.float32)
    found, expected = objective.gauss_newton(z), single.gauss_newton(z)
    assert all(x.dtype == torch.float32 for x in found)
    assert (found[2] - expected[2]).norm() <= 0.1 * expected[2].norm()
    start, encoding = objective.value(objective.start()), solver.encode(objective)
    other = QuasiNewtonAMD().encode(single).loss
    assert encoding.z.dtype == encoding.loss.dtype == torch.float32
    assert (start - encoding.loss >= 0.8 * (start - other)).all()


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_only_the_jacobian_is_rounded_to_half_precision(half):
    """J^T H J of the rounded J has the accuracy of single precision."""
    decoder, z = convolutional(DIM, half, SIZE), latents(torch.float32).to(half)
    found = Objective(decoder, colour(torch.float32), mse).gauss_newton(z.float())[2]
    columns = [torch.func.jvp(decoder, (z,), (unit.expand(z.shape),))[1] for unit in torch.eye(DIM, dtype=half)]
    jacobian = torch.stack(columns, dim=1).double().flatten(2)  # (B, d, P)
    assert torch.allclose(found.double(), 2 / jacobian.shape[2] * jacobian @ jacobian.mT, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("columns", [1, 2, 7, 64])
@pytest.mark.parametrize("kind", [lambda: convolutional(DIM, size=SIZE), Sampled], ids=["forward", "reverse"])
def test_the_chunks_of_columns_change_nothing(columns, kind):
    whole, parts = (Objective(kind(), colour(), mse, columns=n) for n in (DIM, columns))
    for one, other in zip(whole.gauss_newton(latents()), parts.gauss_newton(latents()), strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-16)


def test_its_cost_is_one_pass_a_column_and_one_a_chunk():
    objective = Objective(convolutional(DIM, size=SIZE), colour(), mse, columns=2)
    objective.gauss_newton(latents())
    assert (objective.passes.forward, objective.passes.backward) == (BATCH * (DIM + 3), 0)


def test_few_images_at_a_time_are_all_images(monkeypatch):
    objective = Objective(convolutional(DIM, size=SIZE), colour(batch=7), mse)
    z = latents(batch=7)
    whole, before = objective.gauss_newton(z), objective.evaluations
    monkeypatch.setattr("gfe_core.objective.AT_ONCE", 2 * DIM * 3 * SIZE**2)  # two images
    for one, other in zip(whole, objective.gauss_newton(z), strict=True):
        assert torch.allclose(one, other, rtol=1e-12, atol=1e-16)
    assert objective.evaluations == 2 * before


class Largest(torch.utils._python_dispatch.TorchDispatchMode):
    """The largest tensor that anything makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, given=(), named=None):
        made = function(*given, **(named or {}))
        for tensor in tree_flatten(made)[0]:
            if (
                isinstance(tensor, torch.Tensor)
                and tensor.numel() == tensor.untyped_storage().nbytes() // tensor.itemsize
            ):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def test_memory_is_bounded_at_large_latents():
    """The widest layer, ``columns`` times, is less than the Jacobian in a deep decoder: that is all that is held."""
    dim, wide = 512, 4000
    decoder = mlp((dim, wide, 30), dtype=torch.float32)
    images = torch.rand(2, 30, generator=seeded())

    def largest(columns):
        objective, z = Objective(decoder, images, mse, columns=columns), latents(torch.float32, 2, dim)
        with Largest() as seen:
            found = objective.gauss_newton(z)
        assert found[2].shape == (2, dim, dim)
        return seen.numbers

    assert largest(512) >= 512 * 2 * wide
    assert largest(16) <= max(16 * 2 * wide, 2 * dim * dim, 2 * dim * 30, dim * wide)


# --- negative eigenvalues


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_negative_eigenvalues_are_set_to_zero_and_others_kept(dtype):
    vectors = torch.linalg.qr(torch.randn(4, 6, 6, generator=seeded(), dtype=dtype))[0]
    values = torch.randn(4, 6, generator=seeded(1), dtype=dtype)
    values[0] = values[0].abs()
    values[1] = -values[1].abs()
    found = positive(vectors @ torch.diag_embed(values) @ vectors.mT)
    expected = vectors @ torch.diag_embed(values.clamp_min(0)) @ vectors.mT
    assert torch.allclose(found, expected, atol=100 * torch.finfo(dtype).eps)
    assert (torch.linalg.eigvalsh(found) >= -100 * torch.finfo(dtype).eps).all()


def test_what_is_not_finite_stays_and_spoils_no_other():
    matrices = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    matrices[1, 0, 0], matrices[2, 1, 1] = math.nan, -1.0
    found = positive(matrices)
    assert torch.equal(found[0], matrices[0]) and found[1, 0, 0].isnan()
    assert torch.equal(found[2], torch.diag(torch.tensor([1.0, 0, 1], dtype=torch.float64)))


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6, 1e20])
@pytest.mark.parametrize("solver", [GaussNewtonBFGS(), LevenbergMarquardt(), replace(GaussNewtonBFGS(), damping=1e-3)])
def test_a_loss_of_another_scale_takes_the_same_steps(scale, solver):
    decoder, images = convolutional(DIM, size=SIZE), colour()
    plain = solver.encode(Objective(decoder, images, mse))
    scaled = solver.encode(Objective(decoder, images, lambda o, y: scale * mse(o, y)))
    assert torch.allclose(scaled.loss / scale, plain.loss, rtol=1e-3)


def test_a_fallback_is_a_scaled_identity():
    z, gradient = (
        torch.tensor([[3.0, 4.0], [0.0, 0.0], [1.0, 0.0]]),
        torch.tensor([[0.0, 10.0], [2.0, 0.0], [1.0, 1.0]]),
    )
    matrices = torch.stack([torch.zeros(2, 2), torch.full((2, 2), math.nan), 2 * torch.eye(2)])
    found = curvature.or_identity(matrices, gradient, z)
    assert torch.equal(found, torch.stack([2 * torch.eye(2), 2 * torch.eye(2), 2 * torch.eye(2)]))
