"""Every solver of the registry on decoders and losses such as people have: what it promises holds there too."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from conftest import seeded
from decoders import Counted, IllConditioned, WithVariance, convolutional, huber, l1, likelihood, masked, mse, small

from gfe_companion.methods import METHODS
from gfe_companion.methods.baselines import Library
from gfe_core.accelerated import QuasiNewtonAMD
from gfe_core.amd import AMD
from gfe_core.descent import Rule
from gfe_core.encoding import Encoding, Solver, Status
from gfe_core.fixed_grid import FixedGrid, LogarithmicGrid
from gfe_core.nesterov import Nesterov
from gfe_core.objective import Objective, bce
from gfe_core.trials import Trials
from gfe_core.warm import WarmStart

pytestmark = pytest.mark.filterwarnings("ignore:AMD:RuntimeWarning")  # that a tau of its own suits each loss

BATCH = 3


def shortened(solver: Any, trials: int = 8) -> Any:
    """The same solver on a small budget, on grids that are short enough for any loss of these tests."""
    if isinstance(solver, WarmStart):
        return replace(solver, solver=shortened(solver.solver, trials))
    if isinstance(solver, LogarithmicGrid):
        return replace(solver, tau=0.5, slices=4)
    names = {field.name for field in fields(solver)}
    budget = {name: trials for name in ("max_trials", "steps") if name in names}
    budget |= {"tau": 0.5} if isinstance(solver, Library) and "tau" in names else {}
    budget |= {"slices": 4} if "slices" in names else {}
    return replace(solver, **budget)


def kinds() -> dict[str, Solver]:
    """Every solver and tester, and each kind that only the race has; those that differ in settings only once."""
    found: dict[Any, tuple[str, Solver]] = {}
    for name, method in METHODS.items():
        own = [method.solver, method.tester]
        if method.race is not None:
            rung = method.race.ladders[0][-1]
            own.append(WarmStart(rung) if method.race.warm else rung)  # type: ignore[arg-type]
        for part, solver in zip(("", ", tester", ", in the race"), own, strict=False):
            if solver is not None:
                found.setdefault(distinct(solver), (name + part, solver))
    return dict(found.values())


def distinct(solver: Any) -> Any:
    """What is left of a solver when budgets, tolerances and times are taken out."""
    if isinstance(solver, WarmStart):
        return type(solver), solver.penalty, distinct(solver.solver)
    kept = set(vars(solver)) - {"max_trials", "tolerance", "patience", "tau", "slices", "steps", "learning_rate"}
    return type(solver), *((name, repr(getattr(solver, name))) for name in sorted(kept))


SOLVERS = kinds()
every = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)

DECODERS = {"MLP": small, "convolutional": convolutional, "ill-conditioned": IllConditioned}
LOSSES = {"cross-entropy": bce, "MSE": mse, "L1": l1, "Huber": huber, "masked": masked, "likelihood": likelihood}
SIZES, DTYPES = (1, 20, 512), (torch.float32, torch.float64)


@dataclass(frozen=True)
class Situation:
    """A decoder, a loss, a dtype and a number of latent dimensions."""

    decoder: str
    loss: str
    dtype: torch.dtype
    dim: int

    def __str__(self) -> str:
        return f"{self.decoder}, {self.loss}, {str(self.dtype)[6:]}, d = {self.dim}"

    def objective(self, chosen: list[int] | None = None) -> Objective:
        """For the images that are ``chosen`` of the batch, built of them alone; with a new count."""
        decoder = DECODERS[self.decoder](self.dim, self.dtype)
        shape = (3, 32, 32) if self.decoder == "convolutional" else (24,)
        images = torch.rand(BATCH, *shape, generator=seeded(1), dtype=self.dtype)
        seen = torch.rand(images.shape, generator=seeded(2)) < 0.6
        if self.loss == "likelihood":
            decoder = WithVariance(decoder, self.dtype)
        index = torch.arange(BATCH) if chosen is None else torch.tensor(chosen)
        extra = seen[index] if self.loss == "masked" else None
        objective = Objective(Counted(decoder), images[index], LOSSES[self.loss], extra)
        objective.decoder.forget()
        return objective

    @property
    def rounding(self) -> float:
        return 1e-4 if self.dtype == torch.float32 else 1e-9


def situations() -> list[Situation]:
    """Every decoder with every loss; dtypes and sizes go round so that every two of the four kinds meet."""
    found = []
    for i, (decoder, loss) in enumerate(product(DECODERS, LOSSES)):
        row, column = divmod(i, len(LOSSES))
        found.append(Situation(decoder, loss, DTYPES[(row + column) % 2], SIZES[(row + column + column // 3) % 3]))
    return found


SITUATIONS = situations()
everywhere = pytest.mark.parametrize("situation", SITUATIONS, ids=str)


def test_every_two_of_decoder_loss_dtype_and_size_meet():
    for one, other in (("decoder", "dtype"), ("decoder", "dim"), ("loss", "dtype"), ("loss", "dim"), ("dtype", "dim")):
        values = [{getattr(s, name) for s in SITUATIONS} for name in (one, other)]
        met = {(getattr(s, one), getattr(s, other)) for s in SITUATIONS}
        assert met == set(product(*values)), (one, other)


def test_every_kind_of_the_registry_is_here():
    shown = {type(getattr(solver, "solver", solver)) for solver in SOLVERS.values()}
    assert {type(m.solver) for m in METHODS.values() if m.solver} - {WarmStart} <= shown
    assert {type(m.race.ladders[0][0]) for m in METHODS.values() if m.race} <= shown
    assert {AMD, FixedGrid, Nesterov, QuasiNewtonAMD} <= shown and len(SOLVERS) >= 15


def falls(solver: Solver) -> bool:
    """Whether it promises that the loss never rises."""
    inner = getattr(solver, "solver", solver)
    return isinstance(inner, Rule) and not getattr(solver, "penalty", 0.0)


def brief(solver: Solver, situation: Situation) -> Solver:
    """The same with few trials: a Jacobian of 512 columns costs as much as hundreds of gradients."""
    return shortened(solver, 4 if situation.dim == 512 else 8)


@cache
def encoded(solver: Solver, situation: Situation) -> tuple[Encoding, Objective]:
    objective = situation.objective()
    return brief(solver, situation).encode(objective, record=True), objective


@every
@everywhere
def test_an_encoding_is_what_it_says(solver, situation, monkeypatch):
    """Finite, of its shape and dtype; its loss is its latents', and falls at each recorded step; all passes count."""
    looked, look = [], Objective.gauss_newton

    def watched(self, z):
        looked.append(z.numel())
        return look(self, z)

    monkeypatch.setattr(Objective, "gauss_newton", watched)
    encoded.cache_clear()
    encoding, objective = encoded(solver, situation)
    counted = objective.decoder
    passed = counted.forward_images + counted.backward_images + sum(looked)
    assert encoding.evaluations == objective.evaluations == passed > 0
    assert encoding.z.shape == (BATCH, situation.dim)
    for name in ("z", "loss", "t"):
        column = getattr(encoding, name)
        assert column.dtype == situation.dtype and column.isfinite().all() and len(column) == BATCH, name
    assert set(encoding.status.tolist()) <= set(Status) - {Status.DIVERGED}
    assert torch.allclose(encoding.loss, objective.value(encoding.z), rtol=situation.rounding, atol=situation.rounding)
    start = objective.value(objective.start())
    if falls(solver):
        assert (encoding.loss <= start + 1e-6 * start.abs()).all()
        assert ((encoding.loss < start) | (encoding.steps == 0)).all()
        assert (encoding.steps > 0).any() or situation.dim == 512  # a damping may have to grow more often than that
        for image, steps in enumerate(encoding.steps.tolist()):
            walked = encoding.path.loss[: steps + 1, image]
            assert (walked[1:] < walked[:-1]).all() and walked[-1] == encoding.loss[image]


@every
@pytest.mark.parametrize("situation", [s for s in SITUATIONS if s.dtype == torch.float64], ids=str)
def test_an_encoding_does_not_depend_on_its_batch(solver, situation):
    """Alone, and in another order, each with what belongs to it. Few steps, so that rounding has not grown yet."""
    if getattr(solver, "joint", False):
        pytest.skip("it says that the images of a batch share their steps")
    whole, objective = encoded(solver, situation)
    for chosen, part in (([2], situation.objective([2])), ([1, 0], objective.select(torch.tensor([1, 0])))):
        found = brief(solver, situation).encode(part)
        scale = whole.z.norm(dim=1).max()
        assert torch.allclose(found.loss, whole.loss[chosen], rtol=1e-6, atol=1e-7)
        assert torch.allclose(found.z, whole.z[chosen], rtol=1e-4, atol=1e-5 * float(scale))


# --- what CONVERGED claims

FULL = {name: m.solver for name, m in METHODS.items() if isinstance(m.solver, Trials)}


@pytest.mark.parametrize("solver", FULL.values(), ids=FULL)
def test_what_says_that_it_has_ended_has_little_left_to_gain(solver):
    """Of the loss or of what was gained, whichever is more: half a percent, and 3 % on a plateau now and then."""
    left = []
    for decoder, loss in product(("MLP", "ill-conditioned"), set(LOSSES) - {"L1"}):
        objective = Situation(decoder, loss, torch.float64, 5).objective()
        start, encoding = objective.value(objective.start()), solver.encode(objective)
        assert (encoding.loss < start).all()
        near = QuasiNewtonAMD(tolerance=0.0, max_trials=300, s_0=1e-3, s_max=1.0)  # it stays in the basin
        more = (encoding.loss - near.encode(objective, encoding.z).loss) / encoding.loss.abs().max(
            start - encoding.loss
        )
        left += more[(encoding.status == Status.CONVERGED) | (encoding.status == Status.STALLED)].tolist()
    assert left or not isinstance(solver, QuasiNewtonAMD)  # others may say that their budget is spent
    assert max(left, default=0.0) <= 0.03
    assert sum(share <= 0.005 for share in left) >= 0.85 * len(left)


@pytest.mark.parametrize(("loss", "tau"), [("cross-entropy", 200.0), ("MSE", 2000.0)])
def test_what_amd_calls_converged_gains_no_more_until_tau(loss, tau):
    """On the paper's loss a hundredth of it at most until tau, on others of what has been gained in another tau."""
    objective = Situation("MLP", loss, torch.float64, 5).objective()
    solver = AMD(tau=tau, s_0=0.1, s_max=4.0, max_trials=3000)
    encoding, start = solver.encode(objective), objective.value(objective.start())
    ended = (encoding.status == Status.CONVERGED).nonzero()[:, 0].tolist()
    assert ended
    for image in ended:
        part, z = objective.select(torch.tensor([image])), encoding.z[image : image + 1]
        left = tau - float(encoding.t[image]) if loss == "cross-entropy" else tau
        onward = replace(solver, tolerance=0.0, tau=left).encode(part, z)
        claimed = encoding.loss[image] if loss == "cross-entropy" else start[image] - encoding.loss[image]
        assert encoding.loss[image] - onward.loss[0] <= 1.2 * solver.tolerance * claimed  # the slope may grow a little
