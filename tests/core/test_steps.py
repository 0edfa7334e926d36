"""What a step does with a batch: it adds to .grad as backward() does, checks once, and leaves modules as they were."""

import copy
import warnings

import pytest
import torch
from conftest import mlp, quadratic, seeded
from torch import nn

from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.adjoint import AdjointGradient, ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.objective import Objective, bce
from gfe_core.prior import Prior
from gfe_core.training import Recipe, Training, autoencoder_step, encoding_step, iteration
from gfe_core.warm import WarmEncoder, WarmStart
from gfe_core.wrappers import Penalised

SOLVER = QuasiNewtonAMD(max_trials=15)
APPROXIMATE = ApproximateGradient()
IMAGES = torch.rand(8, 12, generator=seeded(3), dtype=torch.float64)
MASK = torch.rand(8, 12, generator=seeded(4), dtype=torch.float64) > 0.5


def grads(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def alike(one, other, **tolerance):
    for a, b in zip(one, other, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, **tolerance)


def expected(decoder, images, solver=SOLVER):
    objective = Objective(decoder, images)
    return APPROXIMATE(objective, solver.encode(objective))


# --- gradients are added


def test_a_gradient_is_added_to_what_is_there():
    decoder = mlp((3, 8, 12))
    step = encoding_step(decoder, SOLVER, APPROXIMATE)
    first, second = IMAGES[:4], IMAGES[4:]
    nn.functional.mse_loss(decoder(torch.ones(1, 3, dtype=torch.float64)), IMAGES[:1]).backward()
    before = grads(decoder)
    losses = torch.cat([step(first), step(second)])
    both = [b + f + s for b, f, s in zip(before, expected(decoder, first), expected(decoder, second), strict=True)]
    alike(grads(decoder), both)
    assert losses.shape == (8,)
    assert not losses.requires_grad


def test_a_training_takes_a_prior_by_a_step_of_its_own():
    """As the docstring of encoding_step has it; the Gaussian prior is also there in closed form."""

    def trained(landscape):
        decoder = mlp((3, 8, 12))
        training = Training(
            decoder, lambda images: iteration(landscape(Objective(decoder, images)), SOLVER, APPROXIMATE), IMAGES,
            seeded(), Recipe(batch_size=4),
        )  # fmt: skip
        training.advance(16)
        return list(decoder.parameters())

    ours = trained(lambda within: Prior(within, lambda z: 0.05 * z.square().sum(dim=1)))
    alike(ours, trained(lambda within: Penalised(within, 0.1)))
    assert not all(torch.allclose(a, b) for a, b in zip(ours, trained(lambda within: within), strict=True))


def test_an_iteration_by_hand_is_that_of_the_step():
    decoder, other = mlp((3, 8, 12)), mlp((3, 8, 12))
    assert torch.equal(
        iteration(Objective(decoder, IMAGES), SOLVER, APPROXIMATE), encoding_step(other, SOLVER, APPROXIMATE)(IMAGES)
    )
    alike(grads(decoder), grads(other), rtol=0, atol=0)


def test_the_autoencoders_gradient_is_added_too():
    net = nn.Sequential(mlp((12, 3)), mlp((3, 12)))
    step = autoencoder_step(net)
    step(IMAGES[:4])
    step(IMAGES[4:])
    theta = list(net.parameters())
    alike(grads(net), torch.autograd.grad(bce(net(IMAGES), IMAGES).sum(), theta))


class TwoBiases(nn.Module):
    """Autograd gives both biases one and the same tensor."""

    latent_dim = 3

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 12, bias=False).double()
        self.one, self.two = (nn.Parameter(torch.zeros(12, dtype=torch.float64)) for _ in range(2))

    def forward(self, z):
        return self.linear(z) + (self.one + self.two)


def test_gradients_share_no_memory():
    decoder = TwoBiases()
    step = encoding_step(decoder, SOLVER, APPROXIMATE)
    step(IMAGES)
    once = grads(decoder)
    assert decoder.one.grad.data_ptr() != decoder.two.grad.data_ptr()
    decoder.one.grad.mul_(2)  # as clipping does
    assert torch.equal(decoder.two.grad, once[1])
    decoder.zero_grad()
    step(IMAGES)
    step(IMAGES)
    alike(grads(decoder), [2 * slope for slope in once])


# --- frozen and unused parameters


class Unused(nn.Module):
    latent_dim = 3

    def __init__(self, decoder):
        super().__init__()
        self.decoder, self.spare = decoder, nn.Linear(2, 2)

    def forward(self, z):
        return self.decoder(z)


@pytest.mark.parametrize("gradient", [ApproximateGradient(), AdjointGradient()], ids=["approximate", "adjoint"])
def test_frozen_and_unused_parameters_have_no_gradient(gradient):
    decoder = Unused(mlp((3, 8, 12)))
    decoder.decoder[0].requires_grad_(False)
    step = encoding_step(decoder, AMD(tau=20.0), gradient)
    step(IMAGES)
    step(IMAGES)
    assert [p.grad is None for p in decoder.parameters()] == [True, True, False, False, True, True]


@pytest.mark.parametrize("solver", [SOLVER, WarmStart()], ids=["quasi-newton", "warm"])
def test_training_a_partly_frozen_decoder_is_training_with_those_updates_left_out(solver):
    frozen, whole = mlp((3, 8, 12)), mlp((3, 8, 12))
    frozen[0].requires_grad_(False)
    theirs = encoding_step(whole, solver, APPROXIMATE)

    def left_out(images):
        losses = theirs(images)
        for parameter in whole[0].parameters():
            parameter.grad = None
        return losses

    for model, step in ((frozen, encoding_step(frozen, solver, APPROXIMATE)), (whole, left_out)):
        Training(model, step, IMAGES, seeded(), Recipe(4, learning_rate=1e-2)).advance(80)
    for name, tensor in frozen.state_dict().items():
        assert torch.equal(tensor, whole.state_dict()[name])
    assert torch.equal(frozen[0].weight, mlp((3, 8, 12))[0].weight)
    assert not torch.equal(frozen[2].weight, mlp((3, 8, 12))[2].weight)


# --- solvers that learn


def test_a_warm_start_becomes_an_encoder_that_learns():
    decoder = mlp((3, 8, 12))
    step = encoding_step(decoder, WarmStart(), APPROXIMATE)
    assert isinstance(step.solver, WarmEncoder)
    step(IMAGES)
    step(IMAGES)
    assert step.solver.batches == 2
    own = WarmStart().encoder()
    assert encoding_step(decoder, own, APPROXIMATE).solver is own


def test_its_state_is_its_solvers():
    decoder = mlp((3, 8, 12))
    step, other = (encoding_step(decoder, WarmStart(refresh=2), APPROXIMATE) for _ in range(2))
    step(IMAGES)
    other.load_state_dict(step.state_dict())
    assert torch.equal(step(IMAGES), other(IMAGES))
    plain = encoding_step(decoder, SOLVER, APPROXIMATE)
    assert plain.state_dict() == {}
    plain.load_state_dict({})


# --- starts and shapes of latents


def dead():
    """ReLUs without biases: flat at z = 0."""
    decoder = nn.Sequential(nn.Linear(3, 8, bias=False), nn.ReLU(), nn.Linear(8, 12, bias=False)).double()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.normal_(generator=seeded(1))
    return decoder


@pytest.mark.parametrize("solver", [SOLVER, WarmStart()], ids=["quasi-newton", "warm"])
@pytest.mark.parametrize("kind", ["function", "one for all"])
def test_a_dead_start_is_left_by_another(solver, kind):
    one = torch.tensor([0.3, -0.2, 0.5], dtype=torch.float64)
    z0 = one if kind == "one for all" else lambda images: one.expand(len(images), 3)
    decoder = dead()
    with pytest.warns(RuntimeWarning, match="gradient"):
        encoding_step(decoder, SOLVER, APPROXIMATE, latent_dim=3)(IMAGES)
    decoder.zero_grad()
    step = encoding_step(decoder, solver, APPROXIMATE, z0=z0, latent_dim=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        losses = [step(IMAGES).mean() for _ in range(3)]
    assert losses[-1] < bce(torch.zeros_like(IMAGES), IMAGES).mean()
    assert all(parameter.grad.any() for parameter in decoder.parameters())


def test_a_warm_encoder_is_given_the_start_before_its_first_batch_only():
    seen = []

    class Spy(WarmEncoder):
        def encode(self, objective, z0=None, record=False):
            seen.append(z0)
            return super().encode(objective, z0, record)

    start = torch.full((3,), 0.1, dtype=torch.float64)
    step = encoding_step(mlp((3, 8, 12)), Spy(WarmStart()), APPROXIMATE, z0=start)
    for _ in range(3):
        step(IMAGES)
    assert seen[0] is start
    assert seen[1:] == [None, None]


class Grid(nn.Module):
    """Latents (B, 2, 2) -> images (B, 3, 2, 2)."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(1, 3, 3, padding=1).double()

    def forward(self, z):
        return self.convolution(z[:, None])


def mse(output, images):
    return (output - images).square().flatten(1).mean(dim=1)


@pytest.mark.parametrize("solver", [SOLVER, WarmStart(refresh=2)], ids=["quasi-newton", "warm"])
def test_convolutional_decoders_with_latents_of_any_shape_are_trained(solver):
    decoder, images = Grid(), IMAGES.reshape(8, 3, 2, 2)
    training = Training(
        decoder,
        encoding_step(decoder, solver, APPROXIMATE, mse, latent_shape=(2, 2)),
        images,
        seeded(),
        Recipe(4, 1e-2),
    )
    first = training.advance(4)
    training.advance(160)
    assert training.advance(240) < first


# --- what travels with the images


def masked(output, images, mask):
    return ((output - images).square() * mask).sum(dim=1)


class Conditional(nn.Module):
    latent_dim = 3

    def __init__(self):
        super().__init__()
        self.embedding, self.decoder = nn.Embedding(4, 3).double(), mlp((3, 8, 12))

    def forward(self, z, label):
        return self.decoder(z + self.embedding(label))


def test_masks_and_labels_reach_loss_and_decoder():
    labels = torch.arange(8) % 4
    decoder = Conditional()
    encoding_step(decoder, SOLVER, APPROXIMATE, masked)(IMAGES, {"mask": MASK, "label": labels})
    assert decoder.embedding.weight.grad.any()
    one, other = mlp((3, 8, 12)), mlp((3, 8, 12))
    noisy = torch.where(MASK, IMAGES, 9.0)
    for each, images in ((one, IMAGES), (other, noisy)):
        step = encoding_step(each, SOLVER, APPROXIMATE, masked)
        step(images, MASK)
        step(images, MASK)
    alike(grads(one), grads(other))


def test_an_autoencoder_takes_them_as_well():
    class Net(nn.Sequential):
        def forward(self, images, label):
            return super().forward(images + label[:, None])

    net = Net(mlp((12, 3)), mlp((3, 12)))
    losses = autoencoder_step(net, masked)(IMAGES, {"mask": MASK, "label": torch.arange(8)})
    output = net(IMAGES, torch.arange(8))
    torch.testing.assert_close(losses, masked(output, IMAGES, MASK).detach())


def test_labels_that_nothing_takes_are_left_out_and_masks_are_not():
    labels = torch.arange(8)
    for make in (
        lambda: encoding_step(mlp((3, 8, 12)), SOLVER, APPROXIMATE),
        lambda: autoencoder_step(nn.Sequential(mlp((12, 3)), mlp((3, 12)))),
    ):
        assert torch.equal(make()(IMAGES, labels), make()(IMAGES))
        with pytest.raises(ValueError, match="neither the loss nor the decoder takes extra"):
            make()(IMAGES, MASK)


def test_an_autoencoders_loss_is_one_for_each_image():
    with pytest.raises(ValueError, match=r"the loss of 8 images has shape \(\), and needs \(8,\): write a loss"):
        autoencoder_step(nn.Sequential(mlp((12, 3)), mlp((3, 12))), nn.functional.mse_loss)(IMAGES)


def test_the_contract_is_tried_with_the_first_batch_alone():
    decoder, calls = mlp((3, 8, 12)), []
    decoder.register_forward_hook(lambda *_: calls.append(1))
    step = encoding_step(decoder, AMD(tau=1.0, max_steps=1), APPROXIMATE)
    counts = []
    for _ in range(3):
        calls.clear()
        step(IMAGES)
        counts.append(len(calls))
    assert counts[0] > counts[1] == counts[2]
    with pytest.raises(ValueError, match="pixels that are not finite"):  # what differs from batch to batch is checked
        step(IMAGES * 300)


# --- modes


def normalised():
    decoder = nn.Sequential(mlp((3, 8)), nn.BatchNorm1d(8).double(), nn.Dropout(0.2), mlp((8, 12)))
    decoder.latent_dim = 3
    return decoder


def test_without_train_mode_a_batch_normalisation_in_training_mode_is_refused():
    with pytest.raises(ValueError, match="training mode"):
        encoding_step(normalised(), SOLVER, APPROXIMATE)(IMAGES)


def test_in_train_mode_it_encodes_in_eval_mode_and_updates_in_the_callers():
    decoder = normalised().train()
    decoder[2].eval()  # the caller wants no dropout
    twin = copy.deepcopy(decoder)
    losses = encoding_step(decoder, SOLVER, APPROXIMATE, train_mode=True)(IMAGES)
    objective = Objective(twin.eval(), IMAGES)
    encoding = SOLVER.encode(objective)
    assert torch.equal(losses, encoding.loss)
    twin.train()
    twin[2].eval()
    bce(twin(encoding.z), IMAGES).sum().backward()
    alike(grads(decoder), grads(twin))
    for name, tensor in twin.state_dict().items():
        torch.testing.assert_close(decoder.state_dict()[name], tensor)
    assert decoder[1].num_batches_tracked == 1
    assert [part.training for part in decoder.modules()] == [part.training for part in twin.modules()]


def test_a_warm_start_in_train_mode_leaves_the_statistics_to_the_update():
    decoder = normalised().train()
    step = encoding_step(decoder, WarmStart(refresh=1), APPROXIMATE, train_mode=True)
    for count in (1, 2, 3):
        step(IMAGES)
        assert decoder[1].num_batches_tracked == count


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_modes_are_restored_after_an_error(error):
    class Broken(AMD):
        def encode(self, objective, z0=None, record=False):
            assert not any(part.training for part in objective.decoder.modules())
            raise error

    decoder = normalised().train()
    decoder[2].eval()
    before = [part.training for part in decoder.modules()]
    with pytest.raises(error):
        encoding_step(decoder, Broken(), APPROXIMATE, train_mode=True)(IMAGES)
    assert [part.training for part in decoder.modules()] == before


def test_train_mode_does_not_go_with_the_adjoint():
    with pytest.raises(ValueError, match="train_mode=True with AdjointGradient: .* use ApproximateGradient"):
        encoding_step(normalised(), SOLVER, AdjointGradient(), train_mode=True)


def test_it_trains_in_inference_mode_as_well():
    one, other = mlp((3, 8, 12)), mlp((3, 8, 12))
    encoding_step(one, WarmStart(), APPROXIMATE)(IMAGES)
    with torch.inference_mode():
        encoding_step(other, WarmStart(), APPROXIMATE)(IMAGES)
    alike(grads(one), grads(other))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_decoder_of_half_precision_is_trained(dtype):
    decoder, images = mlp((3, 8, 12), dtype=torch.float32).to(dtype), IMAGES.to(dtype)
    training = Training(
        decoder, encoding_step(decoder, WarmStart(refresh=2), APPROXIMATE), images, seeded(), Recipe(4, 1e-2)
    )
    first = training.advance(4)
    assert training.advance(100) < first
    assert {parameter.grad.dtype for parameter in decoder.parameters()} == {dtype}


def test_a_loss_without_curvature_is_trained():
    def l1(output, images):
        return (output - images).abs().mean(dim=1)

    decoder = mlp((3, 8, 12))
    training = Training(
        decoder, encoding_step(decoder, WarmStart(), APPROXIMATE, l1), IMAGES, seeded(), Recipe(4, 1e-2)
    )
    first = training.advance(4)
    training.advance(120)
    assert training.advance(160) < first / 2


def test_a_quadratic_loss_trains_on_images_of_any_range():
    decoder = mlp((3, 8, 12))
    training = Training(
        decoder, encoding_step(decoder, WarmStart(), APPROXIMATE, quadratic), 255 * IMAGES, seeded(), Recipe(4, 1e-1)
    )
    first = training.advance(4)
    assert training.advance(200) < first


class Looked(nn.Module):
    """A decoder whose labels have sparse gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.linear, self.latent_dim = nn.Embedding(3, 4, sparse=True), nn.Linear(4, 12), 4

    def forward(self, z, label):
        return self.linear(z + self.table(label))


def test_sparse_gradients_add_up():
    decoder, labels = Looked(), torch.tensor([0, 2, 0, 2, 0, 2])
    step = encoding_step(decoder, QuasiNewtonAMD(max_trials=5), ApproximateGradient())
    images = torch.rand(6, 12, generator=seeded())
    step(images, labels)
    once = decoder.table.weight.grad.to_dense().clone()
    step(images, labels)
    assert decoder.table.weight.grad.layout == torch.sparse_coo
    assert torch.allclose(decoder.table.weight.grad.to_dense(), 2 * once, rtol=1e-5)
    assert (once[1] == 0).all() and once[0].abs().sum() > 0
    torch.optim.SparseAdam([decoder.table.weight]).step()
