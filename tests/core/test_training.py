"""Algorithm 1 and the autoencoder: reproducible, resumable, and the update that the paper states."""

import copy
import io
import math

import pytest
import torch
from conftest import mlp, seeded
from tensors import reloaded
from torch import nn

from gfe_companion.datasets import Source, load
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.adjoint import ApproximateGradient
from gfe_core.amd import AMD
from gfe_core.models import AutoEncoder, Decoder
from gfe_core.objective import Objective, bce
from gfe_core.training import (
    CosineRecipe,
    Recipe,
    Training,
    autoencoder_losses,
    autoencoder_step,
    encode_all,
    encoding_step,
)
from gfe_core.warm import WarmStart

SOLVER = AMD(tau=300.0, s_max=1000.0, grow_accepted=True, max_steps=6)
SMALL = Recipe(batch_size=4)
POOL = torch.rand(50, 784, generator=seeded(7))


@pytest.fixture(scope="module")
def digits():
    return load("mnist", Source(None))


def gfe(seed=0, pool=POOL, recipe=SMALL, hidden=(12, 16), solver=SOLVER):
    generator = seeded(seed)
    decoder = Decoder(3, hidden, pool.shape[1], generator)
    return Training(decoder, encoding_step(decoder, solver, ApproximateGradient()), pool, generator, recipe)


def ae(seed=0, pool=POOL, recipe=SMALL):
    generator = seeded(seed)
    autoencoder = AutoEncoder(generator)
    return Training(autoencoder, autoencoder_step(autoencoder), pool, generator, recipe)


def weights(training):
    return nn.utils.parameters_to_vector(training.model.parameters()).detach().clone()


both = pytest.mark.parametrize("make", [gfe, ae])


# --- reproducible, resumable


@both
def test_a_seed_decides_the_weights_and_no_global_state_does(make):
    one, other, third = make(), make(), make(seed=1)
    before = torch.get_rng_state()
    one.advance(20)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.random.fork_rng():
        torch.manual_seed(123)
        other.advance(20)
    third.advance(20)
    assert torch.equal(weights(one), weights(other))
    assert not torch.equal(weights(one), weights(third))


@both
def test_saved_and_continued_is_uninterrupted(make):
    whole, first, second = make(), make(), make(seed=5)
    whole.advance(20)
    whole_mean = whole.advance(40)
    first.advance(20)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert (second.images, second.seconds) == (20, first.seconds)
    assert second.advance(40) == whole_mean
    assert torch.equal(weights(whole), weights(second))
    assert torch.equal(whole.generator.get_state(), second.generator.get_state())
    for a, b in zip(whole.optimizer.state.values(), second.optimizer.state.values(), strict=True):
        assert all(torch.equal(a[name], b[name]) for name in a)


@both
def test_in_pieces_is_in_one_piece(make):
    whole, pieces = make(), make()
    whole.advance(24)
    for images in (4, 12, 12, 24):
        pieces.advance(images)
    assert pieces.images == 24
    assert torch.equal(weights(whole), weights(pieces))


# --- one iteration, by hand


def test_the_update_is_rmsprop_as_in_section_4():
    assert (Recipe().batch_size, Recipe().learning_rate, Recipe().alpha, Recipe().epsilon) == (16, 5e-4, 0.9, 1e-6)
    training = gfe(recipe=None)
    assert training.recipe == Recipe()
    settings = training.optimizer.defaults
    assert (settings["lr"], settings["alpha"], settings["eps"]) == (5e-4, 0.9, 1e-6)
    assert (settings["momentum"], settings["weight_decay"], settings["centered"]) == (0, 0, False)


def test_an_iteration_encodes_differentiates_at_fixed_latents_and_steps():
    """v <- 0.9 v + 0.1 g^2; theta <- theta - lr g / (sqrt(v) + eps), g of the summed loss at z*; twice."""
    recipe = Recipe(batch_size=5, learning_rate=1e-2)
    training, mirror = gfe(recipe=recipe), gfe()
    decoder, generator, theta = mirror.model, mirror.generator, list(mirror.model.parameters())
    v = [torch.zeros_like(parameter) for parameter in theta]
    for seen in (5, 10):
        images = POOL[torch.randint(50, (5,), generator=generator)]
        z = SOLVER.encode(Objective(decoder, images)).z
        losses = nn.functional.binary_cross_entropy_with_logits(decoder(z), images, reduction="none").mean(dim=1)
        gradients = torch.autograd.grad(losses.sum(), theta)
        with torch.no_grad():
            for parameter, g, square in zip(theta, gradients, v, strict=True):
                square.mul_(0.9).add_(0.1 * g**2)
                parameter -= 1e-2 * g / (square.sqrt() + 1e-6)
        assert training.advance(seen) == pytest.approx(losses.detach().mean().item(), rel=1e-5)
        assert torch.allclose(weights(training), weights(mirror), rtol=1e-4, atol=1e-6)
        for parameter, g in zip(training.model.parameters(), gradients, strict=True):
            assert torch.allclose(parameter.grad, g, rtol=1e-3, atol=1e-6)


def test_the_autoencoder_learns_encoder_and_decoder_by_the_summed_loss():
    net, images = AutoEncoder(seeded()), POOL[:6]
    step = autoencoder_step(net)
    losses = step(images)
    assert losses.shape == (6,)
    assert not losses.requires_grad
    assert torch.allclose(losses, bce(net(images), images))
    theta = list(net.parameters())
    for parameter, g in zip(theta, torch.autograd.grad(bce(net(images), images).sum(), theta), strict=True):
        assert torch.allclose(parameter.grad, g, atol=1e-7)


def test_a_gradient_that_needs_the_path_gets_it_and_others_do_not_pay_for_it():
    seen = []

    class Spy(ApproximateGradient):
        def __call__(self, objective, encoding):
            seen.append(encoding.path)
            return super().__call__(objective, encoding)

    class SpyWithPath(Spy):
        needs_path = True

    decoder = Decoder(3, (4,), 784, seeded())
    for spy in (Spy(), SpyWithPath()):
        losses = encoding_step(decoder, SOLVER, spy)(POOL[:2])
        assert losses.shape == (2,)
    assert seen[0] is None
    assert torch.equal(seen[1].loss[-1], losses)


def test_batches_are_drawn_with_replacement_from_the_whole_pool():
    pool = torch.arange(8.0)[:, None] / 8
    batches = []

    def step(images):
        batches.append((8 * images.flatten()).long())
        return torch.zeros(len(images))

    training = Training(nn.Linear(1, 1), step, pool, seeded(), Recipe(batch_size=16))
    training.advance(16 * 50)
    drawn = torch.cat(batches)
    assert {len(batch) for batch in batches} == {16}
    assert drawn.bincount(minlength=8).min() > 60
    assert drawn.bincount(minlength=8).max() < 140


# --- progress, limits, errors


@both
def test_it_learns(make, digits):
    """A tiny training on the embedded digits: the loss falls from log 2 = 0.69, on the test images too."""
    if make is gfe:
        training = gfe(pool=digits.train.images, recipe=Recipe(), hidden=(32, 64))
    else:
        training = ae(pool=digits.train.images, recipe=Recipe())
    first = training.advance(16)
    assert first == pytest.approx(math.log(2), rel=0.02)
    training.advance(16 * 40)
    assert training.advance(16 * 50) < 0.85 * first
    test = digits.test.images[:100]
    if make is gfe:
        loss = torch.cat([encoding.loss for encoding in encode_all(training.model, test, SOLVER)])
    else:
        loss = autoencoder_losses(training.model, test)[1]
    assert loss.mean() < 0.85 * first
    assert training.seconds > 0


def test_progress_is_told_of_each_batch():
    told = []
    training = gfe()
    training.advance(12, told.append)
    assert told == [4, 4, 4]
    assert training.images == 12


def test_no_images_more_is_no_training():
    training = gfe()
    training.advance(8)
    before = weights(training)
    assert math.isnan(training.advance(8))
    assert torch.equal(weights(training), before)
    assert training.images == 8


@pytest.mark.parametrize("images", [1, 6, 15])
def test_parts_of_a_batch_are_refused(images):
    training = gfe()
    with pytest.raises(ValueError, match=f"{images} images are not a whole number of batches of 4"):
        training.advance(images)
    assert training.images == 0


def test_training_does_not_go_back():
    training = gfe()
    training.advance(8)
    with pytest.raises(ValueError, match="8 images"):
        training.advance(4)
    assert training.images == 8


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error(bad):
    def step(images):
        losses.append(torch.full((len(images),), bad if len(losses) == 2 else 0.5))
        return losses[-1]

    losses = []
    training = Training(nn.Linear(1, 1), step, POOL, seeded(), SMALL)
    assert training.advance(8) == 0.5
    with pytest.raises(FloatingPointError, match="before 16 images.*learning rate"):
        training.advance(16)


def test_a_training_that_diverges_is_an_error():
    with pytest.raises(FloatingPointError, match="training loss is nan"):
        ae(recipe=Recipe(4, learning_rate=1e30)).advance(40)
    with pytest.raises(ValueError, match="not finite.*weights"):  # AMD is the first to notice
        gfe(recipe=Recipe(4, learning_rate=1e30)).advance(40)


# --- rates, and solvers that learn


def test_a_cosine_recipe_ends_at_zero_and_steps_by_its_rate():
    recipe = CosineRecipe(until=160)
    assert recipe.rate(0) == recipe.learning_rate == Recipe().rate(10**6)
    assert recipe.rate(80) == pytest.approx(recipe.learning_rate / 2)
    assert recipe.rate(160) == recipe.rate(1000) == 0.0
    model = AutoEncoder(seeded())
    training = Training(model, autoencoder_step(model), torch.rand(50, 784, generator=seeded()), seeded(), recipe)
    training.advance(176)
    before = [parameter.clone() for parameter in model.parameters()]
    training.advance(192)  # at a rate of zero
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_cosine_recipe_without_an_end_is_constant():
    recipe = CosineRecipe(learning_rate=0.3, until=0)
    assert recipe.rate(0) == recipe.rate(10**6) == 0.3


def test_an_empty_batch_is_refused_by_name():
    with pytest.raises(ValueError, match="batch_size = 0: at least one image in a batch"):
        gfe(recipe=Recipe(batch_size=0))


def test_a_solver_that_learns_is_taught_every_batch():
    class Taught(AMD):
        def learn(self, objective, encoding):
            seen.append((len(objective), encoding.z.shape))

    seen, decoder = [], Decoder(generator=seeded())
    step = encoding_step(decoder, Taught(tau=50.0), ApproximateGradient())
    step(torch.rand(4, 784, generator=seeded()))
    assert seen == [(4, (4, 20))]


# --- as people train: any optimiser and scheduler, several batches an update

POOL12 = torch.rand(40, 12, generator=seeded(9), dtype=torch.float64)
OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, 1e-2, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, 1e-3),
    "adamw, two groups": lambda p: torch.optim.AdamW([{"params": p[:2], "lr": 1e-2}, {"params": p[2:]}], 1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, 1e-2),
}
SCHEDULERS = {
    "none": lambda o: None,
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1e-2, total_steps=40, cycle_momentum=False),
    "step": lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.5),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=1, threshold=0.5),
    "warm-up, then cosine": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=3), torch.optim.lr_scheduler.CosineAnnealingLR(o, 9)],
        [3],
    ),
}


def ours(optimizer="adam", scheduler="none", accumulate=1, solver=SOLVER, seed=0, **settings):
    model = mlp((3, 8, 12), seed=seed)
    own = OPTIMIZERS[optimizer](list(model.parameters()))
    step = encoding_step(model, solver, ApproximateGradient())
    return Training(
        model, step, POOL12, seeded(seed), SMALL, optimizer=own, scheduler=SCHEDULERS[scheduler](own),
        accumulate=accumulate, **settings,
    )  # fmt: skip


WARM = WarmStart(QuasiNewtonAMD(s_0=1.0, tolerance=0.0, max_trials=3), refresh=3)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize(("solver", "accumulate"), [(SOLVER, 1), (WARM, 2)], ids=["amd", "warm, two batches"])
def test_any_of_them_saved_and_continued_is_uninterrupted(optimizer, scheduler, solver, accumulate):
    whole, first = (ours(optimizer, scheduler, accumulate, solver) for _ in range(2))
    second = ours(optimizer, scheduler, accumulate, solver, seed=3)
    whole.advance(24)
    expected = whole.advance(72)
    first.advance(24)
    second.load_state_dict(reloaded(first.state_dict()))
    assert second.advance(72) == expected
    assert torch.equal(weights(whole), weights(second))
    assert whole.optimizer.param_groups[0]["lr"] == second.optimizer.param_groups[0]["lr"]


def test_a_scheduler_steps_after_each_update_and_moves_the_rate():
    training = ours("sgd", "step", accumulate=2)
    rates = []
    for images in range(8, 48, 8):
        training.advance(images)
        rates.append(training.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1e-2, 5e-3, 5e-3, 2.5e-3, 2.5e-3])


def test_a_plateau_is_that_of_the_mean_training_loss():
    seen = []
    training = ours("sgd", "plateau", accumulate=2)
    step = training.scheduler.step
    training.scheduler.step = lambda loss: seen.append(loss) or step(loss)
    mean = training.advance(8)
    assert seen == [pytest.approx(mean)]


def test_an_update_of_several_batches_is_that_of_their_summed_loss():
    training, mirror = ours("sgd", accumulate=3), mlp((3, 8, 12))
    images = POOL12[torch.cat([torch.randint(40, (4,), generator=g) for g in [seeded()] for _ in range(3)])]
    told = []
    mean = training.advance(12, told.append)
    encoding = SOLVER.encode(Objective(mirror, images))
    slopes = ApproximateGradient()(Objective(mirror, images), encoding)
    for ours_, theirs, slope in zip(training.model.parameters(), mirror.parameters(), slopes, strict=True):
        assert torch.allclose(ours_, theirs - 1e-2 * slope, rtol=1e-6, atol=1e-9)
    assert mean == pytest.approx(float(encoding.loss.mean()))
    assert told == [4, 4, 4]
    with pytest.raises(ValueError, match="16 images are not a whole number of updates of 3 batches of 12"):
        training.advance(16)


def test_gradients_of_the_caller_before_an_update_do_not_linger():
    one, other = ours("sgd"), ours("sgd")
    for parameter in one.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e3)
    one.advance(4)
    other.advance(4)
    assert torch.equal(weights(one), weights(other))


def test_several_contributions_make_one_update():
    """A step of two losses: an encoder's, and the model's own."""
    model = mlp((3, 8, 12))
    encoded = encoding_step(model, SOLVER, ApproximateGradient())

    def step(images):
        losses = encoded(images)
        (0.1 * sum(parameter.square().sum() for parameter in model.parameters())).backward()
        return losses

    training = Training(model, step, POOL12, seeded(), SMALL, optimizer=torch.optim.SGD(model.parameters(), 1e-2))
    training.advance(4)
    decayed = mlp((3, 8, 12))
    own = torch.optim.SGD(decayed.parameters(), 1e-2, weight_decay=0.2)
    step = encoding_step(decayed, SOLVER, ApproximateGradient())
    Training(decayed, step, POOL12, seeded(), SMALL, optimizer=own).advance(4)
    assert torch.allclose(weights(training), nn.utils.parameters_to_vector(decayed.parameters()))


def test_without_a_generator_a_pool_is_drawn_from_the_same_seed_each_time():
    found = []
    for _ in range(2):
        model = mlp((3, 8, 12))
        training = Training(model, encoding_step(model, SOLVER, ApproximateGradient()), POOL12)
        training.advance(16)
        found.append(weights(training))
    assert torch.equal(*found)


# --- what is saved


def test_a_saved_state_is_a_copy_either_way():
    training = ours("adam", "step", solver=WARM)
    training.advance(16)
    saved = training.state_dict()
    kept = copy.deepcopy(saved)
    training.advance(32)
    assert alike(saved, kept)
    assert not alike(training.state_dict(), kept)
    training.load_state_dict(saved)
    training.advance(48)
    assert alike(saved, kept)


def alike(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_another_solver_is_refused_and_nothing_changes():
    training, other = ours(solver=WARM), ours(solver=WarmStart(QuasiNewtonAMD(max_trials=4)))
    training.advance(8)
    before = other.state_dict()
    with pytest.raises(ValueError, match=r"the saved training's solver is WarmStart\(.*max_trials=3.*pass the same"):
        other.load_state_dict(training.state_dict())
    assert alike(other.state_dict(), before)
    for name, another in (("optimizer", ours("sgd")), ("scheduler", ours(scheduler="step"))):
        with pytest.raises(ValueError, match=f"the saved training's {name} is (Adam|none), and this one's is S"):
            another.load_state_dict(ours().state_dict())


def test_solvers_without_a_repr_of_their_own_are_known_by_their_class():
    class Own:
        def encode(self, objective, z0=None, record=False):
            return SOLVER.encode(objective, z0, record)

    first, second = ours(solver=Own()), ours(solver=Own())
    first.advance(8)
    second.load_state_dict(first.state_dict())
    assert second.images == 8


def test_arguments_that_do_not_fit_are_refused():
    model, other = mlp((3, 8, 12)), mlp((3, 8, 12))
    step, adam = encoding_step(model, SOLVER, ApproximateGradient()), torch.optim.Adam(model.parameters())
    step_lr = torch.optim.lr_scheduler.StepLR
    for match, settings in {
        "accumulate = 0: an update needs at least one batch": {"accumulate": 0},
        "the optimizer holds a parameter that is not the model's": {"optimizer": torch.optim.Adam(other.parameters())},
        "LBFGS asks for the loss several times": {"optimizer": torch.optim.LBFGS(model.parameters())},
        "the scheduler was built on another optimizer; pass that": {"scheduler": step_lr(adam, 1)},
        "the scheduler was built on another": {
            "optimizer": adam, "scheduler": step_lr(torch.optim.Adam(model.parameters()), 1),
        },
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=match):
            Training(model, step, POOL12, seeded(), **settings)
