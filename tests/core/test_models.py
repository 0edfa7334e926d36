"""Sec. 4: four linear layers with ELU between them, logits out, the encoder the exact reverse."""

import pytest
import torch
from conftest import seeded
from torch import nn

from gfe_core.models import AutoEncoder, Decoder, Encoder


def sizes(net):
    return [(layer.in_features, layer.out_features) for layer in net if isinstance(layer, nn.Linear)]


def same(one, other):
    pairs = list(zip(one.state_dict().items(), other.state_dict().items(), strict=True))
    return all(name == other_name and torch.equal(x, y) for (name, x), (other_name, y) in pairs)


def test_the_layers_are_those_of_the_paper():
    assert sizes(Decoder(generator=seeded())) == [(20, 150), (150, 300), (300, 600), (600, 784)]
    assert sizes(Decoder(3, (5, 7), 11, seeded())) == [(3, 5), (5, 7), (7, 11)]


def test_the_encoder_is_the_exact_reverse():
    for arguments in ((), (3, (5, 7), 11)):
        decoder, encoder = Decoder(*arguments, generator=seeded()), Encoder(*arguments, generator=seeded())
        assert sizes(encoder) == [(outputs, inputs) for inputs, outputs in reversed(sizes(decoder))]
        assert decoder.latent_dim == encoder.latent_dim == sizes(decoder)[0][0]


@pytest.mark.parametrize("net", [Decoder, Encoder])
def test_elu_stands_between_the_layers_and_nothing_after_the_last(net):
    kinds = [type(layer) for layer in net(generator=seeded())]
    assert kinds == [nn.Linear, nn.ELU, nn.Linear, nn.ELU, nn.Linear, nn.ELU, nn.Linear]
    assert all(layer.alpha == 1 for layer in net(generator=seeded()) if isinstance(layer, nn.ELU))


def test_the_decoder_gives_logits_of_either_sign_and_any_size():
    logits = Decoder(generator=seeded())(100 * torch.randn(8, 20, generator=seeded(1)))
    assert logits.shape == (8, 784)
    assert logits.min() < -1
    assert logits.max() > 1


def test_the_decoder_is_the_composition_of_its_layers():
    net, z = Decoder(2, (3,), 4, seeded()), torch.randn(5, 2, generator=seeded(1))
    hidden = z @ net[0].weight.T + net[0].bias
    hidden = torch.where(hidden > 0, hidden, hidden.exp() - 1)
    assert torch.allclose(net(z), hidden @ net[2].weight.T + net[2].bias, atol=1e-6)


def test_the_autoencoder_decodes_what_it_encodes():
    net, images = AutoEncoder(seeded()), torch.rand(3, 784, generator=seeded(1))
    assert torch.equal(net(images), net.decoder(net.encoder(images)))
    assert (sizes(net.decoder), sizes(net.encoder)) == (sizes(Decoder()), sizes(Encoder()))


@pytest.mark.parametrize("net", [Decoder, Encoder, AutoEncoder])
def test_a_generator_decides_the_weights(net):
    assert same(net(generator=seeded(3)), net(generator=seeded(3)))
    assert not same(net(generator=seeded(3)), net(generator=seeded(4)))


@pytest.mark.parametrize("net", [Decoder, Encoder, AutoEncoder])
def test_the_global_random_state_is_neither_touched_nor_used(net):
    before = torch.get_rng_state()
    one = net(generator=seeded(3))
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        assert same(one, net(generator=seeded(3)))


def test_networks_from_one_generator_differ():
    generator = seeded()
    assert not same(Decoder(generator=generator), Decoder(generator=generator))


@pytest.mark.parametrize("net", [Decoder, Encoder])
def test_weights_and_biases_are_uniform_in_one_over_the_root_of_the_inputs(net):
    for layer in net(generator=seeded()):
        if isinstance(layer, nn.Linear):
            bound = layer.in_features**-0.5
            for values in (layer.weight, layer.bias):
                assert values.abs().max() <= bound
                assert values.abs().max() > 0.8 * bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
            assert layer.weight.mean().item() == pytest.approx(0, abs=0.05 * bound)
