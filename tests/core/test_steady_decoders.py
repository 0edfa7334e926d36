"""Decoders that are no functions of z are refused by name; decoders that are flat at the start are told of."""

from __future__ import annotations

import pytest
import torch
from conftest import mlp, seeded
from decoders import convolutional, drawn, mse
from torch import nn
from torch.nn import functional as F

from gfe_core.accelerated import BarzilaiBorweinAMD, NesterovAMD, QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.encoding import Status
from gfe_core.fixed_grid import FixedGrid
from gfe_core.levenberg_marquardt import GaussNewtonBFGS, LevenbergMarquardt
from gfe_core.many import encode_all
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective
from gfe_core.warm import WarmStart

IMAGES = torch.rand(4, 12, generator=seeded(1))


class Nested(nn.Module):
    """A decoder with something inside a block of a block."""

    latent_dim = 3

    def __init__(self, inside):
        super().__init__()
        self.head = nn.Linear(3, 8)
        self.blocks = nn.ModuleList([nn.Sequential(nn.ELU(), inside, nn.ELU()), nn.Identity()])
        self.tail = nn.Linear(8, 12)

    def forward(self, z):
        x = self.head(z)
        for block in self.blocks:
            x = block(x)
        return self.tail(x)


class Noise(nn.Module):
    """As in StyleGAN: noise is added in any mode."""

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


class NoiseInTraining(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x) if self.training else x


class FunctionalDropout(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.3)  # training=True by default, in eval mode too


class Stepping(nn.Module):
    """It changes with each call."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x * (1 + 0.1 * self.calls)


class StochasticDepth(nn.Module):
    """Whether a row is dropped is drawn for each."""

    def forward(self, x):
        return x * torch.empty(len(x), 1).bernoulli_(0.5) if self.training else x


class GaussianLatent(nn.Module):
    def __init__(self):
        super().__init__()
        self.mean = nn.Linear(8, 8)

    def forward(self, x):
        return torch.normal(self.mean(x), 0.3)


SPECTRAL = r"spectral normalisation .* 'blocks\.0\.1.*is in training mode"
UNSTEADY = {  # what is inside, what the error says, and whether decoder.eval() mends it
    "dropout": (lambda: nn.Dropout(0.3), r"Dropout 'blocks\.0\.1' is in training mode", True),
    "alpha dropout": (lambda: nn.AlphaDropout(0.3), r"AlphaDropout 'blocks\.0\.1'", True),
    "feature dropout": (
        lambda: nn.Sequential(nn.Unflatten(1, (2, 4)), nn.Dropout1d(), nn.Flatten()),
        r"Dropout1d 'blocks\.0\.1\.1'", True,
    ),
    "rrelu": (lambda: nn.RReLU(), r"RReLU 'blocks\.0\.1'", True),
    "batch norm": (lambda: nn.BatchNorm1d(8), r"batch normalisation 'blocks\.0\.1' is in training mode", True),
    "lazy batch norm": (lambda: nn.LazyBatchNorm1d(), r"batch normalisation 'blocks\.0\.1'", False),
    "spectral norm": (lambda: nn.utils.spectral_norm(nn.Linear(8, 8)), SPECTRAL, True),
    "spectral norm, parametrized": (
        lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)), SPECTRAL, True,
    ),
    "noise": (Noise, r"Noise 'blocks\.0\.1' gives another result", False),
    "noise in training": (NoiseInTraining, r"NoiseInTraining 'blocks\.0\.1' gives another result.*eval", True),
    "functional dropout": (FunctionalDropout, r"FunctionalDropout 'blocks\.0\.1' gives another result", False),
    "stepping": (Stepping, r"Stepping 'blocks\.0\.1' gives another result", False),
    "stochastic depth": (StochasticDepth, r"StochasticDepth 'blocks\.0\.1'|must not depend on the batch", True),
    "a drawn latent": (GaussianLatent, r"GaussianLatent 'blocks\.0\.1' gives another result", False),
}  # fmt: skip


@pytest.mark.parametrize("kind", UNSTEADY)
def test_a_decoder_that_is_no_function_is_refused_by_the_name_of_its_module(kind):
    make, said, mends = UNSTEADY[kind]
    torch.manual_seed(0)  # one that draws may draw the same in all calls, if seldom
    decoder = Nested(make())
    for _ in range(3):
        with pytest.raises(ValueError, match=said):
            Objective(decoder, IMAGES, mse)
    if mends:
        objective = Objective(decoder.eval(), IMAGES, mse)
        encoding = QuasiNewtonAMD(max_trials=15).encode(objective)
        assert torch.allclose(encoding.loss, mse(decoder(encoding.z), IMAGES).detach(), rtol=1e-5)
        with pytest.raises(ValueError, match=said):  # and back in training, for other images
            decoder.train()
            objective.renewed(IMAGES)
            Objective(decoder, IMAGES, mse)


@pytest.mark.parametrize("where", ["itself", "in a sequence", "behind a wrapper"])
def test_a_nameless_module_is_named_by_its_type(where):
    class Wrapper(nn.Module):
        latent_dim = 3

        def __init__(self, within):
            super().__init__()
            self.within = within

        def forward(self, z):
            return self.within(z)

    class Shaking(nn.Module):
        latent_dim = 3

        def __init__(self):
            super().__init__()
            self.net = nn.Linear(3, 12)

        def forward(self, z):
            return self.net(z) + torch.rand(())

    decoder = {"itself": Shaking(), "in a sequence": nn.Sequential(Shaking()), "behind a wrapper": Wrapper(Shaking())}
    with pytest.raises(ValueError, match="Shaking.* gives another result"):
        Objective(decoder[where], IMAGES, mse, latent_dim=3)


def test_a_scripted_decoder_that_draws_is_refused():
    class Shaking(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(3, 12)

        def forward(self, z: torch.Tensor) -> torch.Tensor:
            return self.net(z) + torch.rand_like(z).sum()

    with pytest.raises(ValueError, match="the decoder or the loss gives another result"):
        Objective(torch.jit.script(Shaking()), IMAGES, mse, latent_dim=3)


@pytest.mark.parametrize(
    "inside",
    [
        nn.Dropout(0.0), nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.Identity(), nn.PReLU(),
        nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)), nn.utils.parametrizations.orthogonal(nn.Linear(8, 8)),
    ],
    ids=lambda inside: type(inside).__name__,
)  # fmt: skip
def test_what_is_a_function_in_training_mode_is_taken(inside):
    decoder = Nested(inside).train()
    encoding = QuasiNewtonAMD(max_trials=10).encode(Objective(decoder, IMAGES, mse))
    assert torch.allclose(encoding.loss, mse(decoder(encoding.z), IMAGES).detach(), rtol=1e-5)


def test_noise_that_is_held_fixed_is_taken():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("noise", torch.randn(8, generator=seeded(3)))

        def forward(self, x):
            return x + 0.1 * self.noise

    Objective(Nested(Fixed()), IMAGES, mse)


def test_the_check_changes_no_running_statistics_and_no_weights():
    decoder = Nested(nn.Sequential(nn.BatchNorm1d(8), nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8)))).eval()
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    objective = Objective(decoder, IMAGES, mse)
    QuasiNewtonAMD(max_trials=5).encode(objective)
    GaussNewtonBFGS(max_trials=5).encode(objective)
    objective.all_gradients(objective.start())
    assert all(torch.equal(tensor, before[name]) for name, tensor in decoder.state_dict().items())
    assert not decoder.training
    with pytest.raises(ValueError, match="training mode"):
        Objective(decoder.train(), IMAGES, mse)
    assert all(torch.equal(tensor, before[name]) for name, tensor in decoder.state_dict().items())


def test_the_hooks_of_the_search_are_taken_off_again():
    decoder = Nested(Noise())
    with pytest.raises(ValueError, match="Noise"):
        Objective(decoder, IMAGES, mse)
    assert not any(module._forward_hooks for module in decoder.modules())


# --- dead starts

SOLVERS = [
    AMD(tau=10.0), QuasiNewtonAMD(), NesterovAMD(max_trials=50), BarzilaiBorweinAMD(max_trials=50),
    GaussNewtonBFGS(max_trials=50), LevenbergMarquardt(max_trials=20), FixedGrid(10.0, slices=10),
    Nesterov(3.0, slices=10), WarmStart(),
]  # fmt: skip


def relus(bias=False):
    decoder = nn.Sequential(nn.Linear(3, 16, bias=bias), nn.ReLU(), nn.Linear(16, 12))
    decoder.latent_dim = 3
    return drawn(decoder, 2)


class Squares(nn.Module):
    latent_dim = 3

    def __init__(self):
        super().__init__()
        self.net = drawn(nn.Linear(3, 12), 2)

    def forward(self, z):
        return self.net(z.square())


class Unused(nn.Module):
    """The latent has no part in the output at all near zero: clamped."""

    latent_dim = 3

    def __init__(self):
        super().__init__()
        self.net = drawn(nn.Linear(3, 12), 2)

    def forward(self, z):
        return self.net(F.softshrink(z, 0.3))


DEAD = {"ReLUs without biases": relus, "squares": Squares, "shrunk": Unused}


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: type(solver).__name__)
@pytest.mark.parametrize("kind", DEAD)
def test_a_dead_start_is_told_and_another_mends_it(kind, solver):
    decoder = DEAD[kind]()
    objective = Objective(decoder, IMAGES, mse)
    with pytest.warns(RuntimeWarning, match="gradient zero at z.0.*pass another start z0"):
        dead = solver.encode(objective)
    assert torch.equal(dead.z, torch.zeros(4, 3))
    if isinstance(solver, AMD):  # by the paper's stop: the curve is flat
        assert (dead.status == Status.CONVERGED).all()
    single = torch.tensor([0.8, -0.9, 0.7])
    for z0 in (single.expand(4, 3), single, lambda images: single * torch.ones(len(images), 1)):
        encoding = solver.encode(objective, z0)
        assert (encoding.z != 0).any(dim=1).all()
        assert (encoding.loss <= objective.value(objective.start(z0))).all()
        assert (encoding.z != single).any(dim=1).all()


def test_a_start_for_a_whole_data_set():
    decoder, y = relus(), torch.rand(7, 12, generator=seeded(1))
    rows = torch.randn(7, 3, generator=seeded(4))
    for z0 in (rows, rows[0], lambda images: rows[: len(images)]):
        parts = list(encode_all(decoder, y, QuasiNewtonAMD(max_trials=20), mse, 3, z0=z0))
        assert [len(part.z) for part in parts] == [3, 3, 1]
        assert all((part.z != 0).any() for part in parts)


@pytest.mark.filterwarnings("error")
def test_a_start_that_is_alive_is_not_told_of():
    for solver in (QuasiNewtonAMD(max_trials=5), FixedGrid(1.0, slices=4), WarmStart()):
        solver.encode(Objective(relus(bias=True), IMAGES, mse))
        solver.encode(Objective(relus(), IMAGES, mse), torch.ones(4, 3))


def test_one_dead_image_among_others_is_told():
    objective = Objective(relus(), IMAGES, mse)
    z0 = torch.ones(4, 3)
    z0[2] = 0
    with pytest.warns(RuntimeWarning, match="gradient zero"):
        encoding = QuasiNewtonAMD(max_trials=10).encode(objective, z0)
    assert encoding.status[2] == Status.STALLED and (encoding.steps[[0, 1, 3]] > 0).all()


@pytest.mark.parametrize(
    ("z0", "said"),
    [
        (torch.zeros(3, 3), r"z0 has shape \(3, 3\); it needs \(4, 3\)"),
        (torch.zeros(4, 2), r"z0 has shape \(4, 2\)"),
        (torch.zeros(2), r"z0 has shape \(2,\)"),
        (torch.full((4, 3), torch.nan), "z0 of image 0 of the batch is not finite"),
        (lambda images: None, "z0 is a NoneType"),
        ([0.0, 0.0, 0.0], "z0 is a list"),
        (lambda images: torch.zeros(1, 3), r"z0 has shape \(1, 3\)"),
    ],
    ids=["rows", "columns", "one for all", "not a number", "nothing", "a list", "one row"],
)  # fmt: skip
def test_a_start_that_does_not_fit_is_told(z0, said):
    with pytest.raises(ValueError, match=said):
        QuasiNewtonAMD().encode(Objective(mlp((3, 8, 12), dtype=torch.float32), IMAGES, mse), z0)


def test_a_convolutional_decoder_with_batch_norm_is_encoded_in_eval_mode():
    decoder = nn.Sequential(convolutional(3, torch.float32, 8), nn.BatchNorm2d(3))
    decoder.latent_dim = 3
    y = torch.rand(4, 3, 8, 8, generator=seeded(1))
    decoder(torch.randn(20, 3, generator=seeded(2)))  # statistics
    encoding = QuasiNewtonAMD(max_trials=20).encode(Objective(decoder.eval(), y, mse))
    assert torch.allclose(encoding.loss, mse(decoder(encoding.z), y).detach(), rtol=1e-4)
