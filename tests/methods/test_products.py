"""A decoder that multiplies by oneDNN is the same function, with the same gradient in its latents."""

import pytest
import torch
from conftest import mlp, seeded

from gfe_companion.methods import products
from gfe_companion.methods.products import by_onednn
from gfe_core.lbfgs import LBFGSAMD
from gfe_core.models import Decoder
from gfe_core.objective import Objective

pytestmark = pytest.mark.skipif(not products.available(), reason="this torch is built without oneDNN")


@pytest.mark.parametrize("count", [1, 15, 16, 33])
def test_it_is_the_same_function_for_any_number_of_images(count):
    decoder, z = Decoder(generator=seeded(1)), torch.randn(count, 20, generator=seeded(2))
    images = torch.rand(count, 784, generator=seeded(3))
    ours, theirs = Objective(by_onednn(decoder), images), Objective(decoder, images)
    for found, wanted in zip(ours.value_and_grad(z), theirs.value_and_grad(z), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-8)
    assert torch.allclose(ours.value(z), theirs.value(z), rtol=1e-5)
    assert ours.evaluations == theirs.evaluations


def test_it_multiplies_by_onednn_and_the_decoder_itself_stays_as_it_is():
    decoder = Decoder(generator=seeded(1))
    copy = by_onednn(decoder)
    kinds = [type(module).__name__ for module in copy.modules()]
    assert kinds.count("Product") == 4 and "Linear" not in kinds
    assert [type(module).__name__ for module in decoder.modules()].count("Linear") == 4
    assert all(p.requires_grad for p in decoder.parameters()) and not any(p.requires_grad for p in copy.parameters())
    assert by_onednn(mlp((4, 6, 9)))(torch.zeros(3, 4, dtype=torch.float64)).dtype == torch.float64  # left alone


def test_images_are_encoded_to_the_same_losses():
    decoder, images = Decoder(generator=seeded(1)), torch.rand(20, 784, generator=seeded(3))
    found, wanted = (LBFGSAMD(max_trials=30).encode(Objective(by, images)) for by in (by_onednn(decoder), decoder))
    assert torch.allclose(found.loss, wanted.loss, rtol=1e-4)
