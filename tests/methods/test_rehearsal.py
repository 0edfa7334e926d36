"""Steps that do more than encode: what they compute, that they go on where they were saved, and other networks."""

import pytest
import torch
from torch import Generator

from gfe_companion.methods import FAST
from gfe_companion.methods.networks import Network
from gfe_companion.methods.rehearsal import HybridStep, Recent, RehearsedStep
from gfe_companion.runs.train_tuned import TrainTuned
from gfe_core.adjoint import ApproximateGradient
from gfe_core.objective import Objective, bce
from gfe_core.steps import autoencoder_step, encoding_step
from gfe_core.training import Recipe, Training


def generator(seed=0):
    return Generator().manual_seed(seed)


def pool(count=64):
    return torch.rand(count, 784, generator=generator(1))


def rehearsed(model, rehearsals=2, capacity=24):
    encoding = encoding_step(model, FAST, ApproximateGradient())
    return RehearsedStep(encoding, rehearsals, capacity, generator(2))


def test_the_oldest_images_make_room():
    recent = Recent(4)
    for first in (0.0, 3.0):
        rows = torch.arange(first, first + 3)[:, None]
        recent.add(rows, 10 * rows)
    assert len(recent) == 4
    assert sorted(recent.images[:, 0].tolist()) == [2.0, 3.0, 4.0, 5.0]
    assert torch.equal(recent.z, 10 * recent.images)


def test_a_batch_is_encoded_once_and_rehearsed_so_often():
    model = Network().decoder(generator())
    step, images = rehearsed(model), pool(16)
    kinds = []
    step.encode, step.rehearse = (
        lambda batch: kinds.append("encoded") or torch.zeros(len(batch)),
        lambda count: kinds.append("rehearsed") or torch.zeros(count),
    )
    for _ in range(6):
        step(images)
    assert kinds == ["encoded", "rehearsed", "rehearsed"] * 2


@pytest.mark.parametrize("share", [1e-6, 1e6])
def test_a_rehearsal_is_the_gradient_at_kept_latents_which_move_by_one_step(share):
    model = Network().decoder(generator())
    step, images = rehearsed(model, capacity=16), pool(16)
    step.share = share
    step(images)
    z, factor = step.recent.z.clone(), step.solver.state["factor"]
    index = torch.randint(16, (16,), generator=generator(2))
    model.zero_grad()
    losses = step.rehearse(16)
    objective = Objective(model, images[index])
    slope = objective.value_and_grad(z[index])[1] + FAST.penalty * z[index]
    assert torch.allclose(losses, bce(model(z[index]), images[index]))
    expected = torch.autograd.grad(losses_at(model, z[index], images[index]), list(model.parameters()))
    assert all(torch.allclose(p.grad, g, atol=1e-6) for p, g in zip(model.parameters(), expected, strict=True))
    u = slope @ factor
    shortened = (share * losses / u.square().sum(dim=1)).sqrt().clamp(max=1.0)
    assert bool((shortened < 1).all()) == (share < 1)
    assert torch.allclose(step.recent.z[index], z[index] - 0.7 * shortened[:, None] * u @ factor.T, atol=1e-4)
    rest = [i for i in range(16) if i not in index]
    assert torch.equal(step.recent.z[rest], z[rest])


def losses_at(model, z, images):
    return bce(model(z), images).sum()


@pytest.mark.parametrize("switch", [0, 48])
def test_a_training_that_is_continued_ends_as_if_it_had_not_stopped(switch):
    def training():
        model = Network().pair(generator())
        step = rehearsed(model.decoder)
        whole = HybridStep(autoencoder_step(model), step, switch) if switch else step
        return Training(model, whole, pool(), generator(3), Recipe(16))

    whole, half = training(), training()
    whole.advance(160)
    half.advance(80)
    state = half.state_dict()
    half.advance(96)
    again = training()
    again.load_state_dict(state)
    again.advance(160)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_gfe_begins_with_the_decoder_that_the_autoencoder_has_at_the_switch():
    ae = Training(model := Network().pair(generator()), autoencoder_step(model), pool(), generator(3), Recipe(16))
    hybrid_model = Network().pair(generator())
    then = encoding_step(hybrid_model.decoder, FAST, ApproximateGradient())
    hybrid = Training(
        hybrid_model, HybridStep(autoencoder_step(hybrid_model), then, 64), pool(), generator(3), Recipe(16)
    )
    for training in (ae, hybrid):
        training.advance(64)
    both = list(zip(model.parameters(), hybrid_model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in both) and then.solver.batches == 0
    hybrid.advance(80)
    ae.advance(80)
    assert then.solver.batches == 1
    pairs = zip(model.decoder.parameters(), hybrid_model.decoder.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("network", [Network(5), Network(20, True)], ids=str)
def test_a_network_decodes_encodes_and_learns(network):
    model, images = network.pair(generator()), pool(8)
    assert model.encoder(images).shape == (8, network.latent_dim) and model(images).shape == (8, 784)
    alone = network.decoder(generator())
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), model.decoder.parameters(), strict=True))
    before = torch.random.get_rng_state()
    network.pair(generator())
    assert torch.equal(before, torch.random.get_rng_state()), "the global random state is left alone"
    step = encoding_step(alone, FAST, ApproximateGradient())
    losses = step(images)
    assert all(bool(p.grad.abs().sum() > 0) for p in alone.parameters())
    assert (losses <= bce(alone(torch.zeros(8, network.latent_dim)), images)).all()


def test_a_gradient_of_the_convolutional_decoder_is_that_of_differences():
    decoder, images = Network(3, True).decoder(generator()).double(), pool(2).double()
    z = torch.randn(2, 3, generator=generator(5), dtype=torch.float64)
    objective = Objective(decoder, images)
    _, gradient = objective.value_and_grad(z)
    for axis in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[axis] = 1e-5
        slope = (objective.value(z + step) - objective.value(z - step)) / 2e-5
        assert torch.allclose(slope, gradient[:, axis], rtol=1e-5, atol=1e-9)


def test_a_tuned_training_says_in_its_name_what_it_is():
    made = TrainTuned("mnist", True, 0, FAST, kept=(64,), rehearsals=3, switch=32, network=Network(5))
    assert made.name == "train-mnist-tuned-gfe-rehearsed3-ae-until32-d5-64-seed0"
    assert TrainTuned("mnist", True, 0, None, kept=(64,)).work != TrainTuned("mnist", True, 0, FAST, kept=(64,)).work
