"""What travels with the images: masks, weights and labels reach loss and decoder, and leave with their image."""

from __future__ import annotations

import pytest
import torch
from conftest import mlp, seeded
from decoders import drawn, masked, mse, per_image
from torch import nn
from torch.nn import functional as F

from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.adjoint import AdjointGradient
from gfe_core.amd import AMD
from gfe_core.fixed_grid import FixedGrid
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.many import encode_all
from gfe_core.objective import Objective
from gfe_core.warm import WarmStart

BATCH, DIM, PIXELS = 5, 3, 12
IMAGES = torch.rand(BATCH, PIXELS, generator=seeded(1), dtype=torch.float64)
SEEN = torch.rand(BATCH, PIXELS, generator=seeded(2)) < 0.6
WEIGHT = torch.arange(1, BATCH + 1, dtype=torch.float64)
LABELS = torch.tensor([2, 0, 1, 1, 0])
SOLVERS = [
    AMD(tau=30.0, max_trials=20), QuasiNewtonAMD(max_trials=12), NesterovAMD(max_trials=12), WarmStart(),
    BarzilaiBorweinAMD(max_trials=12), GaussNewtonBFGS(max_trials=12), LevenbergMarquardt(max_trials=8),
    FixedGrid(10.0, slices=10),
]  # fmt: skip
solvers = pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)


class Conditional(nn.Module):
    """Latents and a label to pixels."""

    latent_dim = DIM

    def __init__(self):
        super().__init__()
        self.net, self.embed = mlp((2 * DIM, 8, PIXELS)), drawn(nn.Embedding(3, DIM), 4).double()

    def forward(self, z, label):
        return self.net(torch.cat([z, self.embed(label)], dim=1))


class ByName(Conditional):
    def forward(self, z, *, temperature=1.0, label):
        return super().forward(z, label) * temperature


class Optional(Conditional):
    def forward(self, z, label=None):
        return super().forward(z, torch.zeros(len(z), dtype=torch.int64) if label is None else label)


class Anything(nn.Module):
    """A wrapper that passes on what it is given."""

    latent_dim = DIM

    def __init__(self, within):
        super().__init__()
        self.within = within

    def forward(self, *given, **named):
        return self.within(*given, **named)


def weighted(output, images, weight):
    return weight * mse(output, images)


def both(output, images, seen, weight):
    return weight * masked(output, images, seen)


def of_a_dict(output, images, extra):
    return both(output, images, extra["seen"], extra["weight"])


def in_both(output, images, label):
    return (1 + label) * mse(output, images)


class AsModule(nn.Module):
    def forward(self, output, images, seen):
        return masked(output, images, seen)


SITUATIONS = {
    "mask": (lambda: mlp((DIM, 8, PIXELS)), masked, SEEN),
    "weight": (lambda: mlp((DIM, 8, PIXELS)), weighted, WEIGHT),
    "dict by name": (lambda: mlp((DIM, 8, PIXELS)), both, {"weight": WEIGHT, "seen": SEEN}),
    "dict as a whole": (lambda: mlp((DIM, 8, PIXELS)), of_a_dict, {"weight": WEIGHT, "seen": SEEN}),
    "loss is a module": (lambda: mlp((DIM, 8, PIXELS)), AsModule(), SEEN),
    "labels": (Conditional, mse, LABELS),
    "labels by name": (ByName, mse, {"label": LABELS}),
    "optional labels": (Optional, mse, LABELS),
    "mask and labels": (Conditional, masked, {"seen": SEEN, "label": LABELS}),
    "through a wrapper": (lambda: Anything(Conditional()), mse, LABELS),
    "named, through a wrapper": (lambda: Anything(ByName()), mse, {"label": LABELS}),
    "mask past a wrapper": (lambda: Anything(mlp((DIM, 8, PIXELS))), masked, SEEN),
    "mask past two wrappers": (lambda: nn.DataParallel(Anything(mlp((DIM, 8, PIXELS)))), masked, {"seen": SEEN}),
    "compiled": (lambda: torch.compile(Conditional(), backend="eager"), mse, LABELS),
    "labels for both": (Conditional, in_both, {"label": LABELS}),
}


@pytest.mark.parametrize("kind", SITUATIONS)
def test_loss_and_decoder_are_handed_their_part(kind):
    make, loss, extra = SITUATIONS[kind]
    decoder = make()
    objective = Objective(decoder, IMAGES, loss, extra, latent_dim=DIM)
    z = torch.randn(BATCH, DIM, generator=seeded(3), dtype=torch.float64)
    if "mask past" in kind or isinstance(decoder, nn.Sequential):
        output = decoder(z)
    else:
        output = decoder(z, label=LABELS) if "name" in kind else decoder(z, LABELS)
    expected = {
        masked: lambda: masked(output, IMAGES, SEEN), weighted: lambda: weighted(output, IMAGES, WEIGHT),
        both: lambda: both(output, IMAGES, SEEN, WEIGHT), of_a_dict: lambda: both(output, IMAGES, SEEN, WEIGHT),
        mse: lambda: mse(output, IMAGES), in_both: lambda: in_both(output, IMAGES, LABELS),
    }.get(loss, lambda: masked(output, IMAGES, SEEN))()  # fmt: skip
    assert torch.allclose(objective.value(z), expected, rtol=1e-12)


@solvers
@pytest.mark.parametrize("kind", [kind for kind in SITUATIONS if kind != "compiled"])
def test_an_image_keeps_its_own_in_any_batch(kind, solver):
    """Alone, in the batch, and in another order."""
    make, loss, extra = SITUATIONS[kind]
    objective = Objective(make(), IMAGES, loss, extra, latent_dim=DIM)
    whole = solver.encode(objective)
    for chosen in ([4], [4, 2, 0, 1, 3], [3, 3]):
        index = torch.tensor(chosen)
        own = {k: v[index] for k, v in extra.items()} if isinstance(extra, dict) else extra[index]
        built = solver.encode(Objective(make(), IMAGES[index], loss, own, latent_dim=DIM))
        for part in (solver.encode(objective.select(index)), built):
            assert torch.allclose(part.loss, whole.loss[index], rtol=1e-5)
            assert torch.allclose(part.z, whole.z[index], rtol=1e-3, atol=1e-3)


def test_images_that_leave_the_batch_early_take_theirs_along():
    """Weights of ten to the power of -3 to 3 let the images end at very different times."""
    weight = torch.logspace(-3, 3, BATCH, dtype=torch.float64)
    decoder, solver = mlp((DIM, 8, PIXELS)), AMD(tau=100.0, s_0=0.01, s_max=1.0, max_trials=500)
    whole = solver.encode(Objective(decoder, IMAGES, weighted, weight))
    assert len(set(whole.steps.tolist())) > 2
    for i in range(BATCH):
        own = weight[i]
        alone = solver.encode(Objective(decoder, IMAGES[i : i + 1], lambda o, y, own=own: own * mse(o, y)))
        assert torch.allclose(alone.z[0], whole.z[i], rtol=1e-4, atol=1e-6)


def test_what_is_not_seen_has_no_part_in_the_encoding():
    decoder, other = mlp((DIM, 8, PIXELS)), torch.where(SEEN, IMAGES, 1 - IMAGES)
    one, two = (QuasiNewtonAMD().encode(Objective(decoder, y, masked, SEEN)) for y in (IMAGES, other))
    assert torch.equal(one.z, two.z)
    hidden = torch.where(SEEN, IMAGES, torch.nan)
    assert torch.equal(QuasiNewtonAMD().encode(Objective(decoder, hidden, masked, SEEN)).z, one.z)


def test_a_whole_data_set_is_encoded_with_what_belongs_to_it():
    decoder, solver = Conditional(), QuasiNewtonAMD(max_trials=10)
    extra = {"seen": SEEN, "label": LABELS}
    whole = solver.encode(Objective(decoder, IMAGES, masked, extra))
    parts = list(encode_all(decoder, IMAGES, solver, masked, 2, extra=extra))
    assert torch.allclose(torch.cat([part.loss for part in parts]), whole.loss, rtol=1e-6)


def test_gradients_go_past_it():
    objective = Objective(Conditional(), IMAGES, masked, {"seen": SEEN, "label": LABELS})
    encoding = FixedGrid(5.0, slices=40).encode(objective, record=True)
    names = [name for name, _ in objective.decoder.named_parameters()]
    found = dict(zip(names, AdjointGradient()(objective, encoding), strict=True))
    weight, h = objective.decoder.embed.weight, 1e-5
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[1, 0] += sign * h
            losses.append(FixedGrid(5.0, slices=40).encode(objective).loss.sum())
            weight[1, 0] -= sign * h
    assert torch.allclose(found["embed.weight"][1, 0], (losses[0] - losses[1]) / (2 * h), rtol=5e-3)


def test_a_scripted_decoder_takes_labels():
    class Scripted(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.embed = nn.Linear(2 * DIM, PIXELS), nn.Embedding(3, DIM)

        def forward(self, z: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            return self.net(torch.cat([z, self.embed(label)], dim=1))

    plain = drawn(Scripted()).double()
    scripted = torch.jit.script(plain)
    for extra in (LABELS, {"label": LABELS}):
        one, two = (Objective(decoder, IMAGES, mse, extra, latent_dim=DIM) for decoder in (plain, scripted))
        z = torch.ones(BATCH, DIM, dtype=torch.float64)
        assert torch.equal(one.value(z), two.value(z))
        assert torch.allclose(QuasiNewtonAMD().encode(two).loss, QuasiNewtonAMD().encode(one).loss, rtol=1e-6)


def test_labels_may_be_what_is_encoded():
    decoder = mlp((DIM, 8, 3))
    objective = Objective(decoder, LABELS, lambda o, y: F.cross_entropy(o, y, reduction="none"))
    encoding = QuasiNewtonAMD(max_trials=40).encode(objective)
    assert (encoding.loss < 0.3 * objective.value(objective.start())).all()
    assert torch.allclose(F.cross_entropy(decoder(encoding.z), LABELS, reduction="none"), encoding.loss)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.uint8, torch.bool])
def test_a_mask_may_be_of_any_dtype(dtype):
    def seen_alone(output, images, seen):
        return per_image((output - images).square() * seen)

    plain, other = (Objective(mlp((DIM, 8, PIXELS)), IMAGES, seen_alone, SEEN.to(kind)) for kind in (bool, dtype))
    z = torch.ones(BATCH, DIM, dtype=torch.float64)
    assert torch.allclose(plain.value(z), other.value(z))


# --- what is refused


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (WEIGHT[:3], r"extra has shape \(3,\).*each of the 5 images"),
        (torch.tensor(2.0), r"extra has shape \(\)"),
        ({"weight": WEIGHT[:1]}, r"extra\['weight'\] has shape \(1,\)"),
        ([1, 2, 3, 4, 5], "extra is a list; pass a tensor"),
        ({"weight": [1.0] * 5}, r"extra\['weight'\] is a list"),
        (3.0, "extra is a float"),
        ({"weight": WEIGHT, "mask": SEEN}, "parameter named 'mask'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_does_not_fit_is_told(extra, said):
    with pytest.raises(ValueError, match=said):
        Objective(mlp((DIM, 8, PIXELS)), IMAGES, weighted, extra)


def test_what_nobody_takes_is_told():
    with pytest.raises(ValueError, match="neither the loss nor the decoder takes extra"):
        Objective(mlp((DIM, 8, PIXELS)), IMAGES, mse, WEIGHT)


def test_a_label_that_the_decoder_lacks_is_told():
    with pytest.raises(ValueError, match="decoder fails.*label"):
        Objective(Conditional(), IMAGES, mse)
    with pytest.raises(ValueError, match="loss fails.*missing.*extra"):
        Objective(mlp((DIM, 8, PIXELS)), IMAGES, weighted)


def test_an_option_of_a_losses_own_is_no_extra():
    """A second parameter with a default is set by who wrote it."""

    def options(output, images, reduction="none", seen=None):
        assert reduction == "none"
        return masked(output, images, SEEN if seen is None else seen)

    with pytest.raises(ValueError, match="neither the loss nor the decoder takes extra"):
        Objective(mlp((DIM, 8, PIXELS)), IMAGES, options, SEEN)
    by_name = Objective(mlp((DIM, 8, PIXELS)), IMAGES, options, {"seen": SEEN})
    assert torch.equal(by_name.value(by_name.start()), options(by_name.decoder(by_name.start()), IMAGES))


def test_an_empty_dict_is_nothing():
    assert Objective(mlp((DIM, 8, PIXELS)), IMAGES, mse, {}).extra is None


def test_the_callers_tensors_are_left_alone():
    seen, label = SEEN.clone(), LABELS.clone()
    given = {"seen": seen, "label": label}
    objective = Objective(Conditional(), IMAGES, masked, given)
    QuasiNewtonAMD(max_trials=5).encode(objective)
    assert set(given) == {"seen", "label"} and torch.equal(seen, SEEN) and torch.equal(label, LABELS)


def test_made_in_inference_mode_it_lets_gradients_past():
    with torch.inference_mode():
        seen, weight = SEEN.clone(), WEIGHT.clone()
    objective = Objective(mlp((DIM, 8, PIXELS)), IMAGES, both, {"seen": seen, "weight": weight})
    assert QuasiNewtonAMD().encode(objective).loss.isfinite().all()
    objective.vector_jacobian(objective.start(), torch.ones(BATCH, DIM, dtype=torch.float64))
