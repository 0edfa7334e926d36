"""What an objective asks of a loss: one floating number for each image, of that image alone; else a clear sentence."""

from __future__ import annotations

import pytest
import torch
from conftest import mlp, seeded
from decoders import convolutional, mse, per_image
from torch import nn
from torch.nn import functional as F

from gfe_core.adjoint import AdjointGradient
from gfe_core.fixed_grid import FixedGrid
from gfe_core.objective import Objective


def images(batch=3, *shape):
    return torch.rand(batch, *(shape or (12,)), generator=seeded(1), dtype=torch.float64)


def flat():
    return mlp((2, 8, 12))


def colour():
    return convolutional(2, size=8)


REFUSED = {
    "a scalar, MSE": (lambda o, y: F.mse_loss(o, y), "shape ()"),
    "a scalar, L1": (lambda o, y: F.l1_loss(o, y), "shape ()"),
    "a scalar, cross-entropy": (lambda o, y: F.binary_cross_entropy_with_logits(o, y), "shape ()"),
    "a scalar, summed": (lambda o, y: F.mse_loss(o, y, reduction="sum"), "shape ()"),
    "a module with its default": (nn.MSELoss(), "shape ()"),
    "another module with its default": (nn.SmoothL1Loss(), "shape ()"),
    "one number in a row": (lambda o, y: F.mse_loss(o, y)[None], "shape (1,)"),
    "the mean of losses": (lambda o, y: per_image((o - y).square()).mean(), "shape ()"),
    "unreduced": (lambda o, y: F.mse_loss(o, y, reduction="none"), "shape (1, 12)"),
    "over the batch's axis": (lambda o, y: (o - y).square().mean(dim=0), "shape (12,)"),
    "a column": (lambda o, y: (o - y).square().mean(dim=1, keepdim=True), "shape (1, 1)"),
    "a row": (lambda o, y: (o - y).square().mean(dim=1)[None], "shape (1, 1)"),
    "integers": (lambda o, y: (o - y).square().sum(dim=1).long(), "torch.int64"),
    "truths": (lambda o, y: (o > y).any(dim=1), "torch.bool"),
    "a float": (lambda o, y: float((o - y).square().mean()), "float"),
    "nothing": (lambda o, y: None, "NoneType"),
    "a list": (lambda o, y: [(a - b).square().mean() for a, b in zip(o, y, strict=True)], "list"),
    "numpy": (lambda o, y: (o - y).square().mean(dim=1).numpy(), "ndarray"),
    "a pair": (lambda o, y: (mse(o, y), {}), "tuple"),
}


@pytest.mark.parametrize("batch", [1, 2, 3, 12])
@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_one_floating_number_for_each_image_is_refused_with_the_remedy(kind, batch):
    loss, said = REFUSED[kind]
    with pytest.raises(ValueError) as told:
        Objective(flat(), images(batch), loss)
    assert said in str(told.value) or "shape (2, 12)" in str(told.value) or "shape (2, 1)" in str(told.value) or (
        "shape (1, 2)" in str(told.value)
    )  # fmt: skip
    assert "F.mse_loss(output, images, reduction='none').flatten(1).mean(dim=1)" in str(told.value)


def of_the_batch(kind):
    """Losses of the right shape that depend on what else is in the batch."""

    def loss(output, y):
        squares = per_image((output - y).square())
        if kind == "divided by the batch":
            return squares / len(y)
        if kind == "the batch's mean for each":
            return squares.mean().expand(len(y))
        if kind == "normalised over the batch":
            return squares / squares.detach().sum()
        if kind == "contrastive":
            return F.cross_entropy(output.flatten(1) @ y.flatten(1).T, torch.arange(len(y)), reduction="none")
        if kind == "the batch's largest":
            return squares / y.amax()
        if kind == "a neighbour":
            return squares + per_image((output - y.roll(1, 0)).square())
        if kind == "those before it":
            return squares.cumsum(dim=0)
        if kind == "those after it":
            return squares.flip(0).cumsum(dim=0).flip(0)
        if kind == "a penalty on the batch's mean":
            return squares + output.mean().square()
        return squares - F.softmax(squares, dim=0)

    return loss


@pytest.mark.parametrize("batch", [2, 3, 8])
@pytest.mark.parametrize(
    "kind",
    [
        "divided by the batch", "the batch's mean for each", "normalised over the batch", "contrastive",
        "the batch's largest", "a neighbour", "a penalty on the batch's mean", "weights of the batch",
        "those before it", "those after it",
    ],
)  # fmt: skip
def test_a_loss_that_depends_on_the_batch_is_refused(kind, batch):
    with pytest.raises(ValueError, match="must not depend on the batch.*pass what belongs to each image as extra"):
        Objective(flat(), images(batch), of_the_batch(kind))


@pytest.mark.parametrize("batch", [2, 3, 5])  # one image alone cannot leave its batch
@pytest.mark.parametrize(
    "kind",
    ["mask", "weight", "target", "index", "label", "column of weights", "mask of another shape", "the first rows"],
)
def test_a_loss_that_holds_what_belongs_to_each_image_is_refused(kind, batch):
    y, decoder = images(batch), flat()
    held = torch.arange(1, batch + 1, dtype=torch.float64)
    loss = {
        "mask": lambda o, _: per_image(((o - y) * (y > 0.3)).square()),
        "weight": lambda o, y: held * per_image((o - y).square()),
        "target": lambda o, _: per_image((o - y).square()),
        "the first rows": lambda o, y: held[: len(y)] * per_image((o - y).square()),
        "index": lambda o, y: per_image((o - y).square())[torch.arange(batch)],
        "label": lambda o, y: F.cross_entropy(o, torch.arange(batch), reduction="none"),
        "column of weights": lambda o, y: per_image((o - y).square() * held[:, None]),
        "mask of another shape": lambda o, y: per_image((o - y).reshape(-1, 3, 4) * held[:, None, None]) ** 2,
    }[kind]
    with pytest.raises(ValueError, match="extra"):
        Objective(decoder, y, loss)


@pytest.mark.parametrize("batch", [2, 3])
def test_shapes_that_broadcast_over_the_batch_are_refused(batch):
    """(B, 1, H, W) - (B, H, W) is (B, B, H, W)."""
    decoder = nn.Sequential(nn.Linear(2, 16, dtype=torch.float64), nn.Unflatten(1, (1, 4, 4)))
    decoder.latent_dim = 2
    for loss in (mse, lambda o, y: (o - y).square().sum(dim=(1, 2, 3)), lambda o, y: (o - y).abs().mean((1, 2, 3))):
        with pytest.raises(ValueError):
            Objective(decoder, images(batch, 4, 4), loss)
    Objective(decoder, images(batch, 1, 4, 4), mse)


def test_one_image_alone_is_tried_beside_another():
    """What broadcasts, couples or holds is found with one image too: it will be encoded with others the next time."""
    decoder = nn.Sequential(nn.Linear(2, 16, dtype=torch.float64), nn.Unflatten(1, (1, 4, 4)))
    decoder.latent_dim = 2
    with pytest.raises(ValueError):
        Objective(decoder, images(1, 4, 4), mse)
    with pytest.raises(ValueError):
        Objective(flat(), images(1), of_the_batch("divided by the batch"))


CONSTANT = {
    "detached": lambda o, y: mse(o.detach(), y),
    "rounded to whole numbers": lambda o, y: mse(o.argmax(dim=1, keepdim=True).double(), y),
    "from .data": lambda o, y: mse(o.data, y),
    "of the images alone": lambda o, y: mse(y, y),
    "counted": lambda o, y: per_image((o > y).double()),
}


@pytest.mark.parametrize("kind", CONSTANT)
def test_a_loss_without_a_gradient_is_refused(kind):
    with pytest.raises(ValueError, match="no gradient in z.*detach"):
        Objective(flat(), images(), CONSTANT[kind])


def test_a_loss_in_numpy_or_under_no_grad_is_refused():
    def without(o, y):
        with torch.no_grad():
            return mse(o, y)

    for loss in (without, lambda o, y: torch.from_numpy(mse(o, y).detach().numpy())):
        with pytest.raises(ValueError, match="no gradient in z"):
            Objective(flat(), images(), loss)


def test_a_decoder_without_a_gradient_is_refused():
    class Detached(nn.Module):
        latent_dim = 2

        def __init__(self):
            super().__init__()
            self.net = flat()

        def forward(self, z):
            with torch.no_grad():
                return self.net(z)

    with pytest.raises(ValueError, match="no gradient in z"):
        Objective(Detached(), images(), mse)


RANDOM = {
    "noise": lambda o, y: mse(o + torch.randn_like(o), y),
    "a random crop": lambda o, y: mse(*((o[:, i:], y[:, i:])) if (i := int(torch.randint(1, 9, ()))) else (o, y)),
    "random pixels": lambda o, y: per_image(F.dropout((o - y).square(), 0.5)),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_a_loss_that_draws_at_random_is_refused(kind):
    with pytest.raises(ValueError, match="another result when it is called again|must not depend"):
        for _ in range(5):  # a draw may be twice the same
            Objective(flat(), images(), RANDOM[kind])


FINE = {
    "sum": lambda o, y: (o - y).square().flatten(1).sum(1),
    "mean of a module's": lambda o, y: nn.SmoothL1Loss(reduction="none")(o, y).flatten(1).mean(1),
    "a norm": lambda o, y: torch.linalg.vector_norm((o - y).flatten(1), dim=1),
    "by einsum": lambda o, y: torch.einsum("bi,bi->b", (o - y).flatten(1), (o - y).flatten(1)),
    "by vmap": lambda o, y: torch.func.vmap(lambda a, b: (a - b).square().mean())(o, y),
    "image by image": lambda o, y: torch.stack([F.mse_loss(a, b) for a, b in zip(o, y, strict=True)]),
    "by cdist": lambda o, y: torch.cdist(o.flatten(1)[:, None], y.flatten(1)[:, None])[:, 0, 0],
    "with a constant": lambda o, y: mse(o, y) + 1e6,
    "negative": lambda o, y: -torch.exp(-mse(o, y)),
    "of what is the same for all": lambda o, y: per_image((o - y) ** 2 * torch.linspace(1, 2, o.shape[-1]).to(o)),
    "in single precision": lambda o, y: mse(o.float(), y.float()),
}


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("kind", FINE)
def test_a_loss_that_is_one_number_for_each_image_is_taken(kind, batch):
    for decoder, y in ((flat(), images(batch)), (colour(), images(batch, 3, 8, 8))):
        objective = Objective(decoder, y, FINE[kind])
        assert objective.evaluations == 0
        z = torch.randn(batch, 2, generator=seeded(3), dtype=torch.float64)
        assert torch.allclose(objective.value(z), FINE[kind](decoder(z), y).double())
        for i in range(batch):
            assert torch.allclose(objective.select(torch.tensor([i])).value(z[i : i + 1]), objective.value(z)[i])


@pytest.mark.parametrize("large", [1e8, 1e-12])
def test_the_scale_of_a_loss_is_no_matter(large):
    Objective(flat(), images(), lambda o, y: large * mse(o, y))


def test_a_loss_that_is_not_a_number_at_the_probe_is_not_taken_for_a_random_one():
    """It is asked again only where the solver is."""
    decoder = flat()
    objective = Objective(decoder, images(), lambda o, y: mse(o, y).log() + torch.where(o[:, 0] > 1e9, 1.0, 0.0))
    assert objective.value(objective.start()).isfinite().all()
    Objective(decoder, images(), lambda o, y: mse(o, y) * torch.nan)


def test_fixed_grids_refuse_what_they_encoded_wrongly_before():
    """A mean over the batch divides every image's gradient by B: silently another encoding."""
    y, decoder = images(4), flat()
    with pytest.raises(ValueError):
        FixedGrid(10.0).encode(Objective(decoder, y, F.mse_loss))
    whole = FixedGrid(10.0, slices=20).encode(Objective(decoder, y, mse))
    alone = FixedGrid(10.0, slices=20).encode(Objective(decoder, y[2:3], mse))
    assert torch.allclose(whole.z[2], alone.z[0], rtol=1e-12)


def test_shapes_that_do_not_fit_are_told_with_both_shapes():
    with pytest.raises(ValueError, match=r"output \(2, 12\), images \(2, 11\)|output \(1, 12\), images \(1, 11\)"):
        Objective(flat(), images(3, 11), mse)
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 8\)"):
        Objective(colour(), images(3, 1, 9, 9), mse)


def test_a_decoder_of_another_latent_size_is_told():
    decoder = nn.Sequential(nn.Linear(5, 12, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"decoder fails on latents of shape \(2, 4\).*latent_dim"):
        Objective(decoder, images(), mse, latent_dim=4)
    objective = Objective(decoder, images(), mse)
    with pytest.raises(ValueError, match="decoder fails on latents of shape"):
        objective.start(torch.zeros(3, 4, dtype=torch.float64))


def test_a_decoder_that_returns_other_rows_than_latents_is_refused():
    class Rows(nn.Module):
        latent_dim = 2

        def __init__(self):
            super().__init__()
            self.net = flat()

        def forward(self, z):
            return self.net(z).mean(dim=0, keepdim=True)

    with pytest.raises(ValueError):
        Objective(Rows(), images(), lambda o, y: (o - y).square().mean(dim=1))


def test_the_check_needs_no_latent_dim_and_comes_with_the_first_start():
    decoder = nn.Sequential(nn.Linear(2, 12, dtype=torch.float64))
    objective = Objective(decoder, images(), F.mse_loss)
    with pytest.raises(ValueError, match="one number for each image"):
        FixedGrid(10.0).encode(objective, torch.zeros(3, 2, dtype=torch.float64))


def test_other_images_are_not_tried_again_and_counted_anew():
    calls = []

    def loss(o, y):
        calls.append(len(y))
        return mse(o, y)

    objective = Objective(flat(), images(), loss)
    assert {1, 2} == set(calls)
    tried = len(calls)
    objective.value(objective.start())
    fresh = objective.renewed(images(7))
    assert (len(calls), fresh.evaluations, len(fresh)) == (tried + 1, 0, 7)
    with pytest.raises(ValueError, match="extra came with some images"):
        objective.renewed(images(7), torch.ones(7))


def test_the_adjoint_of_a_loss_that_is_taken_is_that_of_the_sum():
    decoder, y = flat(), images()
    objective = Objective(decoder, y, mse)
    encoding = FixedGrid(1.0, slices=20).encode(objective, record=True)
    found = AdjointGradient()(objective, encoding)
    assert all(part is not None and part.isfinite().all() for part in found)


@pytest.mark.parametrize("kind", ["ndarray", "list", "NoneType"])
def test_images_that_are_no_tensor_are_told(kind):
    y = {"ndarray": images().numpy(), "list": images().tolist(), "NoneType": None}[kind]
    with pytest.raises(ValueError, match=f"the images are a {kind}; pass a tensor"):
        Objective(flat(), y, mse)
    with pytest.raises(ValueError, match=f"the images are a {kind}; pass a tensor"):
        Objective(flat(), images(), mse).renewed(y)
