"""Encodings of whole data sets: in order, from tensors and loaders, from any start."""

import pytest
import torch
from conftest import mlp, seeded
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.encoding import Status
from gfe_core.models import AutoEncoder
from gfe_core.objective import Objective, bce
from gfe_core.training import autoencoder_losses, encode_all

POOL = torch.rand(50, 784, generator=seeded(7))
SOLVER = QuasiNewtonAMD(max_trials=10)
IMAGES = torch.rand(23, 12, generator=seeded(), dtype=torch.float64)
MASK = torch.rand(23, 12, generator=seeded(1), dtype=torch.float64) > 0.3
DECODER = mlp((3, 8, 12))


def test_many_images_are_encoded_in_order_whatever_the_batch_size():
    solver = AMD(tau=200.0, s_max=100.0)
    whole = solver.encode(Objective(DECODER, IMAGES))
    for size in (1, 5, 23, 100):
        parts = list(encode_all(DECODER, IMAGES, solver, batch_size=size))
        assert [len(part.loss) for part in parts] == [min(size, 23 - start) for start in range(0, 23, size)]
        for name in ("z", "loss", "t", "steps", "status"):
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.allclose(joined, getattr(whole, name), rtol=1e-6, atol=1e-8)
    assert (whole.status == Status.CONVERGED).any()


def test_the_autoencoders_losses_are_of_its_own_latents():
    net = AutoEncoder(seeded())
    z, losses = autoencoder_losses(net, POOL[:5])
    assert torch.equal(z, net.encoder(POOL[:5]))
    assert torch.equal(losses, bce(net(POOL[:5]), POOL[:5]))
    assert not (z.requires_grad or losses.requires_grad)
    squared = autoencoder_losses(net, POOL[:5], lambda x, y: (x - y).square().sum(dim=1))[1]
    assert not torch.equal(squared, losses)


def latents(*given, **settings):
    return torch.cat([part.z for part in encode_all(DECODER, *given, **settings)])


def alike(one, other):
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


def masked(output, images, mask):
    return ((output - images).square() * mask).sum(dim=1)


def test_images_come_from_a_loader_as_well():
    expected = latents(IMAGES, SOLVER)
    labels = torch.arange(23)
    loader = DataLoader(TensorDataset(IMAGES, labels), 5)
    alike(latents(loader, SOLVER), expected)
    alike(latents((batch for batch in IMAGES.split(7)), SOLVER), expected)
    assert len(list(encode_all(DECODER, loader, SOLVER, batch_size=1))) == 5


@pytest.mark.parametrize("kind", ["tensor", "loader"])
def test_what_travels_with_the_images_stays_with_them(kind):
    expected = SOLVER.encode(Objective(DECODER, IMAGES, masked, MASK)).z
    if kind == "tensor":
        alike(latents(IMAGES, SOLVER, masked, 5, extra=MASK), expected)
        alike(latents(IMAGES, SOLVER, masked, 5, extra={"mask": MASK}), expected)
    else:
        alike(latents(DataLoader(TensorDataset(IMAGES, MASK), 5), SOLVER, masked), expected)


@pytest.mark.parametrize("kind", ["tensor", "loader"])
def test_starts_are_of_each_image_or_of_all_or_a_function_of_them(kind):
    start = torch.randn(23, 3, generator=seeded(2), dtype=torch.float64)
    images = IMAGES if kind == "tensor" else DataLoader(IMAGES, 5)
    alike(latents(images, SOLVER, z0=start), SOLVER.encode(Objective(DECODER, IMAGES), start).z)
    one = SOLVER.encode(Objective(DECODER, IMAGES), start[0].expand(23, 3)).z
    alike(latents(images, SOLVER, z0=start[0]), one)
    alike(latents(images, SOLVER, z0=lambda y: y[:, :3]), SOLVER.encode(Objective(DECODER, IMAGES), IMAGES[:, :3]).z)


class Shaped(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = mlp((6, 12))

    def forward(self, z):
        return self.decoder(z.flatten(1))


def test_latents_have_the_shape_that_is_asked_for():
    shape, start = (2, 3), torch.randn(2, 3, generator=seeded(2), dtype=torch.float64)
    found = torch.cat([part.z for part in encode_all(Shaped(), IMAGES, SOLVER, batch_size=9, latent_shape=shape)])
    assert found.shape == (23, 2, 3)
    both = torch.cat(
        [part.z for part in encode_all(Shaped(), IMAGES[:2], SOLVER, batch_size=1, latent_shape=shape, z0=start)]
    )
    alike(both, SOLVER.encode(Objective(Shaped(), IMAGES[:2], latent_shape=shape), start.expand(2, 2, 3)).z)
    decoder = nn.Sequential(*mlp((3, 8, 12)))  # without latent_dim
    alike(torch.cat([part.z for part in encode_all(decoder, IMAGES, SOLVER, latent_dim=3)]), latents(IMAGES, SOLVER))
    each = torch.randn(23, 3, generator=seeded(2), dtype=torch.float64)
    alike(
        torch.cat([p.z for p in encode_all(decoder, IMAGES, SOLVER, batch_size=9, z0=each)]),
        latents(IMAGES, SOLVER, z0=each),
    )


def test_no_images_are_encoded_to_none():
    (part,) = encode_all(DECODER, IMAGES[:0], SOLVER)
    assert part.z.shape == (0, 3)
    assert list(encode_all(DECODER, [], SOLVER)) == []


def test_the_contract_is_tried_once():
    calls = []
    decoder = mlp((3, 8, 12))
    decoder.register_forward_hook(lambda *_: calls.append(1))
    counts = []
    for part in encode_all(decoder, IMAGES[:20], AMD(tau=1.0, max_steps=1, tolerance=0.0), batch_size=5):
        counts.append(len(calls))
        calls.clear()
        assert part.evaluations == 20
    assert counts[0] > counts[1] == counts[2]


def test_arguments_that_do_not_fit_are_refused_at_once():
    for match, settings in {
        "batch_size = 0: at least one image": {"batch_size": 0},
        "z0 has 3 rows for 23 images; pass one for each": {"z0": torch.zeros(3, 3)},
        "needs one row for each of the 23 images": {"extra": MASK[:4]},
    }.items():
        with pytest.raises(ValueError, match=match):
            encode_all(DECODER, IMAGES, SOLVER, **settings)
    with pytest.raises(ValueError, match="extra belongs to images in a tensor"):
        encode_all(DECODER, [IMAGES], SOLVER, extra=MASK)
    with pytest.raises(ValueError, match="z0 has 3 rows for more images than that"):
        list(encode_all(DECODER, [IMAGES], SOLVER, z0=torch.zeros(3, 3)))
    with pytest.raises(ValueError, match="z0 has 30 rows for 23 images"):
        list(encode_all(DECODER, [IMAGES], SOLVER, z0=torch.zeros(30, 3)))
    with pytest.raises(ValueError, match="a batch of the pool holds dict"):
        list(encode_all(DECODER, [{"x": IMAGES}], SOLVER))
