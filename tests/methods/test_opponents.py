"""What learns from few images beside AE and GFE: each against a closed form, or against the usual way to compute it."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from gfe_companion.methods.learners import Autoencoding, Encoding
from gfe_companion.methods.opponents import SemiAmortised, Stored, Variational, divergence, refined
from gfe_companion.methods.remedies import Denoising, Dropout, Shifted, WeightDecay, dropped, shifted, with_dropout
from gfe_companion.studies.data_plans import opponents
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.models import AutoEncoder
from gfe_core.objective import bce
from gfe_core.warm import WarmStart

WARM = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=2), refresh=3)
LEARNERS = {
    "variational": Variational(1e-4),
    "refined": SemiAmortised(100.0, 2),
    "stored": Stored(0.1),
    "dropout": Dropout(0.2),
    "denoising": Denoising(0.3),
    "shifts": Shifted(Autoencoding(), 2),
    "gfe-shifts": Shifted(Encoding(WARM, WARM), 2),
}
every_learner = pytest.mark.parametrize("learner", LEARNERS.values(), ids=list(LEARNERS))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.rand(32, 784, generator=generator(1))


# --- what is done to images and networks


def test_shifts_move_images_whole_and_bring_in_black():
    dots = torch.zeros(400, 28, 28)
    dots[:, 10, 15] = 1.0
    moved = shifted(dots.flatten(1), 2, generator()).reshape(-1, 28, 28)
    assert moved.sum(dim=(1, 2)).eq(1).all()
    places = {tuple(image.nonzero()[0].tolist()) for image in moved}
    assert places == {(row, column) for row in range(8, 13) for column in range(13, 18)}
    edge = shifted(torch.ones(50, 784), 1, generator(2)).reshape(-1, 28, 28)
    assert set(edge.sum(dim=(1, 2)).tolist()) == {27.0**2, 27.0 * 28, 28.0**2}


def test_shifts_of_no_pixel_change_nothing(images):
    assert torch.equal(shifted(images, 0, generator()), images)


def test_a_share_is_dropped_and_what_is_left_stays():
    values = torch.ones(200, 200)
    left = dropped(values, 0.3, generator())
    assert set(left.unique().tolist()) == {0.0, 1.0}
    assert float(left.mean()) == pytest.approx(0.7, abs=0.01)


def test_dropout_keeps_the_mean_of_what_it_follows_and_spares_the_last_layer():
    linear = nn.Linear(3, 2000)
    with torch.no_grad():
        linear.weight.fill_(1.0), linear.bias.zero_()
        out = with_dropout([linear, nn.ELU()], torch.ones(1, 3), 0.2, generator())
        assert sorted(set(out.flatten().tolist())) == [0.0, 3.75]
        assert float(out.mean()) == pytest.approx(3.0, rel=0.05)
        assert torch.equal(with_dropout([linear], torch.ones(1, 3), 0.2, generator()), linear(torch.ones(1, 3)))


def test_without_dropping_both_remedies_are_the_autoencoder(images):
    plain = Autoencoding().begin(images, generator())
    plain.training.update()
    for remedy in (Dropout(0.0), Denoising(0.0), Shifted(Autoencoding(), 0), WeightDecay(0.0)):
        own = remedy.begin(images, generator())
        own.training.update()  # which draws the batch first, so that it is the same one
        for one, other in zip(plain.decoder.parameters(), own.decoder.parameters(), strict=True):
            assert torch.allclose(one, other, atol=1e-7), remedy


def test_weight_decay_is_that_of_the_optimiser(images):
    assert WeightDecay(0.1).begin(images, generator()).training.optimizer.param_groups[0]["weight_decay"] == 0.1


def test_denoising_is_judged_by_the_whole_image(images):
    learning = Denoising(1.0).begin(images, generator())
    losses = learning.training.step(images)
    model = learning.training.model
    assert torch.allclose(losses, bce(model(torch.zeros_like(images)), images))
    assert torch.allclose(learning.own(images), bce(model(images), images)), "tests see whole images"


# --- other ways to learn


def test_the_divergence_is_that_of_two_normal_distributions():
    mean, log_variance = torch.randn(2, 5, 3, generator=generator())
    normal = torch.distributions.Normal(mean, (log_variance / 2).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    assert torch.allclose(divergence(mean, log_variance), expected, atol=1e-6)


def test_the_variational_step_is_the_gradient_of_the_bound(images):
    learning = Variational(0.5).begin(images, generator())
    model, drawn = learning.training.model, generator(7)
    state = learning.training.generator.get_state()
    losses = learning.training.step(images)
    found = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    drawn.set_state(state)
    mean, log_variance = model.posterior(images)
    z = mean + log_variance.mul(0.5).exp() * torch.randn(mean.shape, generator=drawn)
    (bce(model.decoder(z), images) + 0.5 * divergence(mean, log_variance)).sum().backward()
    for one, parameter in zip(found, model.parameters(), strict=True):
        assert torch.allclose(one, parameter.grad, atol=1e-6)
    assert torch.allclose(losses, bce(model.decoder(z), images), atol=1e-6)
    assert torch.allclose(learning.own(images), bce(model.decoder(mean), images), atol=1e-6)


def test_latents_are_refined_by_steps_along_the_slope(images):
    model = AutoEncoder(generator())
    start = model.encoder(images)
    assert torch.equal(refined(model.decoder, images, start, 0, 100.0), start)
    z = start.detach().requires_grad_()
    (slope,) = torch.autograd.grad(bce(model.decoder(z), images).sum(), z)
    assert torch.allclose(refined(model.decoder, images, start, 1, 100.0), z - 100 * slope)
    losses = [bce(model.decoder(refined(model.decoder, images, start, n, 100.0)), images).mean() for n in range(4)]
    assert all(after < before for before, after in pairwise(losses))


def test_the_decoder_learns_where_latents_are_refined_to_and_the_encoder_where_they_start(images):
    learning = SemiAmortised(100.0, 3).begin(images, generator())
    model = learning.training.model
    losses = learning.training.step(images)
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    z = refined(model.decoder, images, model.encoder(images), 3, 100.0)
    at = bce(model.decoder(z), images)
    at.sum().backward()
    assert torch.allclose(losses, at) and torch.allclose(learning.own(images), at)
    for name, parameter in model.decoder.named_parameters():
        assert torch.allclose(found[f"decoder.{name}"], parameter.grad, atol=1e-6)
    model.zero_grad()
    bce(model(images), images).sum().backward()
    for name, parameter in model.encoder.named_parameters():
        assert torch.allclose(found[f"encoder.{name}"], parameter.grad, atol=1e-6)


def test_an_auto_decoder_has_no_encoder_and_keeps_a_latent_for_each_image(images):
    learning = Stored(0.1).begin(images, generator())
    assert learning.own is None
    assert learning.training.step.stored.table.weight.shape == (32, 20)


@every_learner
def test_each_learns_and_is_saved_and_continued_as_if_nothing_had_happened(learner, images):
    one, other = (learner.begin(images, generator(3)) for _ in range(2))
    first = one.training.advance(32)
    kept = one.training.state_dict()
    later = one.training.advance(320)
    assert math.isfinite(later) and later < first
    other.training.generator.manual_seed(99)
    other.training.load_state_dict(kept)
    assert other.training.advance(320) == later
    for mine, theirs in zip(one.decoder.parameters(), other.decoder.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_every_setting_of_every_opponent_has_its_own_name():
    names = [learner.name for opponent in opponents().values() for learner in opponent.settings]
    assert len(set(names)) == len(names)
