"""Autograd's modes, autocast, dtypes of images and decoders, latents of any shape, frozen parameters, files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import seeded
from decoders import convolutional, drawn, masked, mse, small
from torch import nn
from torch.nn import functional as F

from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.encoding import SeparateSteps
from gfe_core.fixed_grid import FixedGrid
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.many import encode_all
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective, bce
from gfe_core.warm import WarmStart

pytestmark = pytest.mark.filterwarnings("ignore:AMD.*:RuntimeWarning")

SOLVERS = [
    AMD(tau=10.0, max_trials=15), QuasiNewtonAMD(max_trials=10), NesterovAMD(max_trials=10), WarmStart(),
    BarzilaiBorweinAMD(max_trials=10), GaussNewtonBFGS(max_trials=10), LevenbergMarquardt(max_trials=6),
    FixedGrid(2.0, slices=10), Nesterov(2.0, slices=10),
]  # fmt: skip
solvers = pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)


def images(dtype=torch.float64, batch=3, pixels=24):
    return torch.rand(batch, pixels, generator=seeded(1), dtype=dtype)


def same(one, other):
    assert torch.equal(one.z, other.z) and torch.equal(one.loss, other.loss)
    assert one.evaluations == other.evaluations


# --- modes


@solvers
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
@pytest.mark.parametrize("around", ["all", "construction", "encode", "images"])
def test_where_autograd_is_switched_off_encodings_are_the_same(solver, mode, around):
    decoder, y, z0 = small(3), images(), torch.ones(3, 3, dtype=torch.float64)
    plain = solver.encode(Objective(decoder, y, mse), z0)
    if around == "all":
        with mode():
            found = solver.encode(Objective(decoder, images(), mse), z0 + 0)
    elif around == "construction":
        with mode():
            objective = Objective(decoder, y + 0, mse)
        found = solver.encode(objective, z0)
    elif around == "encode":
        objective = Objective(decoder, y, mse)
        with mode():
            found = solver.encode(objective, z0 + 0)
    else:
        with mode():
            y, z0 = y + 0, z0 + 0
        found = solver.encode(Objective(decoder, y, mse), z0)
    same(plain, found)
    assert not found.z.requires_grad


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_where_autograd_is_switched_off_gradients_are_the_same(mode):
    decoder, y, z = small(3), images(), torch.ones(3, 3, dtype=torch.float64)
    objective = Objective(decoder, y, mse)
    encoding = FixedGrid(2.0, slices=10).encode(objective, record=True)
    expected = [
        *objective.all_gradients(z)[1], *objective.vector_jacobian(z, z)[1], *objective.gauss_newton(z),
        *ApproximateGradient()(objective, encoding), *AdjointGradient()(objective, encoding),
    ]  # fmt: skip
    with mode():
        objective, at = Objective(decoder, images(), mse), z + 0
        encoding = FixedGrid(2.0, slices=10).encode(objective, record=True)
        found = [
            *objective.all_gradients(at)[1], *objective.vector_jacobian(at, at)[1], *objective.gauss_newton(at),
            *ApproximateGradient()(objective, encoding), *AdjointGradient()(objective, encoding),
        ]  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_what_was_encoded_in_inference_mode_is_used_outside():
    decoder = small(3)
    with torch.inference_mode():
        objective = Objective(decoder, images(), mse)
        encoding = FixedGrid(2.0, slices=10).encode(objective, record=True)
    found = AdjointGradient()(objective, encoding)
    assert all(part.isfinite().all() for part in found)
    objective.value(encoding.z)
    assert GaussNewtonBFGS(max_trials=3).encode(objective, encoding.z).loss.isfinite().all()
    later = decoder(encoding.z.clone()).sum()
    later.backward()


def test_a_decoder_built_in_inference_mode_is_told():
    with torch.inference_mode():
        decoder = small(3)
    with pytest.raises(ValueError, match="built in inference mode"):
        Objective(decoder, images(), mse)


def test_the_callers_graph_and_gradients_are_left_alone():
    decoder, y = small(3), images().requires_grad_()
    z0 = torch.ones(3, 3, dtype=torch.float64, requires_grad=True)
    encoding = QuasiNewtonAMD(max_trials=5).encode(Objective(decoder, y, mse), z0)
    assert y.grad is None and z0.grad is None and not encoding.z.requires_grad
    assert all(parameter.grad is None for parameter in decoder.parameters())
    assert torch.is_grad_enabled()


@solvers
def test_under_autocast_it_encodes_and_the_loss_is_in_single_precision(solver):
    decoder, y = convolutional(3, torch.float32, 8), torch.rand(3, 3, 8, 8, generator=seeded(1))
    plain = solver.encode(Objective(decoder, y, mse))
    with torch.autocast("cpu", torch.bfloat16):
        objective = Objective(decoder, y, mse)
        start, found = objective.value(objective.start()), solver.encode(objective)
        value = objective.value(found.z)
    assert found.z.dtype == found.loss.dtype == torch.float32
    if not isinstance(solver, FixedGrid | Nesterov | WarmStart):
        assert (found.loss <= start).all()
    assert torch.allclose(value, found.loss, rtol=1e-5)
    assert torch.allclose(found.loss.mean(), plain.loss.mean(), rtol=0.1, atol=0.02)


def test_gradients_under_autocast():
    decoder, y = small(3, torch.float32), images(torch.float32)
    z = torch.ones(3, 3)
    expected = Objective(decoder, y, mse).all_gradients(z)[1]
    with torch.autocast("cpu", torch.bfloat16):
        objective = Objective(decoder, y, mse)
        found, turned = objective.all_gradients(z)[1], objective.vector_jacobian(z, z)[0]
        matrix = objective.gauss_newton(z)[2]
    assert all(torch.allclose(a, b, rtol=0.1, atol=0.01) for a, b in zip(expected, found, strict=True))
    assert turned.isfinite().all() and matrix.dtype == torch.float32


# --- dtypes


@pytest.mark.parametrize("pair", [(torch.float64, torch.float32), (torch.float32, torch.float64)], ids=str)
def test_images_and_a_decoder_of_two_precisions_are_told_with_both(pair):
    theirs, own = pair
    with pytest.raises(ValueError, match=f"images are {theirs} and the decoder is {own}; convert one of them"):
        Objective(small(3, own), images(theirs), mse)
    with pytest.raises(ValueError, match=f"images are {torch.float64} and the decoder is {torch.bfloat16}"):
        Objective(small(3, torch.bfloat16), images(torch.float64), mse)
    with pytest.raises(ValueError, match=f"images are {torch.bfloat16} and the decoder is {torch.float64}"):
        Objective(small(3, torch.float64), images(torch.bfloat16), mse)


@solvers
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("which", ["decoder", "images", "both"])
def test_half_precision_is_encoded_in_single(solver, half, which):
    decoder = small(3, torch.float32 if which == "images" else half)
    y = images(torch.float32 if which == "decoder" else half)
    objective = Objective(decoder, y, mse)
    encoding, start = solver.encode(objective), objective.value(objective.start())
    assert encoding.z.dtype == encoding.loss.dtype == encoding.t.dtype == torch.float32
    assert torch.allclose(objective.value(encoding.z), encoding.loss, rtol=1e-5)
    assert (encoding.loss < start).all()
    given = decoder(encoding.z.to(next(decoder.parameters()).dtype)).float()
    assert torch.allclose(mse(given, y.float()), encoding.loss, rtol=1e-3)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_gradients_of_a_decoder_of_half_precision(half):
    objective, single = (
        Objective(small(3, torch.float32).to(dtype), images(torch.float32), mse) for dtype in (half, torch.float32)
    )
    z = torch.ones(3, 3)
    for found, expected in zip(objective.all_gradients(z)[1], single.all_gradients(z)[1], strict=True):
        assert found.dtype == half and torch.allclose(found.float(), expected, rtol=0.1, atol=0.02)
    objective.vector_jacobian(z, z)
    encoding = FixedGrid(2.0, slices=10).encode(objective, record=True)
    assert all(part.dtype == half for part in AdjointGradient()(objective, encoding))


def test_images_of_bits_and_bytes():
    decoder = small(3)
    bits = images() > 0.5
    plain = QuasiNewtonAMD().encode(Objective(decoder, bits.double()))
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.int32):
        assert torch.equal(QuasiNewtonAMD().encode(Objective(decoder, bits.to(dtype))).z, plain.z)
    with pytest.raises(ValueError, match=r"image 0 of the batch.*\[0, 1\].*divide by 255"):
        Objective(decoder, (images() * 255).to(torch.uint8))
    scaled = Objective(decoder, (images() * 255).to(torch.uint8), lambda o, y: mse(o, y / 255))
    assert (QuasiNewtonAMD().encode(scaled).loss < scaled.value(scaled.start())).all()


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_a_loss_that_cannot_take_integers_is_told_how(dtype):
    y = (images() > 0.5).to(dtype)

    def wants_floats(output, images):
        return F.binary_cross_entropy_with_logits(output, images, reduction="none").mean(dim=1)

    if dtype == torch.bool:  # which have no minus
        with pytest.raises(ValueError, match=r"the loss fails.*torch\.bool \(if floats are wanted: \.float\(\)\)"):
            Objective(small(3), y, mse)
    else:
        Objective(small(3), y, mse)
    with pytest.raises(ValueError, match=r"the loss fails.*if floats are wanted: \.float\(\)"):
        Objective(small(3), y, lambda output, images: F.nll_loss(output, images, reduction="none") + images.mean(dim=1))
    try:
        Objective(small(3), y, wants_floats)
    except ValueError as error:
        assert ".float()" in str(error)
    Objective(small(3), y.double(), wants_floats)


@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (0.0, 255.0), (-1e4, 1e4), (5.0, 6.0)])
def test_images_of_any_range_with_a_loss_of_ones_own(low, high):
    decoder, y = small(3), low + (high - low) * images()
    objective = Objective(decoder, y, mse)
    assert (QuasiNewtonAMD().encode(objective).loss < objective.value(objective.start())).all()
    if (low, high) != (0.0, 1.0):
        with pytest.raises(ValueError, match=r"not in \[0, 1\]"):
            Objective(decoder, y, bce)


def test_images_that_are_not_numbers_under_a_mask():
    y, seen = images(), torch.rand(3, 24, generator=seeded(4)) < 0.7
    hidden = torch.where(seen, y, torch.nan)
    clean, marked = (Objective(small(3), x, masked, seen) for x in (y, hidden))
    for solver in (QuasiNewtonAMD(max_trials=10), GaussNewtonBFGS(max_trials=10), LevenbergMarquardt(max_trials=5)):
        assert torch.equal(solver.encode(clean).z, solver.encode(marked).z)

    def by_itself(output, images):
        return torch.where(images.isnan(), 0.0, output - images.nan_to_num()).square().mean(dim=1)

    assert QuasiNewtonAMD().encode(Objective(small(3), hidden, by_itself)).loss.isfinite().all()
    with pytest.raises(ValueError, match="not finite"):
        Objective(small(3), hidden, bce)


def test_maps_of_labels_with_the_cross_entropy():
    """A segmentation: (B, classes, H, W) beside int64 (B, H, W)."""
    decoder = nn.Sequential(nn.Linear(3, 4 * 36), nn.Unflatten(1, (4, 6, 6))).double()
    decoder.latent_dim = 3
    drawn(decoder, 3)
    labels = torch.randint(4, (3, 6, 6), generator=seeded(5))

    def segmentation(output, labels):
        return F.cross_entropy(output, labels, reduction="none").flatten(1).mean(dim=1)

    objective = Objective(decoder, labels, segmentation)
    assert objective.images.dtype == torch.int64
    for solver in SOLVERS:
        assert (solver.encode(objective).loss < objective.value(objective.start())).all()


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 7), (2, 3, 4, 5), (24,), (4, 6)])
def test_images_keep_their_shape(shape):
    pixels = int(torch.tensor(shape).prod())
    seen = []

    def loss(output, y):
        seen.append((output.shape[1:], y.shape[1:]))
        return mse(output, y)

    decoder = nn.Sequential(nn.Linear(3, pixels), nn.Unflatten(1, shape)).double()
    y = torch.rand(3, *shape, generator=seeded(), dtype=torch.float64)
    one = QuasiNewtonAMD(max_trials=8).encode(Objective(decoder, y, loss, latent_dim=3))
    assert set(seen) == {(torch.Size(shape), torch.Size(shape))}
    flat = QuasiNewtonAMD(max_trials=8).encode(Objective(decoder[0], y.flatten(1), mse, latent_dim=3))
    assert torch.allclose(one.loss, flat.loss, rtol=1e-8)
    bits = QuasiNewtonAMD(max_trials=8).encode(Objective(decoder, y, latent_dim=3))
    assert torch.allclose(
        bits.loss, QuasiNewtonAMD(max_trials=8).encode(Objective(decoder[0], y.flatten(1), latent_dim=3)).loss
    )


def test_images_that_are_read_only_strided_or_expanded():
    y = images(batch=6)
    array = y.numpy().copy()
    array.setflags(write=False)
    with pytest.warns(UserWarning, match="not writable"):
        frozen = torch.from_numpy(array)
    kinds = [frozen, torch.stack([y, y], dim=2)[:, :, 0], y.T.contiguous().T]
    expected = QuasiNewtonAMD(max_trials=8).encode(Objective(small(3), y, mse))
    for kind in kinds:
        assert torch.allclose(QuasiNewtonAMD(max_trials=8).encode(Objective(small(3), kind, mse)).z, expected.z)
    one = Objective(small(3), y[:1].expand(4, 24), mse)
    assert torch.allclose(QuasiNewtonAMD(max_trials=8).encode(one).z, expected.z[:1].expand(4, 3))


# --- latents


class Wrapper(nn.Module):
    def __init__(self, within):
        super().__init__()
        self.within = within

    def forward(self, z):
        return self.within(z)


@pytest.mark.parametrize(
    "wrap",
    [
        Wrapper, nn.Sequential, nn.DataParallel, lambda decoder: torch.compile(decoder, backend="eager"),
        lambda decoder: torch.jit.trace(decoder, torch.ones(2, 3).double()),
    ],
    ids=["wrapper", "sequence", "parallel", "compiled", "traced"],
)  # fmt: skip
def test_a_wrapper_is_told_the_latent_size(wrap):
    decoder = wrap(small(3))
    expected = QuasiNewtonAMD(max_trials=6).encode(Objective(small(3), images(), mse)).z
    assert torch.allclose(
        QuasiNewtonAMD(max_trials=6).encode(Objective(decoder, images(), mse, latent_dim=3)).z, expected
    )
    assert torch.allclose(
        QuasiNewtonAMD(max_trials=6).encode(Objective(decoder, images(), mse, latent_shape=(3,))).z, expected
    )
    (whole,) = encode_all(decoder, images(), QuasiNewtonAMD(max_trials=6), mse, latent_dim=3)
    assert torch.allclose(whole.z, expected)


class Shaped(nn.Module):
    """It takes latents of one shape alone."""

    def __init__(self, shape, pixels=12):
        super().__init__()
        self.shape, self.net = shape, drawn(nn.Linear(int(torch.tensor(shape).prod()), pixels), 3)

    def forward(self, z):
        assert tuple(z.shape[1:]) == self.shape, z.shape
        return self.net(torch.tanh(z).flatten(1))


@pytest.mark.parametrize("shape", [(18, 32), (4, 4, 4), (1, 3), (2, 1, 2, 1)])
@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
def test_latents_of_any_shape_come_back_in_it(shape, solver):
    decoder, y = Shaped(shape), torch.rand(3, 12, generator=seeded(1))
    objective = Objective(decoder, y, mse, latent_shape=shape)
    encoding = solver.encode(objective, record=True)
    assert encoding.z.shape == (3, *shape)
    assert encoding.path.z.shape == (len(encoding.path.t), 3, *shape)
    assert torch.allclose(mse(decoder(encoding.z), y), encoding.loss, rtol=1e-4)
    again = solver.encode(objective, encoding.z)
    if not isinstance(solver, FixedGrid | Nesterov):
        assert (again.loss <= encoding.loss * (1 + 1e-5)).all()
    for z0 in (encoding.z[0], encoding.z.flatten(1), encoding.z[0].flatten()):
        assert solver.encode(objective, z0).z.shape == (3, *shape)


@pytest.mark.parametrize("shape", [(18, 512), (4, 4, 4)])
def test_gradients_of_latents_of_any_shape(shape):
    y = torch.rand(2, 12, generator=seeded(1))
    objective = Objective(Shaped(shape), y, mse, latent_shape=shape)
    encoding = FixedGrid(1.0, slices=20).encode(objective, record=True)
    assert encoding.z.shape == (2, *shape)
    flat = nn.Sequential(nn.Tanh(), objective.decoder.net)
    flat.latent_dim = objective.decoder.net.in_features
    other = Objective(flat, y, mse)
    expected = FixedGrid(1.0, slices=20).encode(other, record=True)
    assert torch.allclose(encoding.z.flatten(1), expected.z)
    for gradient in (ApproximateGradient(), AdjointGradient()):
        pairs = zip(gradient(objective, encoding), gradient(other, expected), strict=True)
        assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in pairs)


@pytest.mark.parametrize(
    "flow", [AMD(tau=5.0), FixedGrid(1.0, slices=20), Nesterov(1.0, slices=20), WarmStart(AMD(tau=5.0))]
)
def test_the_adjoint_of_latents_of_any_shape(flow):
    shape, y = (2, 3), images(batch=3, pixels=12)
    objective = Objective(Shaped(shape).double(), y, mse, latent_shape=shape)
    encoding = flow.encode(objective, record=True)
    assert all(part.isfinite().all() for part in AdjointGradient()(objective, encoding))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"latent_dim": 0}, "latent_dim = 0"),
        ({"latent_shape": ()}, "latent_shape = "),
        ({"latent_shape": (3, 0)}, "latent_shape = "),
        ({"latent_dim": 5, "latent_shape": (2, 3)}, "latent_dim = 5, but latent_shape"),
        ({"columns": 0}, "columns = 0"),
    ],
    ids=str,
)
def test_sizes_out_of_range_are_told(given, said):
    with pytest.raises(ValueError, match=said):
        Objective(small(3), images(), mse, **given)


# --- frozen


class Unused(nn.Module):
    latent_dim = 3

    def __init__(self):
        super().__init__()
        self.net, self.spare = small(3), nn.Linear(2, 2, dtype=torch.float64)

    def forward(self, z):
        return self.net(z)


FROZEN = {"first": [0], "last": [2], "all": [0, 2], "none": []}


@pytest.mark.parametrize("kind", FROZEN)
def test_only_parameters_that_require_a_gradient_get_one(kind):
    decoder, y, z = Unused(), images(), torch.ones(3, 3, dtype=torch.float64)
    whole = Objective(Unused(), y, mse)
    for layer in FROZEN[kind]:
        decoder.net[layer].requires_grad_(False)
    objective = Objective(decoder, y, mse)
    for solver in (FixedGrid(2.0, slices=10), AMD(tau=5.0)):
        encoding = solver.encode(objective, record=True)
        assert torch.equal(encoding.z, solver.encode(whole).z)
        for found, expected in (
            (objective.all_gradients(z), whole.all_gradients(z)),
            (objective.vector_jacobian(z, z), whole.vector_jacobian(z, z)),
            ((z, AdjointGradient()(objective, encoding)), (z, AdjointGradient()(whole, encoding))),
        ):
            assert torch.equal(found[0], expected[0])
            for parameter, mine, theirs in zip(decoder.parameters(), found[1], expected[1], strict=True):
                spare = any(parameter is own for own in decoder.spare.parameters())
                assert (mine is None) == (spare or not parameter.requires_grad)
                assert mine is None or torch.allclose(mine, theirs, rtol=1e-12)
    assert all(parameter.grad is None for parameter in decoder.parameters())


@solvers
def test_a_frozen_decoder_is_encoded(solver):
    frozen = small(3).requires_grad_(False)
    same(solver.encode(Objective(frozen, images(), mse)), solver.encode(Objective(small(3), images(), mse)))


# --- encodings on disk

LOAD = """
import sys, torch
import gfe_core.encoding
found = torch.load(sys.argv[1], weights_only=True)
for encoding in found:
    print(encoding.z.sum().item(), encoding.evaluations, type(encoding.path).__name__, *encoding.status.tolist())
    if encoding.path is not None:
        print(type(encoding.path.flow).__name__, encoding.path.loss.sum().item())
"""


@pytest.mark.parametrize("record", [False, True])
def test_an_encoding_is_loaded_with_weights_only_in_a_fresh_process(record, tmp_path):
    objective = Objective(small(3), images(), mse)
    kinds = [*SOLVERS, WarmStart(AMD(tau=5.0)), WarmStart(FixedGrid(2.0, slices=5))]
    encodings = [solver.encode(objective, record=record) for solver in kinds]
    torch.save(encodings, tmp_path / "encodings.pt")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", LOAD, str(tmp_path / "encodings.pt")]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    expected = []
    for e in encodings:
        status = " ".join(map(str, e.status.tolist()))
        expected.append(f"{e.z.sum().item()} {e.evaluations} {type(e.path).__name__} {status}")
        if e.path is not None:
            expected.append(f"{type(e.path.flow).__name__} {e.path.loss.sum().item()}")
    assert done.stdout.splitlines() == expected
    for e, back in zip(encodings, torch.load(tmp_path / "encodings.pt", weights_only=True), strict=True):
        same(e, back)
        if record and not isinstance(e.path.flow, SeparateSteps):
            for a, b in zip(AdjointGradient()(objective, e), AdjointGradient()(objective, back), strict=True):
                assert torch.equal(a, b)


def test_all_of_it_goes_together():
    """What belongs together, together: a mask, labels of bits, a frozen half decoder, latents of two dimensions."""
    decoder = Shaped((2, 3)).to(torch.bfloat16).requires_grad_(False)
    seen = torch.rand(3, 12, generator=seeded(2)) < 0.7
    objective = Objective(decoder, images(torch.float32, 3, 12), masked, seen, latent_shape=(2, 3))
    with torch.inference_mode():
        encoding = GaussNewtonBFGS(max_trials=10).encode(objective)
    assert encoding.z.shape == (3, 2, 3) and (encoding.loss < objective.value(objective.start())).all()
